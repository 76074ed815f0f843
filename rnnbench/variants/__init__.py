"""The registry of all variants. It says which can run here, and builds them."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from rnnbench.measure import container, gpu, threads, variables
from rnnbench.network import reference
from rnnbench.network.contract import Network, Unavailable, unsupported
from rnnbench.network.workload import Workload
from rnnbench.theano_runtime import pieces

DEVICES = ("cpu", "cuda")
ENTRY_POINTS = "rnnbench.variants"  # the group in which an installed package names the modules of its variants
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
    environments: tuple[str, ...] = ("peers",)  # the kinds of asv environments that install its packages
    caches: bool = False  # whether it keeps compiled code on disk, which makes the next build shorter
    trains: bool = True  # whether it can compute gradients
    keeps_nan: bool = True  # whether NaN comes out where the reference has it; ONNX Runtime makes numbers of NaN
    has_tf32_twin: bool = False  # whether the same file, with the option tf32, is also the variant NAME_tf32
    sixteen_bits: tuple[str, ...] = ()  # the types in which the same file is also the variant NAME_fp16 or NAME_bf16
    precision: str = "float32"  # the type of its data, weights and results, one of network.workload.PRECISIONS
    options: Mapping[str, object] = field(default_factory=dict)
    base: str | None = None  # the variant whose file it uses, if it has none of its own
    source: str | None = None  # the module or the .py file with its code, if it comes from outside of rnnbench
    fault: str | None = None  # one line that says why the code from outside can't be loaded

    @property
    def module(self) -> str:
        """The name of its module, or the path of its file."""
        return self.source or f"rnnbench.variants.{self.base or self.name}"

    def load(self) -> ModuleType:
        """Import its module, and return it. Code from outside may raise anything."""
        return _import_file(self.module) if is_path(self.module) else importlib.import_module(self.module)

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
# asv.conf.json's environment for Theano, which needs an older NumPy than the peers. Theano-PyMC, a second Theano, is
# imported by the same name, so it has an environment of its own.
THEANO, THEANO_PYMC = "virtualenv", "theano-pymc"

_ROWS = (
    Variant(
        "scan",
        "Theano, scan",
        "A loop over the time steps, built with theano.scan",
        _BOTH,
        extra="theano",
        libraries=("Theano", "Theano-PyMC"),
        environments=(THEANO, THEANO_PYMC),
        caches=True,
    ),
    Variant(
        "cudnn",
        "Theano, cuDNN",
        "cuDNN's fused networks, called through Theano's RNNBlock",
        _CUDA,
        extra="theano",
        libraries=("Theano",),
        environments=(THEANO,),
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
        environments=(THEANO,),
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
        environments=(THEANO,),
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
    return name in VARIANTS and THEANO in VARIANTS[name].environments


def installable(environment: str, device: str) -> list[str]:
    """Return the variants that support a device and that pip can install into a kind of asv environment."""
    return [name for name, row in VARIANTS.items() if environment in row.environments and device in row.devices]


def is_path(name: str) -> bool:
    """Return whether a name is the path of a Python file, such as ./my_lstm.py."""
    return name.endswith(".py")


def find(name: str) -> Variant:
    """Return the variant with a name: of the registry, of an installed package, or of the file with this path.

    If its code comes from outside and can't be loaded, its `fault` says why. Raises ValueError if there is no such
    variant or file.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    if isinstance(name, str) and is_path(name):
        if not os.path.isfile(name):
            raise ValueError(f"variant={name!r}: there is no such file")
        return _outside(Path(name).stem, os.path.abspath(name))
    _check("variant", name, (*VARIANTS, *_installed()))
    return _installed()[name]


def available(device: str = "cpu", names: Iterable[str] | None = None) -> dict[str, str | None]:
    """Return a dict from each variant's name to None, or to the reason why it can't run on this device here.

    The variants are those with these names, or else those of the registry and of the installed packages. Raises
    ValueError for an unknown device or name.
    """
    _check("device", device, DEVICES)
    return {name: _unavailable(name, device) for name in names or (*VARIANTS, *_installed())}


