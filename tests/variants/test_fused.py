"""fused: it computes what the reference does, layer by layer, and is compiled once for all processes."""

import numpy as np
import pytest

from rnnbench import Workload, build, prepared, reference

SHAPES = [(1, 1, 1, 1), (1, 13, 37, 1), (7, 1, 5, 2), (5, 3, 7, 3), (32, 30, 128, 1)]
TOLERANCE = 1e-6  # the registry's is ten times as large

NETWORKS = [
    Workload(4, 6, 17, 1, input_size=3, least_length=1),
    Workload(5, 4, 7, 2, input_size=3, bidirectional=True),
    Workload(3, 5, 8, 2, bidirectional=True, least_length=2),
    Workload(1, 1, 17, 1, input_size=3, bidirectional=True, least_length=1),
]

shapes = pytest.mark.parametrize("sizes", SHAPES, ids=lambda sizes: "-".join(map(str, sizes)))


@pytest.fixture(scope="module")
def fused():
    return lambda *sizes: prepared("fused", *sizes).network


@shapes
def test_outputs_and_every_gradient_agree_with_the_reference(fused, sizes):
    network, work = fused(*sizes), Workload(*sizes)
    outputs, gradients = network.outputs(), network.gradients()
    assert outputs.dtype == np.float32
    assert reference.error(outputs, reference.outputs(work)) < TOLERANCE
    for layer, correct in zip(gradients, reference.gradients(work), strict=True):
        assert layer.keys() == correct.keys()
        for name, array in layer.items():
            assert (array.shape, array.dtype) == (correct[name].shape, np.float32)
            assert reference.error(array, correct[name]) < TOLERANCE


@pytest.mark.parametrize("work", NETWORKS, ids=["unequal", "both directions", "unequal, both", "one step"])
def test_other_inputs_directions_and_lengths_agree_with_the_reference(work):
    network = build("fused", work)
    outputs, gradients = network.outputs(), network.gradients()
    assert reference.error(outputs, reference.outputs(work)) < TOLERANCE
    assert not outputs[np.broadcast_to(work.mask == 0, outputs.shape)].any()
    for layer, correct in zip(gradients, reference.gradients(work), strict=True):
        assert layer.keys() == correct.keys()
        assert all((array.shape, array.dtype) == (correct[name].shape, np.float32) for name, array in layer.items())
    assert reference.largest_gradient_error(gradients, reference.gradients(work)) < TOLERANCE


@shapes
def test_a_second_call_gives_the_same_and_results_are_the_callers_own(fused, sizes):
    network = fused(*sizes)
    outputs, gradients = network.outputs(), network.gradients()
    kept = outputs.copy(), [{name: array.copy() for name, array in layer.items()} for layer in gradients]
    for array in [outputs, *(array for layer in gradients for array in layer.values())]:
        array[...] = 1000
    assert np.array_equal(network.outputs(), kept[0])
    for layer, first in zip(network.gradients(), kept[1], strict=True):
        assert all(np.array_equal(layer[name], first[name]) for name in first)


def test_networks_of_one_process_leave_each_other_alone(fused):
    networks = [fused(*sizes) for sizes in (SHAPES[1], SHAPES[3], SHAPES[4])]
    before = [network.outputs() for network in networks]
    for network in (*networks, *reversed(networks)):
        network.forward()
        network.train()
    assert all(np.array_equal(network.outputs(), first) for network, first in zip(networks, before, strict=True))


def test_a_network_keeps_its_data_if_the_workloads_change():
    work = Workload(2, 3, 4, 1)
    network, expected = build("fused", work), reference.outputs(work)
    for array in (work.inputs, *work.weights[0].values()):
        array[...] = 0
    assert reference.error(network.outputs(), expected) < TOLERANCE


def test_train_is_the_layers_and_one_pass_over_the_targets(fused):
    train = fused(*SHAPES[3]).train
    names = [type(node.op).__name__ for node in train.maker.fgraph.toposort()]
    assert names.count("Lstm") == names.count("LstmGradient") == 3
    assert not {name for name in names if "Dot" in name or "Gemm" in name or "Scan" in name or "Copy" in name}
    # Nobody asks for the gradient of the network's inputs.
    wanted = [node.op.wanted for node in train.maker.fgraph.toposort() if type(node.op).__name__ == "LstmGradient"]
    assert sorted("inputs" in names for names in wanted) == [False, True, True]


def test_a_second_process_compiles_nothing_again(fused, second_build):
    network = fused(*SHAPES[4])
    network.forward, network.train  # noqa: B018
    assert second_build("fused", "cpu") == "True 0"
