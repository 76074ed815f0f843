"""The processors and the memory that a container leaves to this process, from Linux's control groups."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def processors() -> float:
    """Return the number of processors that all quotas allow this process to keep busy; infinity without a quota."""
    return min(map(_processors, _groups("cpu")), default=math.inf)


def stopped() -> float:
    """Return for how many seconds quotas have stopped the programs of this process's control groups."""
    return max(map(_stopped, _groups("cpu")), default=0)


def memory() -> float:
    """Return the bytes of memory that all limits allow this process; infinity without a limit."""
    return min(map(_memory, _groups("memory")), default=math.inf)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups of this process that a controller binds.

    A group's limit also binds the groups inside it. A container may hide the groups around it.
    """
    with contextlib.suppress(OSError):
        for line in _OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            root = _GROUPS / controller if controllers else _GROUPS
            group = root / path.lstrip("/")
            while group.is_relative_to(root):
                yield group
                group = group.parent


def _processors(group: Path) -> float:
    """Return the quota of one control group, from the file of cgroup 2 or those of cgroup 1."""
    with contextlib.suppress(OSError, ValueError):
        microseconds, period = (group / "cpu.max").read_text().split()
        return math.inf if microseconds == "max" else int(microseconds) / int(period)
    with contextlib.suppress(OSError, ValueError):
        allowed = int((group / "cpu.cfs_quota_us").read_text())
        return allowed / int((group / "cpu.cfs_period_us").read_text()) if allowed > 0 else math.inf
    return math.inf


def _stopped(group: Path) -> float:
    """Return for how long the quota of one control group has stopped its programs, in the unit of cgroup 2 or 1."""
    with contextlib.suppress(OSError, ValueError):
        counts = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
        return int(counts.get("throttled_usec", 0)) / 1e6 or int(counts.get("throttled_time", 0)) / 1e9
    return 0


def _memory(group: Path) -> float:
    """Return the limit of one control group; cgroup 1 has a very high number for none."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            return int((group / name).read_text())
    return math.inf
