"""Find CUDA, cuDNN and pygpu on this machine, and set Theano up to use them.

`find()` returns the pieces found and missing, `prepare()` loads the libraries and returns Theano's
flags, and `synchronize()` waits for the GPU.
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

VARIABLE = "RNNBENCH_CUDA"  # names a site-packages folder, an interpreter's prefix or a CUDA toolkit
HEADERS = Path(__file__).parent / "include" / "cuda"
DEBIAN_PYTHON = Path("/usr/lib/python3/dist-packages")
DEBIAN_LIBRARIES = f"lib/{sysconfig.get_config_var('MULTIARCH') or 'x86_64-linux-gnu'}"
# Debian 12 is the last system that has packages of pygpu. They are for its Python, 3.11.
INSTALL_PYGPU = (
    "on Debian 12, apt-get install libgpuarray-dev python3-pygpu; elsewhere, see the container in docs/gpu.md"
)
COMPILER_FOLDERS = (Path("/usr/include"), Path("/usr/local/include"), Path("/usr/lib"), Path("/usr/local/lib"))

# The names of the pieces on PyPI, for each major version of CUDA. {} is the first minor version that the driver lacks.
WHEELS = {
    12: {
        "nvrtc": "'nvidia-cuda-nvrtc-cu12<12.{}'",
        "cublas": "nvidia-cublas-cu12",
        "headers": "nvidia-cuda-runtime-cu12 nvidia-cuda-nvcc-cu12",
        "cudnn": "nvidia-cudnn-cu12",
    },
    13: {
        "nvrtc": "'nvidia-cuda-nvrtc>=13,<13.{}'",
        "cublas": "'nvidia-cublas==13.*'",
        "headers": "'nvidia-cuda-runtime==13.*' 'nvidia-cuda-crt==13.*'",
        "cudnn": "nvidia-cudnn-cu13",
    },
}


@dataclass(frozen=True)
class Place:
    """The folders of libraries and headers from one installation."""

    libraries: tuple[Path, ...]
    includes: tuple[Path, ...]

    def newest(self, name: str) -> Path | None:
        """Return the path of the newest lib<name>.so[.version] in these folders, or None."""
        pattern = re.compile(rf"lib{re.escape(name)}\.so((?:\.\d+)*)")
        found = []
        for folder in self.libraries:
            for file in _list_folder(folder):
                match = pattern.fullmatch(file.name)
                if match and file.is_file():
                    version = tuple(int(part) for part in match[1].split(".") if part)
                    found.append((version, file))
        return max(found)[1] if found else None

    def include(self, header: str) -> Path | None:
        """Return the first of these folders that has a header, or None."""
        return next((folder for folder in self.includes if (folder / header).is_file()), None)


def find() -> tuple[Piece, ...]:
    """Return all the pieces, found and missing, in the order in which Theano needs them."""
    user_folder = os.environ.get(VARIABLE)
    if user_folder:
        user_folder = os.path.expanduser(user_folder)
    return _find(user_folder, os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"))


def prepare(cache: Path) -> dict[str, str]:
    """Load CUDA's libraries and pygpu, and return the Theano flags for them.

    `cache` is a folder that keeps the files made for libgpuarray and the linker. Raises Unavailable
    if a piece is missing or can't be used.
    """
    if reason := pieces.problem(find()):
        raise Unavailable(reason)
    found = {piece.name: piece for piece in find()}
    folder = _alias_folder(cache, found)
    for name in ("driver", "nvrtc", "cublas", "cudnn", "libgpuarray"):
        ctypes.CDLL(str(found[name].path))
    for stub in STUBS:
        ctypes.CDLL(str(folder / "lib" / stub))
    _import_pygpu(found["pygpu"])
    # Theano's flags take only two folders and split their paths at spaces, so the environment passes
    # these. It stays changed, because Theano compiles until the process ends.
    prepend("CPLUS_INCLUDE_PATH", [*found["headers"].includes, *found["libgpuarray"].includes])
    prepend("LIBRARY_PATH", [_path(found["libgpuarray"]).parent])
    places = {"include": "include", "library": "lib", "bin": "lib"}  # "include" has our cudnn.h
    return {
        "dnn.enabled": "no_check",  # otherwise Theano compiles a test program in each process
        "cuda.include_path": str(found["cudnn"].includes[0]),
        **{f"dnn.{kind}_path": str(folder / place) for kind, place in places.items()},
    }


def synchronize() -> None:
    """Wait for all work on Theano's GPU, on every stream.

    `GpuArray.sync()` waits for libgpuarray's stream only, and cuDNN uses another stream. Raises
    RuntimeError if the driver reports a failure.
    """
    driver = gpu.driver()
    assert driver is not None
    # Every network runs in Theano's default context.
    with importlib.import_module("theano.gpuarray.type").get_context(None):
        status = driver.cuCtxSynchronize()
    if status != 0:
        raise RuntimeError(f"waiting for the GPU failed: {gpu.error(driver, status)}")


# Finding


@functools.cache
def _find(user_folder: str | None, *toolkits: str | None) -> tuple[Piece, ...]:
    """Find the pieces for these values of the environment's variables."""
    driver = find_driver()
    places = list(_places(user_folder, toolkits))
    major = driver.cuda if driver.cuda in WHEELS else max(WHEELS)
    found = [find_nvrtc(places), find_cublas(places), find_headers(places), find_cudnn(places)]
    every = [driver]
    if user_folder and not Path(user_folder).is_dir():
        every.append(Piece(VARIABLE, reason=f"{VARIABLE} names {user_folder}, which is not a folder"))
    for piece in found:
        if piece.reason is None:
            piece = _check_cuda_version(piece, driver, found[1])
        if piece.reason is not None:
            install = f"{_pip(user_folder)} install {WHEELS[major][piece.name].format(_minor_version(driver) + 1)}"
            piece = replace(piece, install=install)
        every.append(piece)
    return (*every, find_libgpuarray(), find_pygpu())


