"""scan: a loop in Theano's graph for each layer and direction, in the form that Theano compiles to the fastest code.

- One matrix product outside the loop multiplies the inputs of the whole sequence by W. In the loop, one
  product a step multiplies the hidden states by U, for all gates.
- Arrays are feature-major, (features, batch), so the gates of a product are contiguous blocks. The
  compiler uses vector instructions only for loops over contiguous arrays.
- sigmoid(x) = (1 + tanh(x/2)) / 2 turns the nonlinearities into one tanh. Halving is exact.
- The loop carries the recurrent product U·h instead of h. The forward loop stores this product, so the
  gradient's loop needn't compute it again to get the gates.
- After a sequence's end its inputs are 0 and b isn't added. So a loop that starts there, at the end of the longest
  sequence, keeps a state of 0 until the sequence's own last step. It needs no mask.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rnnbench import theano_runtime
from rnnbench.network.contract import unsupported
from rnnbench.network.workload import FLOAT, GATES, KINDS, Weights, Workload
from rnnbench.theano_runtime import cuda


def unavailable(device: str) -> str | None:
    """Return None if scan can run on this device here, or one line that says why not."""
    return theano_runtime.unavailable(device)


def supports(work: Workload) -> str | None:
    """Return None if scan can compute a workload, or one line that says why not."""
    return unsupported(work, tuple(KINDS), other_inputs=True, bidirectional=True, unequal_lengths=True)


class Network:
    """A network in theano.scan. It follows the contract of network.contract.Network."""

    def __init__(self, work: Workload, device: str) -> None:
        self._theano = theano_runtime.prepare(device)
        self._function = importlib.import_module("rnnbench.theano_runtime.function")  # imports Theano
        self._device = device
        self._kind = _KINDS[work.kind]
        self._hidden = work.hidden
        self._directions = work.directions
        # Theano would copy the divisor of mean(), or a scalar, to a GPU at each call. This vector stays there.
        self._size = self._theano.shared(np.array([work.loss_size], FLOAT), broadcastable=(True,))
        # After a sequence's end its inputs are 0. NumPy reshapes them once here. Theano would reshape a shared variable
        # in Python at each call.
        inputs = np.where(work.mask, work.inputs, FLOAT(0)).reshape(-1, work.input_size)
        self._inputs = self._theano.shared(inputs)
        self._targets = self._theano.shared(work.targets)
        self._mask = None
        if work.least_length is not None:
            mask = work.mask.reshape(work.seq, 1, work.batch)
            self._mask = self._theano.shared(mask, broadcastable=(False, True, False))
            self._present = self._theano.shared(mask.reshape(1, -1), broadcastable=(True, False))
        # Feature-major: W is (gates·hidden, inputs).
        self._weights = [
            {name: self._theano.shared(np.ascontiguousarray(array.T)) for name, array in layer.items()}
            for layer in work.weights
        ]

    @cached_property
    def forward(self) -> Callable[[], Any]:
        return self._compiled(self._states().dimshuffle(0, 2, 1))

    @cached_property
    def train(self) -> Callable[[], Any]:
        # The targets are transposed instead of the states, so that the states' gradients stay contiguous.
        squares = (self._states() - self._targets.dimshuffle(0, 2, 1)) ** 2
        parameters = [parameter for layer in self._weights for parameter in layer.values()]
        return self._compiled(self._theano.grad((squares.sum() / self._size).sum(), parameters))

    def synchronize(self) -> None:
        """Wait for all work on the GPU. On the CPU Theano's calls return when their work is done."""
        if self._device == "cuda":
            cuda.synchronize()

    def outputs(self) -> np.ndarray:
        return np.array(self.forward(), order="C")

    def gradients(self) -> Weights:
        flat = iter(self.train())
        return [{name: np.array(np.asarray(next(flat)).T, order="C") for name in layer} for layer in self._weights]

    def _compiled(self, output: Any) -> Callable[[], Any]:
        # The excluded rewrite moves element-wise work from the gradient's loop to time-reversed arrays,
        # which aren't contiguous.
        return self._function.compiled(output, self._device, without=["scanOp_pushout_seqs_ops"])

    def _states(self) -> Any:
        """Return the graph of the last layer's hidden states: (seq, output_size, batch)."""
        seq, batch = self._targets.shape[0], self._targets.shape[1]
        starts = range(0, len(self._weights), self._directions)
        layers = [self._weights[start : start + self._directions] for start in starts]
        flat = self._inputs.T
        for layer in layers[:-1]:
            states = self._layer(layer, flat, seq, batch)
            flat = states.dimshuffle(1, 0, 2).reshape((states.shape[1], seq * batch))
        return self._layer(layers[-1], flat, seq, batch)

    def _layer(self, directions: list[dict[str, Any]], flat: Any, seq: Any, batch: Any) -> Any:
        """Return the graph of a layer's states, (seq, output_size, batch), from its inputs, (features, seq·batch)."""
        states = [
            self._direction(weights, flat, seq, batch, backwards=number > 0)
            for number, weights in enumerate(directions)
        ]
        return self._theano.tensor.concatenate(states, axis=1)

    def _direction(self, weights: dict[str, Any], flat: Any, seq: Any, batch: Any, backwards: bool) -> Any:
        """Return the graph of one direction's states, (seq, hidden, batch)."""
        tensor = self._theano.tensor
        hidden = weights["U"].shape[1]
        factors, absent = (
            np.repeat(np.array(each, FLOAT), self._hidden) for each in (self._kind.factors, self._kind.absent)
        )
        inputs, recurrent = (weights[name] * factors[:, np.newaxis] for name in ("W", "U"))
        bias = weights["b"] * factors
        # BLAS adds this outer product with ones and sums its gradient. It can't do that for a broadcast.
        present = tensor.ones((1, seq * batch)) if self._mask is None else self._present
        offset = tensor.dot(bias.dimshuffle(0, "x"), present)
        if self._mask is not None and any(absent):
            offset += tensor.dot(absent[:, np.newaxis], 1 - present)
        gates = len(self._kind.factors)
        products = (tensor.dot(inputs, flat) + offset).reshape((gates * hidden, seq, batch))
        constants = [recurrent]
        if "c" in weights:
            constants.insert(0, tensor.dot(weights["c"].dimshuffle(0, "x"), tensor.ones((1, batch))))
        zeros = tensor.zeros((hidden, batch))

        def step(product: Any, *arguments: Any) -> list[Any]:
            *given, recurrent = arguments
            results = self._kind.step(tensor, self._hidden, product.reshape(given[0].shape), *given)
            return [tensor.dot(recurrent, results[-1]), *results]

        (*_, states), _ = self._theano.scan(
            step,
            # Flattening copies the products, so that each step's are contiguous: (gates, batch).
            sequences=products.dimshuffle(1, 0, 2).flatten(2),
            outputs_info=[
                tensor.zeros((gates * hidden, batch)),
                *(zeros if carried else None for carried in self._kind.carried),
            ],
            non_sequences=constants,
            go_backwards=backwards,
        )
        if backwards:
            return states[::-1]
        return states if self._mask is None else states * self._mask


