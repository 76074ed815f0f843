"""The GPU's peak rates, memory and state, read from NVIDIA's driver without CUDA's toolkit or a framework."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rnnbench.network.contract import Unavailable
from rnnbench.network.precision import THREE_TF32, three_tf32_rate

DRIVER_NAMES = (  # the loader searches for the first; the others are paths
    "libcuda.so.1",
    "/usr/local/nvidia/lib64/libcuda.so.1",
    "/usr/lib/wsl/lib/libcuda.so.1",
)
MANAGEMENT_NAMES = (
    "libnvidia-ml.so.1",
    "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
)

NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE

# The numbers of CUdevice_attribute.
_CLOCK_KILOHERTZ = 13
_MULTIPROCESSORS = 16
_MEMORY_CLOCK_KILOHERTZ = 36
_MEMORY_BUS_BITS = 37
_CAPABILITY_MAJOR = 75
_CAPABILITY_MINOR = 76

# By compute capability: float32 multiply-adds per cycle and multiprocessor (CUDA's programming guide, arithmetic
# throughput), and the speed-ups of the tensor cores over that rate in TF32 and in 16 bits (NVIDIA's datasheets). Those
# of 8.6, 8.9 and 12.0 hold for cards of workstations and servers: in TFLOP/s of float32, TF32 and 16 bits the A40 has
# 37.4, 74.8 and 150, the L40S 91.6, 183 and 362, and the RTX PRO 6000 126, 252 and 504. A GeForce has half of their
# TF32: the RTX 3080 has 29.8 in float32 and in TF32 (whitepaper of the GA102).
_RATES = {
    (7, 0): (64, 1, 8),
    (7, 5): (64, 1, 8),
    (8, 0): (64, 8, 16),
    (8, 6): (128, 2, 4),
    (8, 9): (128, 2, 4),
    (9, 0): (128, 8, 16),
    (10, 0): (128, 16, 32),
    (12, 0): (128, 2, 4),
}
# A newer GPU gets the highest known rates, so that no possible time is refused.
_HIGHEST_RATES = (128, 16, 32)

# From nvml.h: nvmlClockType_t, nvmlReturn_t, nvmlPerfPolicyType_t, and bits of nvmlClocksThrottleReasons. The bits
# left out of _REASONS come from an idle GPU or a user's settings, not from heat, power or a fault.
_SM, _MEMORY = 1, 2
_INSUFFICIENT_SIZE = 7
_TEXT_BYTES = 96  # NVML's longest answer in text
_POLICIES = (0, 1, 3, 5)  # power, heat, the board, reliability
_REASONS = {
    0x04: "its power limit",
    0x08: "its hardware",
    0x20: "its temperature",
    0x40: "its temperature, in hardware",
    0x80: "its power supply",
}


class State(NamedTuple):
    """The GPU's state now, from NVIDIA's management library (NVML).

    A field is None where NVML doesn't tell it, as in many containers.
    """

    sm_mhz: int | None
    sm_mhz_most: int | None
    memory_mhz: int | None
    memory_mhz_most: int | None
    watts: float | None
    watts_limit: float | None
    celsius: int | None
    reasons: list[str] | None  # why its clocks are held back now
    held_back: float | None  # seconds for which power or heat held them back since the driver was loaded
    programs: int | None  # other programs that compute on the GPU
    uuid: str | None  # of the GPU
    driver: str | None  # the driver's version


@functools.cache
def driver() -> ctypes.CDLL | None:
    """Return the driver's library; None if there is none."""
    return _library(DRIVER_NAMES)


def error(driver: ctypes.CDLL, status: int) -> str:
    """Return the driver's description of a status."""
    text = ctypes.c_char_p()
    if driver.cuGetErrorString(status, ctypes.byref(text)) != 0 or text.value is None:
        return f"CUDA error {status}"
    return f"{text.value.decode()} (CUDA error {status}){hidden() if status == NO_DEVICE else ''}"


