"""One sentence for each failure that a user can do something about."""

from __future__ import annotations

import re
import sys
from types import TracebackType

from rnnbench.measure.clock import ImpossibleTime

_OUT_OF_MEMORY = re.compile(r"out of memory|OUT_OF_MEMORY|ALLOC_FAILED|could not allocate", re.IGNORECASE)
_CUDNN = re.compile(r"cudnn|mixed dnn version", re.IGNORECASE)


def sentence(problem: BaseException) -> str | None:
    """Return one line that says what went wrong and what to do; None for an unknown failure."""
    text = str(problem)
    # The first line says what happened; the frameworks add pages about the graph.
    line = text.strip().partition("\n")[0] or type(problem).__name__
    if isinstance(problem, ImpossibleTime):
        return line
    if isinstance(problem, MemoryError) or _OUT_OF_MEMORY.search(text):
        return f"the device is out of memory: end other programs on it, or choose smaller sizes ({line})"
    if isinstance(problem, OSError) and problem.filename:
        return f"a file can't be used: {line}"
    if _CUDNN.search(line):
        return f"cuDNN failed: `rnnbench doctor --device cuda` shows which cuDNN is used ({line})"
    return None


def print_failure(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
    """Print a known failure as one sentence, or else its traceback, to stderr.

    Assign this function to `sys.excepthook`.
    """
    if line := sentence(problem):
        print(f"failed: {line}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, problem, trace)
