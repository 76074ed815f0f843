"""The LSTM layer on an NVIDIA GPU: the operations of cpu.py on arrays of libgpuarray, and the rewrites to them.

The kernels are in include/lstm_cuda.cu. NVRTC compiles them for the GPU that is there. Imports Theano: import it
after `theano_runtime.prepare("cuda")`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import theano
from theano.gof import Op
from theano.gpuarray.basic_ops import (
    HostFromGpu,
    as_gpuarray_variable,
    gpuarray_helper_inc_dir,
    infer_context_name,
)
from theano.gpuarray.opt import op_lifter, register_opt, register_opt2
from theano.gpuarray.type import get_context

from rnnbench.fused.cpu import INCLUDE, Lstm, LstmGradient


def _text(name: str, parts: tuple[str, ...]) -> str:
    return "".join((INCLUDE / f"{name}{part}.cu").read_text() for part in parts)


_CODE = "\n".join(
    [
        # NVRTC compiles the kernels' texts at run time.
        *(
            f'static const char rnnbench_{name}_source[] = R"RNNBENCH({_text(name, parts)})RNNBENCH";'
            for name, parts in (("lstm_cuda", ("", "_rows", "_tiles", "_steps", "_product")), ("split_cuda", ("",)))
        ),
        # Each operation is a library of its own. Only visible statics are the same ones in all of them.
        "#pragma GCC visibility push(default)",
        *((INCLUDE / name).read_text() for name in ("lstm_cuda.h", "lstm_arrays.h", "lstm_theano_cuda.h")),
        "#pragma GCC visibility pop",
    ]
)
_PRODUCTS = {"float32": "float32", "3xtf32": "tf32x3", "tf32": "tf32"}  # their names in C++

_failures: list[Callable[[], str]] = []  # one for each GPU context: it returns a sentence, or nothing


def start(failure: Callable[[], str]) -> str:
    """Take a GPU context's function that reports failures, and return the folder of compiled kernels.

    The C++ code calls this once for each context.
    """
    _failures.append(failure)
    folder = Path(theano.config.compiledir) / "rnnbench_fused_cuda"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def check() -> None:
    """Raise RuntimeError if a kernel of an earlier call has given up. Call it when the GPU is idle."""
    for failure in _failures:
        if sentence := failure():
            raise RuntimeError(sentence)


class _OnTheGpu(Op):  # type: ignore[misc]
    """The base of both operations on a GPU. Their arrays are float32, in one context of libgpuarray."""

    array = "PyGpuArrayObject"

    def option(self, node: Any) -> str:
        return f"rnnbench_fused_cuda::Products::{_PRODUCTS[self.products]}"

    def make_node(self, *arguments: Any) -> Any:
        context = infer_context_name(*arguments)
        return super().make_node(*(as_gpuarray_variable(argument, context) for argument in arguments))

    def c_code_cache_version(self) -> tuple[Any, ...]:
        return 1, zlib.crc32(_CODE.encode())

    def c_support_code(self) -> str:
        return _CODE

    def c_compile_args(self) -> list[str]:
        return ["-ldl"]

    def c_headers(self) -> list[str]:
        return ["<gpuarray_helper.h>", "<gpuarray/extension.h>"]

    def c_header_dirs(self) -> list[str]:
        return [gpuarray_helper_inc_dir()]

    def c_libraries(self) -> list[str]:
        return []

    def c_lib_dirs(self) -> list[str]:
        return []


class GpuLstm(_OnTheGpu, Lstm):
    """An LSTM layer on a GPU. The layout inside the gates and cells that it returns is the kernels' own."""


class GpuLstmGradient(_OnTheGpu, LstmGradient):
    """The gradients of an LSTM layer on a GPU."""


@register_opt("fast_compile")  # type: ignore[untyped-decorator]
@op_lifter([Lstm])  # type: ignore[untyped-decorator]
@register_opt2([Lstm], "fast_compile")  # type: ignore[untyped-decorator]
def lift_layer(op: Any, context_name: str | None, inputs: Any, outputs: Any) -> Any:
    """Move a layer of float32 to the GPU. A layer of float64 stays on the CPU."""
    if inputs[0].dtype != "float32" or get_context(context_name).kind != b"cuda":
        return None
    return GpuLstm(op.keeps, op.products)


@register_opt("fast_compile")  # type: ignore[untyped-decorator]
@op_lifter([LstmGradient])  # type: ignore[untyped-decorator]
@register_opt2([LstmGradient], "fast_compile")  # type: ignore[untyped-decorator]
def lift_gradient(op: Any, context_name: str | None, inputs: Any, outputs: Any) -> Any:
    """Move the gradients to the GPU if the layer is there: the layout of its gates and cells is the kernels' own."""
    gates = inputs[0]
    if gates.owner is not None and isinstance(gates.owner.op, HostFromGpu):
        gates = gates.owner.inputs[0]
    if gates.owner is None or not isinstance(gates.owner.op, GpuLstm):
        return None
    return GpuLstmGradient(op.wanted, op.products, op.inplace)
