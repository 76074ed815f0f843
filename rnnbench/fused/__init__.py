"""Our own Theano operations for recurrent networks: an LSTM layer on the CPU and on NVIDIA GPUs. See docs/fused.md."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from rnnbench import theano_runtime


def lstm(inputs: Any, W: Any, U: Any, b: Any, h0: Any = None, c0: Any = None, products: str = "float32") -> Any:
    """Return the graph of an LSTM layer's hidden states at every step: (seq, batch, hidden).

    - inputs: (seq, batch, input)
    - W: (input, 4·hidden), U: (hidden, 4·hidden), b: (4·hidden); gates in the order i, f, g, o
    - h0, c0: the hidden states and the cells before the first step, (batch, hidden); None for zeros
    - products: how a GPU computes products. "float32" is strict. "3xtf32" sums three products of its tensor cores,
      which is nearly as accurate. "tf32" rounds the factors to 10 bits. The CPU always computes in the arguments' type.

    The arguments are Theano variables or arrays, all float32 or all float64. The result has the same type. Each
    argument has a gradient. No size has to be known before the call. If Theano uses a GPU, layers of float32 run there.

    Raises TypeError for another type or number of dimensions, and ValueError for unknown `products`. If sizes don't
    fit together, the compiled function raises ValueError when it is called; on a GPU that the kernels can't use it
    raises Unavailable. If Theano isn't imported yet, this sets it up, and raises Unavailable if something that Theano
    needs is missing.
    """
    if "theano" not in sys.modules:
        theano_runtime.prepare()
    cpu = importlib.import_module("rnnbench.fused.cpu")  # imports Theano
    gpuarray = sys.modules.get("theano.gpuarray")
    if gpuarray is not None and gpuarray.pygpu_activated:
        importlib.import_module("rnnbench.fused.gpu")  # registers the rewrites that move layers to the GPU
    return cpu.layer(inputs, W, U, b, h0, c0, products)
