"""The user's settings of Theano, from THEANO_FLAGS and .theanorc: read them before Theano does, and refuse some."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from rnnbench.theano_runtime.pieces import first_line

# The values that Theano's settings must have for it to run at full speed.
_REQUIRED = {
    "floatX": ("float32",),
    "mode": ("Mode", "FAST_RUN"),
    "linker": ("cvm", "cvm_nogc"),
    "optimizer": ("fast_run", "o4"),
}
# The values of Theano's flag that name the device which everything here watches: on a GPU the first one.
_DEVICES = {"cpu": ("cpu",), "cuda": ("cuda", "cuda0")}
NO_HOME = "there is no home folder for compiled code: set HOME to a folder that can be written"
_GCC = re.compile(r"(.*-)?g\+\+(-[\d.]+)?")


def files() -> list[str]:
    """Return the paths of the user's .theanorc files."""
    return [os.path.expanduser(name) for name in os.environ.get("THEANORC", "~/.theanorc").split(os.pathsep)]


def value(key: str) -> str | None:
    """Return the user's value of a setting, from THEANO_FLAGS or else from .theanorc, or None.

    Raises ValueError or configparser.Error if they can't be read.
    """
    splitter = shlex.shlex(os.environ.get("THEANO_FLAGS", ""), posix=True)
    splitter.whitespace, splitter.whitespace_split = ",", True
    for pair in reversed(list(splitter)):
        name, _, text = pair.strip().partition("=")
        if name == key:
            return text
    content = configparser.RawConfigParser()
    content.read(files())
    section, _, option = key.rpartition(".")
    return content.get(section or "global", option, fallback=None)


def compile_cache() -> Path:
    """Return the folder in which Theano keeps what it compiles."""
    return Path(os.path.expanduser(value("base_compiledir") or "~/.theano"))


def problem(device: str) -> str | None:
    """Return None, or one line that says why Theano can't run on a device at full speed with these settings."""
    for name in filter(None, os.environ.get("THEANORC", "").split(os.pathsep)):
        if not os.path.isfile(os.path.expanduser(name)):
            return f"THEANORC names {name}, which is not a file: correct THEANORC"
    try:
        requested = [value("device") or device, value("init_gpu_device") or device]
    except (ValueError, configparser.Error) as error:
        return f"THEANO_FLAGS or .theanorc can't be read: {first_line(error)}"
    if other := [name for name in requested if name not in _DEVICES[device]]:
        hint = ". To time another GPU: CUDA_VISIBLE_DEVICES=1, for example" if device == "cuda" else ""
        return (
            f"Theano's flag device is {other[0]!r}, but rnnbench needs {device}: "
            f"remove it from THEANO_FLAGS or .theanorc{hint}"
        )
    return slow(value) or _compiler_problem() or _cache_problem()


def slow(setting: Callable[[str], str | None]) -> str | None:
    """Return None, or one line about the first setting that makes Theano slow.

    `setting` returns a setting's value, or None for Theano's default.
    """
    if setting("cxx") == "":
        return "Theano's flag cxx is empty: without a C++ compiler it runs Python code"
    if setting("blas.ldflags") == "":
        return "Theano's flag blas.ldflags is empty: without a BLAS its matrix products are slow"
    for name, allowed in _REQUIRED.items():
        if setting(name) not in (None, *allowed):
            return f"Theano's flag {name} is {setting(name)!r}: it must be {' or '.join(allowed)}"
    return None


def _compiler_problem() -> str | None:
    """Return None, or why the user's compiler or BLAS can't be used."""
    compiler, libraries = value("cxx") or "g++", value("blas.ldflags")
    if not _GCC.fullmatch(os.path.basename(compiler)):
        return f"Theano's flag cxx is {compiler!r}, but rnnbench's compiler flags are for g++: remove it"
    if shutil.which(compiler) is None:
        return f"Theano's flag cxx names {compiler}, which is no program: correct it"
    if libraries is not None:
        command = [compiler, "-shared", "-x", "c++", os.devnull, "-x", "none", "-o", os.devnull]
        linked = subprocess.run([*command, *libraries.split()], capture_output=True, text=True, check=False)
        if linked.returncode:
            return f"Theano's flag blas.ldflags is {libraries!r}, which can't be linked: {_linker_line(linked.stderr)}"
    return None


def _cache_problem() -> str | None:
    """Return None, or why Theano can't keep what it compiles."""
    folder = compile_cache()
    if folder.parts[0].startswith("~"):  # Theano would make a folder of this name here
        return NO_HOME
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if place.is_dir() and os.access(place, os.W_OK):
        return None
    return (
        f"Theano's compile cache {folder} can't be written: name another one with THEANO_FLAGS=base_compiledir=FOLDER"
    )


def _linker_line(errors: str) -> str:
    """Return the first line of the linker's errors; the compiler adds one that only says that it failed."""
    return errors.strip().partition("\n")[0][-200:]
