"""Compiled files that a kill, a full disk or a loss of power has cut off: each run anew would stop at them."""

from __future__ import annotations

import re
import shutil
import struct
import sys
import time
from pathlib import Path

_SECONDS = 2  # a linker at work has long written its file
_SIZES = "sizes.txt"

# What Theano writes beside the modules that it imports by name.
_VERSION = re.compile(rb"(_version = [\d.]+\n?)?")


def remove(cache: Path) -> None:
    """Remove the modules in Theano's base_compiledir that aren't whole, and name them: Theano compiles them again."""
    cut_off = [file for file in cache.glob("compiledir_*/*/*.so") if not _is_whole(file)]
    cut_off += [file for file in cache.glob("compiledir_*/[!t]*/__init__.py") if not _is_whole(file)]
    end = time.monotonic() + _SECONDS
    while cut_off and time.monotonic() < end:
        time.sleep(0.2)
        cut_off = [file for file in cut_off if not _is_whole(file)]
    for file in cut_off:
        print(f"rnnbench: {file} was cut off: it is compiled again", file=sys.stderr)
        shutil.rmtree(file.parent, ignore_errors=True)


def note_sizes(folder: Path) -> None:
    """Write down, beside the files in a folder, how long they are."""
    (folder / _SIZES).write_text(_sizes(folder))


def is_as_made(folder: Path) -> bool:
    """Return whether a folder's files are as long as was written down."""
    noted = folder / _SIZES
    return noted.is_file() and noted.read_text() == _sizes(folder)


def _sizes(folder: Path) -> str:
    return "".join(f"{file.name} {file.stat().st_size}\n" for file in sorted(folder.glob("*.h*")))


def _is_whole(path: Path) -> bool:
    """Return whether a module is as long as its ELF header says, or a version can be read.

    What linkers write last is the table of sections.
    """
    try:
        with path.open("rb") as file:
            header = file.read(64)
        size = path.stat().st_size
    except FileNotFoundError:  # another process has removed it
        return True
    if path.suffix == ".py":
        return _VERSION.fullmatch(header) is not None
    if len(header) < 64 or not header.startswith(b"\x7fELF"):
        return False
    (offset,) = struct.unpack_from("=Q", header, 0x28)
    entry, entries = struct.unpack_from("=HH", header, 0x3A)
    return size >= offset + entry * entries
