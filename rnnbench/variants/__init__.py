"""The registry: which variants there are, which can run here, and how to build one."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rnnbench.measure import gpu, threads
from rnnbench.network.contract import Network, Unavailable
from rnnbench.network.workload import Workload

DEVICES = ("cpu", "cuda")
STRICT, TF32 = 1e-5, 2e-3  # tolerances, of products in float32 and rounded to TF32


@dataclass(frozen=True)
class Variant:
    """A row of the registry: one implementation.

    Its file, rnnbench/variants/NAME.py, is imported when the variant is asked for. It has
    `Network(work, device, **options)`, whose contract is network.contract.Network's. It may have
    `unavailable(device)`, which returns None or, in one line, why the variant can't run there.
    """

    name: str
    label: str  # what tables for other projects call it
    description: str  # what it is, in a phrase
    devices: tuple[str, ...]
    extra: str | None = None  # of setup.py: `pip install '.[EXTRA]'` brings what it needs; None for NumPy alone
    modules: tuple[str, ...] = ()  # what has to be importable, beside what `unavailable` checks
    libraries: tuple[str, ...] = ()  # the distributions whose versions are stored with its figures
    tolerance: float = STRICT  # the largest error of outputs and of each gradient, as reference.error gives it
    environment: str = "peers"  # the kind of asv's environments in which pip can install it
    caches: bool = False  # whether compiled code is kept on disk, so that a second build is a shorter one
    trains: bool = True  # whether it has gradients at all
    has_tf32_twin: bool = False  # whether NAME_tf32 is another variant, of the same file with the option tf32
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """The module of its file; a twin in TF32 shares its sibling's."""
        return f"rnnbench.variants.{self.name.removesuffix('_tf32')}"

    @property
    def tf32(self) -> bool:
        """Whether float32 products are rounded to TF32."""
        return bool(self.options.get("tf32"))

    def in_tf32(self) -> Variant:
        """Return the twin whose products are rounded to TF32, which only GPUs do."""
        return replace(
            self,
            name=f"{self.name}_tf32",
            label=f"{self.label}, TF32",
            description=f"{self.description}, its products rounded to TF32",
            devices=("cuda",),
            tolerance=TF32,
            has_tf32_twin=False,
            options={**self.options, "tf32": True},
        )


_BOTH, _CPU, _CUDA = DEVICES, DEVICES[:1], DEVICES[1:]
THEANO = "virtualenv"  # asv.conf.json's environment, with the NumPy that Theano wants and nobody else takes

_ROWS = (
    Variant(
        "scan",
        "Theano, scan",
        "Theano's loop",
        _BOTH,
        extra="theano",
        libraries=("Theano",),
        environment=THEANO,
        caches=True,
    ),
    Variant(
        "cudnn",
        "Theano, cuDNN",
        "Theano's RNNBlock: cuDNN's fused network",
        _CUDA,
        extra="theano",
        libraries=("Theano",),
        environment=THEANO,
        caches=True,
        has_tf32_twin=True,
    ),
    Variant(
        "torch",
        "PyTorch",
        "PyTorch's nn.LSTM: on a GPU, cuDNN's fused network",
        _BOTH,
        extra="torch",
        modules=("torch",),
        libraries=("torch",),
        has_tf32_twin=True,
    ),
    Variant(
        "torch_loop",
        "PyTorch, loop",
        "A Python loop over PyTorch's operations: one product for all inputs, one for each step",
        _BOTH,
        extra="torch",
        modules=("torch",),
        libraries=("torch",),
        has_tf32_twin=True,
    ),
    Variant(
        "torch_compile",
        "PyTorch, compiled loop",
        "The loop of torch_loop, its step compiled by torch.compile",
        _BOTH,
        extra="torch",
        modules=("torch",),
        libraries=("torch", "triton"),
        caches=True,
        has_tf32_twin=True,
    ),
    Variant(
        "jax_scan",
        "JAX, scan",
        "JAX's lax.scan under jit: one product for all inputs, one for each step",
        _BOTH,
        extra="jax",
        modules=("jax", "jaxlib"),
        libraries=("jax", "jaxlib"),
        has_tf32_twin=True,
    ),
    Variant(
        "jax_cudnn",
        "JAX, cuDNN",
        "jax.experimental.rnn: cuDNN's fused network",
        _CUDA,
        extra="jax",
        modules=("jax", "jaxlib"),
        libraries=("jax", "jaxlib"),
        has_tf32_twin=True,
    ),
    Variant(
        "flashrnn",
        "FlashRNN",
        "FlashRNN's kernels for the steps, after one product for all inputs",
        _CUDA,
        extra="flashrnn",
        modules=("flashrnn", "torch"),
        libraries=("flashrnn", "torch"),
        caches=True,
        has_tf32_twin=True,
    ),
    Variant(
        "pytensor_scan",
        "PyTensor, scan",
        "The loop of PyTensor, Theano's successor, compiled by Numba",
        _CPU,
        extra="pytensor",
        modules=("pytensor",),
        libraries=("pytensor", "numba"),
        caches=True,
    ),
    Variant(
        "keras",
        "Keras, TensorFlow",
        "Keras' LSTM layer on TensorFlow",
        _CPU,
        extra="keras",
        modules=("keras", "tensorflow"),
        libraries=("keras", "tensorflow", "tensorflow-cpu"),
    ),
    Variant(
        "onnxruntime",
        "ONNX Runtime",
        "ONNX's LSTM in ONNX Runtime: forward alone",
        _CPU,
        extra="onnxruntime",
        modules=("onnxruntime", "onnx"),
        libraries=("onnxruntime",),
        trains=False,
    ),
)
VARIANTS = {row.name: row for row in (*_ROWS, *(row.in_tf32() for row in _ROWS if row.has_tf32_twin))}


def is_ours(name: str) -> bool:
    """Return whether a variant runs in Theano, and isn't a peer to measure beside."""
    return name in VARIANTS and VARIANTS[name].environment == THEANO


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
    if reason := made_for_another(name, device):
        return reason
    row = VARIANTS[name]
    if absent := [module for module in row.modules if importlib.util.find_spec(module) is None]:
        return f"the package {absent[0]} is missing: python -m pip install 'rnnbench[{row.extra}]'"
    check = getattr(importlib.import_module(row.module), "unavailable", None)
    if check and (reason := check(device)):
        return reason
    if device == "cuda" and gpu.driver() is None:
        return f"no NVIDIA driver: {gpu.DRIVER_NAMES[0]} was not found"
    return None


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
    "is_ours",
    "versions",
]
