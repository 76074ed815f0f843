"""rnnbench.fused.lstm on a GPU: its results and gradients, its errors, and what Theano makes of it."""

import importlib
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.layers import NAMES, WRONG_SIZES, correct, draw, nodes, symbols

from rnnbench import Workload, build, reference, theano_runtime
from rnnbench.fused import lstm
from rnnbench.theano_runtime import cuda

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

# seq, batch, input, hidden: ones, odd sizes, and those of the benchmarks.
SHAPES = [
    (1, 1, 1, 1),
    (3, 7, 5, 11),
    (2, 19, 40, 16),
    (4, 1, 2, 130),
    (30, 32, 128, 128),
    (5, 3, 512, 512),
    (3, 33, 31, 1000),
    (6, 130, 17, 1024),
    (2, 200, 3, 770),
]
TOLERANCES = {"float32": 2e-6, "3xtf32": 1e-5, "tf32": 2e-3}


@pytest.fixture(scope="module")
def theano():
    if reason := theano_runtime.unavailable("cuda"):
        pytest.skip(reason)
    return theano_runtime.prepare("cuda")


@pytest.fixture(scope="module")
def compiled(theano):
    """Return a function that compiles states and gradients for given arguments. In float64 they run on the CPU."""
    made = {}

    def compile(names=NAMES, dtype="float32", products="float32"):
        key = names, dtype, products
        if key not in made:
            given = symbols(theano, names, dtype)
            states = lstm(**given, products=products)
            direction = theano.tensor.TensorType(dtype, (False,) * 3)()
            gradients = theano.grad((states * direction).sum(), list(given.values()))
            forward = theano.function(list(given.values()), states)
            made[key] = forward, theano.function([*given.values(), direction], gradients)
        return made[key]

    return compile


def poison(theano, megabytes=64):
    """Fill memory with NaN and give it back to libgpuarray, which hands it out again for results."""
    pygpu = importlib.import_module("pygpu.gpuarray")
    context = importlib.import_module("theano.gpuarray.type").get_context(None)
    pieces = [pygpu.zeros((2**18,), "float32", context=context) for _ in range(megabytes)]
    for piece in pieces:
        piece[:] = np.float32(np.nan)


def largest_error(found, exact):
    return max(reference.error(one, other) for one, other in zip(found, exact, strict=True) if other.any())


def check(compiled, sizes, names=NAMES, products="float32"):
    """Compare the states and all gradients with those in float64."""
    values = {name: value for name, value in draw(*sizes).items() if name in names}
    exact = correct(**values)
    forward, gradients = compiled(names, products=products)
    found = forward(*values.values())
    assert (found.dtype, found.shape) == (np.float32, exact.shape)
    assert reference.error(found, exact) < TOLERANCES[products]
    direction = np.random.RandomState(1).standard_normal(exact.shape)
    exact_gradients = compiled(names, "float64")[1](*(value.astype("float64") for value in values.values()), direction)
    for _ in range(3):  # as it is, recorded, and as a graph
        found = gradients(*values.values(), direction.astype("float32"))
        assert largest_error(found, exact_gradients) < TOLERANCES[products]


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
@pytest.mark.parametrize("names", [NAMES[:4], NAMES], ids=["zeros", "h0 and c0"])
def test_states_and_gradients_agree_with_float64(compiled, sizes, names):
    check(compiled, sizes, names)


def test_arguments_may_be_parts_of_one_vector(theano):
    """The kernels read 16 bytes at a time, and a part may begin anywhere."""
    values = draw(3, 7, 128, 512)
    vector = theano.tensor.vector()
    parts, end = {}, 1
    for name, value in values.items():
        parts[name] = vector[end : end + value.size].reshape(value.shape)
        end += value.size
    states = theano.function([vector], lstm(**parts))
    found = states(np.concatenate([[0.0], *(value.ravel() for value in values.values())]).astype("float32"))
    assert reference.error(found, correct(**values)) < TOLERANCES["float32"]


def test_one_of_the_two_initial_arrays_is_enough(compiled):
    check(compiled, SHAPES[1], (*NAMES[:4], "c0"))


