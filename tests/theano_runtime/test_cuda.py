"""Test how cuda.py finds and prepares libraries, in temporary folders with libraries that only report a version."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from rnnbench import Unavailable, theano_runtime
from rnnbench.measure import gpu, hardware
from rnnbench.network import precision
from rnnbench.theano_runtime import cuda
from rnnbench.theano_runtime.pieces import problem

DRIVER = """
#ifndef CAPABILITY
#define CAPABILITY 9
#endif
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuInit(unsigned flags) { return STATUS; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuGetErrorString(int status, const char **text) { *text = "out of luck"; return 0; }
int cuCtxSynchronize(void) { return STATUS; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return STATUS; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  switch (attribute) {
    case 13: *value = 1980000; break;  /* kHz */
    case 16: *value = 132; break;      /* multiprocessors */
    case 36: *value = 2619000; break;  /* kHz, memory */
    case 37: *value = 5120; break;     /* bits */
    case 75: *value = CAPABILITY; break;
    case 76: *value = 0; break;
    default: return 1;
  }
  return 0;
}
"""
NVRTC = "int nvrtcVersion(int *a, int *b) { *a = MAJOR; *b = MINOR; return 0; }"
CUBLAS = "int cublasGetProperty(int part, int *v) { *v = part ? part : MAJOR; return 0; }"
CUDNN = """
unsigned long cudnnGetVersion(void) { return VERSION; }
unsigned long cudnnGetCudartVersion(void) { return MAJOR * 1000; }
"""


def library(path: Path, source: str, **values: int) -> Path:
    """Compile a shared library with its file name as soname, as NVIDIA does, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)]
    command += [f"-D{name}={value}" for name, value in values.items()]
    command += [f"-Wl,-soname,{path.name}"]
    subprocess.run(command, input=source, text=True, check=True)
    return path


def headers(folder: Path, cudnn: tuple[int, int, int] | None = None, cuda_version: int = 0) -> None:
    """Write the headers that cuda.py reads versions from."""
    if cudnn:
        folder.mkdir(parents=True, exist_ok=True)
        names = ("MAJOR", "MINOR", "PATCHLEVEL")
        lines = [f"#define CUDNN_{name} {value}\n" for name, value in zip(names, cudnn, strict=True)]
        (folder / "cudnn_version.h").write_text("".join(lines))
    if cuda_version:
        (folder / "crt").mkdir(parents=True, exist_ok=True)
        (folder / "crt" / "host_defines.h").touch()
        (folder / "cuda_runtime_api.h").write_text(f"#define CUDART_VERSION {cuda_version}\n")


def wheels_13(packages: Path) -> Path:
    """Make PyPI's CUDA 13 wheels: one folder for CUDA and one for cuDNN."""
    nvidia = packages / "nvidia"
    library(nvidia / "cu13/lib/libnvrtc.so.13", NVRTC, MAJOR=13, MINOR=0)
    library(nvidia / "cu13/lib/libcublas.so.13", CUBLAS, MAJOR=13)
    library(nvidia / "cudnn/lib/libcudnn.so.9", CUDNN, VERSION=91904, MAJOR=13)
    headers(nvidia / "cu13/include", cuda_version=13000)
    headers(nvidia / "cudnn/include", (9, 19, 4))
    return packages


def wheels_12(packages: Path) -> Path:
    """Make PyPI's CUDA 12 wheels: one folder for each wheel, and CUDA's headers in two of them."""
    nvidia = packages / "nvidia"
    library(nvidia / "cuda_nvrtc/lib/libnvrtc.so.12", NVRTC, MAJOR=12, MINOR=0)
    library(nvidia / "cublas/lib/libcublas.so.12", CUBLAS, MAJOR=12)
    library(nvidia / "cudnn/lib/libcudnn.so.8", CUDNN, VERSION=8907, MAJOR=12)
    headers(nvidia / "cuda_runtime/include", cuda_version=12090)
    (nvidia / "cuda_runtime/include/crt/host_defines.h").unlink()
    (nvidia / "cuda_nvcc/include/crt").mkdir(parents=True)
    (nvidia / "cuda_nvcc/include/crt/host_defines.h").touch()
    headers(nvidia / "cudnn/include", (8, 9, 7))
    return packages


