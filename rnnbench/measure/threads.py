"""The number of threads that every variant computes with on the CPU."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rnnbench.network.contract import Unavailable

_STANDARD = "OMP_NUM_THREADS"
# OpenBLAS and MKL prefer their own variables to the standard one. TensorFlow reads only its own.
_LIBRARY_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
# XLA, JAX's compiler, reads this one. Other programs set it for other purposes, so any value is accepted.
_XLA = "NPROC"
VARIABLES = (_STANDARD, *_LIBRARY_VARIABLES, _XLA)  # all that `pin` sets

_OWN_GROUP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def number() -> int:
    """Return the value of OMP_NUM_THREADS or, if it isn't set, the number of `processors`.

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


def processors() -> int:
    """Return the number of processors that this process may use at once.

    A container may have many processors and a quota of their time, as with `docker --cpus`. More threads than the quota
    has whole processors would wait for one another.
    """
    return max(1, min(len(os.sched_getaffinity(0)), *map(int, _quotas())))


def _quotas() -> list[float]:
    """Return the limits, in processors, of this process's control group and of the groups around it (cgroup v2)."""
    quotas = []
    try:
        own = next(line[3:] for line in _OWN_GROUP.read_text().splitlines() if line.startswith("0::"))
        group = _GROUPS / own.strip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(_GROUPS) and (folder / "cpu.max").exists():
                quota, period = (folder / "cpu.max").read_text().split()
                if quota != "max":
                    quotas.append(int(quota) / int(period))
    except (OSError, StopIteration, ValueError):  # there are no control groups, or they can't be read
        pass
    return quotas or [float(os.cpu_count() or 1)]


def pin() -> None:
    """Make every library that this process or its children load from now on compute with `number` threads.

    Raises Unavailable as `number` does.
    """
    os.environ.update(dict.fromkeys(VARIABLES, str(number())))