@pytest.mark.parametrize("sizes", [SHAPES[1], SHAPES[4], (40, 130, 300, 512)], ids=str)
@pytest.mark.parametrize("products", ["3xtf32", "tf32"])
def test_products_on_tensor_cores_keep_their_tolerance(compiled, sizes, products):
    check(compiled, sizes, products=products)


def test_random_shapes_over_poisoned_memory_are_all_correct(theano, compiled):
    random = np.random.RandomState(0)
    for number in range(200):
        sizes = [int(random.choice([1, 2, 3, 5, 9, 17])) for _ in range(2)]
        # Each hidden size needs kernels of its own, so there are few.
        sizes += [int(random.randint(1, 60)), int(random.choice([1, 5, 31, 64, 129, 200, 333, 640]))]
        values = draw(*sizes, seed=number)
        exact = correct(**values)
        direction = random.standard_normal(exact.shape)
        poison(theano)
        found = compiled()[0](*values.values())
        assert reference.error(found, exact) < TOLERANCES["float32"], sizes
        poison(theano)
        found = compiled()[1](*values.values(), direction.astype("float32"))
        exact_gradients = compiled(dtype="float64")[1](
            *(value.astype("float64") for value in values.values()), direction
        )
        for one, other in zip(found, exact_gradients, strict=True):
            assert np.allclose(one, other, rtol=1e-4, atol=5e-6 * np.abs(other).max()), sizes


@pytest.mark.usefixtures("theano")  # it skips the test where there is no GPU
@pytest.mark.parametrize(("command", "products"), [*(("check", name) for name in TOLERANCES), ("products", "3xtf32")])
def test_each_way_of_the_kernels_agrees_with_float64_without_theano(tmp_path, command, products):
    paths = {piece.name: str(piece.path) for piece in cuda.find()}
    libraries = {"NVRTC": paths["nvrtc"], "CUBLAS": paths["cublas"]}
    environment = {**os.environ, **libraries, "PRODUCTS": products, "BUILD": str(tmp_path)}
    program = Path(__file__).with_name("cuda_harness.sh")
    run = subprocess.run([program, command], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]


@pytest.mark.parametrize("sizes", [(0, 3, 4, 5), (3, 0, 4, 5), (3, 4, 0, 5), (3, 4, 5, 0)], ids=str)
def test_empty_sizes_give_empty_results_and_zeros(compiled, sizes):
    values = draw(*sizes)
    forward, gradients = compiled()
    found = forward(*values.values())
    assert np.array_equal(found.shape, (*sizes[:2], sizes[3]))
    assert sizes[2] or reference.error(found, correct(**values)) < 1e-6
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


def test_weights_that_do_not_fit_on_the_chip_are_multiplied_at_each_step(compiled):
    check(compiled, (3, 5, 4, 2100))


def test_arrays_that_are_not_contiguous_are_taken(theano):
    given = {name: theano.shared(np.repeat(value, 2, axis=-1)) for name, value in draw(3, 6, 5, 8).items()}
    spread = {name: array[..., ::2] for name, array in given.items()}
    states = lstm(**spread)
    gradients = theano.grad((states**2).sum(), list(spread.values()))
    found = theano.function([], [states, *gradients])()
    given = {name: theano.shared(value) for name, value in draw(3, 6, 5, 8).items()}
    states = lstm(**given)
    expected = theano.function([], [states, *theano.grad((states**2).sum(), list(given.values()))])()
    for one, other in zip(found, expected, strict=True):
        assert reference.error(np.array(one), np.array(other)) < 1e-6


def test_a_repeated_call_uses_the_current_values(theano):
    """A repeated call is a CUDA graph, which must store addresses and not values."""
    values = draw(4, 5, 6, 7)
    given = {name: theano.shared(value) for name, value in values.items()}
    function = theano.function([], theano.Out(lstm(**given).transfer(None), borrow=True))
    for scale in (1, 0, 2):
        for name, array in given.items():
            array.get_value(borrow=True, return_internal_type=True)[:] = np.float32(scale) * values[name]
        expected = correct(*(np.float32(scale) * value for value in values.values()))
        for _ in range(3):
            assert np.allclose(np.array(function()), expected, rtol=1e-5, atol=1e-6)


