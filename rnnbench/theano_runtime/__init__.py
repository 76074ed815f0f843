"""Makes Theano 1.0.5 import, compile and run at full speed on a present Python.

`prepare()` returns the module `theano`, or raises Unavailable when something essential is off.
What Theano's C++ code needs is in include/rnnbench_theano.h; what its settings need is here, and
what it needs of a GPU in cuda.py.
"""

from __future__ import annotations

import configparser
import contextlib
import ctypes
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from rnnbench.network.contract import Unavailable
from rnnbench.theano_runtime import cuda, cut_off, pieces
from rnnbench.theano_runtime.pieces import Piece

_INCLUDE = Path(__file__).parent / "include"
_HEADER = "rnnbench_theano.h"

# Theano must be told where a BLAS is before it is imported, and fails without a word on it. These
# are defaults: a user's .theanorc and THEANO_FLAGS go before them.
_DEFAULTS = {
    "floatX": "float32",
    "device": "cpu",
    # Memory of intermediate results is kept for the next call instead of freed and asked for again.
    "allow_gc": "False",
    "scan.allow_gc": "False",
    # OpenBLAS is in the process already (_load_blas), so that modules need no path to it: a path
    # would differ between environments, and each would compile everything anew.
    "blas.ldflags": "-lm",
}

# -fno-math-errno: vector forms of exp and tanh don't set errno, so g++ takes them only if told that
# nobody reads it. -g0 undoes Theano's -g, and -w keeps warnings on generated code out of the log.
_FLAGS = ("-O3", "-fno-math-errno", "-g0", "-w")

# What has to be as it is for the times to be those of Theano at its best.
_ESSENTIAL = {
    "floatX": ("float32",),
    "mode": ("Mode", "FAST_RUN"),
    "linker": ("cvm", "cvm_nogc"),
    "optimizer": ("fast_run", "o4"),
}


# The device that Theano was imported for: it can't be changed afterwards.
_device: str | None = None


def find(device: str = "cpu") -> tuple[Piece, ...]:
    """Return all that Theano needs on a device, found or missing; imports nothing."""
    needed = (
        _find_python(),
        _find_package("Theano", "theano"),
        _find_package("scipy-openblas32", "scipy_openblas32"),
        _find_package("setuptools", "pkg_resources"),
        _find_compiler(),
    )
    return (*needed, *cuda.find()) if device == "cuda" else needed


def unavailable(device: str = "cpu") -> str | None:
    """Return None, or why Theano can't run on a device here, in one line; imports nothing."""
    if reason := pieces.problem(find(device)):
        return reason
    if _device not in (None, device):
        return f"this process runs Theano on {_device}, and a process has one device: start another for {device}"
    return None


def prepare(device: str = "cpu") -> ModuleType:
    """Import Theano, set up for speed on a device, and return it.

    Raises Unavailable if something that its speed depends on is missing or switched off, or if
    this process has set Theano up for another device.
    """
    if reason := unavailable(device):
        raise Unavailable(reason)
    return _prepare(device)


@functools.cache
def _prepare(device: str) -> ModuleType:
    global _device
    if "theano" in sys.modules:
        raise Unavailable("Theano was imported before rnnbench could set it up: build the network first")
    _check_users_settings(device)
    _load_blas()
    own_blas = _users_setting("blas.ldflags") is None
    flags = [*_native_flags(), *_FLAGS, *(["-DRNNBENCH_OPENBLAS"] if own_blas else [])]
    folder = _include_folder(flags)
    cut_off.remove(Path(os.path.expanduser(_users_setting("base_compiledir") or "~/.theano")))
    defaults = _DEFAULTS | (cuda.prepare(_cache()) if device == "cuda" else {})
    _device = device
    with _settings(defaults, [f"-I{folder}", "-include", str(folder / _HEADER), *flags]), warnings.catch_warnings():
        # Our cudnn.h makes up for what Theano warns of.
        warnings.filterwarnings("ignore", "Your cuDNN version is more recent than")
        try:
            theano = importlib.import_module("theano")
        except ValueError as problem:
            raise Unavailable(f"Theano refuses its settings: {_first_line(problem)}") from problem
        importlib.import_module("rnnbench.theano_runtime.compile_cache").repair()
        if device == "cuda":
            _use_gpu(theano)
    _check(theano)
    return theano


