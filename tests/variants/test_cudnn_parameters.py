"""Test the layout of cuDNN's flat vector of parameters."""

from itertools import pairwise

import numpy as np
import pytest

from rnnbench.variants import cudnn_parameters as parameters


def weights(sizes):
    """Return random weights for layers of these sizes."""
    random = np.random.default_rng(1)
    shapes = [{"W": (i, 4 * h), "U": (h, 4 * h), "b": (4 * h,)} for i, h in pairwise(sizes)]
    return [{k: random.random(s).astype("float32") for k, s in layer.items()} for layer in shapes]


def test_flatten_puts_each_gate_in_its_place():
    first, second = layers = weights([3, 2, 2])
    vector = parameters.flatten(layers)
    assert vector.dtype == np.float32
    assert len(vector) == 3 * 8 + 2 * 8 + 2 * (2 * 8) + 2 * 2 * 8
    for gate in range(4):
        block = vector[gate * 6 : gate * 6 + 6].reshape(2, 3)  # hidden × input, by rows
        np.testing.assert_array_equal(block, first["W"][:, 2 * gate : 2 * gate + 2].T)
    np.testing.assert_array_equal(vector[24:40].reshape(8, 2), first["U"].T)
    np.testing.assert_array_equal(vector[40:56].reshape(8, 2), second["W"].T)
    biases = [first["b"], np.zeros(8), second["b"], np.zeros(8)]
    np.testing.assert_array_equal(vector[-32:], np.concatenate(biases))


@pytest.mark.parametrize("sizes", [[1, 1], [3, 5], [7, 7, 7], [4, 2, 6, 3]])
def test_unflatten_is_the_inverse(sizes):
    layers = weights(sizes)
    back = parameters.unflatten(parameters.flatten(layers), sizes)
    for before, after in zip(layers, back, strict=True):
        for name in before:
            np.testing.assert_array_equal(before[name], after[name])


def test_a_vector_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="don't fit"):
        parameters.unflatten(np.zeros(1000, "float32"), [3, 5])
