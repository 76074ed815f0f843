"""scan: the LSTM as a loop in Theano's graph, in the form that its compiler makes the most of.

- The input product of the whole sequence is one product outside the loop; in the loop there is one
  product, of the hidden states with all four gates' weights.
- Arrays are feature-major, (features, batch): the gates of one product are then contiguous blocks,
  and only loops over contiguous arrays become vector instructions.
- sigmoid(x) = (1 + tanh(x/2)) / 2 turns the four nonlinearities into one tanh; halving is exact.
- The loop carries the recurrent product U·h instead of h. The gradient's loop starts from what the
  forward loop stored, so it needs no product to recompute the gates.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from rnnbench import theano_runtime
from rnnbench.network.workload import FLOAT, GATES, Weights, Workload
from rnnbench.theano_runtime import cuda

_PARAMETERS = ("W", "U", "b")


def unavailable(device: str) -> str | None:
    """Return None, or why scan can't run on this device here, in one line."""
    return theano_runtime.unavailable(device)


class Network:
    """An LSTM written with theano.scan; the contract is network.contract.Network's."""

    def __init__(self, work: Workload, device: str) -> None:
        self._theano = theano_runtime.prepare(device)
        self._function = importlib.import_module("rnnbench.theano_runtime.function")  # imports Theano
        self._device = device
        self._hidden = work.hidden
        # Not mean(), and no scalar: on a GPU Theano would copy those there at each call, to divide by them.
        self._size = self._theano.shared(np.array([work.targets.size], FLOAT), broadcastable=(True,))
        # Flat here, since Theano reshapes a shared variable in Python.
        self._inputs = self._theano.shared(work.inputs.reshape(-1, work.hidden))
        self._targets = self._theano.shared(work.targets)
        # Feature-major too: (4·hidden, hidden).
        self._weights = [
            {name: self._theano.shared(np.ascontiguousarray(layer[name].T)) for name in _PARAMETERS}
            for layer in work.weights
        ]

    @cached_property
    def forward(self) -> Callable[[], Any]:
        return self._compiled(self._states().dimshuffle(0, 2, 1))

    @cached_property
    def train(self) -> Callable[[], Any]:
        # The targets are turned, not the states: the states' gradients then stay contiguous.
        squares = (self._states() - self._targets.dimshuffle(0, 2, 1)) ** 2
        parameters = [layer[name] for layer in self._weights for name in _PARAMETERS]
        return self._compiled(self._theano.grad((squares.sum() / self._size).sum(), parameters))

    def synchronize(self) -> None:
        """Wait for the GPU; on the CPU Theano's calls return when their work is done."""
        if self._device == "cuda":
            cuda.synchronize()

    def outputs(self) -> np.ndarray:
        return np.array(self.forward(), order="C")

    def gradients(self) -> Weights:
        flat = iter(self.train())
        return [{name: np.array(np.asarray(next(flat)).T, order="C") for name in _PARAMETERS} for _ in self._weights]

    def _compiled(self, output: Any) -> Callable[[], Any]:
        # This rewrite moves element-wise work out of the gradient's loop onto time-reversed arrays,
        # which aren't contiguous.
        return self._function.compiled(output, self._device, without=["scanOp_pushout_seqs_ops"])

    def _states(self) -> Any:
        """Return the graph of the last layer's hidden states: (seq, hidden, batch)."""
        seq, batch = self._targets.shape[0], self._targets.shape[1]
        flat = self._inputs.T
        for weights in self._weights[:-1]:
            states = self._layer(weights, flat, seq, batch)
            flat = states.dimshuffle(1, 0, 2).reshape((states.shape[1], seq * batch))
        return self._layer(self._weights[-1], flat, seq, batch)

    def _layer(self, weights: dict[str, Any], flat: Any, seq: Any, batch: Any) -> Any:
        """Return the graph of a layer's hidden states, (seq, hidden, batch), from (features, seq·batch)."""
        tensor = self._theano.tensor
        hidden = weights["U"].shape[1]
        halves = np.repeat(np.array([0.5, 0.5, 1, 0.5], FLOAT), self._hidden)
        inputs, recurrent = (weights[name] * halves[:, np.newaxis] for name in ("W", "U"))
        bias = weights["b"] * halves
        # An outer product with ones, not a broadcast: BLAS adds it, and sums its gradient.
        offset = tensor.dot(bias.dimshuffle(0, "x"), tensor.ones((1, seq * batch)))
        products = (tensor.dot(inputs, flat) + offset).reshape((GATES * hidden, seq, batch))

        def step(product: Any, carried: Any, cell: Any, recurrent: Any) -> list[Any]:
            gates = tensor.tanh(product.reshape(carried.shape) + carried)
            # Sizes known here: on a GPU Theano would copy others there and, at each step, back.
            i, f, g, o = tensor.split(gates, [self._hidden] * GATES, GATES)
            cell = (0.5 * f + 0.5) * cell + (0.5 * i + 0.5) * g
            state = (0.5 * o + 0.5) * tensor.tanh(cell)
            return [tensor.dot(recurrent, state), cell, state]

        (_, _, states), _ = self._theano.scan(
            step,
            # Flat, so that each step's products are copied together: (gates, batch), contiguous.
            sequences=products.dimshuffle(1, 0, 2).flatten(2),
            outputs_info=[tensor.zeros((GATES * hidden, batch)), tensor.zeros((hidden, batch)), None],
            non_sequences=[recurrent],
        )
        return states
