"""The number of threads that every variant computes with on the CPU."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from rnnbench.network.contract import Unavailable

_STANDARD = "OMP_NUM_THREADS"
# OpenBLAS and MKL prefer their own variables to the standard one. TensorFlow reads only its own.
_LIBRARY_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
# XLA, JAX's compiler, reads this one. Other programs set it for other purposes, so any value is accepted.
_XLA = "NPROC"
VARIABLES = (_STANDARD, *_LIBRARY_VARIABLES, _XLA)  # all that `pin` sets

_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def processors() -> int:
    """Return how many processors this process may keep busy: those of its affinity, within its container's quota.

    Linux stops all threads of a container that has used up its quota, so more threads would make calls slower.
    """
    return max(1, math.floor(min(len(os.sched_getaffinity(0)), *_quotas())))


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


def _quotas() -> Iterator[float]:
    """Yield the number of processors that each control group of this process may use, and infinity for no limit."""
    yield math.inf
    with contextlib.suppress(OSError):
        for line in _OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            root = _GROUPS / "cpu" if controllers else _GROUPS
            group = root / path.lstrip("/")
            # A group's quota also binds the groups inside it. A container may hide the groups around it.
            while group.is_relative_to(root):
                yield _quota(group)
                group = group.parent


def _quota(group: Path) -> float:
    """Return the quota of one control group, from the file of cgroup 2 or those of cgroup 1."""
    with contextlib.suppress(OSError, ValueError):
        microseconds, period = (group / "cpu.max").read_text().split()
        return math.inf if microseconds == "max" else int(microseconds) / int(period)
    with contextlib.suppress(OSError, ValueError):
        allowed = int((group / "cpu.cfs_quota_us").read_text())
        return allowed / int((group / "cpu.cfs_period_us").read_text()) if allowed > 0 else math.inf
    return math.inf