def _check_cuda_version(piece: Piece, driver: Piece, cublas: Piece) -> Piece:
    """Return the piece, with a reason if its CUDA version doesn't match the driver's or cuBLAS's.

    A driver runs libraries of all of its major version. But it doesn't read the code of an NVRTC with a later minor
    version.
    """
    reason = None
    if piece.cuda and driver.cuda and piece.cuda > driver.cuda:
        reason = f"{piece.path} is for CUDA {piece.cuda}, but the driver runs only CUDA {driver.cuda}"
    elif piece.name == "nvrtc" and piece.cuda == driver.cuda and _minor_version(piece) > _minor_version(driver):
        reason = f"{piece.path} is of CUDA {piece.version}, but the driver reads only code of CUDA {_cuda(driver)}"
    elif piece.name == "cudnn" and piece.cuda and cublas.cuda and piece.cuda != cublas.cuda:
        reason = f"{piece.path} is for CUDA {piece.cuda}, but {cublas.path} is for CUDA {cublas.cuda}"
    return replace(piece, reason=reason)


def find_driver() -> Piece:
    """Return the NVIDIA driver as a piece. It can't be used if it finds no GPU."""
    driver = gpu.driver()
    if driver is None:
        return Piece("driver", reason="no NVIDIA driver: libcuda.so.1 was not found")
    number = ctypes.c_int()
    status = driver.cuDriverGetVersion(ctypes.byref(number))
    path = _path_of(driver.cuDriverGetVersion)
    version = f"CUDA {_version_text(number.value)}" if status == 0 else None
    release = _first_match(Path("/sys/module/nvidia/version"), r"[\d.]+")
    if version and release:
        version = f"{release}, {version}"
    piece = Piece("driver", path, version, cuda=number.value // 1000 or None)
    count = ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status == gpu.NO_DEVICE or (status == 0 and count.value == 0):
        return replace(piece, reason=f"the NVIDIA driver is installed, but it finds no GPU{gpu.hidden()}")
    if status != 0:
        why = f"the NVIDIA driver doesn't start: {gpu.error(driver, status)}"
        return replace(piece, reason=why)
    return piece


def find_nvrtc(places: Iterable[Place]) -> Piece:
    """Return NVRTC as a piece. libgpuarray compiles its kernels with it."""

    def version(library: ctypes.CDLL) -> tuple[str, int]:
        major, minor = ctypes.c_int(), ctypes.c_int()
        if library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)) != 0:
            raise OSError("nvrtcVersion failed")
        return f"{major.value}.{minor.value}", major.value

    return _find_library("nvrtc", places, version)


