"""The float64 reference: the network in NumPy, forward and backward. It defines which results are correct.

The equations come from Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000) and without
peepholes. The gradients come from backpropagation through time, written out by hand.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rnnbench.network.workload import GATES, Weights, Workload


class _Layer(NamedTuple):
    """The arrays of a layer's forward pass that its backward pass needs."""

    inputs: np.ndarray  # (seq, batch, hidden)
    gates: np.ndarray  # (seq, batch, 4·hidden), after their nonlinearities
    cells: np.ndarray  # (seq + 1, batch, hidden); the first is the zero initial state
    outputs: np.ndarray  # (seq + 1, batch, hidden); the first is the zero initial state


def outputs(work: Workload) -> np.ndarray:
    """Return the last layer's hidden states at every step: float64, (seq, batch, hidden)."""
    return _forward(work)[-1].outputs[1:]


def loss(work: Workload) -> float:
    """Return the mean over all elements of (output − target)²."""
    return float(np.mean((outputs(work) - work.targets) ** 2))


def gradients(work: Workload) -> Weights:
    """Return the loss's gradients: one dict per layer, {"W", "U", "b"}, float64, in the weights' shapes."""
    layers = _forward(work)
    computed = layers[-1].outputs[1:]
    d_outputs = 2 * (computed - work.targets) / computed.size
    result: Weights = []
    for layer, weights in zip(reversed(layers), reversed(work.weights), strict=True):
        gradient, d_outputs = _backward(layer, weights, d_outputs)
        result.insert(0, gradient)
    return result


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
        i, f, g, o = np.split(gates[step], GATES, axis=1)  # np.split returns views: the next lines write into gates
        for gate in (i, f, o):
            gate[:] = 1 / (1 + np.exp(-gate))
        g[:] = np.tanh(g)
        cells[step + 1] = f * cells[step] + i * g
        states[step + 1] = o * np.tanh(cells[step + 1])
    return _Layer(inputs, gates, cells, states)


def _backward(
    layer: _Layer, weights: dict[str, np.ndarray], d_outputs: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the gradients of a layer's weights and of its inputs, given the gradients of its outputs."""
    seq, _, hidden = d_outputs.shape
    recurrent = weights["U"].astype(np.float64)
    d_gates = np.empty_like(layer.gates)  # for the gates before their nonlinearities
    d_state = np.zeros_like(d_outputs[0])
    d_cell = np.zeros_like(d_outputs[0])
    for step in reversed(range(seq)):
        i, f, g, o = np.split(layer.gates[step], GATES, axis=1)
        tanh_cell = np.tanh(layer.cells[step + 1])
        d_state = d_state + d_outputs[step]
        d_cell = d_cell + d_state * o * (1 - tanh_cell**2)
        d_gates[step, :, :hidden] = d_cell * g * i * (1 - i)
        d_gates[step, :, hidden : 2 * hidden] = d_cell * layer.cells[step] * f * (1 - f)
        d_gates[step, :, 2 * hidden : 3 * hidden] = d_cell * i * (1 - g**2)
        d_gates[step, :, 3 * hidden :] = d_state * tanh_cell * o * (1 - o)
        d_cell = d_cell * f
        d_state = d_gates[step] @ recurrent.T
    gradient = {
        "W": np.tensordot(layer.inputs, d_gates, axes=((0, 1), (0, 1))),
        "U": np.tensordot(layer.outputs[:-1], d_gates, axes=((0, 1), (0, 1))),
        "b": d_gates.sum(axis=(0, 1)),
    }
    return gradient, d_gates @ weights["W"].astype(np.float64).T
