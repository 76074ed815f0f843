"""Finds CUDA, cuDNN and pygpu where a user has them, and sets Theano up to use them.

`find()` says what is here, `prepare()` loads the libraries and returns Theano's flags, and
`synchronize()` waits for the whole device.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.util
import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rnnbench.measure import cudnn_log, gpu
from rnnbench.network.contract import Unavailable
from rnnbench.theano_runtime import pieces
from rnnbench.theano_runtime.pieces import Piece

VARIABLE = "RNNBENCH_CUDA"  # a site-packages folder, an interpreter's prefix or a toolkit
HEADERS = Path(__file__).parent / "include" / "cuda"
DEBIAN_PYTHON = Path("/usr/lib/python3/dist-packages")
DEBIAN_LIBRARIES = f"lib/{sysconfig.get_config_var('MULTIARCH') or 'x86_64-linux-gnu'}"
INSTALL_PYGPU = "apt-get install libgpuarray-dev python3-pygpu"
COMPILERS_OWN = (Path("/usr/include"), Path("/usr/local/include"), Path("/usr/lib"), Path("/usr/local/lib"))
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE

# What PyPI calls the pieces, for each major version of CUDA.
WHEELS = {
    12: {
        "nvrtc": "nvidia-cuda-nvrtc-cu12",
        "cublas": "nvidia-cublas-cu12",
        "headers": "nvidia-cuda-runtime-cu12 nvidia-cuda-nvcc-cu12",
        "cudnn": "nvidia-cudnn-cu12",
    },
    13: {
        "nvrtc": "'nvidia-cuda-nvrtc==13.*'",
        "cublas": "'nvidia-cublas==13.*'",
        "headers": "'nvidia-cuda-runtime==13.*' 'nvidia-cuda-crt==13.*'",
        "cudnn": "nvidia-cudnn-cu13",
    },
}


@dataclass(frozen=True)
class Place:
    """Folders of libraries and headers that were installed together."""

    libraries: tuple[Path, ...]
    includes: tuple[Path, ...]

    def newest(self, name: str) -> Path | None:
        """The newest lib<name>.so[.version] here, if there is one."""
        pattern = re.compile(rf"lib{re.escape(name)}\.so((?:\.\d+)*)")
        found = []
        for folder in self.libraries:
            for file in _entries(folder):
                match = pattern.fullmatch(file.name)
                if match and file.is_file():
                    version = tuple(int(part) for part in match[1].split(".") if part)
                    found.append((version, file))
        return max(found)[1] if found else None

    def include(self, header: str) -> Path | None:
        """The first folder here that holds a header."""
        return next((folder for folder in self.includes if (folder / header).is_file()), None)


def find() -> tuple[Piece, ...]:
    """All the pieces, in the order in which they are needed: found ones and missing ones."""
    asked = os.environ.get(VARIABLE)
    return _find(asked and os.path.expanduser(asked), os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"))


def prepare(cache: Path) -> dict[str, str]:
    """Load CUDA's libraries and pygpu, and return the Theano flags for them.

    `cache` is a folder for what is built once: the names that libgpuarray and the linker want.
    """
    if reason := pieces.problem(find()):
        raise Unavailable(reason)
    found = {piece.name: piece for piece in find()}
    folder = _named_folder(cache, found)
    for name in ("driver", "nvrtc", "cublas", "cudnn", "libgpuarray"):
        ctypes.CDLL(str(found[name].path))
    for stub in STUBS:
        ctypes.CDLL(str(folder / "lib" / stub))
    _import_pygpu(found["pygpu"])
    # Through the environment, because Theano's flags have room for only two folders and split theirs at
    # spaces. It must last: Theano compiles as long as the process lives.
    _extend("CPLUS_INCLUDE_PATH", [*found["headers"].includes, *found["libgpuarray"].includes])
    _extend("LIBRARY_PATH", [_path(found["libgpuarray"]).parent])
    places = {"include": "include", "library": "lib", "bin": "lib"}  # the header is ours, before the real one
    return {
        "dnn.enabled": "no_check",  # or Theano compiles a program in each process, to see that it can
        "cuda.include_path": str(found["cudnn"].includes[0]),
        **{f"dnn.{kind}_path": str(folder / place) for kind, place in places.items()},
    }


def synchronize() -> None:
    """Wait for all work on Theano's GPU, whichever stream it runs on.

    `GpuArray.sync()` waits for libgpuarray's stream only, and cuDNN uses another one.
    """
    driver = gpu.driver()
    assert driver is not None
    # Theano's default context is the one that every network runs in.
    with importlib.import_module("theano.gpuarray.type").get_context(None):
        status = driver.cuCtxSynchronize()
    if status != 0:
        raise RuntimeError(f"waiting for the GPU failed: {gpu.error(driver, status)}")


# Finding


@functools.cache
def _find(asked: str | None, *toolkits: str | None) -> tuple[Piece, ...]:
    """`find` for one state of the environment."""
    driver = find_driver()
    places = list(_places(asked, toolkits))
    major = driver.cuda if driver.cuda in WHEELS else max(WHEELS)
    found = [find_nvrtc(places), find_cublas(places), find_headers(places), find_cudnn(places)]
    every = [driver]
    if asked and not Path(asked).is_dir():
        every.append(Piece(VARIABLE, reason=f"{asked}, which {VARIABLE} names, is no folder"))
    for piece in found:
        if piece.reason is None:
            piece = _fitting(piece, driver, found[1])
        if piece.reason is not None:
            install = f"{_pip(asked)} install {WHEELS[major][piece.name]}"
            piece = replace(piece, install=install)
        every.append(piece)
    return (*every, find_libgpuarray(), find_pygpu())


def _fitting(piece: Piece, driver: Piece, cublas: Piece) -> Piece:
    """The piece, or the reason why it doesn't go with the driver or with cuBLAS."""
    reason = None
    if piece.cuda and driver.cuda and piece.cuda > driver.cuda:
        reason = f"{piece.path} is for CUDA {piece.cuda}, the driver runs CUDA {driver.cuda}"
    elif piece.name == "cudnn" and piece.cuda and cublas.cuda and piece.cuda != cublas.cuda:
        reason = f"{piece.path} is for CUDA {piece.cuda}, {cublas.path} for CUDA {cublas.cuda}"
    return replace(piece, reason=reason)


