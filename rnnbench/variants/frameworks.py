"""Whether a framework can run here, told without importing it."""

from __future__ import annotations

import importlib.util

from rnnbench.measure import gpu


def missing(device: str, name: str, extra: str, *modules: str) -> str | None:
    """Return None, or why a framework can't run on this device here, in one line.

    `extra` is what of this package brings the framework, whose modules all have to be there.
    """
    if any(importlib.util.find_spec(module) is None for module in modules):
        return f"{name} is missing: python -m pip install 'rnnbench[{extra}]'"
    if device == "cuda" and gpu.driver() is None:
        return f"no NVIDIA driver: {gpu.DRIVER_NAMES[0]} was not found"
    return None
