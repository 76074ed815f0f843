"""The registry: which variants there are, which can run here, and how to build one."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from rnnbench import threads
from rnnbench.variants.network import Network, Unavailable
from rnnbench.workload import Workload

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Variant:
    """A row of the registry.

    The module is imported when it is asked for, and has `unavailable(device)`, which returns None
    or the reason in one line, and `Network(work, device, **options)`.
    """

    module: str
    devices: tuple[str, ...]
    tolerance: float  # the largest error of outputs and of each gradient, as reference.error gives it
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def tf32(self) -> bool:
        """Whether float32 products are rounded to TF32."""
        return bool(self.options.get("tf32"))


VARIANTS = {
    "scan": Variant("rnnbench.variants.scan", ("cpu", "cuda"), tolerance=1e-5),
    "cudnn": Variant("rnnbench.variants.cudnn", ("cuda",), tolerance=1e-5),
    "cudnn_tf32": Variant("rnnbench.variants.cudnn", ("cuda",), tolerance=2e-3, options={"tf32": True}),
    "torch": Variant("rnnbench.variants.torch", ("cpu", "cuda"), tolerance=1e-5),
    "torch_tf32": Variant("rnnbench.variants.torch", ("cuda",), tolerance=2e-3, options={"tf32": True}),
}


def available(device: str = "cpu") -> dict[str, str | None]:
    """Return {variant: None, or the reason why it can't run on this device here}.

    Raises ValueError for an unknown device.
    """
    _check("device", device, DEVICES)
    return {name: _unavailable(name, device) for name in VARIANTS}


def build(name: str, work: Workload, device: str = "cpu") -> Network:
    """Return the variant's network for a workload, on a device.

    Raises ValueError for an unknown variant or device and Unavailable, with the reason, for one
    that can't run here, or not with a workload of this size.
    """
    require(name, work, device)
    threads.pin()
    variant = VARIANTS[name]
    return importlib.import_module(variant.module).Network(work, device, **variant.options)


def require(name: str, work: Workload, device: str = "cpu") -> None:
    """Raise what `build` would if it can be told without building; imports no framework."""
    _check("variant", name, tuple(VARIANTS))
    _check("device", device, DEVICES)
    if reason := _unavailable(name, device):
        raise Unavailable(f"{name} can't run on {device}: {reason}")
    threads.number()  # raises where it is contradicted
    if reason := too_large(work, device, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")):
        raise Unavailable(f"{reason}: choose smaller sizes")


def made_for_another(name: str, device: str) -> str | None:
    """Return a reason in one line if the variant isn't made for the device."""
    devices = VARIANTS[name].devices
    return None if device in devices else f"it is made for {' and '.join(devices)}"


def too_large(work: Workload, device: str, memory: float) -> str | None:
    """Return a reason in one line if a workload can't fit into a machine with so many bytes of memory."""
    if device != "cpu" or not work.least_memory > memory:
        return None
    return (
        f"batch={work.batch}, seq={work.seq}, hidden={work.hidden}, depth={work.depth} needs at least "
        f"{work.least_memory / 2**30:.1f} GiB of memory, and this machine has {memory / 2**30:.1f} GiB"
    )


def _unavailable(name: str, device: str) -> str | None:
    return made_for_another(name, device) or importlib.import_module(VARIANTS[name].module).unavailable(device)


def _check(argument: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{argument}={value!r}: it must be one of {', '.join(allowed)}")


__all__ = ["DEVICES", "VARIANTS", "Network", "Unavailable", "Variant", "available", "build"]
