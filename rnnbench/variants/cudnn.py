"""cudnn: the LSTM as cuDNN's fused network, called through Theano's RNNBlock.

It uses cuDNN's STANDARD algorithm and linear input, as the published benchmark does. Products are in
strict float32, or in TF32 with the option `tf32`. Theano calls cuDNN through
theano_runtime/include/cuda/cudnn.h, which launches repeated calls as CUDA graphs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from rnnbench import theano_runtime
from rnnbench.network.workload import FLOAT, Weights, Workload
from rnnbench.theano_runtime import cuda
from rnnbench.variants import cudnn_parameters


def unavailable(device: str) -> str | None:
    """Return None if cuDNN can run on this device here, or one line that says why not."""
    return theano_runtime.unavailable(device)


class Network:
    """An LSTM in cuDNN. It follows the contract of network.contract.Network."""

    def __init__(self, work: Workload, device: str, tf32: bool = False) -> None:
        self._theano = theano_runtime.prepare(device)
        self._function = importlib.import_module("rnnbench.theano_runtime.function")  # imports Theano
        rnn = importlib.import_module("rnnbench.theano_runtime.rnn")
        # Theano would copy the divisor of mean(), or a scalar, to the GPU at each call. This vector stays there.
        self._size = self._theano.shared(np.array([work.targets.size], FLOAT), broadcastable=(True,))
        self._sizes = [work.hidden] * (work.depth + 1)
        math_type = rnn.TF32 if tf32 else rnn.STRICT
        block = rnn.Block("float32", work.hidden, work.depth, "lstm", math_type=math_type)
        flat = cudnn_parameters.flatten(work.weights)
        expected = block.get_param_size([work.batch, work.hidden])
        if expected != flat.size:
            raise RuntimeError(f"cuDNN expects {expected} parameters, but the network has {flat.size}")
        self._weights = self._theano.shared(flat)
        self._targets = self._theano.shared(work.targets)
        zeros = self._theano.shared(np.zeros((work.depth, work.batch, work.hidden), FLOAT))
        self._states = block.apply(self._weights, self._theano.shared(work.inputs), zeros, zeros)[0]

    @cached_property
    def forward(self) -> Callable[[], Any]:
        return self._function.compiled(self._states, "cuda")

    @cached_property
    def train(self) -> Callable[[], Any]:
        loss = (((self._states - self._targets) ** 2).sum() / self._size).sum()
        return self._function.compiled(self._theano.grad(loss, self._weights), "cuda")

    def synchronize(self) -> None:
        """Wait for all work on the GPU."""
        cuda.synchronize()

    def outputs(self) -> np.ndarray:
        return np.array(self.forward())

    def gradients(self) -> Weights:
        return cudnn_parameters.unflatten(np.array(self.train()), self._sizes)
