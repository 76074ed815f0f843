"""Theano's cuDNN network with a choice of math type and algorithm.

This module imports Theano, so import it after `theano_runtime.prepare()`.
"""

from __future__ import annotations

from typing import Any

import theano
from theano.gof.type import CDataTypeConstant
from theano.gpuarray import dnn
from theano.gpuarray.basic_ops import gpu_contiguous
from theano.gpuarray.type import GpuContextType
from theano.gradient import DisconnectedType

STANDARD = "CUDNN_RNN_ALGO_STANDARD"
STRICT = "CUDNN_FMA_MATH"  # products of float32 stay in float32
TF32 = "CUDNN_DEFAULT_MATH"  # products of float32 may use TF32 if the device has it

# Theano's C code for these operations handles float16, but Theano doesn't set the flag that says so.
for _op in (dnn.GpuDnnRNNOp, dnn.GpuDnnRNNGradInputs, dnn.GpuDnnRNNGradWeights):
    _op._f16_ok = True

# Theano compiles the dropout descriptor again in every process, because its key contains the GPU's context. The code
# receives the context as an argument, so the key needn't contain it: a CDataTypeConstant's key holds no value.
GpuContextType.Constant = CDataTypeConstant
dnn._DropoutDescriptor.c_code_cache_version_apply = dnn.DnnBase.c_code_cache_version_apply


class _Descriptor(dnn._RNNDescriptor):  # type: ignore[misc]
    """Theano's operation that makes a network's descriptor, for one algorithm and one math type."""

    __props__ = ("context_name", "algorithm", "math_type")

    @classmethod
    def get_path(cls, file: str) -> str:
        """Return a C file's path beside Theano's class. By default Theano looks beside this class."""
        return str(dnn._RNNDescriptor.get_path(file))

    def __init__(self, context_name: str | None, algorithm: str, math_type: str) -> None:
        super().__init__(context_name)
        self.algorithm = algorithm
        self.math_type = math_type

    def c_compile_args(self) -> list[str]:
        """Return Theano's arguments and the two macros that our cudnn.h reads."""
        return [
            *super().c_compile_args(),
            f"-DRNNBENCH_RNN_ALGORITHM={self.algorithm}",
            f"-DRNNBENCH_RNN_MATH_TYPE={self.math_type}",
        ]


class _Network(dnn.GpuDnnRNNOp):  # type: ignore[misc]
    """Theano's operation that computes a network. Its gradient may also come from a part of an array."""

    @classmethod
    def get_path(cls, file: str) -> str:
        """Return a C file's path beside Theano's class. By default Theano looks beside this class."""
        return str(dnn.GpuDnnRNNOp.get_path(file))

    def L_op(self, arguments: Any, results: Any, d_results: Any) -> list[Any]:  # noqa: N802, Theano's name
        """Return the graphs of the arguments' gradients. Theano's C code reads the states' as a contiguous array."""
        reserve, d_states, *rest = d_results
        d_states = d_states if isinstance(d_states.type, DisconnectedType) else gpu_contiguous(d_states)
        return list(super().L_op(arguments, results, [reserve, d_states, *rest]))


class Block(dnn.RNNBlock):  # type: ignore[misc]
    """Theano's `RNNBlock` with two more arguments.

    `algorithm` is the name of a `cudnnRNNAlgo_t`, and `math_type` is the name of a `cudnnMathType_t`.
    """

    def __init__(
        self,
        dtype: str,
        hidden_size: int,
        num_layers: int,
        rnn_mode: str,
        input_mode: str = "linear",
        direction_mode: str = "unidirectional",
        context_name: str | None = None,
        algorithm: str = STANDARD,
        math_type: str = STRICT,
    ) -> None:
        shape = (hidden_size, num_layers)
        super().__init__(dtype, *shape, rnn_mode, input_mode, direction_mode, context_name)
        make_descriptor = _Descriptor(context_name, algorithm, math_type)
        modes = (input_mode, direction_mode, rnn_mode)
        descriptor = make_descriptor(*shape, self.ddesc, *modes, dtype)
        unoptimised = theano.Mode(optimizer=None)
        self.desc = theano.function([], descriptor, unoptimised, profile=False)()

    def apply(self, w: Any, x: Any, hx: Any, cx: Any = None) -> list[Any]:
        """Return the graphs of the states of all steps and of the last step, and of the last cells of an lstm."""
        network = _Network(self.rnn_mode, self.direction_mode)
        return list(network(dnn.rnndesc_type.make_constant(self.desc), w, x, hx, cx, return_list=True)[1:])
