"""The definition of correct: the network in NumPy float64, forward and backward.

The equations are those of Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al.
(2000) and no peepholes; the gradients are backpropagation through time, written out by hand.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rnnbench.network.workload import GATES, Weights, Workload


class _Layer(NamedTuple):
    """What the backward pass needs of a layer's forward pass; arrays over time."""

    inputs: np.ndarray  # (seq, batch, hidden)
    gates: np.ndarray  # (seq, batch, 4·hidden), after their nonlinearities
    cells: np.ndarray  # (seq + 1, batch, hidden), from the zero initial state on
    outputs: np.ndarray  # (seq + 1, batch, hidden), likewise


def outputs(work: Workload) -> np.ndarray:
    """Return the last layer's hidden states at every step: float64, (seq, batch, hidden)."""
    return _forward(work)[-1].outputs[1:]


def loss(work: Workload) -> float:
    """Return the mean over all elements of (output − target)²."""
    return float(np.mean((outputs(work) - work.targets) ** 2))


def gradients(work: Workload) -> Weights:
    """Return the loss's gradients: one dict a layer, {"W", "U", "b"}, float64, shaped as the weights."""
    layers = _forward(work)
    last = layers[-1].outputs[1:]
    downstream = 2 * (last - work.targets) / last.size
    result: Weights = []
    for layer, weights in zip(reversed(layers), reversed(work.weights), strict=True):
        gradient, downstream = _backward(layer, weights, downstream)
        result.insert(0, gradient)
    return result


def error(array: np.ndarray, reference: np.ndarray) -> float:
    """Return ‖array − reference‖ / ‖reference‖: Euclidean norms, computed in float64.

    Two arrays of zeros differ by 0; NaN in either gives NaN. Raises ValueError for unequal shapes.
    """
    array, reference = np.asarray(array, np.float64), np.asarray(reference, np.float64)
    if array.shape != reference.shape:
        raise ValueError(f"an array of shape {array.shape} can't be compared with one of shape {reference.shape}")
    difference, norm = np.linalg.norm(array - reference), np.linalg.norm(reference)
    if norm == 0 and difference == 0:
        return 0.0
    with np.errstate(divide="ignore"):
        return float(difference / norm)


def largest_gradient_error(computed: Weights, reference: Weights) -> float:
    """Return the largest `error` over every parameter of every layer; NaN in any of them gives NaN."""
    errors = [
        error(layer[name], expected[name])
        for layer, expected in zip(computed, reference, strict=True)
        for name in expected
    ]
    return float(np.max(errors))  # unlike max(), it doesn't lose NaN


def _forward(work: Workload) -> list[_Layer]:
    layers: list[_Layer] = []
    inputs = work.inputs.astype(np.float64)
    for weights in work.weights:
        layers.append(_layer_forward(inputs, weights))
        inputs = layers[-1].outputs[1:]
    return layers


def _layer_forward(inputs: np.ndarray, weights: dict[str, np.ndarray]) -> _Layer:
    seq, batch, hidden = inputs.shape
    recurrent = weights["U"].astype(np.float64)
    gates = inputs @ weights["W"].astype(np.float64) + weights["b"]
    cells = np.zeros((seq + 1, batch, hidden))
    states = np.zeros((seq + 1, batch, hidden))
    for step in range(seq):
        gates[step] += states[step] @ recurrent
        i, f, g, o = np.split(gates[step], GATES, axis=1)  # views: the next lines write into gates
        for gate in (i, f, o):
            gate[:] = 1 / (1 + np.exp(-gate))
        g[:] = np.tanh(g)
        cells[step + 1] = f * cells[step] + i * g
        states[step + 1] = o * np.tanh(cells[step + 1])
    return _Layer(inputs, gates, cells, states)


def _backward(
    layer: _Layer, weights: dict[str, np.ndarray], downstream: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the gradients of a layer's weights and of its inputs, given those of its outputs."""
    seq, _, hidden = downstream.shape
    recurrent = weights["U"].astype(np.float64)
    products = np.empty_like(layer.gates)  # gradients of the gates before their nonlinearities
    d_state = np.zeros_like(downstream[0])
    d_cell = np.zeros_like(downstream[0])
    for step in reversed(range(seq)):
        i, f, g, o = np.split(layer.gates[step], GATES, axis=1)
        squashed = np.tanh(layer.cells[step + 1])
        d_state = d_state + downstream[step]
        d_cell = d_cell + d_state * o * (1 - squashed**2)
        products[step, :, :hidden] = d_cell * g * i * (1 - i)
        products[step, :, hidden : 2 * hidden] = d_cell * layer.cells[step] * f * (1 - f)
        products[step, :, 2 * hidden : 3 * hidden] = d_cell * i * (1 - g**2)
        products[step, :, 3 * hidden :] = d_state * squashed * o * (1 - o)
        d_cell = d_cell * f
        d_state = products[step] @ recurrent.T
    gradient = {
        "W": np.tensordot(layer.inputs, products, axes=((0, 1), (0, 1))),
        "U": np.tensordot(layer.outputs[:-1], products, axes=((0, 1), (0, 1))),
        "b": products.sum(axis=(0, 1)),
    }
    return gradient, products @ weights["W"].astype(np.float64).T