def build(name: str, work: Workload, device: str = "cpu") -> Network:
    """Return a variant's network for a workload on a device.

    Raises ValueError if the variant or the device is unknown. Raises Unavailable, with the reason,
    if the variant can't run here or the workload is too large for this machine.
    """
    require(name, work, device)
    threads.pin()
    variant = find(name)
    return variant.load().Network(workload(name, work), device, **variant.options)


def workload(name: str, work: Workload) -> Workload:
    """Return a workload in the precision of a variant. The reference of the result is what the variant must compute."""
    precision = find(name).precision
    return work if precision == work.precision else replace(work, precision=precision)


def gradient_tolerance(name: str, work: Workload) -> float:
    """Return the largest error that a variant's gradients may have at a workload; see reference.gradient_tolerance."""
    return reference.gradient_tolerance(workload(name, work), find(name).tolerance)


def supports(name: str, work: Workload) -> str | None:
    """Return None if a variant can compute a workload, or the reason in one line. Imports no framework."""
    return _answer(find(name), "supports", workload(name, work), default=unsupported)


def require(name: str, work: Workload, device: str = "cpu") -> None:
    """Raise the errors of `build` that are known before building. Imports no framework."""
    find(name)  # raises ValueError if the name is unknown
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
    for library in find(name).libraries:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[library] = importlib.metadata.version(library)
    return found


def made_for_another(name: str, device: str) -> str | None:
    """Return a reason in one line if the variant doesn't support the device, else None."""
    devices = find(name).devices
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
    row = find(name)
    if reason := row.fault or made_for_another(name, device):
        return reason
    if absent := [module for module in row.modules if importlib.util.find_spec(module) is None]:
        advice = pieces.install_command(row.extra or row.name) if row.source is None else "install it"
        return f"the package {absent[0]} is missing: {advice}"
    if reason := variables.problem(row.modules, device):
        return reason
    if reason := _answer(row, "unavailable", device, default=lambda device: None):
        return reason
    if device == "cuda" and gpu.driver() is None:
        return f"no NVIDIA driver: {gpu.DRIVER_NAMES[0]} was not found"
    return None


def _answer(row: Variant, function: str, argument: Any, default: Callable[[Any], str | None]) -> str | None:
    """Return what a function of a variant's file says, or that it raises, if the file comes from outside."""
    try:
        return getattr(row.load(), function, default)(argument)
    except Exception as problem:
        if row.source is None:
            raise
        return f"its {function}() raises {_in_a_line(problem)}"


def _in_a_line(problem: BaseException) -> str:
    words = str(problem).partition("\n")[0]
    return f"{type(problem).__name__}: {words}"


@functools.cache
def _installed() -> dict[str, Variant]:
    """Return the variants of installed packages, by name. One whose name is taken is named PACKAGE:NAME."""
    rows: dict[str, Variant] = {}
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        package = point.dist.name if point.dist else point.value
        name = f"{package}:{point.name}" if point.name in VARIANTS or point.name in rows else point.name
        rows[name] = _outside(name, point.value)
    return rows


@functools.cache
def _outside(name: str, source: str) -> Variant:
    """Return the variant of a module or a file from outside: its VARIANT, or a row that its file needn't have."""
    row = Variant(name, name, f"An implementation from {source}", DEVICES, source=source)
    try:
        module = row.load()
        if not hasattr(module, "Network"):
            return replace(row, fault=f"{source} defines no Network")
        own = getattr(module, "VARIANT", row)
        if not isinstance(own, Variant):
            return replace(row, fault=f"the VARIANT of {source} isn't an rnnbench.variants.Variant")
        return replace(own, name=name, source=source)
    except (Exception, SystemExit) as problem:
        return replace(row, fault=f"{source} can't be loaded: {_in_a_line(problem)}")


@functools.cache
def _import_file(path: str) -> ModuleType:
    """Import a file under a name of its own, which no installed module has. It can import its neighbours."""
    name = f"{Path(path).stem}_{zlib.crc32(path.encode()):08x}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules[name] = module
    sys.path.append(os.path.dirname(path))
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


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
    "find",
    "gradient_tolerance",
    "is_ours",
    "supports",
    "versions",
    "workload",
]
