"""Make Theano 1.0.5 import, compile and run at full speed on Python 3.10 to 3.13.

`prepare()` returns the module `theano`, or raises Unavailable if a requirement isn't met. This
module finds the requirements and sets Theano's options, cuda.py does the same for a GPU, and
include/rnnbench_theano.h adapts Theano's C++ code to today's compilers and Python.
"""

from __future__ import annotations

import configparser
import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import operator
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from rnnbench.measure import failures, openblas
from rnnbench.network.contract import Unavailable
from rnnbench.theano_runtime import cuda, cut_off, later_versions, pieces, quick_import, theano_pymc, users_settings
from rnnbench.theano_runtime.pieces import Piece, first_line

_INCLUDE = Path(__file__).parent / "include"
_HEADER = "rnnbench_theano.h"
_EMPTY_ARCHIVE = b"!<arch>\n"


PYTHONS = (3, 10), (3, 13)  # the first and the last Python that Theano runs on here

# Theano reads these settings when it is imported. They are defaults: a user's .theanorc and
# THEANO_FLAGS override them.
_DEFAULTS = {
    "floatX": "float32",
    "device": "cpu",
    # Theano keeps the memory of intermediate results for the next call instead of freeing it.
    "allow_gc": "False",
    "scan.allow_gc": "False",
    # Modules need no path to OpenBLAS, because openblas.load loads it into the process. A path would
    # differ between environments, and each environment would compile everything again.
    "blas.ldflags": "-lm",
}

# -fno-math-errno lets g++ use the vector forms of exp and tanh, which don't set errno. -g0 undoes
# Theano's -g. -w hides warnings about generated code.
_FLAGS = ("-O3", "-fno-math-errno", "-g0", "-w")

# The device that this process imported Theano for. Theano can't change it afterwards.
_device: str | None = None
# Why Theano's import failed. This process can't try again, because Theano reads its settings only once.
_failure: str | None = None


def find(device: str = "cpu") -> tuple[Piece, ...]:
    """Return a Piece for each thing that Theano needs on a device, found or missing. Imports no framework."""
    needed = (
        _find_python(),
        _find_package("Theano-PyMC" if theano_pymc.is_installed() else "Theano", "theano"),
        _find_package("scipy-openblas32", "scipy_openblas32"),
        _find_package("setuptools", "pkg_resources"),
        _find_compiler(),
    )
    return (*needed, *cuda.find()) if device == "cuda" else needed


def unavailable(device: str = "cpu") -> str | None:
    """Return None if Theano can run on a device here, or one line that says why not. Imports no framework."""
    if reason := _failure or pieces.problem(find(device)):
        return reason
    if _device not in (None, device):
        return (
            f"this process already runs Theano on {_device}, and Theano uses one device per process: "
            f"start another process for {device}"
        )
    if _device == device:
        return None
    if "theano" in sys.modules:
        return "Theano was imported before rnnbench could set it up: build the network before you import Theano"
    return users_settings.problem(device)


def prepare(device: str = "cpu") -> ModuleType:
    """Set Theano up for full speed on a device, import it and return the module.

    Raises Unavailable if something that its speed depends on is missing or switched off, or if
    this process has already set Theano up for another device.
    """
    global _failure
    if reason := unavailable(device):
        raise Unavailable(reason)
    try:
        return _prepare(device)
    except Unavailable as problem:
        if _device is not None:
            _failure = str(problem)
        raise