def find_cublas(places: Iterable[Place]) -> Piece:
    """Return cuBLAS as a piece. libgpuarray multiplies matrices with it."""

    def version(library: ctypes.CDLL) -> tuple[str, int]:
        parts = []
        for part in range(3):  # major, minor and patch version; cublasGetProperty needs no GPU
            value = ctypes.c_int()
            if library.cublasGetProperty(part, ctypes.byref(value)) != 0:
                raise OSError("cublasGetProperty failed")
            parts.append(value.value)
        return ".".join(map(str, parts)), parts[0]

    return _find_library("cublas", places, version)


def find_headers(places: Iterable[Place]) -> Piece:
    """Return CUDA's headers as a piece. cudnn.h includes them, and PyPI has them in two wheels."""
    needed = ("cuda_runtime_api.h", "crt/host_defines.h")
    reason = "CUDA's headers were not found"
    for place in places:
        folders = {header: place.include(header) for header in needed}
        found = tuple(dict.fromkeys(folder for folder in folders.values() if folder))
        absent = [header for header, folder in folders.items() if folder is None]
        if found and not absent:
            number = _first_match(found[0] / needed[0], r"#define\s+CUDART_VERSION\s+(\d+)")
            major = int(number) // 1000 if number else None
            return Piece("headers", found[0], number and _version_text(int(number)), found, major)
        if found:
            reason = f"{found[0]} has CUDA's headers but not {absent[0]}"
    return Piece("headers", reason=reason)


def find_cudnn(places: Iterable[Place]) -> Piece:
    """Return cuDNN as a piece: a library that can be loaded, and its header of the same version."""

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
                why = f"{include} has the headers of cuDNN {'.'.join(parts)}, but {piece.path} is cuDNN {piece.version}"
                piece = Piece("cudnn", reason=why)
            elif int(parts[0]) < 8:
                piece = Piece("cudnn", reason=f"{piece.path} is older than cuDNN 8, and rnnbench needs cuDNN 8 or 9")
            else:
                return replace(piece, includes=(include,))
        reason = reason or piece.reason
    return Piece("cudnn", reason=reason or "libcudnn was not found")


def find_libgpuarray() -> Piece:
    """Return libgpuarray as a piece, with the headers that Theano's C++ code includes."""
    prefixes = [Path(sys.prefix), Path(sys.base_prefix), Path("/usr/local"), Path("/usr")]
    names = ("lib", DEBIAN_LIBRARIES)
    libraries = [*_folders_in("LIBRARY_PATH"), *(root / name for root in prefixes for name in names)]
    includes = [*_folders_in("CPATH"), *(root / "include" for root in prefixes)]
    include = Place((), tuple(includes)).include("gpuarray/array.h")
    files = (folder / "libgpuarray.so" for folder in libraries)  # the linker looks for this name
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
    """Return pygpu as a piece: this interpreter's or Debian's, if it is built for this version of Python."""
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
        return Piece("pygpu", package, reason="pygpu needs the package mako, which was not found", install=command)
    version = _first_match(package / "_version.py", r'"version": "([^"]+)"')
    return Piece("pygpu", package, version, (package,))


def _find_library(name: str, places: Iterable[Place], version: Callable[[ctypes.CDLL], tuple[str, int]]) -> Piece:
    """Return the first library of this name that loads and reports its version, or the reason why none does."""
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


def _places(user_folder: str | None, toolkits: Iterable[str | None]) -> Iterator[Place]:
    """Yield the places to search for CUDA, the user's folder first."""
    if user_folder:
        root = Path(user_folder)
        for folder in (root, *sorted(root.glob("lib*/python3*/site-packages"))):
            yield _wheels(folder)
        yield _prefix(root)
    for name in dict.fromkeys([sysconfig.get_path("purelib"), *site.getsitepackages()]):
        yield _wheels(Path(name))
    for toolkit in filter(None, toolkits):
        yield _prefix(Path(toolkit))
    local = Path("/usr/local")
    versions = sorted(local.glob("cuda-*"), key=_version_numbers, reverse=True)
    for root in (local / "cuda", *versions, local, Path("/usr")):
        yield _prefix(root)


def _wheels(packages: Path) -> Place:
    """Return the place of PyPI's CUDA wheels in a site-packages folder."""
    nvidia = packages / "nvidia"
    return Place(tuple(sorted(nvidia.glob("*/lib"))), tuple(sorted(nvidia.glob("*/include"))))


def _prefix(root: Path) -> Place:
    """Return the place of a CUDA toolkit, or of the system's folders, under a prefix."""
    target = root / "targets" / "x86_64-linux"
    libraries = (root / "lib64", root / DEBIAN_LIBRARIES, root / "lib", target / "lib")
    multiarch = root / "include" / Path(DEBIAN_LIBRARIES).name
    return Place(libraries, (root / "include", multiarch, target / "include"))


