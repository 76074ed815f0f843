"""The number of threads that every variant computes with on the CPU."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from rnnbench.measure import container
from rnnbench.network.contract import Unavailable

_STANDARD = "OMP_NUM_THREADS"
# OpenBLAS and MKL prefer their own variables to the standard one. TensorFlow reads only its own.
_LIBRARY_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
# XLA, JAX's compiler, reads this one. Other programs set it for other purposes, so any value is accepted.
_XLA = "NPROC"
VARIABLES = (_STANDARD, *_LIBRARY_VARIABLES, _XLA)  # all that `pin` sets

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology"


def processors() -> int:
    """Return how many processors this process may keep busy: those of its affinity, within its container's quota.

    Linux stops all threads of a container that has used up its quota, so more threads would make calls slower.
    """
    return max(1, math.floor(min(len(os.sched_getaffinity(0)), container.processors())))


def by_core() -> list[int]:
    """Return the processors that this process may use, so that those of a core, and of a socket, are neighbours."""
    return sorted(os.sched_getaffinity(0), key=lambda processor: (*_core(processor), processor))


def _core(processor: int) -> tuple[int, int]:
    """Return a processor's socket and its core there; each processor is a core where Linux doesn't tell."""
    folder = Path(_TOPOLOGY.format(processor))
    try:
        return int((folder / "physical_package_id").read_text()), int((folder / "core_id").read_text())
    except (OSError, ValueError):
        return 0, processor


def number() -> int:
    """Return the value of OMP_NUM_THREADS or, if it isn't set, the number of processors that this process may use.

    Raises Unavailable if the value isn't a number of threads, or if a library's own variable has another value.
    """
    chosen = os.environ.get(_STANDARD) or str(processors())
    # OpenMP accepts a list. Its first number is for the outermost level, the only level used here.
    match = re.fullmatch(r"\s*0*([1-9]\d{0,5})\s*(,.*)?", chosen, re.ASCII)
    if match is None:
        raise Unavailable(f"{_STANDARD} is {chosen!r}: it must be a number of threads, such as 2")
    for name in _LIBRARY_VARIABLES:
        if os.environ.get(name) and os.environ[name] != match[1]:
            raise Unavailable(
                f"{name} is {os.environ[name]!r}, but the variants compute with {match[1]} threads: "
                f"set {_STANDARD} instead, which applies to all of them"
            )
    return int(match[1])


def pin() -> None:
    """Make every library that this process or its children load from now on compute with `number` threads.

    Raises Unavailable as `number` does.
    """
    os.environ.update(dict.fromkeys(VARIABLES, str(number())))
