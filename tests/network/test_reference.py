"""The float64 reference, compared with finite differences and with a second, independent network of each kind."""

import cmath
import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnbench import Workload, reference
from rnnbench.network.workload import KINDS

WORKLOADS = [
    Workload(2, 3, 2, 1, seed=1),
    Workload(3, 4, 2, 2, seed=2),
    Workload(1, 1, 3, 1, seed=3),
    *(Workload(2, 3, 2, 2, seed=4, kind=kind, input_size=3) for kind in KINDS),
    *(Workload(3, 4, 2, 2, seed=5, kind=kind, bidirectional=True, least_length=1) for kind in KINDS),
    *(Workload(1, 1, 1, 1, seed=6, kind=kind, bidirectional=True, input_size=2) for kind in KINDS),
]


def name_of(work):
    directions = "both directions" if work.bidirectional else "one direction"
    return f"{work.kind}-{work.batch}-{work.seq}-{work.input_size}-{work.hidden}-{work.depth}-{directions}"


every_workload = pytest.mark.parametrize("work", WORKLOADS, ids=name_of)


def changed(work, layer, name, index, step):
    """Return the workload with one weight changed, in float64, since float32 couldn't hold so small a step."""
    weights = [{key: array.astype(np.float64) for key, array in old.items()} for old in work.weights]
    weights[layer][name][index] += step
    other = dataclasses.replace(work)
    vars(other)["weights"] = weights
    return other


def sigmoid(number):
    return 1 / (1 + cmath.exp(-number))


def product(vector, matrix, column):
    return sum(number * row[column] for number, row in zip(vector, matrix, strict=True))


def independent_states(kind, layer, sequence):
    """Return the states of one direction for the inputs of one sequence, each a list of numbers.

    The equations are those of PyTorch's documentation of LSTM, GRU and RNN. The numbers may be complex.
    """
    size = len(layer["U"])
    state, cell, states = [0] * size, [0] * size, []
    for inputs in sequence:
        new = []
        for k in range(size):
            columns = range(k, len(layer["b"]), size)  # those of this unit's gates
            from_inputs = [product(inputs, layer["W"], column) + layer["b"][column] for column in columns]
            from_state = [product(state, layer["U"], column) for column in columns]
            total = [one + other for one, other in zip(from_inputs, from_state, strict=True)]
            if kind == "lstm":
                i, f, g, o = total
                cell[k] = sigmoid(f) * cell[k] + sigmoid(i) * cmath.tanh(g)
                new.append(sigmoid(o) * cmath.tanh(cell[k]))
            elif kind == "gru":
                r, z = sigmoid(total[0]), sigmoid(total[1])
                n = cmath.tanh(from_inputs[2] + r * (from_state[2] + layer["c"][k]))
                new.append((1 - z) * n + z * state[k])
            elif kind == "rnn_tanh":
                new.append(cmath.tanh(total[0]))
            else:
                new.append(total[0] if complex(total[0]).real > 0 else 0)
        state = new
        states.append(new)
    return states


def independent_outputs(work, layers):
    """Return the network's outputs, computed number by number and sequence by sequence: (seq, batch, output_size).

    This shares no code with the reference, and accepts complex weights.
    """
    layers = iter(layers)
    lengths = [int(length) for length in work.lengths]
    sequences = [work.inputs[:length, example].tolist() for example, length in enumerate(lengths)]
    for _ in range(work.depth):
        forward = next(layers)
        following = [independent_states(work.kind, forward, sequence) for sequence in sequences]
        if work.bidirectional:
            backward = next(layers)
            for states, sequence in zip(following, sequences, strict=True):
                others = reversed(independent_states(work.kind, backward, sequence[::-1]))
                states[:] = [one + other for one, other in zip(states, others, strict=True)]
        sequences = following
    outputs = np.zeros(work.targets.shape, complex)
    for example, length in enumerate(lengths):
        outputs[:length, example] = sequences[example]
    return outputs