# Preparing

# The library names that libgpuarray opens, and the piece that each stands for.
STUBS = {"libcuda.so": "driver", "libnvrtc.so": "nvrtc", "libcublas.so": "cublas"}


def _alias_folder(cache: Path, found: dict[str, Piece]) -> Path:
    """Return a folder with our cudnn.h and with the libraries under the names that libgpuarray and the linker use.

    The first call makes the folder. Its name contains a hash of its content, so Theano compiles
    again when the content changes.
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
    """Build a library that only gives a real library another name.

    libgpuarray opens libraries by names without a version. The loader returns an already loaded
    library whose soname is that name. Looking up a function in the stub finds the real function,
    because the stub is linked to the real library. Raises Unavailable if it can't be built.
    """
    command = ["g++", "-shared", "-x", "c", os.devnull, "-x", "none", "-o", str(stub)]
    command += [f"-Wl,-soname,{stub.name}", "-Wl,--no-as-needed,--allow-shlib-undefined"]
    try:
        subprocess.run([*command, str(library)], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Unavailable("g++ was not found: install g++, because Theano compiles with it") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip() or "g++ failed"
        raise Unavailable(f"{library} can't be linked: {lines.splitlines()[-1]}") from error


def _import_pygpu(piece: Piece) -> None:
    """Import pygpu by its path. Debian's folder must not join sys.path, because it has other packages too."""
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


def prepend(variable: str, folders: Iterable[Path]) -> None:
    """Put folders in front of the folders that a path variable of the environment lists."""
    listed = [part for part in os.environ.get(variable, "").split(os.pathsep) if part]
    # These folders must keep their place in the compiler's search order. In front of C++'s own folders they break
    # its headers: <cstdlib> then finds no stdlib.h.
    added = [str(folder) for folder in folders if folder.resolve() not in COMPILER_FOLDERS]
    if added:
        os.environ[variable] = os.pathsep.join(dict.fromkeys([*added, *listed]))


# Helpers


class _SymbolInfo(ctypes.Structure):
    """The result of `dladdr` for a function: `Dl_info` in C."""

    _fields_ = [
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    ]


def _path_of(function: Any) -> Path | None:
    """Return the path of the library that a function was loaded from, or None."""
    info = _SymbolInfo()
    address = ctypes.cast(function, ctypes.c_void_p)
    if ctypes.CDLL(None).dladdr(address, ctypes.byref(info)) == 0 or not info.file:
        return None
    return Path(info.file.decode())


def _path(piece: Piece) -> Path:
    """Return the path of a piece that was found."""
    assert piece.path is not None
    return piece.path


def _pip(user_folder: str | None) -> str:
    """Return the command of the pip that installs into the user's folder, or else of this interpreter's pip."""
    if user_folder and (python := Path(user_folder) / "bin" / "python").exists():
        return f"{python} -m pip"
    return f"{sys.executable} -m pip"


def _list_folder(folder: Path) -> list[Path]:
    """Return the files in a folder, sorted. A folder that can't be read has none."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _folders_in(variable: str) -> Iterator[Path]:
    """Return the folders that a path variable of the environment lists."""
    return (Path(part) for part in os.environ.get(variable, "").split(os.pathsep) if part)


def _first_match(file: Path, pattern: str) -> str | None:
    """Return the first match of a pattern, or of its last group, in a text file. None if the file is missing."""
    try:
        match = re.search(pattern, file.read_text(errors="replace"))
    except OSError:
        return None
    return match[match.re.groups] if match else None


def _version_numbers(path: Path) -> list[int]:
    """Return the numbers in a path's last part, to sort folders by version."""
    return [int(part) for part in re.findall(r"\d+", path.name)]


def _cuda(piece: Piece) -> str:
    """Return CUDA's version in the text of NVRTC's or the driver's version; empty if it isn't known."""
    return (piece.version or "").rpartition("CUDA ")[2]


def _minor_version(piece: Piece) -> int:
    """Return the minor number of CUDA's version; a high one if it isn't known."""
    minor = _cuda(piece).partition(".")[2]
    return int(minor) if minor.isdecimal() else 98


def _version_text(number: int) -> str:
    """Return CUDA's version number in its usual form, such as 13.0 for 13000."""
    return f"{number // 1000}.{number % 1000 // 10}"
