"""scan: the LSTM as a loop in Theano's graph, in the form that Theano compiles to the fastest code.

- One matrix product outside the loop multiplies the inputs of the whole sequence by W. In the loop, one
  product a step multiplies the hidden states by U, for all four gates.
- Arrays are feature-major, (features, batch), so the gates of a product are contiguous blocks. The
  compiler uses vector instructions only for loops over contiguous arrays.
- sigmoid(x) = (1 + tanh(x/2)) / 2 turns the four nonlinearities into one tanh. Halving is exact.
- The loop carries the recurrent product U·h instead of h. The forward loop stores this product, so the
  gradient's loop needn't compute it again to get the gates.
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
    """Return None if scan can run on this device here, or one line that says why not."""
    return theano_runtime.unavailable(device)


class Network:
    """An LSTM in theano.scan. It follows the contract of network.contract.Network."""

    def __init__(self, work: Workload, device: str) -> None:
        self._theano = theano_runtime.prepare(device)
        self._function = importlib.import_module("rnnbench.theano_runtime.function")  # imports Theano
        self._device = device
        self._hidden = work.hidden
        # Theano would copy the divisor of mean(), or a scalar, to a GPU at each call. This vector stays there.
        self._size = self._theano.shared(np.array([work.targets.size], FLOAT), broadcastable=(True,))
        # NumPy reshapes the inputs once here. Theano would reshape a shared variable in Python at each call.
        self._inputs = self._theano.shared(work.inputs.reshape(-1, work.hidden))
        self._targets = self._theano.shared(work.targets)
        # Feature-major: (4·hidden, hidden).
        self._weights = [
            {name: self._theano.shared(np.ascontiguousarray(layer[name].T)) for name in _PARAMETERS}
            for layer in work.weights
        ]

    @cached_property
    def forward(self) -> Callable[[], Any]:
        return self._compiled(self._states().dimshuffle(0, 2, 1))

    @cached_property
    def train(self) -> Callable[[], Any]:
        # The targets are transposed instead of the states, so that the states' gradients stay contiguous.
        squares = (self._states() - self._targets.dimshuffle(0, 2, 1)) ** 2
        parameters = [layer[name] for layer in self._weights for name in _PARAMETERS]
        return self._compiled(self._theano.grad((squares.sum() / self._size).sum(), parameters))

    def synchronize(self) -> None:
        """Wait for all work on the GPU. On the CPU Theano's calls return when their work is done."""
        if self._device == "cuda":
            cuda.synchronize()

    def outputs(self) -> np.ndarray:
        return np.array(self.forward(), order="C")

    def gradients(self) -> Weights:
        flat = iter(self.train())
        return [{name: np.array(np.asarray(next(flat)).T, order="C") for name in _PARAMETERS} for _ in self._weights]

    def _compiled(self, output: Any) -> Callable[[], Any]:
        # The excluded rewrite moves element-wise work from the gradient's loop to time-reversed arrays,
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
        """Return the graph of a layer's hidden states, (seq, hidden, batch), from its inputs, (features, seq·batch)."""
        tensor = self._theano.tensor
        hidden = weights["U"].shape[1]
        halves = np.repeat(np.array([0.5, 0.5, 1, 0.5], FLOAT), self._hidden)
        inputs, recurrent = (weights[name] * halves[:, np.newaxis] for name in ("W", "U"))
        bias = weights["b"] * halves
        # BLAS adds this outer product with ones and sums its gradient. It can't do that for a broadcast.
        offset = tensor.dot(bias.dimshuffle(0, "x"), tensor.ones((1, seq * batch)))
        products = (tensor.dot(inputs, flat) + offset).reshape((GATES * hidden, seq, batch))

        def step(product: Any, carried: Any, cell: Any, recurrent: Any) -> list[Any]:
            gates = tensor.tanh(product.reshape(carried.shape) + carried)
            # The sizes are constants. Theano would copy computed sizes to a GPU, and back at each step.
            i, f, g, o = tensor.split(gates, [self._hidden] * GATES, GATES)
            cell = (0.5 * f + 0.5) * cell + (0.5 * i + 0.5) * g
            state = (0.5 * o + 0.5) * tensor.tanh(cell)
            return [tensor.dot(recurrent, state), cell, state]

        (_, _, states), _ = self._theano.scan(
            step,
            # Flattening copies the products, so that each step's are contiguous: (gates, batch).
            sequences=products.dimshuffle(1, 0, 2).flatten(2),
            outputs_info=[tensor.zeros((GATES * hidden, batch)), tensor.zeros((hidden, batch)), None],
            non_sequences=[recurrent],
        )
        return states
