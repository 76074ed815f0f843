"""What the benchmark classes share: the grid, and a network kept for the whole process."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from types import TracebackType

from rnnbench import Network, Unavailable, Workload, build, failures, hardware, variants
from rnnbench.clock import DeviceClock, SlowedClock
from rnnbench.grids import PARAM_NAMES, PARAMS


def _tell(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
    if line := failures.sentence(problem):
        print(f"failed: {line}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, problem, trace)


# A cell that fails ends its process, with a sentence instead of pages where that says it all.
sys.excepthook = _tell

DEVICE = os.environ.get("RNNBENCH_DEVICE", "cpu")
# By which share each timed call is slowed: `rnnbench selftest` sets it, to see from which on asv finds it.
SLOWDOWN = float(os.environ.get("RNNBENCH_SLOWDOWN", 0))


@functools.cache
def workload(*sizes: int) -> Workload:
    return Workload(*sizes)


# asv calls setup before every timed call: what it needs is made once.
@functools.cache
def network(variant: str, *sizes: int) -> Network:
    """Return a variant's network; NotImplementedError, which asv shows as n/a, where it can't run."""
    with _shown_as_not_available():
        return build(variant, workload(*sizes), device=DEVICE)


# asv reads the clock of the first setup: every later one must be the same.
@functools.cache
def clock(variant: str, *sizes: int) -> DeviceClock:
    """Return a clock for a network, which takes no time for true that its device couldn't do."""
    made, limit = network(variant, *sizes), hardware.limit(DEVICE, tf32=variants.VARIANTS[variant].tf32)
    return SlowedClock(made, limit, SLOWDOWN) if SLOWDOWN else DeviceClock(made, limit)


def require(variant: str, *sizes: int) -> None:
    """Raise NotImplementedError where a variant can't run, without building it."""
    with _shown_as_not_available():
        variants.require(variant, workload(*sizes), device=DEVICE)


@contextlib.contextmanager
def _shown_as_not_available() -> Iterator[None]:
    try:
        yield
    except Unavailable as reason:
        raise NotImplementedError(str(reason)) from reason


class Sizes:
    """The parameters of every benchmark: (batch, seq, hidden, depth)."""

    params = PARAMS
    param_names = PARAM_NAMES
    # asv starts a new series when this changes: raise it when the same name measures something else.
    version = "1"
    # Seconds without output until asv gives up; a first compile on a slow machine takes minutes.
    timeout = 1200
