"""Convert an LSTM's weights to cuDNN's flat vector of parameters, and back.

The vector starts with the matrices of all layers, for each layer W and then U. Each matrix is stored by
rows as (4·hidden, inputs), with the gates in the workload's order. The biases of all layers follow. Each
layer has two bias vectors (4·hidden), and cuDNN adds them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from rnnbench.network.workload import FLOAT, GATES, Weights


def flatten(weights: Weights) -> np.ndarray:
    """Return the flat float32 vector. Each layer's b is its first bias vector, and its second is zero."""
    parts = [layer[name].T for layer in weights for name in ("W", "U")]
    for layer in weights:
        parts += [layer["b"], np.zeros_like(layer["b"])]
    return np.concatenate([part.ravel() for part in parts]).astype(FLOAT)


def unflatten(vector: np.ndarray, sizes: Iterable[int]) -> Weights:
    """Return one dict {"W", "U", "b"} for each layer from a flat vector of gradients.

    `sizes` holds the input size and then each layer's hidden size. Both bias vectors have the same
    gradient, so b is the first.

    Raises ValueError if the vector's length doesn't match the sizes.
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