def independent_loss(work, layers):
    """Return the mean over all elements of the sequences, up to the end of each."""
    layers = [{key: value.tolist() for key, value in old.items()} for old in layers]
    squares = (independent_outputs(work, layers) - work.targets) ** 2
    return np.concatenate([squares[:length, example] for example, length in enumerate(work.lengths)]).mean()


def complex_step_gradients(work):
    """Return the loss's gradients by the complex-step method: Im loss(w + εi) / ε is exact for a tiny ε."""
    step = 1e-30
    gradients = [{name: np.empty(array.shape) for name, array in layer.items()} for layer in work.weights]
    for layer, gradient in enumerate(gradients):
        for name, array in gradient.items():
            for index in np.ndindex(array.shape):
                layers = [{key: value.astype(complex) for key, value in old.items()} for old in work.weights]
                layers[layer][name][index] += step * 1j
                array[index] = independent_loss(work, layers).imag / step
    return gradients


@every_workload
def test_outputs_and_loss_equal_those_of_an_independent_network(work):
    layers = [{name: array.tolist() for name, array in layer.items()} for layer in work.weights]
    assert reference.outputs(work) == pytest.approx(np.real(independent_outputs(work, layers)), rel=1e-12, abs=1e-15)
    assert reference.loss(work) == pytest.approx(independent_loss(work, work.weights).real, rel=1e-12)


@every_workload
def test_gradients_equal_those_of_an_independent_network(work):
    independent = complex_step_gradients(work)
    for gradient, expected in zip(reference.gradients(work), independent, strict=True):
        assert gradient.keys() == expected.keys()
        for name in expected:
            # abs: U's gradients are 0 if the sequence has one step.
            assert gradient[name] == pytest.approx(expected[name], rel=1e-10, abs=1e-15)


@every_workload
def test_gradients_equal_finite_differences_of_the_loss(work):
    step = 1e-5
    for layer, gradient in enumerate(reference.gradients(work)):
        for name, array in gradient.items():
            for gate in range(array.shape[-1] // work.hidden):  # one weight of each gate
                index = (*(0,) * (array.ndim - 1), gate * work.hidden + gate % work.hidden)
                above, below = (reference.loss(changed(work, layer, name, index, sign * step)) for sign in (1, -1))
                assert array[index] == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=1e-9)


@every_workload
def test_outputs_and_gradients_are_float64_in_the_expected_shapes(work):
    outputs = reference.outputs(work)
    assert (outputs.shape, outputs.dtype) == (work.targets.shape, np.float64)
    for gradient, weights in zip(reference.gradients(work), work.weights, strict=True):
        assert {name: array.shape for name, array in gradient.items()} == {
            name: array.shape for name, array in weights.items()
        }
        assert {array.dtype for array in gradient.values()} == {np.dtype(np.float64)}


def test_the_loss_is_a_mean_over_all_elements():
    work = Workload(2, 3, 4, 1)
    vars(work)["targets"] = (reference.outputs(work) + 3).astype(np.float32)
    assert reference.loss(work) == pytest.approx(9, rel=1e-6)


def test_a_step_down_the_gradient_lowers_the_loss():
    work = WORKLOADS[1]
    lower = dataclasses.replace(work)
    vars(lower)["weights"] = [
        {name: weights[name] - 0.1 * gradient[name] for name in weights}
        for weights, gradient in zip(work.weights, reference.gradients(work), strict=True)
    ]
    assert reference.loss(lower) < reference.loss(work)


def test_the_reference_does_not_change_the_workload():
    work, untouched = Workload(2, 3, 4, 2), Workload(2, 3, 4, 2)
    reference.gradients(work)
    assert np.array_equal(work.inputs, untouched.inputs)
    for layer, expected in zip(work.weights, untouched.weights, strict=True):
        assert all(np.array_equal(layer[name], expected[name]) for name in expected)


def test_error_of_known_arrays():
    assert reference.error(np.array([3.0, 4.0]), np.array([0.0, 5.0])) == pytest.approx(10**0.5 / 5)
    assert reference.error(np.zeros((2, 2)), np.ones((2, 2))) == 1
    assert reference.error(np.ones(3, np.float32), np.ones(3)) == 0