def cache() -> Path:
    """Return the folder of files that all environments of a user share.

    Raises Unavailable if the user has no home folder.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnbench"
    except RuntimeError as problem:  # HOME isn't set, and the system doesn't know the user
        raise Unavailable(users_settings.NO_HOME) from problem


@functools.cache
def _prepare(device: str) -> ModuleType:
    global _device
    openblas.load()
    own_blas = users_settings.value("blas.ldflags") is None
    flags = [*_native_flags(), *_FLAGS, *(["-DRNNBENCH_OPENBLAS"] if own_blas else [])]
    folder = _include_folder(flags)
    cut_off.remove(users_settings.compile_cache())
    is_pymc = theano_pymc.is_installed()
    defaults = _DEFAULTS | (theano_pymc.SETTINGS if is_pymc else {})
    if device == "cuda":
        defaults |= cuda.prepare(cache())
    _device = device
    with _settings(defaults, [*_include_flags(folder), *_link_flags(), *flags]), warnings.catch_warnings():
        # Theano warns that it doesn't know this cuDNN. Our cudnn.h adapts it.
        warnings.filterwarnings("ignore", "Your cuDNN version is more recent than")
        later_versions.restore_names()
        try:
            with quick_import.stand_ins():
                theano = importlib.import_module("theano")
        except ValueError as problem:
            raise Unavailable(f"Theano rejects its settings: {first_line(problem)}") from problem
        except Exception as problem:  # for example with a NumPy that lacks what it uses
            install = pieces.install_command("theano")
            raise Unavailable(f"Theano can't be imported ({first_line(problem)}): {install}") from problem
        if is_pymc:
            theano_pymc.give_old_names()
        later_versions.change_theano(theano)
        importlib.import_module("rnnbench.theano_runtime.compile_cache").repair()
        if device == "cuda":
            _use_gpu(theano)
    _check_speed_settings(theano)
    return theano


def _use_gpu(theano: ModuleType) -> None:
    """Set Theano up for the GPU, as Theano itself does on import, but after the compile cache was repaired."""
    gpuarray = importlib.import_module("theano.gpuarray")
    # The default is "cpu". A user's own setting names a GPU, and Theano has already tried to use it.
    name = theano.config.device
    if name == "cpu" or not gpuarray.pygpu_activated:
        try:
            gpuarray.use("cuda0" if name == "cpu" else name)
        except Exception as problem:
            if failures.is_passing(problem):
                raise
            raise Unavailable(f"Theano can't use the GPU: {first_line(problem)}") from problem
    importlib.import_module("rnnbench.theano_runtime.shape_rewrite")


def _find_python() -> Piece:
    piece = Piece("Python", Path(sys.executable), sys.version.split()[0])
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[-1]:
        return piece
    first, last = (".".join(map(str, version)) for version in PYTHONS)
    reason = f"Theano runs on Python {first} to {last} here, and this is Python {piece.version}: use another Python"
    return replace(piece, reason=reason)


def _find_package(package: str, module: str) -> Piece:
    spec = importlib.util.find_spec(module)
    if spec is None:
        command = pieces.install_command("theano")
        if package == "Theano" and sys.version_info >= (3, 12):  # the extra theano can't install it there
            command += f" && {sys.executable} -m rnnbench.theano_runtime.install"
        reason = f"the package {package} is missing"
        if package == "setuptools" and importlib.util.find_spec(package):  # later releases dropped pkg_resources
            reason = f"setuptools {importlib.metadata.version(package)} has no {module}, which Theano imports"
        return Piece(package, reason=reason, install=command)
    path = Path(spec.origin).parent if spec.origin else None
    try:
        return Piece(package, path, importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:  # importable, but not installed by pip
        return Piece(package, path)


def _find_compiler() -> Piece:
    path = shutil.which("g++")
    if path is None:
        reason = "there is no C++ compiler: install g++ (on Debian and Ubuntu: apt-get install g++)"
        return Piece("g++", reason=reason)
    version = subprocess.run([path, "-dumpfullversion"], capture_output=True, text=True, check=False).stdout
    return Piece("g++", Path(path), version.strip() or None)


def _native_flags() -> list[str]:
    """Return g++'s flags for this processor, one flag for each feature.

    Theano's own search for them fails with today's g++, and its code then uses no newer
    instructions. "-march=native" has the same text on every machine, so machines that share a home
    directory would load code compiled for another processor.
    """
    command = ["g++", "-march=native", "-E", "-v", "-", "-o", os.devnull]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if re.search(r"/cc1\S* .*-march=", line)]
    if done.returncode != 0 or not lines:
        last = (done.stderr.strip().splitlines() or ["it prints nothing"])[-1]
        raise Unavailable(f"{shutil.which('g++')} isn't GCC's compiler, or it is broken ({last[:200]}): install g++")
    return [word for word in lines[0].split() if word.startswith("-m")]


def _include_folder(flags: list[str]) -> Path:
    """Return a folder with our headers and the main header precompiled for these flags.

    The folder is in the user's cache, so every environment uses the same path. Theano's keys for
    compiled modules contain the compiler flags, and these contain the path.
    """
    import sysconfig

    import numpy

    sources = sorted(_INCLUDE.glob("*.h"))
    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
    parts = [compiler, sys.version, numpy.__version__, *flags, *(source.read_text() for source in sources)]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    folder = cache() / f"include-{digest}"
    if folder.is_dir():
        if cut_off.has_recorded_sizes(folder):
            return folder
        shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The folder is filled under a temporary name and then renamed, so no process sees it half filled.
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        fresh = Path(temporary) / "fresh"
        fresh.mkdir()
        for source in sources:
            shutil.copy(source, fresh)
        includes = [f"-I{fresh}", f"-I{sysconfig.get_paths()['include']}", f"-I{numpy.get_include()}"]
        # g++ ignores a precompiled header without a warning if its flags differ from Theano's.
        theano_flags = ["-g", "-m64", "-fPIC", "-DNPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION"]
        header = fresh / _HEADER
        command = ["g++", "-x", "c++-header", *flags, *theano_flags, *includes, str(header), "-o", f"{header}.gch"]
        if subprocess.run(command, check=False).returncode == 0:
            cut_off.record_sizes(fresh)
        else:
            # Without it Theano only compiles slower. The next process tries again, because no sizes are recorded.
            Path(f"{header}.gch").unlink(missing_ok=True)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder


def _include_flags(folder: Path) -> list[str]:
    """Return the compiler flags that include our header from this folder.

    Theano splits its flags at spaces. So a path with a space is given to g++ in the environment, which stays changed
    because Theano compiles until the process ends. Theano's keys for compiled modules then contain the folder's name.
    """
    if not _has_space(folder):
        return [f"-I{folder}", "-include", str(folder / _HEADER)]
    cuda.prepend("CPLUS_INCLUDE_PATH", [folder])
    return ["-include", _HEADER, f"-DRNNBENCH_FOLDER={folder.name}"]


def _link_flags() -> list[str]:
    """Return the flags that let Theano's modules be linked where Python has no shared library, as pyenv builds it.

    Theano links its modules to Python's library. They don't need it, because the interpreter has its functions. So an
    empty archive stands for it.
    """
    import sysconfig

    library = sysconfig.get_config_var("LDLIBRARY") or ""
    if library.endswith(".so") and Path(sysconfig.get_config_var("LIBDIR") or "", library).exists():
        return []
    folder = cache() / "no-library"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / library).with_suffix(".a").write_bytes(_EMPTY_ARCHIVE)
    if not _has_space(folder):
        return [f"-L{folder}"]
    cuda.prepend("LIBRARY_PATH", [folder])
    return []


def _has_space(path: Path) -> bool:
    return re.search(r"\s", str(path)) is not None


@contextlib.contextmanager
def _settings(defaults: dict[str, str], cxxflags: list[str]) -> Iterator[None]:
    """Pass our settings to Theano through the environment. The user's own settings override them.

    The environment is restored afterwards, so child processes see the user's settings only.
    """
    settings = configparser.RawConfigParser()
    for key, value in {**defaults, "gcc.cxxflags": " ".join(cxxflags)}.items():
        section, _, option = key.rpartition(".")
        settings.read_dict({section or "global": {option: value}})
    flags = os.environ.get("THEANO_FLAGS")
    if (users := users_settings.value("gcc.cxxflags")) is not None:
        # A user's flags would replace ours. Theano can't compile without ours, so both are passed.
        flags = ",".join(filter(None, [flags, f'gcc.cxxflags="{" ".join([*cxxflags, users])}"']))
    before = dict(os.environ)
    with tempfile.NamedTemporaryFile("w", prefix="theanorc-") as file:
        settings.write(file)
        file.flush()
        os.environ["THEANORC"] = os.pathsep.join([file.name, *users_settings.files()])
        if flags is not None:
            os.environ["THEANO_FLAGS"] = flags
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _check_speed_settings(theano: ModuleType) -> None:
    """Raise Unavailable if Theano's settings would make it slow."""
    if reason := users_settings.slow(lambda name: str(operator.attrgetter(name)(theano.config))):
        raise Unavailable(reason)
    try:
        with warnings.catch_warnings():
            # NumPy 2 made two structures longer. The scan loop reads none of their members.
            warnings.filterwarnings("ignore", r"numpy\.\w+ size changed")
            importlib.import_module("theano.scan_module.scan_perform_ext")
    except Exception as problem:
        raise Unavailable(f"the C code of Theano's scan loop doesn't compile: {first_line(problem)}") from problem