def test_all_runs_on_the_gpu_in_few_operations(theano):
    shared = {name: theano.shared(value) for name, value in draw(3, 4, 5, 6).items()}
    states = lstm(**shared)
    loss = (states**2).sum()
    compile = importlib.import_module("rnnbench.theano_runtime.function").compiled
    forward = compile(states, "cuda")
    train = compile(theano.grad(loss, [shared["W"], shared["b"]]), "cuda")
    (layer,) = nodes(forward)
    assert not layer.op.keeps
    layer, gradient = nodes(train)
    assert layer.op.keeps
    assert (gradient.op.wanted, gradient.op.inplace) == (("W", "b"), True)
    for function in (forward, train):
        names = {type(node.op).__name__ for node in function.maker.fgraph.toposort()}
        assert names <= {"GpuLstm", "GpuLstmGradient", "GpuElemwise"}


def test_float64_stays_on_the_cpu(compiled):
    for function in compiled(dtype="float64"):
        assert {type(node.op).__name__ for node in nodes(function)} <= {"Lstm", "LstmGradient"}


def test_two_gradients_of_one_layer_do_not_disturb_each_other(theano):
    given = symbols(theano, NAMES[:4])
    states = lstm(**given)
    both = [theano.grad(loss, given["U"]) for loss in (states.sum(), (states**2).sum())]
    values = list(draw(4, 3, 5, 6).values())[:4]
    together = theano.function(list(given.values()), both)(*values)
    for graph, found in zip(both, together, strict=True):
        assert reference.error(theano.function(list(given.values()), graph)(*values), found) < 1e-6


def test_networks_of_many_sizes_leave_each_other_alone(theano):
    """Larger networks move the workspace, which older graphs still name."""
    sizes = [(3, 4, 20, 2), (32, 9, 300, 1), (5, 6, 33, 3), (64, 20, 512, 1)]
    networks = [build("fused", Workload(*one), "cuda") for one in sizes]
    expected = [(reference.outputs(Workload(*one)), reference.gradients(Workload(*one))) for one in sizes]
    for _ in range(3):
        for network, (states, gradients) in zip(networks, expected, strict=True):
            assert reference.error(network.outputs(), states) < 2e-6
            assert reference.largest_gradient_error(network.gradients(), gradients) < 2e-6


TWO_STREAMS = """
import numpy as np
from helpers.layers import correct, draw
from rnnbench import reference, theano_runtime
theano = theano_runtime.prepare("cuda")
from rnnbench.fused import lstm
from theano.gpuarray import init_dev
# Theano has a context for "cuda0". For this name libgpuarray makes a second one, with a stream of its own, on one GPU.
init_dev("cuda", "second")
functions = []
for seed, target in enumerate([None, "second"] * 2):
    values = draw(30, 40, 64, 200 + 50 * seed, seed=seed)
    given = {name: theano.shared(value, target=target) for name, value in values.items()}
    states = lstm(**given)
    gradients = theano.grad((states**2).sum(), list(given.values()))
    results = [theano.Out(result.transfer(target), borrow=True) for result in (states, *gradients)]
    functions.append((theano.function([], results), correct(**values)))
first = [[np.array(result) for result in function()] for function, _ in functions]
for _ in range(20):
    made = [function() for function, _ in functions]  # nobody waits: both streams are busy at once
    for results, expected, before in zip(made, (expected for _, expected in functions), first):
        assert reference.error(np.array(results[0]), expected) < 2e-6
        assert all(np.allclose(result, other, rtol=1e-4, atol=1e-4) for result, other in zip(results, before))
print("both agree")
"""


def test_two_streams_of_one_gpu_compute_at_once(theano, python):
    run = python("-c", TWO_STREAMS, PYTHONPATH=f"{Path(__file__).parents[1]}:{Path(__file__).parents[2]}")
    assert run.stdout.endswith("both agree\n"), run.stderr


def test_a_second_process_compiles_no_kernel(theano, python):
    folder = Path(theano.config.compiledir) / "rnnbench_fused_cuda"
    code = "from rnnbench import build, Workload; net = build('fused', Workload(3, 4, 77, 2), 'cuda'); net.gradients()"
    times = []
    for _ in range(2):
        run = python("-c", code, THEANO_FLAGS=f"base_compiledir={theano.config.base_compiledir}")
        assert run.returncode == 0, run.stderr
        times.append({file.name: file.stat().st_mtime_ns for file in folder.iterdir()})
    assert times[0]
    assert times[0] == times[1]
