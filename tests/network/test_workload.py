"""The workload: its data, its operation and byte counts, and the sizes that it refuses."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnbench import Workload

SIZES = ("batch", "seq", "hidden", "depth")
small = st.integers(1, 5)
seeds = st.integers(0, 2**32 - 1)


def arrays(work):
    return [work.inputs, work.targets, *(array for layer in work.weights for array in layer.values())]


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
    digest = hashlib.sha256()
    for array in arrays(Workload(batch=3, seq=4, hidden=5, depth=2, seed=7)):
        digest.update(array.astype("<f4").tobytes())
    assert digest.hexdigest() == "30278222865f78a9f7d33966095696053365dd07ced79c4ca5405f67718b67ea"


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


def test_the_byte_counts_equal_the_arrays_sizes():
    work = Workload(batch=2, seq=3, hidden=5, depth=2)
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
