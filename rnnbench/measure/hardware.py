"""The hardware's rates: the limit that no timed call can exceed, and a CPU's measured peak rates."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from rnnbench.measure import gpu, openblas, threads
from rnnbench.network.workload import FLOAT

# Two 512-bit multiply-adds per cycle at 6 GHz: no core does more today.
_CORE_FLOPS = 2 * 16 * 2 * 6e9

_SECONDS = 1.5  # long enough for a moment in which a shared host is undisturbed


def limit(device: str, precision: str = "float32") -> float:
    """Return the FLOP/s that a device can't exceed in products of a precision, one of network.precision.PRECISIONS.

    Raises Unavailable for "cuda" if NVIDIA's driver is missing or fails.
    """
    if device == "cuda":
        return gpu.peak_flops(precision)
    return len(os.sched_getaffinity(0)) * _CORE_FLOPS


def product_rate() -> float:
    """Return the CPU's peak FLOP/s: the fastest of many float32 products, on all cores.

    The OpenBLAS that Theano calls computes them, or NumPy's BLAS where that isn't installed. The BLAS of an old NumPy
    computes as if a processor that it doesn't know were one of 2004.
    """
    size = 2048
    left, right = np.random.default_rng(0).random((2, size, size), FLOAT)
    product = np.empty_like(left)
    multiply: Callable[..., object] = np.matmul
    with contextlib.suppress(ModuleNotFoundError):
        multiply = partial(openblas.multiply, openblas.load())
    return 2 * size**3 / _fastest(lambda: multiply(left, right, product))


def copy_rate() -> float:
    """Return the CPU's peak memory bandwidth in bytes per second, read and written.

    All processors that this process may keep busy copy an array that fits into no cache. The fastest of many copies
    counts.
    """
    cores = threads.processors()
    source = np.ones((cores, 2**26 // cores), FLOAT)
    target = np.ones_like(source)
    with ThreadPoolExecutor(cores) as pool:
        return 2 * source.nbytes / _fastest(lambda: list(pool.map(np.copyto, target, source)))


def _fastest(call: Callable[[], object]) -> float:
    """Call repeatedly for _SECONDS, and return the seconds of the fastest call."""
    seconds = []
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
