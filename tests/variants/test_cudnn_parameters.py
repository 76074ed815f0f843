"""Test the layout of cuDNN's flat vector of parameters."""

import numpy as np
import pytest

from rnnbench import Workload, reference
from rnnbench.network.workload import KINDS
from rnnbench.variants import cudnn_parameters as parameters


def shapes(weights):
    return [{name: array.shape for name, array in layer.items()} for layer in weights]


def test_flatten_puts_each_gate_of_an_lstm_in_its_place():
    first, second = weights = Workload(1, 1, 2, 2, input_size=3).weights
    vector = parameters.flatten(weights)
    assert vector.dtype == np.float32
    assert len(vector) == 3 * 8 + 2 * 8 + 2 * (2 * 8) + 2 * 2 * 8
    for gate in range(4):
        block = vector[gate * 6 : gate * 6 + 6].reshape(2, 3)  # hidden × input, by rows
        np.testing.assert_array_equal(block, first["W"][:, 2 * gate : 2 * gate + 2].T)
    np.testing.assert_array_equal(vector[24:40].reshape(8, 2), first["U"].T)
    np.testing.assert_array_equal(vector[40:56].reshape(8, 2), second["W"].T)
    biases = [first["b"], np.zeros(8), second["b"], np.zeros(8)]
    np.testing.assert_array_equal(vector[-32:], np.concatenate(biases))


def test_flatten_puts_the_directions_of_a_gru_in_turn_and_c_at_the_end_of_the_second_biases():
    weights = Workload(1, 1, 2, 2, kind="gru", input_size=3, bidirectional=True).weights
    vector = parameters.flatten(weights)
    start = 0
    for layer, inputs in zip(weights, (3, 3, 4, 4), strict=True):
        for name, rows in (("W", inputs), ("U", 2)):
            np.testing.assert_array_equal(vector[start : start + 6 * rows].reshape(6, rows), layer[name].T)
            start += 6 * rows
    for layer in weights:
        np.testing.assert_array_equal(vector[start : start + 6], layer["b"])
        np.testing.assert_array_equal(vector[start + 6 : start + 12], [0, 0, 0, 0, *layer["c"]])
        start += 12
    assert start == len(vector)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 1, 3), (7, 2, 7), (4, 3, 2)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_unflatten_is_the_inverse(kind, sizes, bidirectional):
    hidden, depth, inputs = sizes
    weights = Workload(1, 1, hidden, depth, kind=kind, input_size=inputs, bidirectional=bidirectional).weights
    back = parameters.unflatten(parameters.flatten(weights), shapes(weights))
    for before, after in zip(weights, back, strict=True):
        assert before.keys() == after.keys()
        for name in before:
            np.testing.assert_array_equal(before[name], after[name])


def test_results_do_not_change_with_the_vector():
    weights = Workload(1, 1, 2, 1, kind="gru").weights
    vector = parameters.flatten(weights)
    (layer,) = parameters.unflatten(vector, shapes(weights))
    vector[:] = 0
    assert all(np.array_equal(layer[name], weights[0][name]) for name in "WUbc")


@pytest.mark.parametrize("kind", KINDS)
def test_a_vector_of_the_wrong_length_is_refused(kind):
    weights = Workload(1, 1, 5, 1, kind=kind, input_size=3).weights
    for size in (len(parameters.flatten(weights)) + 1, 1000):
        with pytest.raises(ValueError, match=f"{size} parameters don't fit"):
            parameters.unflatten(np.zeros(size, "float32"), shapes(weights))


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_with_the_mask_as_an_input_starts_at_the_end_of_each_sequence(kind):
    sizes = {"kind": kind, "bidirectional": True}
    work = Workload(4, 6, 5, 1, input_size=3, least_length=1, **sizes)
    assert len(set(work.lengths)) > 1
    given = parameters.mask_inputs(work)
    whole = Workload(4, 6, 5, 1, input_size=3 + given.shape[2], **sizes)  # all sequences are as long as the longest
    layers = [parameters.with_mask(layer) for layer in work.weights]
    assert [layer["W"].shape for layer in layers] == [layer["W"].shape for layer in whole.weights]
    vars(whole)["inputs"] = np.concatenate([work.inputs * work.mask, given], axis=2)
    vars(whole)["weights"] = layers
    outputs = reference.outputs(whole)
    assert reference.error(outputs * work.mask, reference.outputs(work)) < 1e-7
    # Outputs after the end have no gradient if they are their own targets.
    vars(whole)["targets"] = np.where(work.mask, work.targets, outputs)
    for found, expected in zip(reference.gradients(whole), reference.gradients(work), strict=True):
        own = parameters.without_mask(found, 3)
        assert own.keys() == expected.keys()
        for name, array in expected.items():
            assert reference.error(own[name] * whole.loss_size / work.loss_size, array) < 1e-7
