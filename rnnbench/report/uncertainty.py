"""How far a figure may lie from what another run of the same code would give, and which differences are no news.

The processes that time a figure differ by more than the calls of one process do. So an interval here comes from the
medians of the processes. docs/method.md derives the formulas and names their sources.
"""

from __future__ import annotations

import heapq
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple, Protocol

CONFIDENCE = 0.95

# All figures together count as so many figures of the implementation itself.
_WEIGHT_OF_ALL = 3
# The figures of an implementation whose calls take about as long as this one's.
_NEAREST = 8
# With fewer processes than this beyond the first ones, the spread isn't known.
_LEAST_FREEDOM = 3
# The logarithm of the widest interval's end. Without a limit a made-up results file could overflow.
_WIDEST = 10.0


class Time(Protocol):
    """What this module reads of a time. history.Figure describes these."""

    @property
    def variant(self) -> str: ...
    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def samples(self) -> int: ...
    @property
    def medians(self) -> tuple[float, ...]: ...


class Deviation(NamedTuple):
    """How much the processes of one figure differ."""

    log_time: float
    squares: float  # the sum of the squared deviations of the processes' log medians from their mean
    freedom: int  # the number of processes - 1


class Spread(NamedTuple):
    """How much the processes of the same figure differ, on a machine at a commit."""

    variance: float  # over all figures
    deviations: dict[str, list[Deviation]]  # by variant


class Interval(NamedTuple):
    """Where a figure may lie, in the figure's unit."""

    low: float
    high: float
    covers_processes: bool  # else it has the quartiles of the samples, which may all be of one process


class Ratio(NamedTuple):
    """How many times as large one figure is as another one."""

    times: float
    low: float | None  # the interval; None if one of the figures has none
    high: float | None
    is_tie: bool  # the machine can't tell the two figures apart


def spread(figures: Iterable[Time]) -> Spread | None:
    """Return the spread between the processes of these times; None if too few were timed in several processes."""
    deviations: dict[str, list[Deviation]] = defaultdict(list)
    for figure in figures:
        if len(figure.medians) > 1 and figure.value:
            logs = [math.log(median) for median in figure.medians]
            squares = len(logs) * statistics.pvariance(logs)
            deviations[figure.variant].append(Deviation(math.log(figure.value), squares, len(logs) - 1))
    everything = [deviation for same_variant in deviations.values() for deviation in same_variant]
    if sum(deviation.freedom for deviation in everything) < _LEAST_FREEDOM:
        return None
    return Spread(_variance(everything), dict(deviations))


def interval(figure: Time, known: Spread | None) -> Interval | None:
    """Return the interval of a figure; None for a figure of a single sample.

    It covers 95% of the spread between processes. If that spread isn't known, it has the quartiles.
    """
    if known is None:
        is_sampled = figure.samples > 1 and figure.low and figure.high
        return Interval(figure.low, figure.high, False) if is_sampled else None  # type: ignore[arg-type]
    log_time = math.log(figure.value)  # type: ignore[arg-type]
    nearest = heapq.nsmallest(
        _NEAREST,
        known.deviations.get(figure.variant, ()),
        key=lambda deviation: abs(deviation.log_time - log_time),
    )
    freedom = _WEIGHT_OF_ALL + sum(deviation.freedom for deviation in nearest)
    squares = _WEIGHT_OF_ALL * known.variance + sum(deviation.squares for deviation in nearest)
    processes = max(1, len(figure.medians))
    factor = math.exp(min(_WIDEST, _student(freedom) * math.sqrt(squares / freedom / processes)))
    low, high = figure.value / factor, figure.value * factor  # type: ignore[operator]
    return Interval(low, high, True) if 0 < low <= high < math.inf else None


def ratio(
    value: float, known: Interval | None, other: float, other_known: Interval | None, detectable: float = 0
) -> Ratio:
    """Return other / value with its interval, from the intervals of both.

    `detectable` is the smallest change that the machine detects, 0.1 for 10%, or 0 if nobody has measured it. The
    ratio is a tie if it is a smaller change, or if its interval contains 1.
    """
    times = other / value
    low = high = None
    if known and other_known:
        if known.covers_processes and other_known.covers_processes:
            width = math.hypot(math.log(known.high / known.low), math.log(other_known.high / other_known.low)) / 2
            low, high = times / math.exp(width), times * math.exp(width)
        else:
            low, high = other_known.low / known.high, other_known.high / known.low
    contains_1 = low is not None and high is not None and low <= 1 <= high
    return Ratio(times, low, high, contains_1 or 1 / (1 + detectable) < times < 1 + detectable)


def _variance(deviations: Iterable[Deviation]) -> float:
    squares, freedoms = zip(*((deviation.squares, deviation.freedom) for deviation in deviations), strict=True)
    return sum(squares) / sum(freedoms)


def _student(freedom: int) -> float:
    """Return the two-sided quantile of Student's t for CONFIDENCE, within 1% from 3 degrees of freedom on.

    The series is 26.7.5 of Abramowitz and Stegun, Handbook of Mathematical Functions.
    """
    z = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
