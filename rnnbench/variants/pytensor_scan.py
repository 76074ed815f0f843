"""pytensor_scan: the network as a loop in PyTensor, Theano's successor, compiled by its default back end.

One matrix product outside the loop multiplies the inputs of the whole sequence by W. In the loop, one
product a step multiplies the hidden states by U, for all gates. If the sequences have unequal lengths, a mask makes
the states zero outside of each.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from rnnbench.network.contract import unsupported
from rnnbench.network.workload import FLOAT, GATES, KINDS, Weights, Workload


def supports(work: Workload) -> str | None:
    """Return None if this loop can compute a workload, or the reason in one line."""
    return unsupported(work, tuple(KINDS), other_inputs=True, bidirectional=True, unequal_lengths=True)


class Network:
    """A network in pytensor.scan. It follows the contract of network.contract.Network."""

    def __init__(self, work: Workload, device: str) -> None:
        self._pytensor = importlib.import_module("pytensor")
        self._work = work
        self._inputs = self._pytensor.shared(work.inputs)
        self._targets = self._pytensor.shared(work.targets)
        self._weights = [
            {name: self._pytensor.shared(array) for name, array in weights.items()} for weights in work.weights
        ]
        self._mask = None if work.least_length is None else self._pytensor.shared(work.mask, shape=(None, None, 1))

    @cached_property
    def forward(self) -> Callable[[], Any]:
        return self._compiled(self._states())

    @cached_property
    def train(self) -> Callable[[], Any]:
        loss = self._mean((self._states() - self._targets) ** 2)
        parameters = [parameter for weights in self._weights for parameter in weights.values()]
        return self._compiled(self._pytensor.grad(loss, parameters))

    def synchronize(self) -> None:
        """Do nothing: PyTensor's calls return when their work is done."""

    def outputs(self) -> np.ndarray:
        return np.array(self.forward())

    def gradients(self) -> Weights:
        flat = iter(self.train())
        return [{name: np.array(next(flat)) for name in weights} for weights in self._weights]

    def _compiled(self, output: Any) -> Callable[[], Any]:
        function = self._pytensor.function([], output)
        function()  # Numba compiles at the first call
        return function

    def _mean(self, errors: Any) -> Any:
        """Return the mean of the squared errors of all steps that the sequences have."""
        if self._mask is None:
            return errors.mean(dtype=FLOAT)
        return errors.sum(dtype=FLOAT) / FLOAT(self._work.loss_size)

    def _states(self) -> Any:
        """Return the graph of the last layer's hidden states, (seq, batch, features)."""
        states, directions = self._inputs, self._work.directions
        for number in range(0, len(self._weights), directions):
            outputs = [
                self._layer(weights, states, is_backward=bool(direction))
                for direction, weights in enumerate(self._weights[number : number + directions])
            ]
            states = outputs[0] if directions == 1 else self._pytensor.tensor.concatenate(outputs, axis=2)
        return states

    def _layer(self, weights: dict[str, Any], inputs: Any, is_backward: bool) -> Any:
        """Return the graph of the hidden states of one direction of a layer, (seq, batch, hidden)."""
        tensor, work = self._pytensor.tensor, self._work
        cell = getattr(self, f"_{work.kind}")
        constants = [weights[name] for name in ("U", "c") if name in weights]

        def step(product: Any, *others: Any) -> list[Any]:
            if self._mask is None:
                return cell(product, *others)
            mask, *rest = others
            return [mask * each for each in cell(product, *rest)]

        seq, batch = inputs.shape[0], inputs.shape[1]
        inputs_size = len(weights["W"].get_value(borrow=True))
        products = tensor.dot(inputs.reshape((seq * batch, inputs_size)), weights["W"]) + weights["b"]
        sequences = [products.reshape((seq, batch, len(KINDS[work.kind]) * work.hidden))]
        if self._mask is not None:
            sequences.append(self._mask)
        # Both give the same zeros. With the first PyTensor compiles the same code as for the older figures.
        same_size = inputs_size == work.hidden
        zeros = tensor.zeros_like(inputs[0]) if same_size else tensor.zeros((batch, work.hidden), FLOAT)
        results = self._pytensor.scan(
            step,
            sequences=sequences,
            outputs_info=[zeros, zeros] if work.kind == "lstm" else [zeros],
            non_sequences=constants,
            go_backwards=is_backward,
            return_updates=False,
        )
        states = results[0] if work.kind == "lstm" else results
        return states[::-1] if is_backward else states

    def _lstm(self, product: Any, state: Any, cell: Any, recurrent: Any) -> list[Any]:
        tensor = self._pytensor.tensor
        gates = product + tensor.dot(state, recurrent)
        i, f, g, o = tensor.split(gates, [self._work.hidden] * GATES, axis=1)
        cell = tensor.sigmoid(f) * cell + tensor.sigmoid(i) * tensor.tanh(g)
        return [tensor.sigmoid(o) * tensor.tanh(cell), cell]

    def _gru(self, product: Any, state: Any, recurrent: Any, bias: Any) -> list[Any]:
        tensor, sizes = self._pytensor.tensor, [self._work.hidden] * 3
        r, z, n = tensor.split(product, sizes, axis=1)
        r_recurrent, z_recurrent, n_recurrent = tensor.split(tensor.dot(state, recurrent), sizes, axis=1)
        r, z = tensor.sigmoid(r + r_recurrent), tensor.sigmoid(z + z_recurrent)
        n = tensor.tanh(n + r * (n_recurrent + bias))
        return [(1 - z) * n + z * state]

    def _rnn_tanh(self, product: Any, state: Any, recurrent: Any) -> list[Any]:
        tensor = self._pytensor.tensor
        return [tensor.tanh(product + tensor.dot(state, recurrent))]

    def _rnn_relu(self, product: Any, state: Any, recurrent: Any) -> list[Any]:
        tensor = self._pytensor.tensor
        return [tensor.maximum(product + tensor.dot(state, recurrent), 0)]
