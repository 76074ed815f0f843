"""The interval of a ratio from pairs of processes, and the verdict, at every look at a growing number of pairs.

docs/method.md describes the method. It assumes only that each pair's log ratio lies above and below the true one
with equal chances, at equal distances. Swapping the two sides of a pair at random makes this so for equal code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# All looks together miss the true ratio with at most this probability.
MISSES = 0.01
# Nine pairs are the fewest for the first look's share of MISSES: 2 of the 2**9 ways to choose signs are extreme.
_FIRST_LOOK = 9
_GROWTH = 1.4

SLOWER, FASTER, UNSURE = "slower", "faster", "not sure yet"


class Interval(NamedTuple):
    """The estimated ratio of two times, and the bounds of its interval."""

    ratio: float
    low: float
    high: float


class Judge:
    """Judges a growing number of pairs at some moments, until the verdict is sure.

    It looks at 9, 13, 19, 27, ... pairs, and once more at the last pair. `bounds` and `verdict` are those of its latest
    look.
    """

    def __init__(self, least: float) -> None:
        """Judge changes of more than `least`, a share of the time: 0.03 for 3%."""
        self._least = least
        self._log_ratios: list[float] = []
        self._next, self._look = _FIRST_LOOK, 0
        self.bounds = Interval(math.nan, 0.0, math.inf)
        self.verdict = UNSURE

    @property
    def pairs(self) -> int:
        """The number of pairs so far."""
        return len(self._log_ratios)

    def add(self, log_ratio: float, is_last: bool = False) -> bool:
        """Add a pair's log ratio of the second time to the first, and return whether this was a moment to look."""
        self._log_ratios.append(log_ratio)
        is_time = self.pairs >= self._next
        if is_time or is_last:
            self._next = math.ceil(self._next * _GROWTH) if is_time else self._next
            self._look += 1
            self.bounds = interval(self._log_ratios, self._look)
            self.verdict = verdict(self.bounds, self._least)
        return is_time or is_last


def interval(log_ratios: Sequence[float], look: int) -> Interval:
    """Return the ratio and its interval at the look with this number, counted from 1.

    Look k may miss the true ratio with the probability MISSES / (k·(k + 1)). These add up to MISSES over all looks.
    So the intervals of all looks together hold the true ratio with the probability 1 - MISSES, and one may stop at
    any of them. Too few pairs give an interval from 0 to infinity.

    The interval holds each ratio that these pairs don't refute. To test a ratio, the sign of each pair's distance to
    it is drawn anew in all ways, and the ranks of the distances are added up on one side (Wilcoxon's signed ranks).
    The bounds are then two of the sorted means of two pairs (Walsh), and the estimate is their median (Hodges and
    Lehmann).
    """
    values = np.asarray(log_ratios, float)
    count = len(values)
    rows, columns = np.triu_indices(count)
    means = np.sort((values[rows] + values[columns]) / 2)
    estimate = math.exp(np.median(means)) if count else math.nan
    at_most = np.cumsum(_signed_rank_probabilities(count))
    left_out = int(np.searchsorted(at_most, MISSES / (look * (look + 1)) / 2, side="right"))
    if left_out == 0:
        return Interval(estimate, 0.0, math.inf)
    return Interval(estimate, math.exp(means[left_out - 1]), math.exp(means[-left_out]))


def verdict(bounds: Interval, least: float) -> str:
    """Return what an interval says: the second side is slower or faster, or the change is at most `least`, or UNSURE.

    `least` is a share of the time: 0.03 for 3%.
    """
    if 1 / (1 + least) <= bounds.low and bounds.high <= 1 + least:
        return no_change(least)
    if bounds.low > 1:
        return SLOWER
    if bounds.high < 1:
        return FASTER
    return UNSURE


def no_change(least: float) -> str:
    """Return the verdict on a change that is surely at most `least`."""
    return f"no change of more than {100 * least:g}%"


def _signed_rank_probabilities(count: int) -> np.ndarray:
    """Return the probability of each sum of ranks from 0 to count·(count + 1)/2, if each sign is drawn by a coin."""
    probabilities = np.zeros(count * (count + 1) // 2 + 1)
    probabilities[0] = 1
    for rank in range(1, count + 1):
        shifted = np.concatenate([np.zeros(rank), probabilities[:-rank]])
        probabilities = (probabilities + shifted) / 2
    return probabilities
