"""What the benchmark classes share: the grid, and a network kept for the whole process."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from rnnbench import Network, Unavailable, Workload, build, failures, hardware, state, variants
from rnnbench.clock import DeviceClock
from rnnbench.grids import PARAM_NAMES, PARAMS, Cell


def _tell(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
    if line := failures.sentence(problem):
        print(f"failed: {line}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, problem, trace)


# A cell that fails ends its process, with a sentence instead of pages where that says it all.
sys.excepthook = _tell

DEVICE = os.environ.get("RNNBENCH_DEVICE", "cpu")


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
    return DeviceClock(network(variant, *sizes), hardware.limit(DEVICE, tf32=variants.VARIANTS[variant].tf32))


# Once a process: what is seen belongs to all that it times.
@functools.cache
def watch(*sizes: int) -> None:
    """Have the machine's state from now to the end of this process stored with its times."""
    state.watch(DEVICE, Cell(*sizes))


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


def of_each_variant(base: type, among: Callable[[variants.Variant], bool] = lambda _: True) -> dict[str, type]:
    """Return classes made of a base, one for each variant, by their names: of _LSTM cudnn_tf32's is CudnnTF32LSTM.

    What needs gradients shows as n/a, with the reason, for a variant that has none.
    """
    found = {}
    for variant, row in variants.VARIANTS.items():
        if among(row):
            name = variants.class_prefix(variant) + base.__name__.removeprefix("_")
            content = {"__module__": base.__module__, "__doc__": f"{row.description}.", "variant": variant}
            if not row.trains:
                content |= {method: _refused(base, method, variant) for method in dir(base) if _NEEDS_GRADIENTS(method)}
            found[name] = type(name, (base,), content)
    return found


_NEEDS_GRADIENTS = re.compile(r"(time|timeraw|track)_(train|gradients)").fullmatch


def _refused(base: type, method: str, variant: str) -> Any:
    """Return a method which asv prepares by asking for the network's train, and by being refused it."""

    def setup(*sizes: int) -> None:
        with _shown_as_not_available():
            _ = network(variant, *sizes).train

    @functools.wraps(getattr(base, method))
    def refused(self: Any, *sizes: int) -> Any:
        return getattr(base, method)(self, *sizes)

    refused.setup = setup  # type: ignore[attr-defined]
    return refused