def find_driver() -> Piece:
    """The NVIDIA driver, if it has a device to drive."""
    driver = gpu.driver()
    if driver is None:
        return Piece("driver", reason="no NVIDIA driver: libcuda.so.1 was not found")
    number = ctypes.c_int()
    status = driver.cuDriverGetVersion(ctypes.byref(number))
    path = _path_of(driver.cuDriverGetVersion)
    version = f"CUDA {_dotted(number.value)}" if status == 0 else None
    release = _first_match(Path("/sys/module/nvidia/version"), r"[\d.]+")
    if version and release:
        version = f"{release}, {version}"
    piece = Piece("driver", path, version, cuda=number.value // 1000 or None)
    count = ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status == NO_DEVICE or (status == 0 and count.value == 0):
        return replace(piece, reason="the NVIDIA driver is here, but no device")
    if status != 0:
        why = f"the NVIDIA driver doesn't start: {gpu.error(driver, status)}"
        return replace(piece, reason=why)
    return piece


def find_nvrtc(places: Iterable[Place]) -> Piece:
    """NVRTC, with which libgpuarray compiles its kernels."""

    def version(library: ctypes.CDLL) -> tuple[str, int]:
        major, minor = ctypes.c_int(), ctypes.c_int()
        if library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)) != 0:
            raise OSError("nvrtcVersion failed")
        return f"{major.value}.{minor.value}", major.value

    return _find_library("nvrtc", places, version)


