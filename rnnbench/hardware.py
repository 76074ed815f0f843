"""What the hardware can do at most."""

from __future__ import annotations

import os

from rnnbench import gpu

# Two 512-bit multiply-adds a cycle at 6 GHz: no core of today does more.
_CORE_FLOPS = 2 * 16 * 2 * 6e9


def limit(device: str, tf32: bool = False) -> float:
    """Return FLOP/s, in float32 products or TF32 ones, that a device can't pass."""
    if device == "cuda":
        return gpu.peak_flops(tf32)
    return len(os.sched_getaffinity(0)) * _CORE_FLOPS
