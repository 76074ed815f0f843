"""Test torch: it agrees with the reference, and doesn't import Theano."""

import sys

import numpy as np
import pytest

from rnnbench import Workload, build, reference, variants

pytest.importorskip("torch", reason="PyTorch isn't installed: pip install 'rnnbench[torch]'")

SHAPES = [(1, 1, 1, 1), (1, 13, 37, 1), (7, 1, 5, 2), (5, 3, 7, 3), (33, 7, 65, 3), (32, 30, 128, 1)]


@pytest.mark.parametrize("sizes", SHAPES, ids=lambda sizes: "-".join(map(str, sizes)))
def test_outputs_and_gradients_agree_with_the_reference(sizes):
    work = Workload(*sizes)
    network = build("torch", work)
    tolerance = variants.VARIANTS["torch"].tolerance
    outputs = network.outputs()
    assert outputs.dtype == np.float32
    assert reference.error(outputs, reference.outputs(work)) < tolerance
    for layer, correct in zip(network.gradients(), reference.gradients(work), strict=True):
        assert layer.keys() == correct.keys()
        for name, array in layer.items():
            assert (array.shape, array.dtype) == (correct[name].shape, np.float32)
            if correct[name].any():
                assert reference.error(array, correct[name]) < tolerance
            else:  # U's gradient is zero if the sequence has one step
                assert not array.any()


def test_a_second_train_step_does_not_add_to_the_first_gradients():
    network = build("torch", Workload(7, 3, 5, 2))
    first = network.gradients()
    for layer, before in zip(network.gradients(), first, strict=True):
        assert all(np.array_equal(layer[name], before[name]) for name in before)


def test_torch_does_not_import_theano():
    build("torch", Workload(2, 3, 4, 1)).train()
    assert "theano" not in sys.modules


def test_torch_tf32_needs_a_gpu():
    assert variants.available("cpu")["torch_tf32"] == "it is made for cuda"