def find_cublas(places: Iterable[Place]) -> Piece:
    """cuBLAS, which multiplies libgpuarray's matrices."""

    def version(library: ctypes.CDLL) -> tuple[str, int]:
        parts = []
        for part in range(3):  # major, minor, patch: cublasGetProperty needs no device
            value = ctypes.c_int()
            if library.cublasGetProperty(part, ctypes.byref(value)) != 0:
                raise OSError("cublasGetProperty failed")
            parts.append(value.value)
        return ".".join(map(str, parts)), parts[0]

    return _find_library("cublas", places, version)


def find_headers(places: Iterable[Place]) -> Piece:
    """CUDA's headers, which cudnn.h includes: PyPI spreads them over two wheels."""
    needed = ("cuda_runtime_api.h", "crt/host_defines.h")
    reason = "CUDA's headers were not found"
    for place in places:
        folders = {header: place.include(header) for header in needed}
        found = tuple(dict.fromkeys(folder for folder in folders.values() if folder))
        absent = [header for header, folder in folders.items() if folder is None]
        if found and not absent:
            number = _first_match(found[0] / needed[0], r"#define\s+CUDART_VERSION\s+(\d+)")
            major = int(number) // 1000 if number else None
            return Piece("headers", found[0], number and _dotted(int(number)), found, major)
        if found:
            reason = f"{found[0]} has CUDA's headers but not {absent[0]}"
    return Piece("headers", reason=reason)


def find_cudnn(places: Iterable[Place]) -> Piece:
    """cuDNN: a library that can be loaded, and the header of the same version beside it."""

    def version(library: ctypes.CDLL) -> tuple[str, int]:
        library.cudnnGetCudartVersion.restype = ctypes.c_size_t
        return cudnn_log.version(library), library.cudnnGetCudartVersion() // 1000

    reason = None
    for place in places:
        piece = _find_library("cudnn", [place], version)
        if piece.path is None:
            continue
        include = place.include("cudnn_version.h")
        if piece.reason is None and include is None:
            piece = Piece("cudnn", reason=f"{piece.path} has no cudnn.h beside it")
        elif piece.reason is None and include is not None:
            text = (include / "cudnn_version.h").read_text(errors="replace")
            parts = re.findall(r"#define\s+CUDNN_(?:MAJOR|MINOR|PATCHLEVEL)\s+(\d+)", text)
            if ".".join(parts) != piece.version:
                why = f"{include} is of cuDNN {'.'.join(parts)}, {piece.path} of {piece.version}"
                piece = Piece("cudnn", reason=why)
            elif int(parts[0]) < 8:
                piece = Piece("cudnn", reason=f"{piece.path} is older than cuDNN 8")
            else:
                return replace(piece, includes=(include,))
        reason = reason or piece.reason
    return Piece("cudnn", reason=reason or "libcudnn was not found")


def find_libgpuarray() -> Piece:
    """libgpuarray, with the headers that Theano compiles against."""
    prefixes = [Path(sys.prefix), Path(sys.base_prefix), Path("/usr/local"), Path("/usr")]
    names = ("lib", DEBIAN_LIBRARIES)
    libraries = [*_listed("LIBRARY_PATH"), *(root / name for root in prefixes for name in names)]
    includes = [*_listed("CPATH"), *(root / "include" for root in prefixes)]
    include = Place((), tuple(includes)).include("gpuarray/array.h")
    files = (folder / "libgpuarray.so" for folder in libraries)  # the linker's name for it
    linkable = next((file for file in files if file.is_file()), None)
    if include is None or linkable is None:
        missing = "libgpuarray.so" if linkable is None else "gpuarray/array.h"
        return Piece("libgpuarray", reason=f"{missing} was not found", install=INSTALL_PYGPU)
    try:
        ctypes.CDLL(str(linkable))
    except OSError as error:
        return Piece("libgpuarray", linkable, reason=f"{linkable} can't be loaded: {error}")
    api = _first_match(include / "gpuarray" / "config.h", r"GPUARRAY_API_VERSION (\d+)")
    return Piece("libgpuarray", linkable, api and f"API {api}", (include,))


