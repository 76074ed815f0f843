"""How much memory a call takes at its peak."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from rnnbench.measure import gpu
from rnnbench.network.contract import Unavailable

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def peak_memory(call: Callable[[], object], device: str = "cpu") -> int:
    """Return by how many bytes a device's memory in use rises, at most, while `call` runs.

    Memory that the process already holds and reuses isn't counted: measure a network's first call.
    On the CPU it is the process's resident memory: Linux keeps the peak (proc(5), VmHWM), and forgets
    it when 5 is written to clear_refs. On a GPU it is what the driver has given out after the call,
    since the frameworks keep what they once took; other programs' memory counts too.

    Raises Unavailable where the system doesn't keep the peak.
    """
    if device == "cuda":
        used = gpu.used_memory()
        call()
        return max(0, gpu.used_memory() - used)
    try:
        _RESET.write_text("5")
    except OSError as problem:
        raise Unavailable(f"peak memory needs Linux's {_RESET}: {problem}") from problem
    before = _kibibytes("VmRSS")
    call()
    return max(0, _kibibytes("VmHWM") - before) * 1024


def _kibibytes(field: str) -> int:
    match = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    if match is None:
        raise Unavailable(f"peak memory needs {field} in {_STATUS}")
    return int(match[1])
