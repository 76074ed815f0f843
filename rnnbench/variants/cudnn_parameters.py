"""Convert a network's weights to cuDNN's flat vector of parameters, and back, and let a network know a mask.

The vector starts with the matrices of all directions of all layers, in the workload's order, for each W and then U.
Each matrix is stored by rows as (gates·hidden, inputs), with the gates in the workload's order. The biases follow in
the same order. Each direction has two bias vectors (gates·hidden). cuDNN adds the first to the inputs' product, and the
second to the states' product. So a GRU's c is the end of the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from rnnbench.network.workload import FLOAT, Weights, Workload

_CLOSED = 20  # the sigmoid of this is 1 in float32


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


def mask_inputs(work: Workload) -> np.ndarray:
    """Return the inputs that `with_mask` adds: the mask, and for gru also 1 - mask. (seq, batch, 1 or 2)."""
    return np.concatenate([work.mask, 1 - work.mask], axis=2) if work.kind == "gru" else work.mask


def with_mask(layer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights of one direction of a layer with the inputs of `mask_inputs` behind its own inputs.

    After a sequence's end a state of 0 stays 0 if the layer's own inputs are 0 there. So a backward direction starts
    at the sequence's own end. The bias is the weight of the mask, so nothing is added to the gates after the end. A GRU
    keeps its state there because the weight of 1 - mask sets the update gate to 1.
    """
    rows = [layer["W"], layer["b"][np.newaxis]]
    if "c" in layer:
        hidden = layer["c"].size
        rows.append(np.repeat(np.array([[0, _CLOSED, 0]], FLOAT), hidden, axis=1))
    return {**layer, "W": np.concatenate(rows), "b": np.zeros_like(layer["b"])}


def without_mask(gradient: Mapping[str, np.ndarray], inputs: int) -> dict[str, np.ndarray]:
    """Return the gradients of a layer's weights, given those of `with_mask`'s result and the layer's own inputs."""
    rows = gradient["W"]
    return {**gradient, "W": rows[:inputs], "b": rows[inputs]}