def toolkit(root: Path, libraries: str = "lib64") -> Path:
    """Make a CUDA toolkit that also contains cuDNN."""
    library(root / libraries / "libnvrtc.so.12.4.1", NVRTC, MAJOR=12, MINOR=0)
    library(root / libraries / "libnvrtc-builtins.so.99", NVRTC, MAJOR=99, MINOR=0)
    library(root / libraries / "libcublas.so.12.4.5", CUBLAS, MAJOR=12)
    library(root / libraries / "libcudnn.so.9.1.0", CUDNN, VERSION=90100, MAJOR=12)
    headers(root / "include", (9, 1, 0), 12040)
    return root


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Return a function that replaces the machine's driver with a simulated one."""

    def put(version: int = 13000, status: int = 0, count: int = 1, capability: int = 9) -> None:
        number = len(list(tmp_path.glob("driver*")))  # the loader never reads the same path twice
        values = {"VERSION": version, "STATUS": status, "COUNT": count, "CAPABILITY": capability}
        # With the real driver's soname the loader would return this library to everyone until the process ends.
        path = library(tmp_path / f"driver{number}" / "libsimulated.so", DRIVER, **values)
        monkeypatch.setattr(gpu, "DRIVER_NAMES", (str(path),))
        gpu.driver.cache_clear()
        cuda._find.cache_clear()

    yield put
    gpu.driver.cache_clear()
    cuda._find.cache_clear()


