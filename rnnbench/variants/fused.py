"""fused: the LSTM with our own Theano operation, one for each layer. rnnbench/fused has its code."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from rnnbench import theano_runtime
from rnnbench.fused import lstm
from rnnbench.network.workload import FLOAT, Weights, Workload
from rnnbench.theano_runtime import cuda

_PARAMETERS = ("W", "U", "b")


def unavailable(device: str) -> str | None:
    """Return None if Theano can run on this device here, or one line that says why not."""
    return theano_runtime.unavailable(device)


class Network:
    """Layers of rnnbench.fused.lstm. It follows the contract of network.contract.Network."""

    def __init__(self, work: Workload, device: str, tf32: bool = False, products: str = "float32") -> None:
        self._theano = theano_runtime.prepare(device)
        self._function = importlib.import_module("rnnbench.theano_runtime.function")  # imports Theano
        self._device = device
        self._products = "tf32" if tf32 else products
        self._size = FLOAT(work.targets.size)
        self._inputs = self._theano.shared(work.inputs)
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
        """Return the graph of the last layer's hidden states: (seq, batch, hidden)."""
        states = self._inputs
        for weights in self._weights:
            states = lstm(states, **weights, products=self._products)
        return states
