"""fused: the LSTM with our own Theano operation, one for each direction of a layer. rnnbench/fused has its code.

A backward direction gets the sequence reversed, and its states are reversed again.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from rnnbench import theano_runtime
from rnnbench.fused import lstm
from rnnbench.network.contract import unsupported
from rnnbench.network.workload import FLOAT, Weights, Workload
from rnnbench.theano_runtime import cuda, theano_pymc

_PARAMETERS = ("W", "U", "b")


def unavailable(device: str) -> str | None:
    """Return None if Theano can run on this device here, or one line that says why not."""
    if theano_pymc.is_installed():
        return "it needs Theano 1.0.5, and Theano-PyMC is installed, whose operations take other arguments: use scan"
    return theano_runtime.unavailable(device)


def supports(work: Workload) -> str | None:
    """Return None if the operation can compute a workload, or one line that says why not."""
    return unsupported(work, other_inputs=True, bidirectional=True, unequal_lengths=True)


class Network:
    """Layers of rnnbench.fused.lstm. It follows the contract of network.contract.Network."""

    def __init__(self, work: Workload, device: str, tf32: bool = False, products: str = "float32") -> None:
        self._theano = theano_runtime.prepare(device)
        self._function = importlib.import_module("rnnbench.theano_runtime.function")  # imports Theano
        self._device = device
        self._products = "tf32" if tf32 else products
        self._directions = work.directions
        self._size = FLOAT(work.loss_size)
        # After a sequence's end its inputs are 0.
        self._inputs = self._theano.shared(np.where(work.mask, work.inputs, FLOAT(0)))
        self._mask = None
        if work.least_length is not None:
            self._mask = self._theano.shared(work.mask, broadcastable=(False, False, True))
        self._targets = self._theano.shared(work.targets)
        self._weights = [{name: self._theano.shared(layer[name]) for name in _PARAMETERS} for layer in work.weights]

    @cached_property
    def forward(self) -> Callable[[], Any]:
        return self._function.compiled(self._states(), self._device)

    @cached_property
    def train(self) -> Callable[[], Any]:
        loss = ((self._states() - self._targets) ** 2).sum() / self._size
        parameters = [layer[name] for layer in self._weights for name in _PARAMETERS]
        return self._function.compiled(self._theano.grad(loss, parameters), self._device)

    def synchronize(self) -> None:
        """Wait for all work on the GPU. On the CPU, Theano's calls return when their work is done."""
        if self._device == "cuda":
            cuda.synchronize()
            importlib.import_module("rnnbench.fused.gpu").check()

    def outputs(self) -> np.ndarray:
        return np.array(self.forward())

    def gradients(self) -> Weights:
        flat = iter(self.train())
        return [{name: np.array(next(flat)) for name in _PARAMETERS} for _ in self._weights]

    def _states(self) -> Any:
        """Return the graph of the last layer's hidden states: (seq, batch, output_size)."""
        states = self._inputs
        for start in range(0, len(self._weights), self._directions):
            forward, *backward = self._weights[start : start + self._directions]
            found = [self._forward(states, **forward), *(self._backward(states, **weights) for weights in backward)]
            states = self._theano.tensor.concatenate(found, axis=2)
        return states

    def _forward(self, inputs: Any, W: Any, U: Any, b: Any) -> Any:
        states = lstm(inputs, W, U, b, products=self._products)
        return states if self._mask is None else states * self._mask

    def _backward(self, inputs: Any, W: Any, U: Any, b: Any) -> Any:
        if self._mask is not None:
            # The mask is one more input, and b is its weights. After a sequence's end nothing is added to the gates, so
            # the state stays 0 until the sequence's last step.
            tensor = self._theano.tensor
            inputs = tensor.concatenate([inputs, self._mask], axis=2)
            W, b = tensor.concatenate([W, b.dimshuffle("x", 0)], axis=0), tensor.zeros_like(b)
        return lstm(inputs[::-1], W, U, b, products=self._products)[::-1]
