"""Ask git about commits, and whether the code that a run times is the commit's under which its figures are stored."""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

CODE, BENCHMARKS = "rnnbench", "benchmarks"


def changed(commit: str, environment: str) -> list[str]:
    """Return the folders of the current checkout that a run times with other content than at a commit.

    asv takes the benchmarks from the work tree. With an existing interpreter the work tree's package is timed too.
    Without a commit, under which nothing is stored, nothing has changed.
    """
    return _ask(commit, environment)


@contextlib.contextmanager
def unchanging() -> Iterator[None]:
    """Let `changed` ask git once in this block, and not for each figure: nobody else writes to the checkout."""
    global _ask
    ask, _ask = _ask, functools.cache(_ask)
    try:
        yield
    finally:
        _ask = ask


def _changed(commit: str, environment: str) -> list[str]:
    if not commit:
        return []
    folders = [BENCHMARKS] if _differs("HEAD", BENCHMARKS) else []
    return [CODE, *folders] if environment.startswith("existing") and _differs(commit, CODE) else folders


_ask = _changed


def describe_head(folder: Path) -> str:
    """Return the short hash of a checkout's HEAD, with "-dirty" after it if the work tree differs.

    Without a checkout the text is empty.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=8", "--exclude=*"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout.strip()


def resolve(name: str, folder: Path) -> str:
    """Return the hash of the commit that a branch, a tag or a name such as HEAD~3 means in a folder's checkout.

    Return the name itself if it may be the beginning of a hash, or means no commit there.
    """
    if re.fullmatch("[0-9a-f]{4,64}", name) or "\0" in name:
        return name
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return name


def _differs(commit: str, folder: str) -> bool:
    same = subprocess.run(
        ["git", "diff", "--quiet", "--no-ext-diff", commit, "--", folder], capture_output=True, check=False
    )
    command = ["git", "ls-files", "--others", "--exclude-standard", "--", folder]
    added = subprocess.run(command, capture_output=True, check=False)
    return same.returncode != 0 or bool(added.stdout)
