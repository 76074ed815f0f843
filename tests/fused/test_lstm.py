"""rnnbench.fused.lstm: its results and gradients, its errors, and what Theano makes of it."""

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.layers import NAMES, WRONG_SIZES, correct, draw, nodes, symbols

from rnnbench import reference, theano_runtime
from rnnbench.fused import lstm

# seq, batch, input, hidden: ones, no size a multiple of anything, and more units than a block has.
SHAPES = [(1, 1, 1, 1), (3, 7, 5, 11), (6, 2, 3, 37), (2, 19, 40, 16), (4, 1, 2, 130)]


@pytest.fixture(scope="module")
def theano():
    return theano_runtime.prepare()


@pytest.fixture(scope="module")
def compiled(theano):
    """Return a function that compiles the states and the gradients of given arguments, each set of names once."""
    made = {}

    def compile(names=NAMES, dtype="float32"):
        if (names, dtype) not in made:
            given = symbols(theano, names, dtype)
            states = lstm(**given)
            direction = theano.tensor.TensorType(dtype, (False,) * 3)()
            gradients = theano.grad((states * direction).sum(), list(given.values()))
            forward = theano.function(list(given.values()), states)
            made[names, dtype] = forward, theano.function([*given.values(), direction], gradients)
        return made[names, dtype]

    return compile


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
@pytest.mark.parametrize("names", [NAMES[:4], NAMES, (*NAMES[:4], "c0")], ids=["zeros", "h0 and c0", "c0 alone"])
def test_the_states_agree_with_numpy(compiled, sizes, names):
    values = {name: value for name, value in draw(*sizes).items() if name in names}
    forward, _ = compiled(names)
    found = forward(*values.values())
    assert found.dtype == np.float32
    assert reference.error(found, correct(**values)) < 1e-6


@pytest.mark.parametrize("sizes", SHAPES[:3], ids=str)
@pytest.mark.parametrize("count", [4, 6], ids=["zeros", "h0 and c0"])
@pytest.mark.filterwarnings("ignore")
def test_theano_verifies_every_gradient(theano, sizes, count):
    values = list(draw(*sizes, dtype="float64").values())[:count]
    theano.gradient.verify_grad(lstm, values, rng=np.random.RandomState(0))


@pytest.mark.parametrize("sizes", [*SHAPES, (9, 33, 70, 65)], ids=str)
def test_float32_and_float64_have_the_same_gradients(compiled, sizes):
    exact = draw(*sizes, dtype="float64")
    direction = np.random.RandomState(1).standard_normal(correct(**exact).shape)
    pairs = zip(
        compiled()[1](*(value.astype("float32") for value in exact.values()), direction.astype("float32")),
        compiled(dtype="float64")[1](*exact.values(), direction),
        strict=True,
    )
    for name, (short, long) in zip(NAMES, pairs, strict=True):
        assert (short.dtype, short.shape) == (np.float32, long.shape)
        assert reference.error(short, long) < 2e-6, name


@pytest.mark.parametrize("sizes", [(0, 3, 4, 5), (3, 0, 4, 5), (3, 4, 0, 5), (3, 4, 5, 0)], ids=str)
def test_empty_sizes_give_empty_results_and_zeros(compiled, sizes):
    values = draw(*sizes)
    forward, gradients = compiled()
    found = forward(*values.values())
    assert np.array_equal(found.shape, (*sizes[:2], sizes[3]))
    for value, gradient in zip(values.values(), gradients(*values.values(), np.ones_like(found)), strict=True):
        assert gradient.shape == value.shape
        if 0 in (sizes[0], sizes[1], sizes[3]):
            assert not gradient.any()


@pytest.mark.parametrize(("name", "shape", "said"), WRONG_SIZES)
@pytest.mark.parametrize("which", [0, 1], ids=["forward", "gradients"])
def test_a_wrong_size_gets_a_sentence(compiled, name, shape, said, which):
    values = draw(2, 3, 4, 5) | {name: np.zeros(shape, np.float32)}
    function = compiled()[which]
    with pytest.raises(ValueError, match=re.escape(said)):
        function(*values.values(), *[np.ones((2, 3, 5), np.float32)] * which)


