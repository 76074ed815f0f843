"""Convert a network's weights to cuDNN's flat vector of parameters, and back.

The vector starts with the matrices of all directions of all layers, in the workload's order, for each W and then U.
Each matrix is stored by rows as (gates·hidden, inputs), with the gates in the workload's order. The biases follow in
the same order. Each direction has two bias vectors (gates·hidden). cuDNN adds the first to the inputs' product, and the
second to the states' product. So a GRU's c is the end of the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from rnnbench.network.workload import FLOAT, Weights


def flatten(weights: Weights) -> np.ndarray:
    """Return the flat float32 vector. The second bias vector is zero, except for a GRU's c."""
    parts = [layer[name].T for layer in weights for name in ("W", "U")]
    for layer in weights:
        second = np.zeros_like(layer["b"])
        if "c" in layer:
            second[-layer["c"].size :] = layer["c"]
        parts += [layer["b"], second]
    return np.concatenate([part.ravel() for part in parts]).astype(FLOAT)


def unflatten(vector: np.ndarray, shapes: Iterable[Mapping[str, tuple[int, ...]]]) -> Weights:
    """Return a list like the workload's weights from a flat vector of gradients.

    `shapes` holds a dict of the shapes of the weights for each direction of each layer. b's gradient is that of the
    first bias vector.

    Raises ValueError if the vector's length doesn't match the shapes.
    """
    shapes = list(shapes)
    expected = sum(
        int(np.prod(shape)) * (2 if name == "b" else 1)
        for layer in shapes
        for name, shape in layer.items()
        if name != "c"
    )
    if vector.size != expected:
        raise ValueError(f"{vector.size} parameters don't fit a network with {expected}")
    start = 0

    def take(count: int) -> np.ndarray:
        nonlocal start
        start += count
        return vector[start - count : start]

    layers: Weights = []
    for layer in shapes:
        layers.append({})
        for name in ("W", "U"):
            rows, columns = layer[name]
            layers[-1][name] = np.ascontiguousarray(take(rows * columns).reshape(columns, rows).T)
    for layer, gradients in zip(shapes, layers, strict=True):
        (size,) = layer["b"]
        gradients["b"], second = take(size).copy(), take(size)
        if "c" in layer:
            gradients["c"] = second[-layer["c"][0] :].copy()
    return layers
