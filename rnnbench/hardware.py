"""What the hardware can do at most: the floor that a time is compared with, and the limit that it can't pass."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rnnbench import gpu
from rnnbench.workload import FLOAT

# Two 512-bit multiply-adds a cycle at 6 GHz: no core of today does more.
_CORE_FLOPS = 2 * 16 * 2 * 6e9

_REPEATS = 5


def limit(device: str, tf32: bool = False) -> float:
    """Return FLOP/s, in float32 products or TF32 ones, that a device can't pass."""
    if device == "cuda":
        return gpu.peak_flops(tf32)
    return len(os.sched_getaffinity(0)) * _CORE_FLOPS


def peaks(device: str) -> dict[str, float]:
    """Return the rates that a time's floor is made of.

    `float32_flops` and `tf32_flops` are FLOP/s, `memory_bandwidth` is bytes/s, read and written. Those
    of a GPU are its properties; a CPU's, which hides its clock, are measured in a second or two.
    """
    if device == "cuda":
        flops = {"float32_flops": gpu.peak_flops(), "tf32_flops": gpu.peak_flops(tf32=True)}
        return flops | {"memory_bandwidth": gpu.peak_bandwidth()}
    return {"float32_flops": _product_rate(), "memory_bandwidth": _copy_rate()}


def _product_rate() -> float:
    """FLOP/s of the fastest of some products through NumPy's BLAS, on all cores."""
    size = 2048
    left, right = np.random.default_rng(0).random((2, size, size), FLOAT)
    product = np.empty_like(left)
    return 2 * size**3 / min(_seconds(lambda: np.matmul(left, right, product)) for _ in range(_REPEATS))


def _copy_rate() -> float:
    """Bytes a second, read and written, of the fastest of some copies by all cores of what no cache holds."""
    cores = len(os.sched_getaffinity(0))
    source = np.ones((cores, 2**26 // cores), FLOAT)
    target = np.ones_like(source)
    with ThreadPoolExecutor(cores) as pool:
        copies = (_seconds(lambda: list(pool.map(np.copyto, target, source))) for _ in range(_REPEATS))
        return 2 * source.nbytes / min(copies)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
