"""What NVIDIA's driver knows of the GPU, asked without CUDA's toolkit or any framework."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rnnbench.network.contract import Unavailable

DRIVER_NAMES = (  # the first asks the loader
    "libcuda.so.1",
    "/usr/local/nvidia/lib64/libcuda.so.1",
    "/usr/lib/wsl/lib/libcuda.so.1",
)
MANAGEMENT_NAMES = (
    "libnvidia-ml.so.1",
    "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
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

# Of nvml.h: nvmlClockType_t, nvmlReturn_t, nvmlPerfPolicyType_t, and the bits of nvmlClocksThrottleReasons. Of these
# the ones that come from heat, power or a fault; the rest are an idle GPU's and a user's settings.
_SM, _MEMORY = 1, 2
_INSUFFICIENT_SIZE = 7
_POLICIES = (0, 1, 3, 5)  # power, heat, the board, reliability
_REASONS = {
    0x04: "its power limit",
    0x08: "its hardware",
    0x20: "its temperature",
    0x40: "its temperature, in hardware",
    0x80: "its power supply",
}


class State(NamedTuple):
    """What NVIDIA's management library (NVML) says of the GPU now; None is what it doesn't, as in many a container."""

    sm_mhz: int | None
    sm_mhz_most: int | None
    memory_mhz: int | None
    memory_mhz_most: int | None
    watts: float | None
    watts_limit: float | None
    celsius: int | None
    reasons: list[str] | None  # what holds its clocks back now
    held_back: float | None  # for how many seconds power or heat did, since the driver was loaded
    programs: int | None  # that compute on it, this process left out


@functools.cache
def driver() -> ctypes.CDLL | None:
    """Return the driver's library, if there is one."""
    return _library(DRIVER_NAMES)


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


def state() -> State:
    """Return the GPU's state now; never raises, and all of it is None where there is no GPU."""
    reasons = _managed("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong)
    milliwatts = _managed("nvmlDeviceGetPowerUsage", ctypes.c_uint)
    milliwatts_limit = _managed("nvmlDeviceGetEnforcedPowerLimit", ctypes.c_uint)
    return State(
        _managed("nvmlDeviceGetClockInfo", ctypes.c_uint, _SM),
        _managed("nvmlDeviceGetMaxClockInfo", ctypes.c_uint, _SM),
        _managed("nvmlDeviceGetClockInfo", ctypes.c_uint, _MEMORY),
        _managed("nvmlDeviceGetMaxClockInfo", ctypes.c_uint, _MEMORY),
        None if milliwatts is None else milliwatts / 1e3,
        None if milliwatts_limit is None else milliwatts_limit / 1e3,
        _managed("nvmlDeviceGetTemperature", ctypes.c_uint, 0),
        None if reasons is None else [name for bit, name in _REASONS.items() if reasons & bit],
        _held_back(),
        _other_programs(),
    )


class _Violation(ctypes.Structure):
    """nvmlViolationTime_t."""

    _fields_ = [("reference", ctypes.c_ulonglong), ("nanoseconds", ctypes.c_ulonglong)]


def _held_back() -> float | None:
    found = []
    for policy in _POLICIES:
        violation = _Violation()
        if _manage("nvmlDeviceGetViolationStatus", policy, ctypes.byref(violation)) == 0:
            found.append(violation.nanoseconds / 1e9)
    return sum(found) if found else None


def _other_programs() -> int | None:
    count = ctypes.c_uint(0)
    # Without room for a list it says how long that would be.
    status = _manage("nvmlDeviceGetComputeRunningProcesses_v3", ctypes.byref(count), None)
    if status not in (0, _INSUFFICIENT_SIZE):
        return None
    flags, own = ctypes.c_uint(), ctypes.c_int()
    if _driver().cuDevicePrimaryCtxGetState(_device(), ctypes.byref(flags), ctypes.byref(own)) != 0:
        return None
    # A container may hide the list: then it lacks even this process.
    return count.value - own.value if count.value >= own.value else None


def _managed(function: str, kind: type[Any], *arguments: int) -> Any:
    """Return the number that a function of NVML gives, or None."""
    value = kind()
    return value.value if _manage(function, *arguments, ctypes.byref(value)) == 0 else None


def _manage(function: str, *arguments: Any) -> int | None:
    """Return the status of a function of NVML, called with the GPU; None where there is no such thing."""
    handle = _handle()
    if handle is None:
        return None
    library, device = handle
    try:
        return getattr(library, function)(device, *arguments)
    except AttributeError:  # another driver's NVML
        return None


@functools.cache
def _handle() -> tuple[ctypes.CDLL, ctypes.c_void_p] | None:
    """Return NVML and its handle of the first device, which it may number otherwise than the driver."""
    library, device, address = _library(MANAGEMENT_NAMES), ctypes.c_void_p(), ctypes.create_string_buffer(32)
    if library is None or library.nvmlInit_v2() != 0:
        return None
    try:
        _call(_driver().cuDeviceGetPCIBusId(address, len(address), _device()))
    except Unavailable:
        return None
    return (library, device) if library.nvmlDeviceGetHandleByPciBusId_v2(address, ctypes.byref(device)) == 0 else None


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


def _library(names: Sequence[str]) -> ctypes.CDLL | None:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


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
