"""Test scan: it agrees with the reference, and Theano compiles the graph that scan.py describes."""

import re
from pathlib import Path

import numpy as np
import pytest

from rnnbench import Workload, build, reference, variants

# They include a batch of one, a sequence of one, odd sizes, and a shape from the benchmarks' grid.
SHAPES = [(1, 1, 1, 1), (1, 13, 37, 1), (7, 1, 5, 2), (5, 3, 7, 3), (32, 30, 128, 1)]
TIMED = SHAPES[-1]
# Each kind; together they have one step, a batch of one, other inputs, both directions and unequal lengths.
NETWORKS = [
    Workload(3, 5, 7, 1, kind="lstm", input_size=3, bidirectional=True, least_length=1),
    Workload(4, 3, 5, 1, kind="gru"),
    Workload(5, 4, 7, 2, kind="gru", input_size=3, bidirectional=True, least_length=1),
    Workload(1, 1, 17, 2, kind="rnn_tanh", input_size=3, bidirectional=True),
    Workload(4, 6, 9, 2, kind="rnn_relu", least_length=2),
]
TOLERANCE = variants.VARIANTS["scan"].tolerance

shapes = pytest.mark.parametrize("sizes", SHAPES, ids=lambda sizes: "-".join(map(str, sizes)))


def nodes_of(function, op):
    return [node for node in function.maker.fgraph.toposort() if type(node.op).__name__ == op]


def products(function):
    """Return the names of the matrix products in a compiled function, without those in its loops."""
    names = (type(node.op).__name__ for node in function.maker.fgraph.toposort())
    return [name for name in names if re.match("Dot|Gemm$|BatchedDot", name)]


def loops(function):
    return [node.op.fn for node in nodes_of(function, "Scan")]


@shapes
def test_outputs_agree_with_the_reference(scan, sizes):
    outputs = scan(*sizes).outputs()
    assert outputs.dtype == np.float32
    assert reference.error(outputs, reference.outputs(Workload(*sizes))) < TOLERANCE


@shapes
def test_every_gradient_agrees_with_the_reference(scan, sizes):
    computed, expected = scan(*sizes).gradients(), reference.gradients(Workload(*sizes))
    assert len(computed) == len(expected) == sizes[-1]
    for layer, correct in zip(computed, expected, strict=True):
        assert layer.keys() == correct.keys() == {"W", "U", "b"}
        for name, array in layer.items():
            assert (array.shape, array.dtype) == (correct[name].shape, np.float32)
            if correct[name].any():
                assert reference.error(array, correct[name]) < TOLERANCE
            else:  # U's gradient is zero if the sequence has one step
                assert not array.any()


@pytest.mark.parametrize("work", NETWORKS, ids=lambda work: f"{work.kind}-{work.depth}")
def test_a_network_of_any_kind_agrees_with_the_reference(work):
    network = build("scan", work)
    outputs, gradients = network.outputs(), network.gradients()
    assert outputs.dtype == np.float32
    assert reference.error(outputs, reference.outputs(work)) < TOLERANCE
    assert not outputs[np.broadcast_to(work.mask == 0, outputs.shape)].any()
    for layer, correct in zip(gradients, reference.gradients(work), strict=True):
        assert layer.keys() == correct.keys()
        assert all((array.shape, array.dtype) == (correct[name].shape, np.float32) for name, array in layer.items())
    assert reference.largest_gradient_error(gradients, reference.gradients(work)) < TOLERANCE
    # Each direction of each layer has one loop, with one matrix product a step.
    directions = work.depth * work.directions
    assert [len(products(loop)) for loop in loops(network.forward)] == [1] * directions
    assert [len(products(loop)) for loop in loops(network.train)] == [1] * 2 * directions
    assert all(hasattr(thunk, "cthunk") for loop in loops(network.train) for thunk in loop.fn.thunks)


def test_the_tolerance_is_at_most_1e_5():
    assert TOLERANCE <= 1e-5


@shapes
def test_a_second_call_returns_the_same_results(scan, sizes):
    network = scan(*sizes)
    outputs, gradients = network.outputs().copy(), network.gradients()
    gradients = [{name: array.copy() for name, array in layer.items()} for layer in gradients]
    assert np.array_equal(network.outputs(), outputs)
    for layer, first in zip(network.gradients(), gradients, strict=True):
        assert all(np.array_equal(layer[name], first[name]) for name in first)


