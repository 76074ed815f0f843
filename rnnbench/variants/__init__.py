"""The registry of all variants. It says which can run here, and builds them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rnnbench.measure import container, gpu, threads, variables
from rnnbench.network.contract import Network, Unavailable, unsupported
from rnnbench.network.workload import Workload
from rnnbench.theano_runtime import pieces

DEVICES = ("cpu", "cuda")
STRICT, TF32 = 1e-5, 2e-3  # tolerances for products in float32 and in TF32
# Each 16-bit type's short name and tolerance. Float16 has 11 significant bits and bfloat16 has 8. The errors of a
# network whose every step is rounded to so many bits are a fifth of these: tests/variants/test_tolerances.py has it.
SIXTEEN_BITS = {"float16": ("fp16", 5e-3), "bfloat16": ("bf16", 4e-2)}


@dataclass(frozen=True)
class Variant:
    """A row of the registry: one implementation.

    The registry imports the variant's file, rnnbench/variants/NAME.py, only when someone asks for
    the variant. The file defines `Network(work, device, **options)`, which follows the contract of
    network.contract.Network. It may define `unavailable(device)`, which returns None or one line that
    says why the variant can't run on the device, and `supports(work)`, which returns None or one line that says why
    it can't compute a workload.
    """

    name: str
    label: str  # its name in exported tables
    description: str  # one phrase of at most 90 characters, for the docs
    devices: tuple[str, ...]
    extra: str | None = None  # setup.py's extra that installs its packages; None if it needs only NumPy
    modules: tuple[str, ...] = ()  # modules that it imports; `unavailable` may check more
    libraries: tuple[str, ...] = ()  # PyPI packages; asv stores their versions with the figures
    tolerance: float = STRICT  # the largest reference.error allowed for the outputs and each gradient
    environment: str = "peers"  # the kind of asv environment that installs its packages
    caches: bool = False  # whether it keeps compiled code on disk, which makes the next build shorter
    trains: bool = True  # whether it can compute gradients
    keeps_nan: bool = True  # whether NaN comes out where the reference has it; ONNX Runtime makes numbers of NaN
    has_tf32_twin: bool = False  # whether the same file, with the option tf32, is also the variant NAME_tf32
    sixteen_bits: tuple[str, ...] = ()  # the types in which the same file is also the variant NAME_fp16 or NAME_bf16
    precision: str = "float32"  # the type of its data, weights and results, one of network.workload.PRECISIONS
    options: Mapping[str, object] = field(default_factory=dict)
    base: str | None = None  # the variant whose file it uses, if it has none of its own

    @property
    def module(self) -> str:
        """The name of its module."""
        return f"rnnbench.variants.{self.base or self.name}"

    @property
    def tf32(self) -> bool:
        """Whether it rounds the factors of its float32 products to TF32."""
        return bool(self.options.get("tf32"))

    def in_tf32(self) -> Variant:
        """Return the twin that computes its products in TF32. It runs on GPUs only."""
        return replace(
            self,
            name=f"{self.name}_tf32",
            base=self.base or self.name,
            label=f"{self.label}, TF32",
            description=f"{self.description}; products in TF32",
            devices=("cuda",),
            tolerance=TF32,
            has_tf32_twin=False,
            sixteen_bits=(),
            options={**self.options, "tf32": True},
        )

    def in_16_bits(self, precision: str) -> Variant:
        """Return the twin whose data, weights and results are in a 16-bit type. It runs on GPUs only."""
        short, tolerance = SIXTEEN_BITS[precision]
        return replace(
            self,
            name=f"{self.name}_{short}",
            base=self.base or self.name,
            label=f"{self.label}, {short.upper()}",
            description=f"{self.description}; in {precision}",
            devices=("cuda",),
            tolerance=tolerance,
            has_tf32_twin=False,
            sixteen_bits=(),
            precision=precision,
        )

    def twins(self) -> list[Variant]:
        """Return the variants of the same file in other precisions."""
        tf32 = [self.in_tf32()] if self.has_tf32_twin else []
        return tf32 + [self.in_16_bits(precision) for precision in self.sixteen_bits]


_BOTH, _CPU, _CUDA = DEVICES, DEVICES[:1], DEVICES[1:]
THEANO = "virtualenv"  # asv.conf.json's environment for Theano, which needs an older NumPy than the peers

_ROWS = (
    Variant(
        "scan",
        "Theano, scan",
        "A loop over the time steps, built with theano.scan",
        _BOTH,
        extra="theano",
        libraries=("Theano",),
        environment=THEANO,
        caches=True,
    ),
    Variant(
        "cudnn",
        "Theano, cuDNN",
        "cuDNN's fused networks, called through Theano's RNNBlock",
        _CUDA,
        extra="theano",
        libraries=("Theano",),
        environment=THEANO,
        caches=True,
        has_tf32_twin=True,
    ),
    Variant(
        "fused",
        "Theano, fused",
        "Our fused LSTM layer, a Theano operation in C++ and CUDA",
        _BOTH,
        extra="theano",
        libraries=("Theano",),
        environment=THEANO,
        caches=True,
        has_tf32_twin=True,
    ),
    Variant(
        "fused_3xtf32",
        "Theano, fused, 3xTF32",
        "Our fused LSTM layer; products as three products in TF32, nearly as exact as float32",
        _CUDA,
        extra="theano",
        libraries=("Theano",),
        environment=THEANO,
        caches=True,
        options={"products": "3xtf32"},
        base="fused",
    ),
    Variant(
        "torch",
        "PyTorch",
        "PyTorch's nn.LSTM, nn.GRU or nn.RNN, which call cuDNN on a GPU",
        _BOTH,
        extra="torch",
        modules=("torch",),
        libraries=("torch",),
        has_tf32_twin=True,
        sixteen_bits=tuple(SIXTEEN_BITS),
    ),
    Variant(
        "torch_loop",
        "PyTorch, loop",
        "A Python loop over the time steps, in PyTorch operations",
        _BOTH,
        extra="torch",
        modules=("torch",),
        libraries=("torch",),
        has_tf32_twin=True,
        sixteen_bits=tuple(SIXTEEN_BITS),
    ),
    Variant(
        "torch_compile",
        "PyTorch, compiled loop",
        "The loop of torch_loop, with its step compiled by torch.compile",
        _BOTH,
        extra="torch",
        modules=("torch",),
        libraries=("torch", "triton"),
        caches=True,
        has_tf32_twin=True,
        sixteen_bits=tuple(SIXTEEN_BITS),
    ),
    Variant(
        "jax_scan",
        "JAX, scan",
        "A loop over the time steps with JAX's lax.scan, compiled by XLA",
        _BOTH,
        extra="jax",
        modules=("jax", "jaxlib"),
        libraries=("jax", "jaxlib"),
        has_tf32_twin=True,
        sixteen_bits=tuple(SIXTEEN_BITS),
    ),
    Variant(
        "jax_cudnn",
        "JAX, cuDNN",
        "cuDNN's fused LSTM, called through jax.experimental.rnn",
        _CUDA,
        extra="jax",
        modules=("jax", "jaxlib"),
        libraries=("jax", "jaxlib"),
        has_tf32_twin=True,
    ),
    Variant(
        "flashrnn",
        "FlashRNN",
        "FlashRNN's CUDA kernels, with the input product in PyTorch",
        _CUDA,
        extra="flashrnn",
        modules=("flashrnn", "torch"),
        libraries=("flashrnn", "torch"),
        caches=True,
        has_tf32_twin=True,
        sixteen_bits=("bfloat16",),
    ),
    Variant(
        "pytensor_scan",
        "PyTensor, scan",
        "A loop over the time steps in PyTensor, Theano's successor, compiled by Numba",
        _CPU,
        extra="pytensor",
        modules=("pytensor",),
        libraries=("pytensor", "numba"),
        caches=True,
    ),
    Variant(
        "keras",
        "Keras, TensorFlow",
        "Keras 3's recurrent layers on TensorFlow",
        _CPU,
        extra="keras",
        modules=("keras", "tensorflow"),
        libraries=("keras", "tensorflow", "tensorflow-cpu"),
    ),
    Variant(
        "onnxruntime",
        "ONNX Runtime",
        "ONNX's recurrent operators in ONNX Runtime, forward only",
        _CPU,
        extra="onnxruntime",
        modules=("onnxruntime", "onnx"),
        libraries=("onnxruntime",),
        trains=False,
        keeps_nan=False,
    ),
)
VARIANTS = {row.name: row for row in (*_ROWS, *(twin for row in _ROWS for twin in row.twins()))}


def is_ours(name: str) -> bool:
    """Return whether a variant runs in Theano, and so isn't a peer. Unknown names give False."""
    return name in VARIANTS and VARIANTS[name].environment == THEANO


