"""The registry: which variants there are, which can run here, and how to build one."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rnnbench.measure import threads
from rnnbench.network.contract import Network, Unavailable
from rnnbench.network.workload import Workload

DEVICES = ("cpu", "cuda")
STRICT, TF32 = 1e-5, 2e-3  # tolerances, of products in float32 and rounded to TF32


@dataclass(frozen=True)
class Variant:
    """A row of the registry.

    The module is imported when it is asked for, and has `unavailable(device)`, which returns None
    or the reason in one line, and `Network(work, device, **options)`.
    """

    module: str
    description: str
    devices: tuple[str, ...]
    libraries: tuple[str, ...] = ()  # the distributions whose versions are stored with its figures
    tolerance: float = STRICT  # the largest error of outputs and of each gradient, as reference.error gives it
    environment: str = "peers"  # the kind of asv's environments in which pip can install it
    caches: bool = False  # whether compiled code is kept on disk, so that a second build is a shorter one
    trains: bool = True  # whether it has gradients at all
    options: Mapping[str, object] = field(default_factory=dict)

    def in_tf32(self) -> Variant:
        """Return the twin whose products are rounded to TF32, which only GPUs do."""
        return replace(
            self,
            description=f"{self.description}, its products rounded to TF32",
            devices=("cuda",),
            tolerance=TF32,
            options={**self.options, "tf32": True},
        )

    @property
    def tf32(self) -> bool:
        """Whether float32 products are rounded to TF32."""
        return bool(self.options.get("tf32"))


_BOTH, _CPU, _CUDA = DEVICES, DEVICES[:1], DEVICES[1:]
_THEANO, _TORCH, _JAX = ("Theano",), ("torch",), ("jax", "jaxlib")
THEANO = "virtualenv"  # asv.conf.json's environment, with the NumPy that Theano wants and nobody else takes

VARIANTS = {
    "scan": Variant("rnnbench.variants.scan", "Theano's loop", _BOTH, _THEANO, environment=THEANO, caches=True),
    "cudnn": Variant(
        "rnnbench.variants.cudnn",
        "Theano's RNNBlock, cuDNN's fused network",
        _CUDA,
        _THEANO,
        environment=THEANO,
        caches=True,
    ),
    "torch": Variant("rnnbench.variants.torch", "PyTorch's nn.LSTM", _BOTH, _TORCH),
    "torch_loop": Variant("rnnbench.variants.torch_loop", "A loop over PyTorch's operations", _BOTH, _TORCH),
    "torch_compile": Variant(
        "rnnbench.variants.torch_compile", "That loop under torch.compile", _BOTH, ("torch", "triton"), caches=True
    ),
    "jax_scan": Variant("rnnbench.variants.jax_scan", "JAX's lax.scan", _BOTH, _JAX),
    "jax_cudnn": Variant("rnnbench.variants.jax_cudnn", "jax.experimental.rnn, cuDNN's fused network", _CUDA, _JAX),
    "flashrnn": Variant(
        "rnnbench.variants.flashrnn", "FlashRNN, after an input product", _CUDA, ("flashrnn", "torch"), caches=True
    ),
    "pytensor_scan": Variant(
        "rnnbench.variants.pytensor_scan", "PyTensor's loop", _CPU, ("pytensor", "numba"), caches=True
    ),
    "keras": Variant(
        "rnnbench.variants.keras", "Keras' LSTM layer on TensorFlow", _CPU, ("keras", "tensorflow", "tensorflow-cpu")
    ),
    "onnxruntime": Variant(
        "rnnbench.variants.onnxruntime", "ONNX's LSTM in ONNX Runtime", _CPU, ("onnxruntime",), trains=False
    ),
}
_WITH_TF32 = ("cudnn", "torch", "torch_loop", "torch_compile", "jax_scan", "jax_cudnn", "flashrnn")
VARIANTS |= {f"{name}_tf32": VARIANTS[name].in_tf32() for name in _WITH_TF32}


def is_ours(name: str) -> bool:
    """Return whether a variant runs in Theano, and isn't a peer to measure beside."""
    return name in VARIANTS and VARIANTS[name].environment == THEANO


def class_prefix(name: str) -> str:
    """Return what the names of a variant's benchmarks begin with: cudnn_tf32's with CudnnTF32."""
    return "".join("TF32" if part == "tf32" else part.capitalize() for part in name.split("_"))


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


def versions(name: str) -> dict[str, str]:
    """Return the versions of a variant's libraries that are installed here, by their names on PyPI."""
    found = {}
    for library in VARIANTS[name].libraries:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[library] = importlib.metadata.version(library)
    return found


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


__all__ = [
    "DEVICES",
    "VARIANTS",
    "Network",
    "Unavailable",
    "Variant",
    "available",
    "build",
    "class_prefix",
    "is_ours",
    "versions",
]
