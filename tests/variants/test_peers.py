"""Test the peers that are installed here: each agrees with the reference, and doesn't import Theano."""

import importlib
import importlib.util
import sys

import numpy as np
import pytest

from benchmarks import lstm
from rnnbench import Unavailable, Workload, build, cases, reference, variants
from rnnbench.network.workload import KINDS

THEANO = "rnnbench.variants.scan", "rnnbench.variants.cudnn"
PEERS = [name for name, row in variants.VARIANTS.items() if row.module not in THEANO]
TRAINING = [name for name in PEERS if variants.VARIANTS[name].trains]
SMALL = Workload(7, 13, 37, 2)
OF_EQUAL_SIZES = [SMALL, Workload(3, 1, 5, 1)]
OF_ALL_ABILITIES = [
    Workload(5, 9, 17, 2, kind=kind, input_size=3, bidirectional=True, least_length=1) for kind in KINDS
]
WORKLOADS = [
    *OF_EQUAL_SIZES,
    *(Workload(1, 1, 17, 1, kind=kind, input_size=3) for kind in KINDS),
    *(Workload(4, 5, 17, 2, kind=kind, input_size=3, bidirectional=True) for kind in ("lstm", "gru")),
    *(Workload(5, 9, 17, 2, kind=kind, input_size=20, least_length=2) for kind in ("lstm", "rnn_tanh")),
    *OF_ALL_ABILITIES,
]
# fused has tests of its own for the other workloads. Numba compiles one of PyTensor's networks for half a minute.
FEWER = {"fused": OF_EQUAL_SIZES, "pytensor_scan": [WORKLOADS[2], *OF_ALL_ABILITIES]}
CASES = [
    (name, work)
    for name in PEERS
    for work in FEWER.get(variants.VARIANTS[name].base or name, WORKLOADS)
    if variants.supports(name, work) is None
]
SIXTEEN_BITS = [name for name in PEERS if variants.VARIANTS[name].precision != "float32"]


def name_of(work):
    """Return the name of a test's workload, or the name of its variant as it is."""
    if isinstance(work, str):
        return work
    sizes = work.batch, work.seq, work.input_size, work.hidden, work.depth
    words = ["both directions"] * work.bidirectional + ["unequal lengths"] * (work.least_length is not None)
    return " ".join([work.kind, "-".join(map(str, sizes)), *words])


def build_or_skip(name, work):
    """Return the variant's network for a workload. Skip the test if it can't run here."""
    try:
        return build(name, work, device=cases.DEVICE)
    except Unavailable as reason:
        pytest.skip(str(reason))


def check(name, network, work):
    """Check the outputs and, if the variant trains, the gradients."""
    work, tolerance = variants.workload(name, work), variants.VARIANTS[name].tolerance
    outputs = network.outputs()
    assert outputs.dtype == np.float32
    assert not outputs[work.mask[:, :, 0] == 0].any()  # after a sequence's end
    assert reference.error(outputs, reference.outputs(work)) < tolerance
    if name not in TRAINING:
        return
    tolerance = reference.gradient_tolerance(work, tolerance)
    network.gradients()  # a second train step must give the same gradients
    for arrays, correct in zip(network.gradients(), reference.gradients(work), strict=True):
        assert arrays.keys() == correct.keys()
        for parameter, array in arrays.items():
            assert (array.shape, array.dtype) == (correct[parameter].shape, np.float32)
            if correct[parameter].any():
                assert reference.error(array, correct[parameter]) < tolerance
            else:  # U's gradient is zero if the sequence has one step
                assert not array.any()


@pytest.mark.parametrize(("name", "work"), CASES, ids=name_of)
def test_outputs_and_gradients_agree_with_the_reference(name, work):
    check(name, build_or_skip(name, work), work)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_says_what_it_cannot_compute(name):
    row = variants.VARIANTS[name]
    if row.module.endswith(".fused"):
        pytest.skip("it has tests of its own")
    for work in WORKLOADS:
        reason = None
        if row.module.endswith(".jax_cudnn") and work.kind != "lstm":
            reason = f"it doesn't compute {work.kind}, only lstm"
        elif row.module.endswith(".flashrnn") and work.kind == "rnn_relu":
            reason = "it doesn't compute rnn_relu, only lstm and gru and rnn_tanh"
        elif row.module.endswith(".flashrnn") and work.least_length is not None:
            reason = "it doesn't compute sequences of unequal lengths"
        assert variants.supports(name, work) == reason