def find_pygpu() -> Piece:
    """pygpu, of this interpreter or from Debian, built for this version of Python."""
    spec = importlib.util.find_spec("pygpu")
    package = Path(spec.origin).parent if spec and spec.origin else DEBIAN_PYTHON / "pygpu"
    if not package.is_dir():
        return Piece("pygpu", reason="pygpu was not found", install=INSTALL_PYGPU)
    endings = importlib.machinery.EXTENSION_SUFFIXES
    if not any((package / f"gpuarray{ending}").is_file() for ending in endings):
        python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
        return Piece("pygpu", package, reason=f"{package} is not built for {python}")
    if importlib.util.find_spec("mako") is None:
        command = f"{sys.executable} -m pip install mako"
        return Piece("pygpu", package, reason="pygpu needs mako, not found here", install=command)
    version = _first_match(package / "_version.py", r'"version": "([^"]+)"')
    return Piece("pygpu", package, version, (package,))


def _find_library(name: str, places: Iterable[Place], version: Callable[[ctypes.CDLL], tuple[str, int]]) -> Piece:
    """The first library of this name that loads and tells its version."""
    broken = None
    for place in places:
        path = place.newest(name)
        if path is None:
            continue
        try:
            text, cuda = version(ctypes.CDLL(str(path)))
            return Piece(name, path, text, cuda=cuda)
        except (OSError, AttributeError) as error:
            line = " ".join(str(error).split())
            broken = broken or Piece(name, path, reason=f"{path} can't be loaded: {line}")
    return broken or Piece(name, reason=f"lib{name} was not found")


def _places(asked: str | None, toolkits: Iterable[str | None]) -> Iterator[Place]:
    """Where CUDA may be, the user's own wish first."""
    if asked:
        root = Path(asked)
        for folder in (root, *sorted(root.glob("lib*/python3*/site-packages"))):
            yield _wheels(folder)
        yield _prefix(root)
    for name in dict.fromkeys([sysconfig.get_path("purelib"), *site.getsitepackages()]):
        yield _wheels(Path(name))
    for toolkit in filter(None, toolkits):
        yield _prefix(Path(toolkit))
    local = Path("/usr/local")
    versions = sorted(local.glob("cuda-*"), key=_numbers, reverse=True)
    for root in (local / "cuda", *versions, local, Path("/usr")):
        yield _prefix(root)


def _wheels(packages: Path) -> Place:
    """PyPI's CUDA wheels in a site-packages folder."""
    nvidia = packages / "nvidia"
    return Place(tuple(sorted(nvidia.glob("*/lib"))), tuple(sorted(nvidia.glob("*/include"))))


def _prefix(root: Path) -> Place:
    """A toolkit, or a system's folders."""
    target = root / "targets" / "x86_64-linux"
    libraries = (root / "lib64", root / DEBIAN_LIBRARIES, root / "lib", target / "lib")
    multiarch = root / "include" / Path(DEBIAN_LIBRARIES).name
    return Place(libraries, (root / "include", multiarch, target / "include"))


# Preparing

STUBS = {"libcuda.so": "driver", "libnvrtc.so": "nvrtc", "libcublas.so": "cublas"}


