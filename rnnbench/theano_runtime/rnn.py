"""Theano's cuDNN network with a math type and an algorithm of one's own choice.

Imports Theano: import it after `theano_runtime.prepare()`.
"""

from __future__ import annotations

import theano
from theano.gof.type import CDataTypeConstant
from theano.gpuarray import dnn
from theano.gpuarray.type import GpuContextType

STANDARD = "CUDNN_RNN_ALGO_STANDARD"
STRICT = "CUDNN_FMA_MATH"  # float32 products are float32
TF32 = "CUDNN_DEFAULT_MATH"  # float32 products may use TF32 where the device has it

# Theano's C code for these handles float16; only the mark that says so is missing.
for _op in (dnn.GpuDnnRNNOp, dnn.GpuDnnRNNGradInputs, dnn.GpuDnnRNNGradWeights):
    _op._f16_ok = True

# Theano compiles this in every process, since its key would hold a GPU's context; the code takes that as an argument.
GpuContextType.Constant = CDataTypeConstant  # whose key holds no value
dnn._DropoutDescriptor.c_code_cache_version_apply = dnn.DnnBase.c_code_cache_version_apply


class _Descriptor(dnn._RNNDescriptor):  # type: ignore[misc]
    """Theano's descriptor of a network, compiled for one algorithm and one math type."""

    __props__ = ("context_name", "algorithm", "math_type")

    @classmethod
    def get_path(cls, file: str) -> str:
        """Theano's C files lie beside Theano's class, not beside this one."""
        return str(dnn._RNNDescriptor.get_path(file))

    def __init__(self, context_name: str | None, algorithm: str, math_type: str) -> None:
        super().__init__(context_name)
        self.algorithm = algorithm
        self.math_type = math_type

    def c_compile_args(self) -> list[str]:
        """Theano's arguments, and the two choices that our cudnn.h reads."""
        return [
            *super().c_compile_args(),
            f"-DRNNBENCH_RNN_ALGORITHM={self.algorithm}",
            f"-DRNNBENCH_RNN_MATH_TYPE={self.math_type}",
        ]


class Block(dnn.RNNBlock):  # type: ignore[misc]
    """`RNNBlock` whose algorithm and math type are chosen when it is made.

    The algorithm is the name of a `cudnnRNNAlgo_t`, the math type of a `cudnnMathType_t`.
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
        describe = _Descriptor(context_name, algorithm, math_type)
        modes = (input_mode, direction_mode, rnn_mode)
        descriptor = describe(*shape, self.ddesc, *modes, dtype)
        unoptimised = theano.Mode(optimizer=None)
        self.desc = theano.function([], descriptor, unoptimised, profile=False)()
