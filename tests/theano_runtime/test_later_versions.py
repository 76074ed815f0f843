"""Test Theano on the Python that runs the tests, where Python 3.12, 3.13 and NumPy 2 changed something."""

import sys
import traceback
from pathlib import Path

import numpy as np
import pytest

from rnnbench import theano_runtime
from rnnbench.theano_runtime import later_versions


@pytest.fixture(scope="module")
def theano():
    return theano_runtime.prepare()


def compiled(theano, arguments, result):
    """Compile without the rewrites, so that few modules have to be compiled."""
    return theano.function(arguments, result, mode=theano.Mode("cvm", "fast_compile"))


def test_a_traceback_from_inside_a_scan_step_has_every_frame(theano):
    class Fails(theano.Op):
        __props__ = ()

        def make_node(self, value):
            return theano.Apply(self, [value], [value.type()])

        def perform(self, node, inputs, outputs):
            raise KeyError("an error in a step")

    start = theano.tensor.vector()
    states, _ = theano.scan(Fails(), outputs_info=start, n_steps=3)
    function = compiled(theano, [start], states[-1])
    with pytest.raises(KeyError, match="an error in a step") as caught:
        function(np.ones(2, np.float32))
    frames = [(Path(frame.filename).name, frame.name) for frame in traceback.extract_tb(caught.value.__traceback__)]
    perform = ("scan_perform.pyx", "theano.scan_module.scan_perform.perform")
    assert frames.count(perform) == 2  # where the step fails, and where Theano adds the node to the message
    assert frames[-1] == (Path(__file__).name, "perform")


@pytest.mark.parametrize(
    ("value", "dtype"), [(127, "int8"), (128, "int16"), (-200, "int16"), (10**5, "int32"), (2**40, "int64")]
)
def test_an_int_gets_the_smallest_type_that_holds_it(theano, value, dtype):
    constant = theano.tensor.constant(value)
    assert (constant.dtype, constant.data) == (dtype, value)
    assert (theano.tensor.lscalar() + value).dtype == "int64"


def test_an_int_beyond_int64_is_unsigned(theano):
    assert theano.tensor.constant(2**63).dtype == "uint64"


def test_sums_over_all_axes_and_repeated_indices(theano):
    x, rows = theano.tensor.matrix(), theano.tensor.lvector()
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    function = compiled(
        theano,
        [x, rows],
        [theano.tensor.cumsum(x), theano.tensor.max(x), theano.tensor.inc_subtensor(x[rows], 1)],
    )
    sums, largest, incremented = function(value, np.array([1, 1]))
    np.testing.assert_array_equal(sums, value.cumsum())
    assert largest == 5
    np.testing.assert_array_equal(incremented, value + np.array([[0], [2]]))


def test_every_change_finds_its_place_in_theanos_file(theano):
    code = Path(theano.__file__).with_name("scan_module").joinpath("c_code", "scan_perform.c").read_text()
    for text, _ in (*later_versions._ON_PYTHON_3_12, *later_versions._ON_NUMPY_2):
        assert text in code


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="on Python 3.12 these names are given back")
def test_python_3_11_with_numpy_1_is_left_alone():
    before = set(vars(np)), set(sys.modules)
    later_versions.restore_names()
    assert (set(vars(np)), set(sys.modules)) == before
