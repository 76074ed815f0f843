"""Test the tolerances of 16 bits: they fit a network that is rounded by hand, and no network with a few bits fewer."""

import numpy as np
import pytest

from rnnbench import Workload, reference, variants

# The significant bits of each type.
BITS = {"float16": 11, "bfloat16": 8}
SIZES = [
    ((7, 13, 37, 2), {}),
    ((2, 20, 8, 3), {"bidirectional": True}),
    ((4, 200, 32, 1), {"input_size": 3}),
    ((5, 12, 17, 2), {"bidirectional": True, "least_length": 3}),
]


def rounded(arrays, bits):
    """Return an array, or a tuple of arrays, rounded to so many significant bits."""
    if isinstance(arrays, tuple):
        return tuple(rounded(array, bits) for array in arrays)
    fractions, exponents = np.frexp(arrays)
    return np.ldexp(np.rint(fractions * 2**bits), exponents - bits)


def rounded_cell(cell, bits):
    """Return a cell of the reference that rounds what it takes and what it returns."""

    class Rounded:
        @staticmethod
        def forward(*arrays):
            return rounded(cell.forward(*rounded(arrays, bits)), bits)

        @staticmethod
        def backward(kept, *arrays):
            return rounded(cell.backward(kept, *rounded(arrays, bits)), bits)

    return Rounded


def largest_error(work, bits):
    """Return the largest error of the outputs and gradients of a network whose every step is rounded."""
    outputs, gradients = reference.outputs(work), reference.gradients(work)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(reference._CELLS, work.kind, rounded_cell(reference._CELLS[work.kind], bits))
        return max(
            reference.error(reference.outputs(work), outputs),
            reference.largest_gradient_error(reference.gradients(work), gradients),
        )


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn_tanh"])
@pytest.mark.parametrize("precision", BITS)
def test_a_tolerance_fits_a_network_that_is_rounded_by_hand(precision, kind):
    bits, (_, tolerance) = BITS[precision], variants.SIXTEEN_BITS[precision]
    works = [Workload(*sizes, kind=kind, precision=precision, **fields) for sizes, fields in SIZES]
    # A library rounds more often than these cells, for example between the operations of a step.
    assert max(largest_error(work, bits) for work in works) < tolerance / 3
    # One bit fewer doubles the error. A network with a sixteenth of the digits must fail.
    assert max(largest_error(work, bits - 4) for work in works) > tolerance


@pytest.mark.parametrize("precision", BITS)
def test_only_its_own_tolerance_fits_the_gradients_of_relu(precision):
    """Rounding turns some units on or off, and their gradients jump."""
    work = Workload(32, 30, 64, 2, kind="rnn_relu", precision=precision)
    _, tolerance = variants.SIXTEEN_BITS[precision]
    error = largest_error(work, BITS[precision])
    assert tolerance < error < reference.gradient_tolerance(work, tolerance)


def test_fewer_bits_round_to_the_types_of_numpy():
    numbers = np.random.RandomState(0).standard_normal(1000)
    assert np.array_equal(rounded(numbers, BITS["float16"]), numbers.astype(np.float16))