@pytest.mark.parametrize("work", WORKLOADS, ids=name_of)
@pytest.mark.parametrize("name", [name for name in SIXTEEN_BITS if not name.startswith(("flashrnn", "torch_compile"))])
def test_a_twin_in_16_bits_computes_in_16_bits(name, work, need):
    """The twins are made for GPUs. On a CPU they compute the same, and slowly."""
    row = variants.VARIANTS[name]
    need(row.base, "cpu")
    network = importlib.import_module(row.module).Network(variants.workload(name, work), "cpu")
    check(name, network, work)
    outputs = reference.outputs(variants.workload(name, work))
    assert reference.error(network.outputs(), outputs) > row.tolerance / 100


@pytest.mark.parametrize("name", PEERS)
def test_outputs_are_the_same_after_forward_and_train(name):
    network = build_or_skip(name, SMALL)
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
    build_or_skip(name, SMALL).forward()
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
def test_a_variant_computes_with_one_thread_if_omp_num_threads_is_1(name, need, python):
    need(name, "cpu")
    function = "train" if name in TRAINING else "forward"
    run = python("-c", THREADS, name, function, OMP_NUM_THREADS="1")
    # The limit is above 1 because JAX's calling thread prepares the next call meanwhile.
    # docs/method.md has the figures.
    assert float(run.stdout) < 1.3, run.stderr


@pytest.mark.parametrize("name", [name for name in PEERS if variants.VARIANTS[name].tf32] + SIXTEEN_BITS)
def test_a_twin_in_another_precision_needs_a_gpu(name):
    assert variants.available("cpu")[name] == "it is made for cuda"


@pytest.mark.parametrize(
    "work", [work for work in WORKLOADS if variants.supports("flashrnn", work) is None], ids=name_of
)
def test_flashrnn_gets_its_weights_in_the_right_order(monkeypatch, work):
    """FlashRNN's reference in PyTorch takes the same arguments as its kernels and needs no GPU."""
    flashrnn = pytest.importorskip("flashrnn", reason="FlashRNN isn't installed: pip install 'rnnbench[flashrnn]'")
    config = flashrnn.FlashRNNConfig
    monkeypatch.setattr(flashrnn, "FlashRNNConfig", lambda **fields: config(**{**fields, "backend": "vanilla"}))
    network = importlib.import_module("rnnbench.variants.flashrnn").Network(work, "cpu")
    check("flashrnn", network, work)


@pytest.mark.parametrize(
    "work", [work for work in WORKLOADS if variants.supports("jax_cudnn", work) is None], ids=name_of
)
def test_jax_cudnn_gets_its_weights_in_cudnns_order(monkeypatch, work):
    """JAX's reference for cuDNN takes the same arguments and needs no GPU."""
    rnn = pytest.importorskip("jax.experimental.rnn", reason="JAX isn't installed: pip install 'rnnbench[jax]'")

    def without_cudnn(inputs, states, shapes, weights, lengths, **sizes):
        precision = sizes.pop("precision")
        assert not rnn._lstm_cudnn_allow_tf32(precision)
        unpacked = rnn.unpack_lstm_weights(
            weights, *(sizes[name] for name in ("input_size", "hidden_size", "num_layers", "bidirectional"))
        )
        return rnn.lstm_ref(inputs, states, shapes, *unpacked, lengths, **sizes)

    monkeypatch.setattr(rnn, "lstm", without_cudnn)
    network = importlib.import_module("rnnbench.variants.jax_cudnn").Network(work, "cpu")
    check("jax_cudnn", network, work)


def test_onnxruntime_raises_unavailable_for_training():
    network = build_or_skip("onnxruntime", SMALL)
    for call in (network.gradients, lambda: network.train):
        with pytest.raises(Unavailable, match="can't train"):
            call()


def test_asv_skips_the_training_of_a_variant_that_cannot_train():
    build_or_skip("onnxruntime", SMALL)
    benchmark = lstm.OnnxruntimeLSTM()
    benchmark.setup(32, 30, 128, 1)
    with pytest.raises(NotImplementedError, match="can't train"):
        benchmark.time_train.setup(32, 30, 128, 1)
    benchmark.time_forward.setup(32, 30, 128, 1)


def test_keras_refuses_another_type_of_numbers(need, python, tmp_path):
    need("keras", "cpu")
    (tmp_path / "keras.json").write_text('{"floatx": "float16", "backend": "tensorflow"}')
    done = python(
        "-c", "import rnnbench; rnnbench.build('keras', rnnbench.Workload(2, 3, 4, 1))", KERAS_HOME=str(tmp_path)
    )
    assert "Unavailable: Keras' floatx is float16: set it to float32" in done.stderr