@pytest.fixture(autouse=True)
def without_cuda(monkeypatch):
    """Hide the machine's own CUDA."""
    places = cuda._places

    def users_places(user_folder, toolkits):
        every = list(places(user_folder, toolkits))
        return [p for p in every if not p.includes or (user_folder and user_folder in str(p.includes[0]))]

    monkeypatch.setattr(cuda, "_places", users_places)
    for name in ("CUDA_HOME", "CUDA_PATH", cuda.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    cuda._find.cache_clear()


def pieces() -> dict[str, cuda.Piece]:
    """Return the pieces that cuda.py finds, by name."""
    return {piece.name: piece for piece in cuda.find()}


def test_wheels_of_cuda_13_are_found(tmp_path, monkeypatch, driver):
    driver()
    monkeypatch.setenv(cuda.VARIABLE, str(wheels_13(tmp_path / "site")))
    found = pieces()
    versions = {name: found[name].version for name in ("driver", "nvrtc", "cublas", "headers")}
    assert versions["nvrtc"] == "13.0"
    assert versions["cublas"] == "13.1.2"
    assert versions["headers"] == "13.0"
    assert versions["driver"].endswith("CUDA 13.0")
    assert found["cudnn"].version == "9.19.4"
    assert found["cudnn"].path.name == "libcudnn.so.9"
    assert found["cudnn"].includes == (tmp_path / "site/nvidia/cudnn/include",)
    assert not [found[name] for name in versions if found[name].reason]


def test_wheels_of_another_interpreter_are_found(tmp_path, monkeypatch, driver):
    driver(12090)
    wheels_12(tmp_path / "lib/python3.9/site-packages")
    monkeypatch.setenv(cuda.VARIABLE, str(tmp_path))
    found = pieces()
    assert found["cudnn"].version == "8.9.7"
    assert found["nvrtc"].cuda == found["cublas"].cuda == found["cudnn"].cuda == 12
    names = [folder.parent.name for folder in found["headers"].includes]
    assert names == ["cuda_runtime", "cuda_nvcc"]


@pytest.mark.parametrize("libraries", ["lib64", cuda.DEBIAN_LIBRARIES, "targets/x86_64-linux/lib"])
def test_a_toolkit_or_system_folders_are_found(tmp_path, monkeypatch, driver, libraries):
    driver()
    monkeypatch.setenv(cuda.VARIABLE, str(toolkit(tmp_path / "toolkit", libraries)))
    found = pieces()
    assert found["nvrtc"].path.name == "libnvrtc.so.12.4.1"
    assert found["cudnn"].version == "9.1.0"
    assert found["headers"].version == "12.4"


def test_the_users_folder_is_searched_first(tmp_path, monkeypatch):
    monkeypatch.undo()
    places = list(cuda._places(str(tmp_path / "asked"), ("/toolkit", None)))
    where = [place.libraries[0] for place in places if place.libraries]
    assert where[0] == tmp_path / "asked/lib64"
    assert where.index(Path("/toolkit/lib64")) < where.index(Path("/usr/local/cuda/lib64"))
    assert where[-1] == Path("/usr/lib64")


def test_the_users_folder_may_begin_with_a_tilde(tmp_path, monkeypatch, driver):
    driver(12020)
    wheels_12(tmp_path / "cuda")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(cuda.VARIABLE, "~/cuda")
    found = pieces()
    assert cuda.VARIABLE not in found
    assert found["cudnn"].path.is_relative_to(tmp_path / "cuda")


def test_missing_pieces_name_the_install_command(tmp_path, monkeypatch, driver):
    driver(12020)
    wheels_12(tmp_path)
    (tmp_path / "nvidia/cublas/lib/libcublas.so.12").unlink()
    (tmp_path / "nvidia/cuda_nvcc/include/crt/host_defines.h").unlink()
    monkeypatch.setenv(cuda.VARIABLE, str(tmp_path))
    found = pieces()
    assert found["cublas"].reason == "libcublas was not found"
    assert found["cublas"].install.endswith("-m pip install nvidia-cublas-cu12")
    assert "not crt/host_defines.h" in found["headers"].reason
    assert problem(cuda.find()).startswith("libcublas was not found: ")


@pytest.mark.parametrize(("major", "wheel"), [(12, "nvidia-cuda-nvrtc-cu12<12.3"), (13, "nvidia-cuda-nvrtc>=13,<13.3")])
def test_an_nvrtc_newer_than_the_driver_is_reported(major, wheel, tmp_path, monkeypatch, driver):
    """The driver doesn't read its code: "the provided PTX was compiled with an unsupported toolchain"."""
    driver(major * 1000 + 20)
    path = library(tmp_path / f"nvidia/cuda_nvrtc/lib/libnvrtc.so.{major}", NVRTC, MAJOR=major, MINOR=3)
    monkeypatch.setenv(cuda.VARIABLE, str(tmp_path))
    nvrtc = pieces()["nvrtc"]
    assert nvrtc.reason == f"{path} is of CUDA {major}.3, but the driver reads only code of CUDA {major}.2"
    assert nvrtc.install.endswith(f"pip install '{wheel}'")
    library(path, NVRTC, MAJOR=major, MINOR=2).rename(path.with_suffix(f".{major}.2"))
    driver(major * 1000 + 20)
    assert pieces()["nvrtc"].reason is None


def test_a_broken_library_is_reported(tmp_path, monkeypatch, driver):
    driver()
    wheels_13(tmp_path)
    broken = tmp_path / "nvidia/cudnn/lib/libcudnn.so.9"
    broken.write_text("cut off")
    monkeypatch.setenv(cuda.VARIABLE, str(tmp_path))
    assert pieces()["cudnn"].reason.startswith(f"{broken} can't be loaded: ")
    assert "\n" not in problem(cuda.find())


def test_cudnn_without_its_header_is_reported(tmp_path, monkeypatch, driver):
    driver()
    wheels_13(tmp_path)
    header = tmp_path / "nvidia/cudnn/include/cudnn_version.h"
    monkeypatch.setenv(cuda.VARIABLE, str(tmp_path))
    header.write_text(header.read_text().replace("PATCHLEVEL 4", "PATCHLEVEL 5"))
    assert "has the headers of cuDNN 9.19.5" in pieces()["cudnn"].reason
    header.unlink()
    cuda._find.cache_clear()
    assert "has no cudnn.h beside it" in pieces()["cudnn"].reason


def test_pieces_of_different_cuda_versions_are_reported(tmp_path, monkeypatch, driver):
    driver(12080)
    monkeypatch.setenv(cuda.VARIABLE, str(wheels_13(tmp_path / "new")))
    assert pieces()["cublas"].reason.endswith("is for CUDA 13, but the driver runs only CUDA 12")
    driver(13000)
    mixed = wheels_13(tmp_path / "mixed")
    library(mixed / "nvidia/cudnn/lib/libcudnn.so.9", CUDNN, VERSION=91904, MAJOR=12)
    monkeypatch.setenv(cuda.VARIABLE, str(mixed))
    assert "libcudnn.so.9 is for CUDA 12" in pieces()["cudnn"].reason


@pytest.mark.parametrize(
    ("status", "count", "reason"),
    [
        (0, 0, "the NVIDIA driver is installed, but it finds no GPU"),
        (100, 0, "the NVIDIA driver is installed, but it finds no GPU"),
        (3, 1, "the NVIDIA driver doesn't start: out of luck (CUDA error 3)"),
    ],
)
def test_a_driver_without_a_gpu_is_reported(driver, status, count, reason, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver(13000, status, count)
    assert problem(cuda.find()) == reason


def test_a_variable_that_hides_all_gpus_is_named(driver, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    driver(13000, 100, 0)
    assert problem(cuda.find()).endswith("but it finds no GPU: CUDA_VISIBLE_DEVICES=7 hides all others")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY: out of memory", RuntimeError),
        ("cuInit: something else", Unavailable),
    ],
)
def test_a_gpu_whose_memory_is_full_fails_and_is_not_called_unavailable(message, expected, monkeypatch):
    def use(name):
        raise RuntimeError(message)

    gpuarray = SimpleNamespace(pygpu_activated=False, use=use)
    monkeypatch.setitem(sys.modules, "theano.gpuarray", gpuarray)
    with pytest.raises(expected, match=message):
        theano_runtime._use_gpu(SimpleNamespace(config=SimpleNamespace(device="cpu")))


def test_a_missing_driver_is_reported(monkeypatch):
    monkeypatch.setattr(gpu, "DRIVER_NAMES", ("libnowhere.so.1",))
    gpu.driver.cache_clear()
    assert problem(cuda.find()) == "no NVIDIA driver: libcuda.so.1 was not found"
    with pytest.raises(Unavailable, match="no NVIDIA driver"):
        cuda.prepare(Path("/nowhere"))
    gpu.driver.cache_clear()


def test_the_peak_rates_of_an_h100_agree_with_its_datasheet(driver):
    driver()
    assert gpu.peak_bandwidth() == pytest.approx(3.35e12, rel=0.01)
    assert hardware.limit("cuda") == gpu.peak_flops() == pytest.approx(67e12, rel=0.01)
    assert hardware.limit("cuda", "tf32") == 8 * gpu.peak_flops()
    assert hardware.limit("cuda", "float16") == hardware.limit("cuda", "bfloat16") > 989e12


def test_an_unknown_newer_gpu_gets_a_higher_limit(driver):
    driver(capability=9)
    known = [hardware.limit("cuda", each) for each in precision.PRECISIONS]
    driver(capability=99)
    unknown = [hardware.limit("cuda", each) for each in precision.PRECISIONS]
    assert unknown[0] == known[0]
    assert all(limit > of_known for limit, of_known in zip(unknown[1:], known[1:], strict=True))


def test_a_driver_that_fails_raises_unavailable(driver):
    driver(status=3)
    with pytest.raises(Unavailable, match="out of luck"):
        hardware.limit("cuda")


def test_synchronize_raises_if_the_driver_fails(driver, monkeypatch):
    driver(status=9)
    context = SimpleNamespace(get_context=lambda name: nullcontext())
    monkeypatch.setitem(sys.modules, "theano.gpuarray.type", context)
    with pytest.raises(RuntimeError, match="out of luck"):
        cuda.synchronize()


PREPARED = """
import ctypes, os, sys
from pathlib import Path
from rnnbench.measure import gpu
from rnnbench.theano_runtime import cuda
folder = Path(sys.argv[1])
gpu.DRIVER_NAMES = (sys.argv[2],)
cuda.find_libgpuarray = lambda: cuda.Piece("libgpuarray", folder / "libgpuarray.so", "API 2",
                                           (folder / "gpuarray include",))
cuda.find_pygpu = lambda: cuda.Piece("pygpu", folder / "pygpu", "0.7.6", (folder / "pygpu",))
flags = cuda.prepare(folder / "cache")
assert flags == cuda.prepare(folder / "cache")
ours = Path(flags["dnn.include_path"], "cudnn.h").read_text()
assert ours == (cuda.HEADERS / "cudnn.h").read_text()
assert ctypes.CDLL(flags["dnn.bin_path"] + "/libcudnn.so").cudnnGetVersion() == 91904
for name, function in {"libnvrtc.so": "nvrtcVersion", "libcublas.so": "cublasGetProperty",
                       "libcuda.so": "cuInit"}.items():
    getattr(ctypes.CDLL(name), function)
assert len(list((folder / "cache").iterdir())) == 1
assert str(folder / "gpuarray include") in os.environ["CPLUS_INCLUDE_PATH"]
import pygpu
assert pygpu.answer == 42
"""


def test_prepare_gives_libraries_the_names_that_libgpuarray_opens(tmp_path):
    wheels_13(tmp_path / "a folder")
    library(tmp_path / "libgpuarray.so", "int gpuarray;")
    (tmp_path / "pygpu").mkdir()
    (tmp_path / "pygpu" / "__init__.py").write_text("answer = 42\n")
    values = {"VERSION": 13000, "STATUS": 0, "COUNT": 1}
    driver = library(tmp_path / "libcuda.so.1", DRIVER, **values)
    environment = os.environ | {cuda.VARIABLE: str(tmp_path / "a folder")}
    command = [sys.executable, "-c", PREPARED, str(tmp_path), str(driver)]
    root = Path(cuda.__file__).parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_compilers_own_folders_are_not_added(monkeypatch, tmp_path):
    # In front of C++'s own folders they break its headers: <cstdlib> then finds no stdlib.h.
    monkeypatch.setenv("CPLUS_INCLUDE_PATH", "/before")
    cuda.prepend("CPLUS_INCLUDE_PATH", [Path("/usr/include"), Path("/usr/lib/../include")])
    assert os.environ["CPLUS_INCLUDE_PATH"] == "/before"
    cuda.prepend("CPLUS_INCLUDE_PATH", [tmp_path])
    assert os.environ["CPLUS_INCLUDE_PATH"] == f"{tmp_path}:/before"
