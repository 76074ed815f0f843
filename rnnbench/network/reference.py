"""The float64 reference: the network in NumPy, forward and backward. It defines which results are correct.

The LSTM's equations come from Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000) and
without peepholes. The GRU is the second form of Cho et al. (2014), which cuDNN and PyTorch use: the reset gate is
applied after the product. The plain RNN is Elman's (1990). The gradients come from backpropagation through time,
written out by hand.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np

from rnnbench.network.workload import GATES, Weights, Workload

_Arrays = tuple[np.ndarray, ...]


class _Layer(NamedTuple):
    """What the backward pass of one direction of a layer needs of its forward pass. All arrays start with the steps."""

    inputs: np.ndarray  # (seq, batch, inputs)
    previous: np.ndarray  # (seq, batch, hidden), the state before each step
    kept: list[_Arrays]  # what the kind's `backward` takes, for each step
    outputs: np.ndarray  # (seq, batch, hidden)


def outputs(work: Workload) -> np.ndarray:
    """Return the last layer's hidden states at every step: float64, (seq, batch, output_size)."""
    return _outputs(_forward(work)[-1])


def loss(work: Workload) -> float:
    """Return the mean of (output − target)² over the outputs of all steps that the sequences have."""
    return float(np.sum((outputs(work) - work.targets) ** 2) / work.loss_size)


def gradients(work: Workload) -> Weights:
    """Return the loss's gradients: a list like the workload's weights, float64, in the weights' shapes."""
    layers = _forward(work)
    d_outputs = 2 * (_outputs(layers[-1]) - work.targets) / work.loss_size
    result: Weights = []
    for number in reversed(range(work.depth)):
        d_inputs = np.zeros_like(layers[number][0].inputs)
        found = []
        for direction, d_states in enumerate(np.split(d_outputs, work.directions, axis=2)):
            weights = work.weights[number * work.directions + direction]
            gradient, added = _backward(work, layers[number][direction], weights, d_states, _order(work, direction))
            found.append(gradient)
            d_inputs += added
        result = found + result
        d_outputs = d_inputs
    return result


def gradient_tolerance(work: Workload, tolerance: float) -> float:
    """Return the largest error that a variant's gradients may have if its outputs may have the error `tolerance`.

    It is the same, except for rnn_relu, whose gradient jumps where the sum of a state is 0. A sum closer to 0 than the
    tolerance may be rounded to the other side. If a share s of the sums is so close, 4·√s is added. docs/method.md has
    the figures.
    """
    if work.kind != "rnn_relu":
        return tolerance
    sums = [[kept for (kept,) in direction.kept] for layer in _forward(work) for direction in layer]
    close = (np.abs(sums) <= tolerance) & (work.mask > 0)  # (directions of all layers, seq, batch, hidden)
    return tolerance + 4 * float(close.sum() / (work.depth * work.loss_size)) ** 0.5


def error(array: np.ndarray, reference: np.ndarray) -> float:
    """Return ‖array − reference‖ / ‖reference‖, with Euclidean norms, computed in float64.

    The error of two arrays of zeros is 0. NaN in either array gives NaN.
    Raises ValueError if the shapes differ.
    """
    array, reference = np.asarray(array, np.float64), np.asarray(reference, np.float64)
    if array.shape != reference.shape:
        raise ValueError(f"array of shape {array.shape} can't be compared with a reference of shape {reference.shape}")
    difference, norm = np.linalg.norm(array - reference), np.linalg.norm(reference)
    if norm == 0 and difference == 0:
        return 0.0
    with np.errstate(divide="ignore"):
        return float(difference / norm)


def error_or_infinity(array: np.ndarray | None, reference: np.ndarray | None) -> float:
    """Return `error`; infinity if one of the arrays is missing or their shapes differ."""
    if array is None or reference is None or np.shape(array) != np.shape(reference):
        return math.inf
    return error(array, reference)


def largest_gradient_error(computed: Weights, reference: Weights) -> float:
    """Return the largest `error` of all parameters of all layers. NaN in any of them gives NaN.

    Raises ValueError if the number of layers or a shape differs.
    """
    errors = [
        error(layer[name], expected[name])
        for layer, expected in zip(computed, reference, strict=True)
        for name in expected
    ]
    return float(np.max(errors))  # np.max keeps NaN; max() may lose it


def _forward(work: Workload) -> list[list[_Layer]]:
    """Return the forward pass of each direction of each layer."""
    layers: list[list[_Layer]] = []
    inputs = work.inputs.astype(np.float64)
    for number in range(work.depth):
        weights = work.weights[number * work.directions : (number + 1) * work.directions]
        layers.append([_layer(work, inputs, one, _order(work, direction)) for direction, one in enumerate(weights)])
        inputs = _outputs(layers[-1])
    return layers


def _outputs(directions: list[_Layer]) -> np.ndarray:
    return np.concatenate([one.outputs for one in directions], axis=2)


def _order(work: Workload, direction: int) -> range:
    return range(work.seq)[:: -1 if direction else 1]


def _layer(work: Workload, inputs: np.ndarray, weights: dict[str, np.ndarray], order: range) -> _Layer:
    cell = _CELLS[work.kind]
    recurrent = weights["U"].astype(np.float64)
    products = inputs @ weights["W"].astype(np.float64) + weights["b"]
    previous = np.zeros((work.seq, work.batch, work.hidden))
    states = np.zeros_like(previous)
    kept: list[_Arrays] = [()] * work.seq
    state = memory = np.zeros((work.batch, work.hidden))
    for step in order:
        previous[step] = state
        product = state @ recurrent
        if "c" in weights:
            product[:, -work.hidden :] += weights["c"]
        kept[step], state, memory = cell.forward(products[step], product, state, memory)
        # A sequence starts from zero in both directions, and its outputs after its end are zero.
        mask = work.mask[step].astype(bool)
        state, memory = np.where(mask, state, 0), np.where(mask, memory, 0)
        states[step] = state
    return _Layer(inputs, previous, kept, states)