def installable(environment: str, device: str) -> list[str]:
    """Return the variants that support a device and that pip can install into a kind of asv environment."""
    return [name for name, row in VARIANTS.items() if row.environment == environment and device in row.devices]


def available(device: str = "cpu") -> dict[str, str | None]:
    """Return a dict from each variant's name to None, or to the reason why it can't run on this device here.

    Raises ValueError for an unknown device.
    """
    _check("device", device, DEVICES)
    return {name: _unavailable(name, device) for name in VARIANTS}


def build(name: str, work: Workload, device: str = "cpu") -> Network:
    """Return a variant's network for a workload on a device.

    Raises ValueError if the variant or the device is unknown. Raises Unavailable, with the reason,
    if the variant can't run here or the workload is too large for this machine.
    """
    require(name, work, device)
    threads.pin()
    variant = VARIANTS[name]
    return importlib.import_module(variant.module).Network(workload(name, work), device, **variant.options)


def workload(name: str, work: Workload) -> Workload:
    """Return a workload in the precision of a variant. The reference of the result is what the variant must compute."""
    precision = VARIANTS[name].precision
    return work if precision == work.precision else replace(work, precision=precision)


def supports(name: str, work: Workload) -> str | None:
    """Return None if a variant can compute a workload, or the reason in one line. Imports no framework."""
    return getattr(importlib.import_module(VARIANTS[name].module), "supports", unsupported)(workload(name, work))


