"""cudnn: cuDNN's fused networks, called through Theano's RNNBlock.

It uses cuDNN's STANDARD algorithm and linear input, as the published benchmark does. Products are in
strict float32, or in TF32 with the option `tf32`. Theano calls cuDNN through
theano_runtime/include/cuda/cudnn.h, which launches repeated calls as CUDA graphs.

Theano passes no lengths to cuDNN. So sequences of unequal lengths are computed to the end of the longest, and the
outputs after their own ends are set to 0.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from rnnbench import theano_runtime
from rnnbench.network.contract import unsupported
from rnnbench.network.workload import FLOAT, KINDS, Weights, Workload
from rnnbench.theano_runtime import cuda
from rnnbench.variants import cudnn_parameters


def unavailable(device: str) -> str | None:
    """Return None if cuDNN can run on this device here, or one line that says why not."""
    return theano_runtime.unavailable(device)


def supports(work: Workload) -> str | None:
    """Return None if cuDNN can compute a workload through Theano, or one line that says why not."""
    if work.bidirectional and work.least_length is not None:
        return "Theano passes no lengths to cuDNN, so a backward direction can't start at a shorter sequence's end"
    return unsupported(work, tuple(KINDS), other_inputs=True, bidirectional=True, unequal_lengths=True)


class Network:
    """A network in cuDNN. It follows the contract of network.contract.Network."""

    def __init__(self, work: Workload, device: str, tf32: bool = False) -> None:
        self._theano = theano_runtime.prepare(device)
        self._function = importlib.import_module("rnnbench.theano_runtime.function")  # imports Theano
        rnn = importlib.import_module("rnnbench.theano_runtime.rnn")
        # Theano would copy the divisor of mean(), or a scalar, to the GPU at each call. This vector stays there.
        self._size = self._theano.shared(np.array([work.loss_size], FLOAT), broadcastable=(True,))
        self._shapes = [{name: array.shape for name, array in layer.items()} for layer in work.weights]
        block = rnn.Block(
            "float32",
            work.hidden,
            work.depth,
            work.kind,
            direction_mode="bidirectional" if work.bidirectional else "unidirectional",
            math_type=rnn.TF32 if tf32 else rnn.STRICT,
        )
        flat = cudnn_parameters.flatten(work.weights)
        expected = block.get_param_size([work.batch, work.input_size])
        if expected != flat.size:
            raise RuntimeError(f"cuDNN expects {expected} parameters, but the network has {flat.size}")
        self._weights = self._theano.shared(flat)
        self._targets = self._theano.shared(work.targets)
        zeros = self._theano.shared(np.zeros((work.directions * work.depth, work.batch, work.hidden), FLOAT))
        initial = [zeros, zeros] if work.kind == "lstm" else [zeros]
        self._states = block.apply(self._weights, self._theano.shared(work.inputs), *initial)[0]
        if work.least_length is not None:
            self._states = self._states * self._theano.shared(work.mask, broadcastable=(False, False, True))

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
        return cudnn_parameters.unflatten(np.array(self.train()), self._shapes)
