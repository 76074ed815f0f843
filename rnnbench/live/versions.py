"""The two sides of a comparison: commits, the work tree, implementations, environment variables or interpreters."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import NamedTuple

from rnnbench import variants
from rnnbench.live.process import Code, Failed

WORK_TREE = "."


class Version(NamedTuple):
    """One side of a comparison."""

    code: Code
    implementation: str | None = None  # the only one that is timed; None for all that the user asked for


def prepare(name: str, folder: Path) -> Version:
    """Return the version that a user's word names, with its code copied into a new folder.

    The word is "." for the work tree, the name of an implementation or the path of its file, an environment variable
    with its value (NAME=VALUE), the path of a Python interpreter, or else a commit, branch or tag. All but commits time
    the code of the work tree, which is the current folder.

    Raises Failed if the word names nothing of these, or if the current folder isn't a checkout.
    """
    variable, _, value = name.partition("=")
    if name == WORK_TREE:
        return Version(Code(name, _copy_work_tree(folder)))
    if _is_implementation(name):
        return Version(Code(name, _copy_work_tree(folder)), name)
    if "=" in name and re.fullmatch(r"[A-Za-z_]\w*", variable, re.ASCII):
        return Version(Code(name, _copy_work_tree(folder), environment={variable: value}))
    if os.sep in name and os.access(name, os.X_OK) and Path(name).is_file():
        return Version(Code(name, _copy_work_tree(folder), python=os.path.abspath(name)))
    return Version(Code(name, _export(name, folder)))


def _is_implementation(name: str) -> bool:
    try:
        return bool(variants.find(name))
    except ValueError:
        return False


def _copy_work_tree(folder: Path) -> Path:
    """Copy the package of the current folder, so that edits during the comparison don't reach it."""
    package = Path("rnnbench")
    if not (package / "__init__.py").is_file():
        raise Failed(f"{Path.cwd()} isn't a checkout of rnnbench: change to one first")
    shutil.copytree(package, folder / "rnnbench", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _export(name: str, folder: Path) -> Path:
    """Write the package of a commit to a folder."""
    try:
        checkout = _git("rev-parse", "--git-dir")
        if checkout.returncode != 0:
            raise Failed(f"git can't use {Path.cwd()}: {_first_line(checkout.stderr)}")
        named = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if named.returncode != 0:
            raise Failed(
                f"{name} is no commit, branch or tag of this checkout, no implementation, no NAME=VALUE and no Python"
            )
        # Not a tar file: some versions of Python, such as 3.11.2, can't unpack one with a filter.
        archive = _git("archive", "--format=zip", named.stdout.decode().strip(), "rnnbench")
    except FileNotFoundError as problem:
        raise Failed("git is missing: install it (on Debian and Ubuntu: apt-get install git)") from problem
    if archive.returncode != 0:
        raise Failed(
            f"git can't read the package rnnbench at {name}: {archive.stderr.decode(errors='replace').strip()}"
        )
    with zipfile.ZipFile(io.BytesIO(archive.stdout)) as file:
        file.extractall(folder)
    return folder


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], capture_output=True, check=False)


def _first_line(output: bytes) -> str:
    return output.decode(errors="replace").strip().partition("\n")[0]
