"""Test the peers that are installed here: each agrees with the reference, and doesn't import Theano."""

import importlib
import importlib.util
import sys

import numpy as np
import pytest

from benchmarks import lstm
from rnnbench import Unavailable, Workload, build, cases, reference, variants

THEANO = "rnnbench.variants.scan", "rnnbench.variants.cudnn"
PEERS = [name for name, row in variants.VARIANTS.items() if row.module not in THEANO]
TRAINING = [name for name in PEERS if variants.VARIANTS[name].trains]
SHAPES = [(7, 13, 37, 2), (3, 1, 5, 1)]


def sizes_of(shape):
    return "-".join(map(str, shape))


def build_or_skip(name, shape):
    """Return the variant's network for a shape. Skip the test if it can't run here."""
    try:
        return build(name, Workload(*shape), device=cases.DEVICE)
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("shape", SHAPES, ids=sizes_of)
@pytest.mark.parametrize("name", PEERS)
def test_outputs_agree_with_the_reference(name, shape):
    outputs = build_or_skip(name, shape).outputs()
    assert outputs.dtype == np.float32
    assert reference.error(outputs, reference.outputs(Workload(*shape))) < variants.VARIANTS[name].tolerance


@pytest.mark.parametrize("shape", SHAPES, ids=sizes_of)
@pytest.mark.parametrize("name", TRAINING)
def test_gradients_agree_with_the_reference(name, shape):
    network = build_or_skip(name, shape)
    network.gradients()  # a second train step must give the same gradients
    for layer, correct in zip(network.gradients(), reference.gradients(Workload(*shape)), strict=True):
        assert layer.keys() == correct.keys()
        for parameter, array in layer.items():
            assert (array.shape, array.dtype) == (correct[parameter].shape, np.float32)
            if correct[parameter].any():
                assert reference.error(array, correct[parameter]) < variants.VARIANTS[name].tolerance
            else:  # U's gradient is zero if the sequence has one step
                assert not array.any()


@pytest.mark.parametrize("name", PEERS)
def test_outputs_are_the_same_after_forward_and_train(name):
    network = build_or_skip(name, SHAPES[0])
    expected = network.outputs()
    network.forward()
    network.synchronize()
    if name in TRAINING:
        network.train()
        network.synchronize()
    assert reference.error(network.outputs(), expected) < variants.VARIANTS[name].tolerance


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_does_not_import_theano(name):
    if importlib.util.find_spec("theano"):
        pytest.skip("Theano is installed, and other tests of this process import it")
    build_or_skip(name, SHAPES[0]).forward()
    assert "theano" not in sys.modules


THREADS = """
import sys, time
from rnnbench import Workload, build
from rnnbench.measure import state
network = build(sys.argv[1], Workload(128, 30, 256, 1))
call = getattr(network, sys.argv[2])
call()
network.synchronize()
first, end = state.observe("cpu"), time.perf_counter() + 1
while time.perf_counter() < end:
    call()
    network.synchronize()
print(state.between(first, state.observe("cpu"))["used"])
"""


@pytest.mark.parametrize("name", [name for name in PEERS if "cpu" in variants.VARIANTS[name].devices])
def test_a_variant_computes_with_one_thread_if_omp_num_threads_is_1(name, python):
    if reason := variants.available("cpu")[name]:
        pytest.skip(reason)
    function = "train" if name in TRAINING else "forward"
    run = python("-c", THREADS, name, function, OMP_NUM_THREADS="1")
    # The limit is above 1 because JAX's calling thread prepares the next call meanwhile.
    # docs/method.md has the figures.
    assert float(run.stdout) < 1.3, run.stderr


@pytest.mark.parametrize("name", [name for name in PEERS if variants.VARIANTS[name].tf32])
def test_a_tf32_variant_needs_a_gpu(name):
    assert variants.available("cpu")[name] == "it is made for cuda"


def test_flashrnn_gets_its_weights_in_the_right_order(monkeypatch):
    """FlashRNN's reference in PyTorch takes the same arguments as its kernels and needs no GPU."""
    flashrnn = pytest.importorskip("flashrnn", reason="FlashRNN isn't installed: pip install 'rnnbench[flashrnn]'")
    config = flashrnn.FlashRNNConfig
    monkeypatch.setattr(flashrnn, "FlashRNNConfig", lambda **fields: config(**{**fields, "backend": "vanilla"}))
    work = Workload(*SHAPES[0])
    network = importlib.import_module("rnnbench.variants.flashrnn").Network(work, "cpu")
    assert reference.error(network.outputs(), reference.outputs(work)) < 1e-5
    assert reference.largest_gradient_error(network.gradients(), reference.gradients(work)) < 1e-5


def test_jax_cudnn_gets_its_weights_in_cudnns_order(monkeypatch):
    """JAX's reference for cuDNN takes the same arguments and needs no GPU."""
    rnn = pytest.importorskip("jax.experimental.rnn", reason="JAX isn't installed: pip install 'rnnbench[jax]'")

    def without_cudnn(inputs, states, shapes, weights, lengths, **sizes):
        precision = sizes.pop("precision")
        assert not rnn._lstm_cudnn_allow_tf32(precision)
        unpacked = rnn.unpack_lstm_weights(
            weights, *(sizes[name] for name in ("input_size", "hidden_size", "num_layers", "bidirectional"))
        )
        return rnn.lstm_ref(inputs, states, shapes, *unpacked, lengths, *sizes.values())

    monkeypatch.setattr(rnn, "lstm", without_cudnn)
    work = Workload(*SHAPES[0])
    network = importlib.import_module("rnnbench.variants.jax_cudnn").Network(work, "cpu")
    assert reference.error(network.outputs(), reference.outputs(work)) < 1e-5
    assert reference.largest_gradient_error(network.gradients(), reference.gradients(work)) < 1e-5


def test_onnxruntime_raises_unavailable_for_training():
    network = build_or_skip("onnxruntime", SHAPES[0])
    for call in (network.gradients, lambda: network.train):
        with pytest.raises(Unavailable, match="can't train"):
            call()


def test_asv_skips_the_training_of_a_variant_that_cannot_train():
    build_or_skip("onnxruntime", SHAPES[0])
    benchmark = lstm.OnnxruntimeLSTM()
    benchmark.setup(32, 30, 128, 1)
    with pytest.raises(NotImplementedError, match="can't train"):
        benchmark.time_train.setup(32, 30, 128, 1)
    benchmark.time_forward.setup(32, 30, 128, 1)


def test_keras_refuses_another_type_of_numbers(python, tmp_path):
    if reason := variants.available()["keras"]:
        pytest.skip(reason)
    (tmp_path / "keras.json").write_text('{"floatx": "float16", "backend": "tensorflow"}')
    done = python(
        "-c", "import rnnbench; rnnbench.build('keras', rnnbench.Workload(2, 3, 4, 1))", KERAS_HOME=str(tmp_path)
    )
    assert "Unavailable: Keras' floatx is float16: set it to float32" in done.stderr
