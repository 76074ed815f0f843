"""How many threads every variant computes with on the CPU: one number, said here."""

from __future__ import annotations

import os
import re

from rnnbench.network.contract import Unavailable

_STANDARD = "OMP_NUM_THREADS"
# OpenBLAS and MKL heed their own before the standard one, and TensorFlow its own alone.
_OWN = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
# XLA's, JAX's compiler; other programs set it for other ends, so it may say anything.
_XLA = "NPROC"


def number() -> int:
    """Return what OMP_NUM_THREADS says or, without it, how many processors this process may use.

    Raises Unavailable if that isn't a number, or a library's own variable says another.
    """
    chosen = os.environ.get(_STANDARD) or str(len(os.sched_getaffinity(0)))
    # OpenMP takes a list: the first is of the outermost level, the only one here.
    match = re.fullmatch(r"\s*0*([1-9]\d{0,5})\s*(,.*)?", chosen, re.ASCII)
    if match is None:
        raise Unavailable(f"{_STANDARD} is {chosen!r}: it must be a number of threads, such as 2")
    for name in _OWN:
        if os.environ.get(name) and os.environ[name] != match[1]:
            raise Unavailable(
                f"{name} is {os.environ[name]!r}, and the variants compute with {match[1]} threads: "
                f"set {_STANDARD} instead, which counts for all of them"
            )
    return int(match[1])


def pin() -> None:
    """Make each library that this process loads from now on, and its children's, compute with `number` threads."""
    os.environ.update(dict.fromkeys((_STANDARD, *_OWN, _XLA), str(number())))