def _backward(
    work: Workload, layer: _Layer, weights: dict[str, np.ndarray], d_outputs: np.ndarray, order: range
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the gradients of a direction's weights and of its inputs, given the gradients of its outputs."""
    cell = _CELLS[work.kind]
    recurrent = weights["U"].astype(np.float64)
    d_products = np.empty((work.seq, work.batch, recurrent.shape[1]))  # of the inputs' products with W
    d_recurrent = np.empty_like(d_products)  # of the states' products with U
    d_state = d_memory = np.zeros_like(d_outputs[0])
    for step in reversed(order):
        mask = work.mask[step].astype(bool)
        d_state = np.where(mask, d_state + d_outputs[step], 0)
        d_memory = np.where(mask, d_memory, 0)
        d_products[step], d_recurrent[step], d_state, d_memory = cell.backward(layer.kept[step], d_state, d_memory)
        d_state = d_state + d_recurrent[step] @ recurrent.T
    gradient = {
        "W": np.tensordot(layer.inputs, d_products, axes=((0, 1), (0, 1))),
        "U": np.tensordot(layer.previous, d_recurrent, axes=((0, 1), (0, 1))),
        "b": d_products.sum(axis=(0, 1)),
    }
    if "c" in weights:
        gradient["c"] = d_recurrent[:, :, -work.hidden :].sum(axis=(0, 1))
    return gradient, d_products @ weights["W"].astype(np.float64).T


class _Cell(Protocol):
    """One step of a kind. `product` is x·W + b, `recurrent` is h·U, and c is already added to it."""

    @staticmethod
    def forward(
        product: np.ndarray, recurrent: np.ndarray, state: np.ndarray, memory: np.ndarray
    ) -> tuple[_Arrays, np.ndarray, np.ndarray]:
        """Return what `backward` takes, the next state, and the next memory (lstm's cells)."""

    @staticmethod
    def backward(
        kept: _Arrays, d_state: np.ndarray, d_memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the gradients of `product`, `recurrent`, `state` (without its way through U) and `memory`."""


class _Lstm:
    @staticmethod
    def forward(
        product: np.ndarray, recurrent: np.ndarray, state: np.ndarray, memory: np.ndarray
    ) -> tuple[_Arrays, np.ndarray, np.ndarray]:
        i, f, g, o = np.split(product + recurrent, GATES, axis=1)
        i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
        following = f * memory + i * g
        tanh_following = np.tanh(following)
        return (i, f, g, o, memory, tanh_following), o * tanh_following, following

    @staticmethod
    def backward(
        kept: _Arrays, d_state: np.ndarray, d_memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        i, f, g, o, memory, tanh_following = kept
        d_following = d_memory + d_state * o * (1 - tanh_following**2)
        d_product = np.concatenate(
            [
                d_following * g * i * (1 - i),
                d_following * memory * f * (1 - f),
                d_following * i * (1 - g**2),
                d_state * tanh_following * o * (1 - o),
            ],
            axis=1,
        )
        return d_product, d_product, np.zeros_like(d_state), d_following * f


class _Gru:
    @staticmethod
    def forward(
        product: np.ndarray, recurrent: np.ndarray, state: np.ndarray, memory: np.ndarray
    ) -> tuple[_Arrays, np.ndarray, np.ndarray]:
        (r, z, n), (r_recurrent, z_recurrent, n_recurrent) = (
            np.split(each, 3, axis=1) for each in (product, recurrent)
        )
        r, z = _sigmoid(r + r_recurrent), _sigmoid(z + z_recurrent)
        n = np.tanh(n + r * n_recurrent)
        return (r, z, n, n_recurrent, state), (1 - z) * n + z * state, memory

    @staticmethod
    def backward(
        kept: _Arrays, d_state: np.ndarray, d_memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        r, z, n, n_recurrent, state = kept
        d_n = d_state * (1 - z) * (1 - n**2)
        d_r = d_n * n_recurrent * r * (1 - r)
        d_z = d_state * (state - n) * z * (1 - z)
        product, recurrent = (np.concatenate([d_r, d_z, last], axis=1) for last in (d_n, d_n * r))
        return product, recurrent, d_state * z, d_memory


class _Tanh:
    @staticmethod
    def forward(
        product: np.ndarray, recurrent: np.ndarray, state: np.ndarray, memory: np.ndarray
    ) -> tuple[_Arrays, np.ndarray, np.ndarray]:
        following = np.tanh(product + recurrent)
        return (following,), following, memory

    @staticmethod
    def backward(
        kept: _Arrays, d_state: np.ndarray, d_memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        d_product = d_state * (1 - kept[0] ** 2)
        return d_product, d_product, np.zeros_like(d_state), d_memory


class _Relu:
    @staticmethod
    def forward(
        product: np.ndarray, recurrent: np.ndarray, state: np.ndarray, memory: np.ndarray
    ) -> tuple[_Arrays, np.ndarray, np.ndarray]:
        total = product + recurrent
        return (total,), np.maximum(total, 0), memory

    @staticmethod
    def backward(
        kept: _Arrays, d_state: np.ndarray, d_memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        d_product = d_state * (kept[0] > 0)
        return d_product, d_product, np.zeros_like(d_state), d_memory


_CELLS: dict[str, type[_Cell]] = {"lstm": _Lstm, "gru": _Gru, "rnn_tanh": _Tanh, "rnn_relu": _Relu}


def _sigmoid(array: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-array))
