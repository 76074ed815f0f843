"""An LSTM's parameters as cuDNN wants them, in one flat vector, from and to the workload's weights.

First come each layer's matrices, W's and then U's: their gates in the workload's order, each matrix
(gates · hidden, input) by rows. Then come each layer's biases: two vectors, which cuDNN adds up.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from rnnbench.network.workload import FLOAT, GATES, Weights


def flatten(weights: Weights) -> np.ndarray:
    """Return the flat vector: b is the first of the two bias vectors, the second is zero."""
    parts = [layer[name].T for layer in weights for name in ("W", "U")]
    for layer in weights:
        parts += [layer["b"], np.zeros_like(layer["b"])]
    return np.concatenate([part.ravel() for part in parts]).astype(FLOAT)


def unflatten(vector: np.ndarray, sizes: Iterable[int]) -> Weights:
    """Return one dict {"W", "U", "b"} a layer from a flat vector of gradients.

    `sizes` are the input's and each layer's. Both bias vectors have the gradient of their sum: the
    first is taken.

    Raises ValueError if the vector is that of another network.
    """
    sizes = list(sizes)
    layers: Weights = []
    expected = sum(GATES * hidden * (inputs + hidden + 2) for inputs, hidden in pairwise(sizes))
    if vector.size != expected:
        raise ValueError(f"{vector.size} parameters don't fit a network of sizes {sizes}, which has {expected}")
    start = 0
    for inputs, hidden in pairwise(sizes):
        layer = {}
        for name, rows in (("W", inputs), ("U", hidden)):
            end = start + GATES * hidden * rows
            layer[name] = np.ascontiguousarray(vector[start:end].reshape(GATES * hidden, rows).T)
            start = end
        layers.append(layer)
    for layer, hidden in zip(layers, sizes[1:], strict=True):
        layer["b"] = vector[start : start + GATES * hidden].copy()
        start += 2 * GATES * hidden
    return layers
