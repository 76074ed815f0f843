"""The memory that a call takes at its peak."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from rnnbench.measure import gpu
from rnnbench.network.contract import Unavailable

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def peak_memory(call: Callable[[], object], device: str = "cpu") -> int:
    """Return by how many bytes a device's used memory grows, at its peak, while `call` runs.

    Memory that the process already holds and reuses isn't counted, so measure a network's first call.

    On the CPU this is the process's resident memory. Linux keeps its peak (proc(5), VmHWM), and resets the peak when
    5 is written to clear_refs. On a GPU this is all memory that the driver has given out. It is read after the call,
    since frameworks keep the memory that they once took. Memory of other programs counts too.

    Raises Unavailable if the system doesn't keep the peak.
    """
    if device == "cuda":
        used = gpu.used_memory()
        call()
        return max(0, gpu.used_memory() - used)
    try:
        _RESET.write_text("5")
    except OSError as problem:
        raise Unavailable(f"peak memory can't be measured without Linux's {_RESET}: {problem}") from problem
    before = _kibibytes("VmRSS")
    call()
    return max(0, _kibibytes("VmHWM") - before) * 1024


def _kibibytes(field: str) -> int:
    match = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    if match is None:
        raise Unavailable(f"peak memory can't be measured without {field} in {_STATUS}")
    return int(match[1])