def require(name: str, work: Workload, device: str = "cpu") -> None:
    """Raise the errors of `build` that are known before building. Imports no framework."""
    _check("variant", name, tuple(VARIANTS))
    _check("device", device, DEVICES)
    if reason := _unavailable(name, device):
        raise Unavailable(f"{name} can't run on {device}: {reason}")
    if reason := supports(name, work):
        raise Unavailable(f"{name} can't compute this network: {reason}")
    threads.number()  # raises Unavailable if the settings contradict each other
    memory = min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), container.memory())
    if reason := too_large(work, device, memory):
        raise Unavailable(f"{reason}: choose smaller sizes")


def versions(name: str) -> dict[str, str]:
    """Return a dict from the PyPI names of a variant's installed libraries to their versions."""
    found = {}
    for library in VARIANTS[name].libraries:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[library] = importlib.metadata.version(library)
    return found


def made_for_another(name: str, device: str) -> str | None:
    """Return a reason in one line if the variant doesn't support the device, else None."""
    devices = VARIANTS[name].devices
    return None if device in devices else f"it is made for {' and '.join(devices)}"


def too_large(work: Workload, device: str, memory: float) -> str | None:
    """Return a reason in one line if a workload needs more than `memory` bytes of the CPU's memory, else None."""
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
        return f"the package {absent[0]} is missing: {pieces.install_command(row.extra or row.name)}"
    if reason := variables.problem(row.modules, device):
        return reason
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
    "supports",
    "versions",
    "workload",
]
