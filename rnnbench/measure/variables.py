"""Environment variables of others that would change what rnnbench writes or times."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from typing import NamedTuple

# Selftest sets it to slow each timed call by this share of its time.
SLOWDOWN = "RNNBENCH_SLOWDOWN"

# `git rev-parse --local-env-vars` lists these. A git hook exports some of them.
_GIT = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)


class _Refused(NamedTuple):
    """A variable with which an implementation computes something else than its name says."""

    name: str
    harmless: str  # a regular expression of the values that change nothing
    effect: str
    modules: tuple[str, ...] = ()  # the implementations that import one of these read it; empty for all
    devices: tuple[str, ...] = ("cpu", "cuda")


_OFF = "0?"
_REFUSED = (
    _Refused(
        "NVIDIA_TF32_OVERRIDE", "", "it decides for all libraries whether products are in TF32", devices=("cuda",)
    ),
    _Refused("CUDA_LAUNCH_BLOCKING", _OFF, "each kernel then waits for the one before", devices=("cuda",)),
    _Refused("CUBLAS_EMULATE_SINGLE_PRECISION", _OFF, "products are then sums of 16-bit products", devices=("cuda",)),
    *(
        _Refused(f"{prefix}_DEFAULT_FPMATH_MODE", "(strict)?", "products may then be in 16 bits", ("torch", "keras"))
        for prefix in ("ONEDNN", "DNNL")
    ),
    # These change the speed only: a figure would not be the library's that its name says.
    _Refused("OMP_THREAD_LIMIT", "", "fewer threads may then compute than are stored with a figure"),
    _Refused("OMP_DYNAMIC", "(0|false)?", "fewer threads may then compute than are stored with a figure"),
    _Refused("OPENBLAS_CORETYPE", "", "OpenBLAS then doesn't use all of the processor's instructions"),
    *(
        _Refused(
            name, "(all|default)?", "oneDNN then doesn't use all of the processor's instructions", ("torch", "keras")
        )
        for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
    ),
    *(
        _Refused(name, "", "PyTorch then doesn't use all of the processor's instructions", ("torch",))
        for name in ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
    ),
    _Refused("TF_ENABLE_ONEDNN_OPTS", "1?", "TensorFlow then computes without oneDNN", ("keras",)),
    _Refused("TF_XLA_FLAGS", "", "TensorFlow may then compile with XLA", ("keras",)),
    _Refused("NUMBA_DISABLE_JIT", _OFF, "Numba then compiles nothing", ("pytensor",)),
    *(
        _Refused(name, "(0|false)?", "JAX then checks each result", ("jax",))
        for name in ("JAX_DEBUG_NANS", "JAX_DEBUG_INFS")
    ),
    *(
        _Refused(name, _OFF, "torch.compile then compiles nothing", ("torch",))
        for name in ("TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE")
    ),
    _Refused("PYTORCH_NO_CUDA_MEMORY_CACHING", _OFF, "each tensor then waits for new memory", ("torch",), ("cuda",)),
    _Refused("JAX_CUDA_VISIBLE_DEVICES", "(all|0)?", "another GPU is watched than computes", ("jax",), ("cuda",)),
    _Refused("JAX_DISABLE_JIT", "(0|false)?", "JAX then compiles nothing", ("jax",)),
    _Refused(
        "XLA_FLAGS", "((?!fast_math|excess_precision).)*", "XLA then computes with less precision", ("jax", "keras")
    ),
    _Refused(
        "PYTENSOR_FLAGS",
        r"\s*((base_)?compiledir=[^,]*)?(,\s*((base_)?compiledir=[^,]*)?)*",
        "only base_compiledir and compiledir leave what PyTensor computes as it is",
        ("pytensor",),
    ),
)


def problem(modules: Collection[str], device: str) -> str | None:
    """Return one line about a variable that changes what an implementation with these modules computes, or None."""
    for row in _REFUSED:
        value = os.environ.get(row.name, "")
        reads = device in row.devices and (not row.modules or set(row.modules) & set(modules))
        if reads and not re.fullmatch(row.harmless, value, re.IGNORECASE | re.DOTALL):
            return f"the environment variable {row.name} is {value!r}, and {row.effect}: unset it"
    return None


def forget() -> None:
    """Remove variables from this process's environment that must not reach what it starts.

    Git would use the repository that its variables name instead of the one in the current folder. So asv and selftest,
    which commit and check out in repositories of their own, would write to the user's. Selftest's own variable slows
    calls down; it sets it for the processes that it starts.
    """
    for name in (*_GIT, SLOWDOWN):
        os.environ.pop(name, None)


def slowdown() -> float:
    """Return the share of its time by which each timed call is slowed, so that selftest has something to find."""
    return float(os.environ.get(SLOWDOWN) or 0)
