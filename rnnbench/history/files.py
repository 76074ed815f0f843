"""Write files and folders so that a reader never sees a part of them."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

PARTIAL = ".partial"  # the suffix of a file that isn't complete yet; asv doesn't read files with this suffix

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # from Linux's fcntl.h and fs.h


def write(path: Path, data: bytes) -> None:
    """Write a file atomically, and make its folder if needed.

    A reader sees either the complete new file or the old one, even after a full disk, a killed process or a power
    loss. A link stays, and the file that it leads to is written. Raises OSError if the file can't be written; the old
    file is then unchanged.
    """
    path = Path(os.path.realpath(path))
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


def replace_folder(fresh: Path, folder: Path) -> None:
    """Move a folder to the place of another one, which moves to its place. At every moment one of the two is there.

    Where folders can't be exchanged, for example with another file system or with a mount point, the files are written
    one by one. A link stays, and the folder that it leads to is replaced. Raises OSError if the files can't be written.
    """
    folder = Path(os.path.realpath(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        if folder.exists():
            _exchange(fresh, folder)
        else:
            fresh.rename(folder)
    except OSError:
        _fill(fresh, folder)


def _exchange(one: Path, other: Path) -> None:
    """Give two folders each other's name in one step. Raises OSError if the system can't."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2  # Python has no function for it
    except AttributeError as problem:
        raise OSError("this C library doesn't have renameat2") from problem
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def _fill(fresh: Path, folder: Path) -> None:
    """Give a folder the files of a fresh one, and remove all others."""
    shutil.copytree(fresh, folder, dirs_exist_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):  # a folder comes after what is in it
        if (fresh / path.relative_to(folder)).exists():
            continue
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
