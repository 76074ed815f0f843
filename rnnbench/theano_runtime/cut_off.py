"""Find compiled files that a kill, a full disk or a power loss has cut off.

Without this module every later run would fail on such a file.
"""

from __future__ import annotations

import re
import shutil
import struct
import sys
import time
from pathlib import Path

_LINKING_SECONDS = 2  # a running linker finishes its file within this time
_SIZES = "sizes.txt"

# The content of the __init__.py that Theano writes beside modules that it imports by name.
_VERSION_FILE = re.compile(rb"(_version = [\d.]+\n?)?")


def remove(cache: Path) -> None:
    """Remove incomplete modules from Theano's base_compiledir and print their paths. Theano compiles them again."""
    cut_off = [file for file in cache.glob("compiledir_*/*/*.so") if not _is_whole(file)]
    cut_off += [file for file in cache.glob("compiledir_*/[!t]*/__init__.py") if not _is_whole(file)]
    end = time.monotonic() + _LINKING_SECONDS
    while cut_off and time.monotonic() < end:
        time.sleep(0.2)
        cut_off = [file for file in cut_off if not _is_whole(file)]
    for file in cut_off:
        print(f"rnnbench: {file} was cut off: Theano compiles it again", file=sys.stderr)
        shutil.rmtree(file.parent, ignore_errors=True)


def record_sizes(folder: Path) -> None:
    """Write the sizes of a folder's headers to a file in the folder."""
    (folder / _SIZES).write_text(_sizes(folder))


def has_recorded_sizes(folder: Path) -> bool:
    """Return whether a folder's headers still have the sizes that `record_sizes` wrote."""
    recorded = folder / _SIZES
    return recorded.is_file() and recorded.read_text() == _sizes(folder)


def _sizes(folder: Path) -> str:
    return "".join(f"{file.name} {file.stat().st_size}\n" for file in sorted(folder.glob("*.h*")))


def _is_whole(path: Path) -> bool:
    """Return whether a module is as long as its ELF header says, or a version file is complete.

    The table of sections ends an ELF file, and its header gives the table's position and size.
    """
    try:
        with path.open("rb") as file:
            header = file.read(64)
        size = path.stat().st_size
    except FileNotFoundError:  # another process has removed it
        return True
    if path.suffix == ".py":
        return _VERSION_FILE.fullmatch(header) is not None
    if len(header) < 64 or not header.startswith(b"\x7fELF"):
        return False
    (offset,) = struct.unpack_from("=Q", header, 0x28)
    entry, entries = struct.unpack_from("=HH", header, 0x3A)
    return size >= offset + entry * entries
