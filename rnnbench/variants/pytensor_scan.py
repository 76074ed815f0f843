"""pytensor_scan: the LSTM as a loop in PyTensor, Theano's successor, compiled by its default back end.

One matrix product outside the loop multiplies the inputs of the whole sequence by W. In the loop, one
product a step multiplies the hidden states by U, for all four gates.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from rnnbench.network.workload import FLOAT, GATES, Weights, Workload


class Network:
    """An LSTM in pytensor.scan. It follows the contract of network.contract.Network."""

    def __init__(self, work: Workload, device: str) -> None:
        self._pytensor = importlib.import_module("pytensor")
        self._hidden = work.hidden
        self._inputs = self._pytensor.shared(work.inputs)
        self._targets = self._pytensor.shared(work.targets)
        self._weights = [
            {name: self._pytensor.shared(array) for name, array in layer.items()} for layer in work.weights
        ]

    @cached_property
    def forward(self) -> Callable[[], Any]:
        return self._compiled(self._states())

    @cached_property
    def train(self) -> Callable[[], Any]:
        loss = ((self._states() - self._targets) ** 2).mean(dtype=FLOAT)
        parameters = [parameter for layer in self._weights for parameter in layer.values()]
        return self._compiled(self._pytensor.grad(loss, parameters))

    def synchronize(self) -> None:
        """Do nothing: PyTensor's calls return when their work is done."""

    def outputs(self) -> np.ndarray:
        return np.array(self.forward())

    def gradients(self) -> Weights:
        flat = iter(self.train())
        return [{name: np.array(next(flat)) for name in layer} for layer in self._weights]

    def _compiled(self, output: Any) -> Callable[[], Any]:
        function = self._pytensor.function([], output)
        function()  # Numba compiles at the first call
        return function

    def _states(self) -> Any:
        """Return the graph of the last layer's hidden states, (seq, batch, hidden)."""
        states = self._inputs
        for layer in self._weights:
            states = self._layer(layer, states)
        return states

    def _layer(self, weights: dict[str, Any], inputs: Any) -> Any:
        tensor = self._pytensor.tensor

        def step(product: Any, state: Any, cell: Any, recurrent: Any) -> list[Any]:
            gates = product + tensor.dot(state, recurrent)
            i, f, g, o = tensor.split(gates, [self._hidden] * GATES, axis=1)
            cell = tensor.sigmoid(f) * cell + tensor.sigmoid(i) * tensor.tanh(g)
            return [tensor.sigmoid(o) * tensor.tanh(cell), cell]

        seq, batch = inputs.shape[0], inputs.shape[1]
        products = tensor.dot(inputs.reshape((seq * batch, self._hidden)), weights["W"]) + weights["b"]
        zeros = tensor.zeros_like(inputs[0])
        states, _ = self._pytensor.scan(
            step,
            sequences=products.reshape((seq, batch, GATES * self._hidden)),
            outputs_info=[zeros, zeros],
            non_sequences=[weights["U"]],
            return_updates=False,
        )
        return states