def hidden() -> str:
    """Return the end of a sentence that says that there is no GPU, if CUDA_VISIBLE_DEVICES may hide the GPUs."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if chosen is None else f": CUDA_VISIBLE_DEVICES={chosen} hides all others"


def name() -> str:
    """Return the GPU's name. Raises Unavailable if the driver is missing or fails."""
    text = ctypes.create_string_buffer(256)
    _check(_driver().cuDeviceGetName(text, len(text), _device()))
    return text.value.decode(errors="replace").strip()


def count() -> int:
    """Return the number of GPUs that this process may use. Raises Unavailable if the driver is missing or fails."""
    number = ctypes.c_int()
    library = _driver()
    _check(library.cuInit(0))
    _check(library.cuDeviceGetCount(ctypes.byref(number)))
    return number.value


def peak_flops(precision: str = "float32") -> float:
    """Return the GPU's peak rate in operations per second, at its highest clock.

    `precision` is one of network.precision.PRECISIONS. For TF32 and 16 bits it is the rate of the tensor cores.
    Raises Unavailable if the driver is missing or fails.
    """
    capability = _attribute(_CAPABILITY_MAJOR), _attribute(_CAPABILITY_MINOR)
    multiply_adds, in_tf32, in_16_bits = _RATES.get(capability, _HIGHEST_RATES)
    factors = {"float32": 1, "tf32": in_tf32, THREE_TF32: three_tf32_rate(1, in_tf32)}
    factor = factors.get(precision, in_16_bits)
    cycles = _attribute(_CLOCK_KILOHERTZ) * 1e3
    return 2 * multiply_adds * factor * _attribute(_MULTIPROCESSORS) * cycles


def peak_bandwidth() -> float:
    """Return the peak bandwidth of the GPU's memory in bytes per second.

    The memory makes two transfers per cycle, each as wide as the bus. Raises Unavailable if the driver is missing or
    fails.
    """
    return 2 * _attribute(_MEMORY_CLOCK_KILOHERTZ) * 1e3 * _attribute(_MEMORY_BUS_BITS) / 8


def used_memory() -> int:
    """Return the bytes of the GPU's memory that all processes together use.

    Raises Unavailable if the driver is missing or fails.
    """
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    with primary_context():
        _check(_driver().cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
    return total.value - free.value


@contextlib.contextmanager
def primary_context() -> Iterator[None]:
    """Make the context that all frameworks share the current one of this thread."""
    context, device = ctypes.c_void_p(), _device()
    _check(_driver().cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
    try:
        _check(_driver().cuCtxPushCurrent_v2(context))
        try:
            yield
        finally:
            _check(_driver().cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p())))
    finally:
        _check(_driver().cuDevicePrimaryCtxRelease_v2(device))


def call(function: str, *arguments: Any, also: int = 0) -> int:
    """Call a function of the driver and return its status: 0, or the number `also`.

    Raises Unavailable if the driver is missing or returns another status.
    """
    status: int = getattr(_driver(), function)(*arguments)
    if status != also:
        _check(status)
    return status