def test_error_is_computed_in_float64():
    # Both squares overflow in float32.
    assert reference.error(np.float32([1e30]), np.float32([2e30])) == pytest.approx(0.5)


numbers = st.lists(st.floats(-100, 100), min_size=1, max_size=8).map(np.array).filter(lambda array: array.any())


@settings(deadline=None, max_examples=50)
@given(numbers, st.floats(1e-3, 1e3), st.floats(1e-6, 10))
def test_error_is_relative(array, scale, factor):
    array = array.round(3)
    if array.any():
        assert reference.error(scale * (1 + factor) * array, scale * array) == pytest.approx(factor, rel=1e-6)


@pytest.mark.parametrize("shape", [(1,), (2,), (4,), (3, 1), ()], ids=str)
def test_error_refuses_arrays_of_different_shapes(shape):
    with pytest.raises(ValueError, match=r"\(3,\)") as problem:
        reference.error(np.ones(shape), np.ones(3))
    assert str(shape) in str(problem.value)


def test_nan_exceeds_every_tolerance():
    error = reference.error(np.array([1, math.nan]), np.array([1.0, 1.0]))
    assert math.isnan(error)
    assert not error <= 1e-5


def test_the_largest_gradient_error_is_the_largest_of_all():
    expected = [{"W": np.ones((2, 8)), "U": np.ones((2, 8)), "b": np.ones(8)} for _ in range(2)]
    assert reference.largest_gradient_error(expected, expected) == 0
    for layer in range(2):
        for name in "WUb":
            computed = [dict(arrays) for arrays in expected]
            computed[layer][name] = 1.5 * expected[layer][name]
            assert reference.largest_gradient_error(computed, expected) == pytest.approx(0.5)


@pytest.mark.parametrize("name", "WUb")
@pytest.mark.parametrize("layer", [0, 1])
def test_nan_in_any_gradient_exceeds_every_tolerance(layer, name):
    expected = [{"W": np.ones((2, 8)), "U": np.ones((2, 8)), "b": np.ones(8)} for _ in range(2)]
    computed = [dict(arrays) for arrays in expected]
    computed[layer][name] = np.full_like(expected[layer][name], math.nan)
    assert not reference.largest_gradient_error(computed, expected) <= 1e-5


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn_tanh"])
def test_gradients_have_the_tolerance_of_the_outputs(kind):
    assert reference.gradient_tolerance(Workload(2, 3, 4, 2, kind=kind), 1e-5) == 1e-5


def test_a_sum_of_relu_within_the_tolerance_of_0_may_fall_on_the_other_side():
    work = Workload(1, 1, 4, 1, kind="rnn_relu")
    sums = reference.outputs(work)[0, 0]
    unit = np.argmax(sums)
    # Move one of the four sums to either side of 0.
    above, below = (changed(work, 0, "b", unit, side - sums[unit]) for side in (1e-6, -1e-6))
    difference = reference.largest_gradient_error(reference.gradients(above), reference.gradients(below))
    assert difference > 0.1
    assert reference.gradient_tolerance(above, 1e-5) == reference.gradient_tolerance(below, 1e-5)
    assert reference.gradient_tolerance(above, 1e-5) == pytest.approx(1e-5 + 4 * 0.25**0.5)
    assert reference.gradient_tolerance(above, 1e-7) == 1e-7


def test_only_the_steps_that_a_sequence_has_loosen_the_tolerance():
    work = Workload(3, 4, 2, 1, kind="rnn_relu", least_length=1)
    assert work.lengths[-1] < 4
    work.inputs[:] = np.where(work.mask, 1, 0)
    vars(work)["weights"] = [{"W": np.ones((2, 2)), "U": np.zeros((2, 2)), "b": np.zeros(2)}]
    assert reference.gradient_tolerance(work, 1e-5) == 1e-5  # after a sequence's end the sums are 0


def test_a_missing_layer_is_refused():
    expected = reference.gradients(Workload(1, 2, 1, 2))
    with pytest.raises(ValueError, match="argument"):
        reference.largest_gradient_error(expected[:1], expected)