def test_a_gradient_of_a_wrong_size_gets_a_sentence(theano):
    given = symbols(theano)
    states, known = lstm(**given), theano.tensor.tensor3("known")
    function = theano.function([*given.values(), known], theano.grad(None, given["W"], known_grads={states: known}))
    said = "the gradient of its result has the shape (2, 3, 4), and it must have (2, 3, 5)"
    with pytest.raises(ValueError, match=re.escape(said)):
        function(*draw(2, 3, 4, 5).values(), np.ones((2, 3, 4), np.float32))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("W", np.zeros((4, 20), "int32"), "W is int32, but it must be float32 or float64"),
        ("b", np.zeros(20, "float64"), "b is float64, but inputs is float32: all arguments must have one type"),
        ("inputs", np.zeros((3, 4), "float32"), "inputs has 2 dimensions, but it must have 3"),
        ("h0", np.zeros(5, "float32"), "h0 has 1 dimensions, but it must have 2"),
    ],
)
def test_a_wrong_type_gets_a_sentence(name, value, said):
    with pytest.raises(TypeError, match=f"lstm: {said}"):
        lstm(**draw(2, 3, 4, 5) | {name: value})


def test_arrays_that_are_not_contiguous_are_taken(compiled):
    values = draw(3, 6, 5, 8)
    spread = {name: np.repeat(value, 2, axis=-1)[..., ::2] for name, value in values.items()}
    turned = {name: np.asfortranarray(value) for name, value in values.items()}
    direction = np.ones((3, 6, 8), np.float32)
    for given in (spread, turned):
        assert np.array_equal(compiled()[0](*given.values()), compiled()[0](*values.values()))
        pairs = zip(compiled()[1](*given.values(), direction), compiled()[1](*values.values(), direction), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("scale", [1e4, 1e30, 1e-42], ids=["saturated", "overflowing", "subnormal"])
def test_extreme_numbers_come_out_as_in_float64(compiled, scale):
    values = draw(4, 5, 6, 18)
    values["inputs"] = (values["inputs"] * np.float64(scale)).astype("float32")
    found = compiled(NAMES[:4])[0](*list(values.values())[:4])
    assert np.isfinite(found).all()
    assert reference.error(found, correct(*list(values.values())[:4])) < 1e-5
    gradients = compiled()[1](*values.values(), np.ones_like(found))
    assert all(np.isfinite(gradient).all() for gradient in gradients[:1] + gradients[2:])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["inputs", "U", "b", "h0", "c0"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_nan_and_infinities_come_out_where_numpy_has_them(compiled, name, value):
    values = draw(4, 5, 6, 18)
    values[name].flat[values[name].size // 3] = value
    found, expected = compiled()[0](*values.values()), correct(**values)
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    known = ~np.isnan(expected)
    assert np.allclose(found[known], expected[known], rtol=1e-5, atol=1e-6)


def test_forward_keeps_nothing_for_a_gradient(compiled):
    (node,) = nodes(compiled()[0])
    assert not node.op.keeps
    assert len(node.outputs) == 1


def test_only_the_gradients_that_are_asked_for_are_computed(theano):
    given = symbols(theano, NAMES[:4])
    loss = (lstm(**given) ** 2).sum()
    function = theano.function(list(given.values()), theano.grad(loss, [given["W"], given["b"]]))
    forward, gradient = nodes(function)
    assert forward.op.keeps
    assert gradient.op.wanted == ("W", "b")
    assert gradient.op.inplace


def test_two_gradients_of_one_layer_do_not_disturb_each_other(theano):
    given = symbols(theano, NAMES[:4])
    states = lstm(**given)
    both = [theano.grad(loss, given["U"]) for loss in (states.sum(), (states**2).sum())]
    values = list(draw(4, 3, 5, 6).values())[:4]
    together = theano.function(list(given.values()), both)(*values)
    for graph, found in zip(both, together, strict=True):
        assert reference.error(theano.function(list(given.values()), graph)(*values), found) < 1e-6


def test_layers_of_layers_have_gradients(theano):
    values = draw(5, 4, 3, 3, dtype="float64")

    def two(*given):
        return lstm(lstm(*given), *given[1:])

    theano.gradient.verify_grad(two, list(values.values()), rng=np.random.RandomState(0))


def test_it_computes_without_theanos_rewrites_too(theano):
    given = symbols(theano, NAMES[:4])
    states = lstm(**given)
    wanted = [states, *theano.grad((states**2).sum(), list(given.values()))]
    plain = theano.function(list(given.values()), wanted, mode=theano.Mode(linker="cvm", optimizer=None))
    fast = theano.function(list(given.values()), wanted)
    values = list(draw(4, 3, 5, 6).values())[:4]
    for found, expected in zip(plain(*values), fast(*values), strict=True):
        assert reference.error(found, expected) < 1e-6


def test_its_shape_is_known_without_computing_it(theano):
    given = symbols(theano)
    function = theano.function(list(given.values()), lstm(**given).shape, on_unused_input="ignore")
    assert not nodes(function)
    assert list(function(*draw(2, 3, 4, 5).values())) == [2, 3, 5]


def test_a_second_derivative_is_refused(theano):
    given = symbols(theano, NAMES[:4])
    slope = theano.grad(lstm(**given).sum(), given["W"])
    with pytest.raises(Exception, match="LstmGradient"):
        theano.grad((slope**2).sum(), given["W"])


def test_importing_it_imports_no_theano(python):
    run = python("-c", "import sys, rnnbench.fused; print('theano' in sys.modules)")
    assert run.stdout == "False\n", run.stderr


def test_threads_of_any_number_compute_the_same(python, compile_cache):
    code = (
        "import sys; from rnnbench import Workload, build, reference\n"
        "for sizes in ((1, 9, 300, 1), (5, 9, 300, 2), (64, 5, 40, 1)):\n"
        "    work = Workload(*sizes); network = build('fused', work)\n"
        "    print(reference.error(network.outputs(), reference.outputs(work)),\n"
        "          reference.largest_gradient_error(network.gradients(), reference.gradients(work)))\n"
    )
    for number in ("1", "2", "5"):
        run = python("-c", code, OMP_NUM_THREADS=number, THEANO_FLAGS=f"base_compiledir={compile_cache}")
        errors = [float(error) for error in run.stdout.split()]
        assert len(errors) == 6, run.stderr
        assert max(errors) < 1e-6


def test_a_forked_process_computes_too(python, compile_cache):
    code = (
        "import os; from rnnbench import Workload, build, reference\n"
        "work = Workload(16, 9, 64, 1); network = build('fused', work); network.train()\n"
        "child = os.fork()\n"
        "error = reference.largest_gradient_error(network.gradients(), reference.gradients(work))\n"
        "if child: os.wait()\n"  # so that the two lines don't mix
        "print(error, flush=True)\n"
        "if not child: os._exit(0)\n"
    )
    run = python("-c", code, OMP_NUM_THREADS="2", THEANO_FLAGS=f"base_compiledir={compile_cache}")
    errors = [float(error) for error in run.stdout.split()]
    assert len(errors) == 2, run.stderr
    assert max(errors) < 1e-6


def test_the_example_of_the_docs_trains(python, compile_cache):
    text = (Path(__file__).parents[2] / "docs" / "fused.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    run = python("-c", example, THEANO_FLAGS=f"base_compiledir={compile_cache}")
    assert run.returncode == 0, run.stderr
    first, *_, last = (float(loss) for loss in re.findall(r"loss ([\d.]+)", run.stdout))
    assert last < first / 10
