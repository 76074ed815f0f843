"""Files that are written at once or not at all."""

from __future__ import annotations

import os
from pathlib import Path

PARTIAL = ".partial"  # the end of the name of what isn't all written; asv reads nothing of that name


def write(path: Path, data: bytes) -> None:
    """Write a file, in a folder that is made if needed; whoever reads sees all of it, or what was there before.

    That holds through a full disk, a kill and a loss of power. Raises OSError, having changed nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