class _Kind(NamedTuple):
    """How the loop computes one kind of network.

    `step` takes Theano's tensor module, the hidden size, and of one time step: the inputs' product with W, the last
    states' product with U, what else the loop carries, and c if the kind has it. It returns arrays, the states last.
    """

    step: Callable[..., tuple[Any, ...]]
    factors: tuple[float, ...]  # of each gate's weights: a half if the gate is a sigmoid
    carried: tuple[bool, ...]  # whether the next step needs each of the arrays that `step` returns
    absent: tuple[float, ...]  # each gate's product where a sequence has no step: with it, a state of 0 stays 0


def _lstm(tensor: Any, hidden: int, product: Any, recurrent: Any, cell: Any) -> tuple[Any, ...]:
    gates = tensor.tanh(product + recurrent)
    # The sizes are constants. Theano would copy computed sizes to a GPU, and back at each step.
    i, f, g, o = tensor.split(gates, [hidden] * GATES, GATES)
    cell = (0.5 * f + 0.5) * cell + (0.5 * i + 0.5) * g
    return cell, (0.5 * o + 0.5) * tensor.tanh(cell)


def _gru(tensor: Any, hidden: int, product: Any, recurrent: Any, state: Any, c: Any) -> tuple[Any, ...]:
    (gates, n), (gates_recurrent, n_recurrent) = (
        tensor.split(each, [2 * hidden, hidden], 2) for each in (product, recurrent)
    )
    gates = gates + gates_recurrent
    # Theano merges element-wise operations unless a split or a join lies between them, and the compiler uses no vector
    # instructions for a tanh that is merged with more than one addition. Computing r and z twice is faster than that.
    r, _ = tensor.split(tensor.tanh(gates), [hidden] * 2, 2)
    n = n + (0.5 * r + 0.5) * (n_recurrent + c)
    _, z, n = tensor.split(tensor.tanh(tensor.join(0, gates, n)), [hidden] * 3, 3)
    return ((0.5 - 0.5 * z) * n + (0.5 * z + 0.5) * state,)


def _rnn_tanh(tensor: Any, hidden: int, product: Any, recurrent: Any) -> tuple[Any, ...]:
    return (tensor.tanh(product + recurrent),)


def _rnn_relu(tensor: Any, hidden: int, product: Any, recurrent: Any) -> tuple[Any, ...]:
    return (tensor.maximum(product + recurrent, 0),)


_KINDS = {
    "lstm": _Kind(_lstm, (0.5, 0.5, 1, 0.5), (True, False), (0, 0, 0, 0)),
    "gru": _Kind(_gru, (0.5, 0.5, 1), (True,), (0, 20, 0)),
    "rnn_tanh": _Kind(_rnn_tanh, (1,), (False,), (0,)),
    "rnn_relu": _Kind(_rnn_relu, (1,), (False,), (0,)),
}