def _named_folder(cache: Path, found: dict[str, Piece]) -> Path:
    """A folder of the names that libgpuarray and the linker want, made on first use.

    Its own name tells its content, and Theano compiles anew when that changes.
    """
    header = (HEADERS / "cudnn.h").read_bytes()
    paths = "\n".join(f"{piece.path} {piece.version}" for piece in found.values())
    folder = cache / f"cuda-{hashlib.sha256(header + paths.encode()).hexdigest()[:12]}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="cuda-", dir=cache))
        for name in ("include", "lib"):
            (fresh / name).mkdir()
        (fresh / "include" / "cudnn.h").write_bytes(header)
        (fresh / "lib" / "libcudnn.so").symlink_to(_path(found["cudnn"]).resolve())
        for stub, name in STUBS.items():
            _build_stub(fresh / "lib" / stub, _path(found[name]).resolve())
        fresh.chmod(0o755)
        try:
            fresh.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(fresh)
    return folder


def _build_stub(stub: Path, library: Path) -> None:
    """A library that is nothing but another name for a real one.

    libgpuarray opens its libraries by names without a version. The loader takes one that is
    loaded already if its soname is that name; looking a function up in it finds the real one.
    """
    command = ["g++", "-shared", "-x", "c", os.devnull, "-x", "none", "-o", str(stub)]
    command += [f"-Wl,-soname,{stub.name}", "-Wl,--no-as-needed,--allow-shlib-undefined"]
    try:
        subprocess.run([*command, str(library)], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Unavailable("g++ was not found; Theano compiles with it") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip() or "g++ failed"
        raise Unavailable(f"{library} can't be linked: {lines.splitlines()[-1]}") from error


def _import_pygpu(piece: Piece) -> None:
    """Imports pygpu, also from Debian's folder, of which nothing else is wanted."""
    if "pygpu" in sys.modules:
        return
    package = piece.includes[0]
    spec = importlib.util.spec_from_file_location(
        "pygpu", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pygpu"] = module
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        del sys.modules["pygpu"]
        raise Unavailable(f"{package} can't be imported: {error}") from error


def _extend(variable: str, folders: Iterable[Path]) -> None:
    """Put folders before those that a path variable of the environment holds."""
    held = [part for part in os.environ.get(variable, "").split(os.pathsep) if part]
    # The compiler's own folders stay where they are: moved to the front they hide C++'s headers from C's.
    wanted = [str(folder) for folder in folders if folder.resolve() not in COMPILERS_OWN]
    if wanted:
        os.environ[variable] = os.pathsep.join(dict.fromkeys([*wanted, *held]))


# Small things


class _SymbolInfo(ctypes.Structure):
    """What `dladdr` tells about a function: `Dl_info` in C."""

    _fields_ = [
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    ]


def _path_of(function: Any) -> Path | None:
    """The file of the library that a function was loaded from."""
    info = _SymbolInfo()
    address = ctypes.cast(function, ctypes.c_void_p)
    if ctypes.CDLL(None).dladdr(address, ctypes.byref(info)) == 0 or not info.file:
        return None
    return Path(info.file.decode())


def _path(piece: Piece) -> Path:
    """Return where a piece is that was found."""
    assert piece.path is not None
    return piece.path


def _pip(asked: str | None) -> str:
    """The pip that installs where the user asked to look."""
    if asked and (python := Path(asked) / "bin" / "python").exists():
        return f"{python} -m pip"
    return f"{sys.executable} -m pip"


def _entries(folder: Path) -> list[Path]:
    """The files of a folder; none if it can't be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _listed(variable: str) -> Iterator[Path]:
    """The folders that a path variable of the environment holds."""
    return (Path(part) for part in os.environ.get(variable, "").split(os.pathsep) if part)


def _first_match(file: Path, pattern: str) -> str | None:
    """The first match of a pattern, or of its group, in a text file that may be missing."""
    try:
        match = re.search(pattern, file.read_text(errors="replace"))
    except OSError:
        return None
    return match[match.re.groups] if match else None


def _numbers(path: Path) -> list[int]:
    """The numbers in a name, to sort versions by."""
    return [int(part) for part in re.findall(r"\d+", path.name)]


def _dotted(number: int) -> str:
    """CUDA's version number as people write it: 13000 is 13.0."""
    return f"{number // 1000}.{number % 1000 // 10}"
