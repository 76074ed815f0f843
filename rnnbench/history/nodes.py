"""The spread between the nodes of a machine class: each one's time of the same network, the canary."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rnnbench.history import selftest
from rnnbench.history.figures import printable

FILE = "nodes.csv"

# A time stands out if it differs from the median by more than the least change worth finding, and by more than
# three standard deviations.
_LEAST = 0.05
_DEVIATIONS = 3
# The standard deviation of a normal distribution is this multiple of the median distance from its median.
_SCALE = 1.4826


class Time(NamedTuple):
    """The canary's time on a GPU, or on a node without one."""

    commit: str
    node: str
    gpu: str  # the GPU's UUID; empty without one
    implementation: str
    parameters: str  # of the shape, as asv writes them
    seconds: float

    @property
    def where(self) -> str:
        """The node, and its GPU if it has one."""
        return f"{self.node} ({self.gpu})" if self.gpu else self.node


def save(times: Iterable[Time], folder: Path) -> None:
    """Write the times to FILE in a machine's results folder."""
    selftest.write_rows(folder / FILE, Time._fields, times)


def read(folder: Path) -> list[Time]:
    """Return the times that `save` wrote, the shortest first, or an empty list if there is no file.

    An invalid file also gives an empty list, with a ResultsWarning.
    """
    return sorted(selftest.read_rows(folder / FILE, _time), key=lambda time: time.seconds)


def outside(times: Sequence[Time]) -> list[Time]:
    """Return the times that stand out from the others."""
    if not times:
        return []
    median = statistics.median(time.seconds for time in times)
    deviation = _SCALE * statistics.median(abs(time.seconds - median) for time in times)
    limit = max(_LEAST * median, _DEVIATIONS * deviation)
    return [time for time in times if abs(time.seconds - median) > limit]


def sentences(times: Iterable[Time]) -> list[str]:
    """Return sentences about the spread between nodes, and about each one that stands out; none for one time."""
    in_order = sorted(times, key=lambda time: time.seconds)
    if len(in_order) < 2:
        return []
    fastest, slowest = in_order[0], in_order[-1]
    median = statistics.median(time.seconds for time in in_order)
    text = [
        f"The nodes' canary, a train step of {fastest.implementation} at {fastest.parameters}, takes "
        f"{median * 1e3:.4g} ms (the median of {len(in_order)}), from {fastest.seconds / median:.3f} times that on "
        f"{fastest.where} to {slowest.seconds / median:.3f} times on {slowest.where}."
    ]
    text += [
        f"{time.where} stands out: {time.seconds / median:.2f} times the median. Look at its clocks and at other "
        "programs there, or leave it out."
        for time in outside(in_order)
    ]
    return text


def _time(row: dict[str, str]) -> Time:
    commit, node, gpu, implementation, parameters = (printable(row[name]) for name in Time._fields[:-1])
    time = Time(commit, node, gpu, implementation, parameters, float(row["seconds"]))
    if not 0 < time.seconds < 1e300:
        raise ValueError(f"{time.seconds} isn't a time")
    return time
