"""What the benchmark classes share: the grid, and a network kept for the whole process."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator

from rnnbench import Network, Unavailable, Workload, build, variants
from rnnbench.grids import PARAM_NAMES, PARAMS

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
