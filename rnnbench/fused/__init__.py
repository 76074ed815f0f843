"""Our own Theano operations for recurrent networks: an LSTM layer on the CPU. docs/fused.md explains them."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from rnnbench import theano_runtime


def lstm(inputs: Any, W: Any, U: Any, b: Any, h0: Any = None, c0: Any = None) -> Any:
    """Return the graph of an LSTM layer's hidden states at every step: (seq, batch, hidden).

    - inputs: (seq, batch, input)
    - W: (input, 4·hidden), U: (hidden, 4·hidden), b: (4·hidden); gates in the order i, f, g, o
    - h0, c0: the hidden states and the cells before the first step, (batch, hidden); None for zeros

    The arguments are Theano variables or arrays, all float32 or all float64. The result has the same type. Each
    argument has a gradient. No size has to be known before the call.

    Raises TypeError for another type or number of dimensions. If sizes don't fit together, the compiled function
    raises ValueError when it is called. If Theano isn't imported yet, this sets it up, and raises Unavailable if
    something that Theano needs is missing.
    """
    if "theano" not in sys.modules:
        theano_runtime.prepare()
    cpu = importlib.import_module("rnnbench.fused.cpu")  # imports Theano
    return cpu.layer(inputs, W, U, b, h0, c0)