@shapes
def test_writing_into_results_does_not_change_later_results(scan, sizes):
    network = scan(*sizes)
    outputs, gradients = network.outputs(), network.gradients()
    for array in [outputs, *(array for layer in gradients for array in layer.values())]:
        array[...] = 1000
    assert np.abs(network.outputs()).max() <= 1
    assert all(np.abs(array).max() < 1000 for layer in network.gradients() for array in layer.values())


def test_networks_of_one_process_do_not_affect_each_other(scan):
    first, second = scan(*SHAPES[1]), scan(*SHAPES[3])
    before = first.outputs().copy(), second.outputs().copy()
    for network in (first, second, first, second):
        network.forward()
        network.train()
    assert np.array_equal(first.outputs(), before[0])
    assert np.array_equal(second.outputs(), before[1])


def test_a_network_keeps_its_data_if_the_workload_changes():
    work = Workload(2, 3, 4, 1)
    network, expected = build("scan", work), reference.outputs(work)
    for array in (work.inputs, *work.weights[0].values()):
        array[...] = 0
    assert reference.error(network.outputs(), expected) < TOLERANCE


def test_outputs_have_nan_where_the_reference_has_nan():
    work = Workload(3, 4, 5, 1)
    vars(work)["inputs"] = Workload(3, 4, 5, 1).inputs.copy()
    work.inputs[2, 1, 3] = np.nan
    expected = np.isnan(reference.outputs(work))
    assert expected.any()
    assert not expected.all()
    assert np.array_equal(np.isnan(build("scan", work).outputs()), expected)


@pytest.mark.parametrize("sizes", [TIMED, SHAPES[3]], ids=["depth 1", "depth 3"])
def test_a_forward_step_has_one_matrix_product(scan, sizes):
    forward = scan(*sizes).forward
    assert len(loops(forward)) == sizes[-1]
    for loop in loops(forward):
        assert len(products(loop)) == 1
        assert not nodes_of(loop, "Scan")
    # Outside the loops each layer has one product, for the inputs of the whole sequence.
    assert len(products(forward)) == sizes[-1]


def test_a_backward_step_has_one_matrix_product(scan):
    # The backward loop doesn't compute the gates again, and doesn't sum the weights' gradients step by step.
    assert [len(products(loop)) for loop in loops(scan(*TIMED).train)] == [1, 1]


def test_only_the_scan_operation_is_not_c_code(scan):
    for function in (scan(*TIMED).forward, scan(*TIMED).train):
        assert type(function.fn).__name__ == "CVM"
        for inner in (function, *loops(function)):
            assert type(inner.fn).__name__ == "CVM"
            for node, thunk in zip(inner.fn.nodes, inner.fn.thunks, strict=True):
                assert hasattr(thunk, "cthunk") or (type(node.op).__name__ == "Scan" and inner is function), node.op


def test_the_scan_loop_is_compiled(scan):
    scan(*TIMED).forward  # noqa: B018
    from theano.scan_module import scan_perform_ext

    assert type(scan_perform_ext.perform).__name__ == "builtin_function_or_method"


def test_forward_copies_no_results(scan):
    names = {type(node.op).__name__ for node in scan(*TIMED).forward.maker.fgraph.toposort()}
    assert not {name for name in names if re.search("DeepCopy|HostFromGpu|GpuFromHost", name)}


@pytest.fixture(scope="module")
def modules(scan):
    """Return, for each module that Theano has loaded, its symbols of BLAS products and of tanh."""
    network = scan(*TIMED)
    network.forward, network.train  # noqa: B018
    from theano.gof.cc import get_module_cache

    symbol = re.compile(rb"\w*(?:ge[mr][mv]?_|tanhf?)(?=\0)")
    files = get_module_cache().module_from_name
    return [{name.decode() for name in symbol.findall(Path(file).read_bytes())} for file in files]


def test_products_run_in_openblas(modules):
    blas = {name for names in modules for name in names if name.endswith("_")}
    assert "scipy_sgemm_" in blas
    assert {name for name in blas if not name.startswith("scipy_")} == set()
    loaded = Path("/proc/self/maps")
    if loaded.exists():
        assert "libscipy_openblas" in loaded.read_text()


def test_tanh_uses_vector_instructions(modules):
    import platform

    if platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
        pytest.skip("glibc has vector forms of tanh on x86-64 only")
    tanh = [names for names in modules if any("tanh" in name for name in names)]
    assert tanh
    for names in tanh:
        assert any(re.fullmatch(r"_ZGV\w+_tanhf", name) for name in names), names