def state() -> State:
    """Return the GPU's state now. It never raises; without a GPU every field is None."""
    reasons = _nvml_number("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong)
    milliwatts = _nvml_number("nvmlDeviceGetPowerUsage", ctypes.c_uint)
    milliwatts_limit = _nvml_number("nvmlDeviceGetEnforcedPowerLimit", ctypes.c_uint)
    return State(
        _nvml_number("nvmlDeviceGetClockInfo", ctypes.c_uint, _SM),
        _nvml_number("nvmlDeviceGetMaxClockInfo", ctypes.c_uint, _SM),
        _nvml_number("nvmlDeviceGetClockInfo", ctypes.c_uint, _MEMORY),
        _nvml_number("nvmlDeviceGetMaxClockInfo", ctypes.c_uint, _MEMORY),
        None if milliwatts is None else milliwatts / 1e3,
        None if milliwatts_limit is None else milliwatts_limit / 1e3,
        _nvml_number("nvmlDeviceGetTemperature", ctypes.c_uint, 0),
        None if reasons is None else [name for bit, name in _REASONS.items() if reasons & bit],
        _held_back(),
        _other_programs(),
        _nvml_text("nvmlDeviceGetUUID"),
        _driver_version(),
    )


class _Violation(ctypes.Structure):
    """nvmlViolationTime_t."""

    _fields_ = [("reference", ctypes.c_ulonglong), ("nanoseconds", ctypes.c_ulonglong)]


def _held_back() -> float | None:
    seconds = []
    for policy in _POLICIES:
        violation = _Violation()
        if _nvml_status("nvmlDeviceGetViolationStatus", policy, ctypes.byref(violation)) == 0:
            seconds.append(violation.nanoseconds / 1e9)
    return sum(seconds) if seconds else None


def _other_programs() -> int | None:
    count = ctypes.c_uint(0)
    # Called without room for the list, NVML returns the list's length.
    status = _nvml_status("nvmlDeviceGetComputeRunningProcesses_v3", ctypes.byref(count), None)
    if status not in (0, _INSUFFICIENT_SIZE):
        return None
    flags, has_context = ctypes.c_uint(), ctypes.c_int()
    try:
        _check(_driver().cuDevicePrimaryCtxGetState(_device(), ctypes.byref(flags), ctypes.byref(has_context)))
    except Unavailable:  # the GPU was lost
        return None
    # A container may hide the list. Then even this process isn't in it.
    return count.value - has_context.value if count.value >= has_context.value else None


def _nvml_number(function: str, kind: type[Any], *arguments: int) -> Any:
    """Return the number that an NVML function gives for the GPU, or None."""
    value = kind()
    return value.value if _nvml_status(function, *arguments, ctypes.byref(value)) == 0 else None


def _nvml_text(function: str) -> str | None:
    """Return the text that an NVML function gives for the GPU, or None."""
    text = ctypes.create_string_buffer(_TEXT_BYTES)
    return text.value.decode(errors="replace") if _nvml_status(function, text, len(text)) == 0 else None


def _driver_version() -> str | None:
    handle, text = _nvml_handle(), ctypes.create_string_buffer(_TEXT_BYTES)
    if handle is None or handle[0].nvmlSystemGetDriverVersion(text, len(text)) != 0:
        return None
    return text.value.decode(errors="replace")


def _nvml_status(function: str, *arguments: Any) -> int | None:
    """Call an NVML function for the GPU and return its status; None if NVML or the function is missing."""
    handle = _nvml_handle()
    if handle is None:
        return None
    library, device = handle
    try:
        return getattr(library, function)(device, *arguments)
    except AttributeError:  # this driver's NVML lacks the function
        return None


@functools.cache
def _nvml_handle() -> tuple[ctypes.CDLL, ctypes.c_void_p] | None:
    """Return NVML and its handle of the driver's first device. NVML may number the devices differently."""
    library, device, address = _library(MANAGEMENT_NAMES), ctypes.c_void_p(), ctypes.create_string_buffer(32)
    if library is None or library.nvmlInit_v2() != 0:
        return None
    try:
        _check(_driver().cuDeviceGetPCIBusId(address, len(address), _device()))
    except Unavailable:
        return None
    return (library, device) if library.nvmlDeviceGetHandleByPciBusId_v2(address, ctypes.byref(device)) == 0 else None


def _library(names: Sequence[str]) -> ctypes.CDLL | None:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _attribute(number: int) -> int:
    value = ctypes.c_int()
    _check(_driver().cuDeviceGetAttribute(ctypes.byref(value), number, _device()))
    return value.value


def _device() -> ctypes.c_int:
    """Return the first device: Theano and PyTorch use this one."""
    device = ctypes.c_int()
    _check(_driver().cuInit(0))
    _check(_driver().cuDeviceGet(ctypes.byref(device), 0))
    return device


def _driver() -> ctypes.CDLL:
    library = driver()
    if library is None:
        raise Unavailable(f"no NVIDIA driver: {DRIVER_NAMES[0]} was not found")
    return library


def _check(status: int) -> None:
    if status != 0:
        raise Unavailable(f"NVIDIA's driver failed: {error(_driver(), status)}")
