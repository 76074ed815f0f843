"""Write files atomically."""

from __future__ import annotations

import os
from pathlib import Path

PARTIAL = ".partial"  # the suffix of a file that isn't complete yet; asv doesn't read files with this suffix


def write(path: Path, data: bytes) -> None:
    """Write a file atomically, and make its folder if needed.

    A reader sees either the complete new file or the old one, even after a full disk, a killed process or a power
    loss. Raises OSError if the file can't be written; the old file is then unchanged.
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
