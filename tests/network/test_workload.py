"""The workload: its data, its operation and byte counts, and the sizes that it refuses."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnbench import Workload, reference
from rnnbench.network.workload import KINDS

SIZES = ("batch", "seq", "hidden", "depth")
small = st.integers(1, 5)
seeds = st.integers(0, 2**32 - 1)


def arrays(work):
    return [work.inputs, work.targets, *(array for layer in work.weights for array in layer.values())]


def digest(work):
    result = hashlib.sha256()
    for array in arrays(work):
        result.update(array.astype("<f4").tobytes())
    return result.hexdigest()


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(arrays(one), arrays(other), strict=True))


@settings(deadline=None, max_examples=20)
@given(small, small, small, small, seeds)
def test_equal_seeds_give_equal_data(batch, seq, hidden, depth, seed):
    one, other = (Workload(batch, seq, hidden, depth, seed) for _ in range(2))
    other.weights, other.targets, other.inputs  # noqa: B018 - draw them in another order
    assert equal(one, other)


@settings(deadline=None, max_examples=20)
@given(seeds, seeds)
def test_different_seeds_give_different_data(seed, another):
    one, other = Workload(2, 3, 4, 2, seed), Workload(2, 3, 4, 2, another)
    for a, b in zip(arrays(one), arrays(other), strict=True):
        assert np.array_equal(a, b) == (seed == another)


def test_no_two_arrays_of_a_workload_are_equal():
    work = Workload(4, 3, 4, 3)
    drawn = [array.tobytes() for array in arrays(work)]
    assert len(set(drawn)) == len(drawn)


def test_shapes_and_types():
    work = Workload(batch=2, seq=3, hidden=5, depth=2)
    assert work.inputs.shape == work.targets.shape == (3, 2, 5)
    shapes = {"W": (5, 20), "U": (5, 20), "b": (20,)}
    assert [{name: array.shape for name, array in layer.items()} for layer in work.weights] == [shapes, shapes]
    assert {array.dtype for array in arrays(work)} == {np.dtype(np.float32)}


def test_weights_are_uniform_and_data_are_normal():
    work = Workload(batch=50, seq=20, hidden=16, depth=1)
    for array in work.weights[0].values():
        assert np.abs(array).max() <= 0.25
    assert np.std(work.weights[0]["U"]) == pytest.approx(0.25 / 3**0.5, rel=0.05)
    for array in (work.inputs, work.targets):
        assert np.mean(array) == pytest.approx(0, abs=0.05)
        assert np.std(array) == pytest.approx(1, rel=0.05)


def test_the_data_are_the_same_as_for_earlier_results():
    # If the data change, raise the benchmarks' version: results before and after can't be compared.
    expected = "30278222865f78a9f7d33966095696053365dd07ced79c4ca5405f67718b67ea"
    assert digest(Workload(batch=3, seq=4, hidden=5, depth=2, seed=7)) == expected


DIGESTS = {
    "lstm": "b146b5b4497224cf83fc86d2112e3b6ec9a7efc6a3abfe15729f68467b4ec488",
    "gru": "659ac7c3840c0602018955d90786da6b18e6ccca72f67301c72dfe9ce3ee9243",
    "rnn_tanh": "0ca2a2a631d70d947f883c5d1a67848308c1fd8fc25b738f4db78c7c3e28370c",
    "rnn_relu": "0ca2a2a631d70d947f883c5d1a67848308c1fd8fc25b738f4db78c7c3e28370c",
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_data_of_every_kind_stay_the_same(kind):
    work = Workload(3, 4, 5, 2, seed=7, kind=kind, input_size=6, bidirectional=True, least_length=2)
    assert digest(work) == DIGESTS[kind]
    # Only the sizes decide the inputs.
    assert np.array_equal(work.inputs, Workload(3, 4, 5, 1, seed=7, input_size=6).inputs)


def test_shapes_of_a_bidirectional_gru():
    work = Workload(batch=2, seq=3, hidden=5, depth=2, kind="gru", input_size=4, bidirectional=True)
    assert (work.directions, work.output_size) == (2, 10)
    assert (work.inputs.shape, work.targets.shape) == ((3, 2, 4), (3, 2, 10))
    shapes = [{"W": (inputs, 15), "U": (5, 15), "b": (15,), "c": (5,)} for inputs in (4, 4, 10, 10)]
    assert [{name: array.shape for name, array in layer.items()} for layer in work.weights] == shapes


@pytest.mark.parametrize(("kind", "gates"), [("lstm", 4), ("gru", 3), ("rnn_tanh", 1), ("rnn_relu", 1)])
def test_a_layer_has_the_gates_of_its_kind(kind, gates):
    (layer,) = Workload(2, 3, 5, 1, kind=kind).weights
    assert {name: array.shape[-1] for name, array in layer.items() if name != "c"} == dict.fromkeys("WUb", 5 * gates)
    assert ("c" in layer) == (kind == "gru")


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.data(), seeds)
def test_lengths_reach_from_the_least_to_seq(batch, seq, data, seed):
    least = data.draw(st.integers(1, seq))
    work = Workload(batch, seq, 2, 1, seed, least_length=least)
    assert work.lengths.max() == work.lengths[0] == seq
    assert work.lengths.min() >= least
    assert list(work.lengths) == sorted(work.lengths, reverse=True)
    assert list(work.mask.sum(axis=(0, 2))) == list(work.lengths)
    for example, length in enumerate(work.lengths):
        assert work.mask[:length, example].all()
        assert work.targets[:length, example].all()
        assert not work.targets[length:, example].any()


def test_lengths_of_many_sequences_are_spread_evenly():
    lengths = Workload(10**4, 10, 1, 1, least_length=6).lengths
    assert np.bincount(lengths)[6:] == pytest.approx(2000, rel=0.1)


def test_all_sequences_are_equally_long_without_a_least_length():
    work = Workload(3, 4, 2, 1)
    assert list(work.lengths) == [4, 4, 4]
    assert work.mask.all()


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_after_a_sequences_end_change_nothing(kind):
    network = {"kind": kind, "bidirectional": True, "least_length": 1}
    work, other = Workload(4, 5, 3, 2, **network), Workload(4, 5, 3, 2, **network)
    ended = np.broadcast_to(other.mask == 0, other.inputs.shape)
    assert ended.any()
    other.inputs[ended] = np.nan
    assert np.array_equal(reference.outputs(other), reference.outputs(work))
    assert not reference.outputs(work)[work.mask[:, :, 0] == 0].any()


@pytest.mark.parametrize(("precision", "bits"), [("float16", 11), ("bfloat16", 8)])
def test_data_in_16_bits_are_the_nearest_numbers(precision, bits):
    for exact, rounded in zip(
        arrays(Workload(3, 4, 5, 2)), arrays(Workload(3, 4, 5, 2, precision=precision)), strict=True
    ):
        assert rounded.dtype == np.float32
        _, exponent = np.frexp(exact)
        # Python rounds ties to even. The smallest of float16's numbers are 2**-24 apart.
        unit = np.exp2(np.maximum(exponent - bits, -24.0) if precision == "float16" else exponent - bits)
        assert np.array_equal(rounded, np.round(exact / unit) * unit)


OTHERS = [
    ("kind", "LSTM", "one of lstm, gru, rnn_tanh, rnn_relu"),
    ("kind", None, "one of lstm, gru"),
    ("input_size", 0, "an integer of 1 or more"),
    ("input_size", 2.0, "an integer of 1 or more"),
    ("bidirectional", 1, "one of False, True"),
    ("bidirectional", None, "one of False, True"),
    ("least_length", 0, "an integer from 1 to 3"),
    ("least_length", 4, "an integer from 1 to 3"),
    ("least_length", True, "an integer from 1 to 3"),
    ("precision", "float64", "one of float32, float16, bfloat16"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), OTHERS, ids=lambda each: str(each)[:12])
def test_a_network_that_is_none_is_refused_by_name(name, value, allowed):
    with pytest.raises(ValueError, match=allowed) as problem:
        Workload(2, 3, 4, 1, **{name: value})
    assert f"{name}={value!r}" in str(problem.value)


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, True, "3", None], ids=repr)
@pytest.mark.parametrize("name", SIZES)
def test_a_wrong_size_is_refused_by_name(name, value):
    sizes = dict.fromkeys(SIZES, 2) | {name: value}
    with pytest.raises(ValueError, match="an integer of 1 or more") as problem:
        Workload(**sizes)
    assert f"{name}={value!r}" in str(problem.value)


@pytest.mark.parametrize("value", [-1, 2**32, 1.0, True, "3", None], ids=repr)
def test_a_wrong_seed_is_refused_by_name(value):
    with pytest.raises(ValueError, match=r"an integer from 0 to 4294967295") as problem:
        Workload(2, 2, 2, 2, seed=value)
    assert f"seed={value!r}" in str(problem.value)


def test_numpys_integers_are_sizes_too():
    assert equal(Workload(*np.array([2, 3, 4, 1])), Workload(2, 3, 4, 1))


def test_counts_of_a_workload_small_enough_to_count_by_hand():
    work = Workload(batch=2, seq=3, hidden=5, depth=2)
    # (2, 5) with (5, 20) takes 200 multiply-adds. The first of the three steps has no state to multiply.
    assert work.forward_flops == 2 * 200 * (3 + 2) * 2
    # In turn: the gradients of W, U and the states, and of the second layer's inputs.
    assert work.train_flops == work.forward_flops + 2 * 200 * ((3 + 2 + 2) * 2 + 3)
    states, parameters = 3 * 2 * 5, 2 * (100 + 100 + 20)
    assert work.forward_bytes == 4 * (2 * states + parameters)
    assert work.train_bytes == 4 * (2 * states + 2 * parameters)
    assert work.least_memory >= work.train_bytes


def test_counts_of_a_bidirectional_gru_with_sequences_of_three_steps_and_one():
    seed = next(seed for seed in range(100) if list(Workload(2, 3, 5, 1, seed, least_length=1).lengths) == [3, 1])
    network = {"kind": "gru", "input_size": 4, "bidirectional": True, "least_length": 1}
    work = Workload(batch=2, seq=3, hidden=5, depth=2, seed=seed, **network)
    steps, directions = 3 + 1, 2
    # Multiply-adds. Layer 1 multiplies 4 inputs by (4, 15), layer 2 multiplies 10 inputs by (10, 15).
    inputs = [60 * steps * directions, 150 * steps * directions]
    # Two steps follow a state: the second and the third of the longer sequence.
    states = 75 * 2 * directions
    assert work.forward_flops == 2 * (sum(inputs) + 2 * states)
    # In turn: the gradients of W, of U and the states, and of the second layer's inputs.
    assert work.train_flops == work.forward_flops + 2 * (sum(inputs) + 2 * 2 * states + inputs[1])
    data, parameters = steps * (4 + 10), directions * ((60 + 75 + 15 + 5) + (150 + 75 + 15 + 5))
    assert work.loss_size == steps * 10
    assert work.forward_bytes == 4 * (data + parameters)
    assert work.train_bytes == 4 * (data + 2 * parameters)
    # Each of 2 layers and 10 features keeps the state, three gates, and the candidate's product with the state.
    assert work.least_memory == work.train_bytes + 4 * steps * 2 * 10 * 5


@pytest.mark.parametrize(("kind", "kept"), [("lstm", 6), ("gru", 5), ("rnn_tanh", 1), ("rnn_relu", 1)])
def test_the_least_memory_is_that_of_data_weights_gradients_and_kept_arrays(kind, kept):
    work = Workload(2, 3, 5, 2, kind=kind)
    assert work.least_memory == work.train_bytes + 4 * kept * 2 * 3 * 5 * 2


@pytest.mark.parametrize("kind", KINDS)
def test_16_bits_halve_the_bytes_and_leave_the_operations(kind):
    exact, short = Workload(2, 3, 4, 2, kind=kind), Workload(2, 3, 4, 2, kind=kind, precision="float16")
    assert (short.forward_flops, short.train_flops) == (exact.forward_flops, exact.train_flops)
    for name in ("forward_bytes", "train_bytes", "least_memory"):
        assert 2 * getattr(short, name) == getattr(exact, name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_byte_counts_equal_the_arrays_sizes(kind):
    work = Workload(batch=2, seq=3, hidden=5, depth=2, kind=kind, input_size=4, bidirectional=True)
    read = sum(array.nbytes for array in arrays(work))
    assert work.forward_bytes == read  # forward writes outputs as large as the targets, and doesn't read the targets
    assert work.train_bytes == read + sum(array.nbytes for layer in work.weights for array in layer.values())


def test_data_are_not_drawn_before_they_are_used():
    work = Workload(batch=10**6, seq=10**6, hidden=10**4, depth=3)  # petabytes
    assert work.train_flops > 10**22
    assert not {"inputs", "targets", "weights"} & vars(work).keys()


def test_data_are_drawn_once():
    work = Workload(2, 3, 4, 1)
    assert work.inputs is work.inputs
    assert work.weights is work.weights
