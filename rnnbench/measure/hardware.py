"""What the hardware can do at most: the limit that no time can pass, and a CPU's peak rates, measured."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rnnbench.measure import gpu
from rnnbench.network.workload import FLOAT

# Two 512-bit multiply-adds a cycle at 6 GHz: no core of today does more.
_CORE_FLOPS = 2 * 16 * 2 * 6e9

_SECONDS = 1.5  # long enough to meet a shared host in a good moment


def limit(device: str, tf32: bool = False) -> float:
    """Return FLOP/s, in float32 products or TF32 ones, that a device can't pass."""
    if device == "cuda":
        return gpu.peak_flops(tf32)
    return len(os.sched_getaffinity(0)) * _CORE_FLOPS


def product_rate() -> float:
    """Return the CPU's FLOP/s in the fastest of many float32 products through NumPy's BLAS, on all cores."""
    size = 2048
    left, right = np.random.default_rng(0).random((2, size, size), FLOAT)
    product = np.empty_like(left)
    return 2 * size**3 / _fastest(lambda: np.matmul(left, right, product))


def copy_rate() -> float:
    """Return bytes a second, read and written, of the fastest of many copies by all cores of what no cache holds."""
    cores = len(os.sched_getaffinity(0))
    source = np.ones((cores, 2**26 // cores), FLOAT)
    target = np.ones_like(source)
    with ThreadPoolExecutor(cores) as pool:
        return 2 * source.nbytes / _fastest(lambda: list(pool.map(np.copyto, target, source)))


def _fastest(call: Callable[[], object]) -> float:
    """Return the seconds of the fastest of the calls that fit into a while."""
    seconds = []
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
