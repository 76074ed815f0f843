"""What NVIDIA's driver knows of the GPU, asked without CUDA's toolkit or any framework."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator

from rnnbench.variants.network import Unavailable

DRIVER_NAMES = (  # the first asks the loader
    "libcuda.so.1",
    "/usr/local/nvidia/lib64/libcuda.so.1",
    "/usr/lib/wsl/lib/libcuda.so.1",
)

# The numbers of CUdevice_attribute.
_CLOCK_KILOHERTZ = 13
_MULTIPROCESSORS = 16
_MEMORY_CLOCK_KILOHERTZ = 36
_MEMORY_BUS_BITS = 37
_CAPABILITY_MAJOR = 75
_CAPABILITY_MINOR = 76

# For each compute capability: float32 multiply-adds a cycle and multiprocessor (CUDA's programming guide,
# arithmetic throughput), and how many times as many its tensor cores do in TF32 (NVIDIA's datasheets).
_RATES = {
    (7, 0): (64, 1),
    (7, 5): (64, 1),
    (8, 0): (64, 8),
    (8, 6): (128, 1),
    (8, 9): (128, 1),
    (9, 0): (128, 8),
    (10, 0): (128, 16),
    (12, 0): (128, 1),
}
# A GPU that came later: the highest known, so that no figure is called impossible that isn't.
_HIGHEST_RATES = (128, 16)


@functools.cache
def driver() -> ctypes.CDLL | None:
    """Return the driver's library, if there is one."""
    for name in DRIVER_NAMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def error(driver: ctypes.CDLL, status: int) -> str:
    """Return what the driver calls a status."""
    text = ctypes.c_char_p()
    if driver.cuGetErrorString(status, ctypes.byref(text)) != 0 or text.value is None:
        return f"CUDA error {status}"
    return f"{text.value.decode()} (CUDA error {status})"


def peak_flops(tf32: bool = False) -> float:
    """Return the GPU's most float32 operations a second, at its highest clock; with `tf32` its tensor cores'."""
    multiply_adds, times = _RATES.get((_attribute(_CAPABILITY_MAJOR), _attribute(_CAPABILITY_MINOR)), _HIGHEST_RATES)
    cycles = _attribute(_CLOCK_KILOHERTZ) * 1e3
    return 2 * multiply_adds * (times if tf32 else 1) * _attribute(_MULTIPROCESSORS) * cycles


def peak_bandwidth() -> float:
    """Return the bytes a second of the GPU's memory: two transfers a cycle, each as wide as the bus."""
    return 2 * _attribute(_MEMORY_CLOCK_KILOHERTZ) * 1e3 * _attribute(_MEMORY_BUS_BITS) / 8


def used_memory() -> int:
    """Return how many bytes of the GPU's memory are in use, by any process."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    with _primary_context():
        _call(_driver().cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
    return total.value - free.value


@contextlib.contextmanager
def _primary_context() -> Iterator[None]:
    """Make the context that frameworks share current in this thread."""
    context, device = ctypes.c_void_p(), _device()
    _call(_driver().cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
    try:
        _call(_driver().cuCtxPushCurrent_v2(context))
        try:
            yield
        finally:
            _call(_driver().cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p())))
    finally:
        _call(_driver().cuDevicePrimaryCtxRelease_v2(device))


def _attribute(number: int) -> int:
    value = ctypes.c_int()
    _call(_driver().cuDeviceGetAttribute(ctypes.byref(value), number, _device()))
    return value.value


def _device() -> ctypes.c_int:
    """Return the first device, which is the one that Theano and PyTorch take."""
    device = ctypes.c_int()
    _call(_driver().cuInit(0))
    _call(_driver().cuDeviceGet(ctypes.byref(device), 0))
    return device


def _driver() -> ctypes.CDLL:
    library = driver()
    if library is None:
        raise Unavailable(f"no NVIDIA driver: {DRIVER_NAMES[0]} was not found")
    return library


def _call(status: int) -> None:
    if status != 0:
        raise Unavailable(f"NVIDIA's driver failed: {error(_driver(), status)}")