def _use_gpu(theano: ModuleType) -> None:
    """Do what Theano does when it is imported for a GPU, with what it has compiled before for it found again."""
    gpuarray = importlib.import_module("theano.gpuarray")
    name = theano.config.device  # ours is cpu; the user's own says which GPU, and Theano has tried to use that
    if name == "cpu" or not gpuarray.pygpu_activated:
        try:
            gpuarray.use("cuda" if name == "cpu" else name)
        except Exception as problem:
            raise Unavailable(f"Theano can't use the GPU: {_first_line(problem)}") from problem
    importlib.import_module("rnnbench.theano_runtime.shape_rewrite")


def _find_python() -> Piece:
    piece = Piece("Python", Path(sys.executable), sys.version.split()[0])
    if sys.version_info[:2] == (3, 11):
        return piece
    reason = f"Theano needs Python 3.11 here, and this is {piece.version}: use a Python 3.11 environment"
    return replace(piece, reason=reason)


def _find_package(package: str, module: str) -> Piece:
    spec = importlib.util.find_spec(module)
    if spec is None:
        reason, command = f"the package {package} is missing", "python -m pip install 'rnnbench[theano]'"
        return Piece(package, reason=reason, install=command)
    path = Path(spec.origin).parent if spec.origin else None
    try:
        return Piece(package, path, importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:  # on the path, but not installed
        return Piece(package, path)


def _find_compiler() -> Piece:
    path = shutil.which("g++")
    if path is None:
        reason = "there is no C++ compiler: install g++ (on Debian and Ubuntu: apt-get install g++)"
        return Piece("g++", reason=reason)
    version = subprocess.run([path, "-dumpfullversion"], capture_output=True, text=True, check=False).stdout
    return Piece("g++", Path(path), version.strip() or None)


def _cache() -> Path:
    """Return the folder of what is built once for all environments of a user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnbench"


def _load_blas() -> None:
    """Load OpenBLAS so that every module compiled later finds its functions."""
    import scipy_openblas32

    folder = Path(scipy_openblas32.get_lib_dir())
    ctypes.CDLL(str(next(folder.glob("libscipy_openblas.*"))), ctypes.RTLD_GLOBAL)


def _native_flags() -> list[str]:
    """Return the flags of this processor, spelled out.

    Theano's own attempt fails with today's g++, and its code then runs on the oldest processor's
    instructions. "-march=native" itself would let machines that share a home share wrong code.
    """
    command = ["g++", "-march=native", "-E", "-v", "-", "-o", os.devnull]
    log = subprocess.run(command, input="", capture_output=True, text=True, check=True).stderr
    line = next(line for line in log.splitlines() if re.search(r"/cc1\S* .*-march=", line))
    return [word for word in line.split() if word.startswith("-m")]


def _include_folder(flags: list[str]) -> Path:
    """Return a folder with our headers, the main one precompiled for these flags.

    It lies in the user's cache, where it is the same for every environment: Theano makes compiler
    flags part of its cache's keys.
    """
    import sysconfig

    import numpy

    sources = sorted(_INCLUDE.glob("*.h"))
    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
    parts = [compiler, sys.version, numpy.__version__, *flags, *(source.read_text() for source in sources)]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    cache = _cache()
    folder = cache / f"include-{digest}"
    if folder.is_dir():
        if cut_off.is_as_made(folder):
            return folder
        shutil.rmtree(folder, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    # Made aside and renamed into place: another process sees all of it or nothing.
    with tempfile.TemporaryDirectory(dir=cache) as aside:
        made = Path(aside) / "made"
        made.mkdir()
        for source in sources:
            shutil.copy(source, made)
        includes = [f"-I{made}", f"-I{sysconfig.get_paths()['include']}", f"-I{numpy.get_include()}"]
        # The same flags as Theano's, or g++ passes the precompiled header over.
        theanos = ["-g", "-m64", "-fPIC", "-DNPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION"]
        header = made / _HEADER
        command = ["g++", "-x", "c++-header", *flags, *theanos, *includes, str(header), "-o", f"{header}.gch"]
        subprocess.run(command, check=True)
        cut_off.note_sizes(made)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder


@contextlib.contextmanager
def _settings(defaults: dict[str, str], cxxflags: list[str]) -> Iterator[None]:
    """Show Theano our settings, below the user's own, in the environment that it reads when imported.

    The environment is as it was afterwards: a child process finds the user's settings, not ours.
    """
    settings = configparser.RawConfigParser()
    for key, value in {**defaults, "gcc.cxxflags": " ".join(cxxflags)}.items():
        section, _, option = key.rpartition(".")
        settings.read_dict({section or "global": {option: value}})
    flags = os.environ.get("THEANO_FLAGS")
    if (users := _users_setting("gcc.cxxflags")) is not None:
        # The user's compiler flags are added to ours, not put in their place: Theano needs both.
        flags = ",".join(filter(None, [flags, f'gcc.cxxflags="{" ".join([*cxxflags, users])}"']))
    before = dict(os.environ)
    with tempfile.NamedTemporaryFile("w", prefix="theanorc-") as file:
        settings.write(file)
        file.flush()
        os.environ["THEANORC"] = os.pathsep.join([file.name, *_users_files()])
        if flags is not None:
            os.environ["THEANO_FLAGS"] = flags
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _users_files() -> list[str]:
    return [os.path.expanduser(name) for name in os.environ.get("THEANORC", "~/.theanorc").split(os.pathsep)]


def _users_setting(key: str) -> str | None:
    """Return what the user's THEANO_FLAGS, or else .theanorc, say of a setting."""
    splitter = shlex.shlex(os.environ.get("THEANO_FLAGS", ""), posix=True)
    splitter.whitespace, splitter.whitespace_split = ",", True
    for pair in reversed(list(splitter)):
        name, _, value = pair.strip().partition("=")
        if name == key:
            return value
    files = configparser.RawConfigParser()
    files.read(_users_files())
    section, _, option = key.rpartition(".")
    return files.get(section or "global", option, fallback=None)


def _check_users_settings(device: str) -> None:
    """Raise Unavailable where the user's settings name another device, or can't be read, which Theano may pass over."""
    for name in filter(None, os.environ.get("THEANORC", "").split(os.pathsep)):
        if not os.path.isfile(os.path.expanduser(name)):
            raise Unavailable(f"{name}, which THEANORC names, is no file")
    try:
        asked = _users_setting("device") or device
    except (ValueError, configparser.Error) as problem:
        raise Unavailable(f"THEANO_FLAGS or .theanorc can't be read: {_first_line(problem)}") from problem
    if not asked.startswith(device):
        raise Unavailable(f"Theano's flag device is {asked!r}, and {device} was asked for")


def _first_line(problem: Exception) -> str:
    return str(problem).partition("\n")[0][:300]


def _check(theano: ModuleType) -> None:
    """Raise Unavailable if Theano would run, but not at its speed."""
    config = theano.config
    if not config.cxx:
        raise Unavailable("Theano's flag cxx is empty: without a C++ compiler it runs Python code")
    if not config.blas.ldflags:
        raise Unavailable("Theano's flag blas.ldflags is empty: without a BLAS its products are slow")
    for name, allowed in _ESSENTIAL.items():
        if getattr(config, name) not in allowed:
            raise Unavailable(f"Theano's flag {name} is {getattr(config, name)!r}: it must be {' or '.join(allowed)}")
    try:
        importlib.import_module("theano.scan_module.scan_perform_ext")
    except Exception as problem:
        raise Unavailable(f"the C code of Theano's scan loop doesn't compile: {_first_line(problem)}") from problem
