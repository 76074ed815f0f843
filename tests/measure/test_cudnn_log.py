"""cuDNN's log, with messages that cuDNN 9.19 wrote on an H100."""

import pytest

from rnnbench import variants
from rnnbench.measure import cudnn_log
from rnnbench.measure.cudnn_log import Choice, Recorder, listening

DESCRIPTION = b"""CuDNN (v91900 56) function cudnnSetRNNDescriptor_v8() called:
    algo: type=cudnnRNNAlgo_t; val=CUDNN_RNN_ALGO_%s (1);
    cellMode: type=cudnnRNNMode_t; val=CUDNN_LSTM (2);
    mathPrec: type=cudnnDataType_t; val=CUDNN_DATA_FLOAT (0);
    mathType: type=cudnnMathType_t; val=CUDNN_%s_MATH (3);
    hiddenSize: type=int; val=128;
Time: 2026-11-22T20:39:29.775082 (0d+0h+0m+0s since start)"""
CALL = (
    b"CuDNN (v91900 56) function %s() called:\n    fwdMode: type=cudnnForwardMode_t; val=CUDNN_FWD_MODE_TRAINING (1);"
)


def choice_from(*messages):
    recorder = Recorder("9.19.0")
    for message in messages:
        recorder.record(message)
    return recorder.choice()


def test_a_network_that_computes_is_the_one_described_last():
    size, network = DESCRIPTION % (b"STANDARD", b"FMA"), DESCRIPTION % (b"PERSIST_STATIC_SMALL_H", b"FMA")
    choice = choice_from(size, CALL % b"cudnnGetRNNWeightSpaceSize", network, CALL % b"cudnnRNNForward")
    assert choice == Choice("9.19.0", "PERSIST_STATIC_SMALL_H", "FMA")


def test_passes_with_different_settings_are_all_named():
    forward, backward = DESCRIPTION % (b"STANDARD", b"FMA"), DESCRIPTION % (b"PERSIST_STATIC", b"TENSOR_OP")
    choice = choice_from(forward, CALL % b"cudnnRNNForward", backward, CALL % b"cudnnRNNBackwardData_v8")
    assert choice == Choice("9.19.0", "PERSIST_STATIC, STANDARD", "FMA, TENSOR_OP")


def test_a_network_that_is_only_described_computes_nothing():
    assert choice_from(DESCRIPTION % (b"STANDARD", b"DEFAULT"), CALL % b"cudnnGetRNNTempSpaceSizes") is None


def test_nothing_is_recorded_where_no_cudnn_is_loaded(monkeypatch):
    monkeypatch.setattr(cudnn_log, "_loaded", list)
    with listening() as recorder:
        pass
    assert recorder.choice() is None


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_each_variant_names_its_libraries(name):
    assert variants.VARIANTS[name].libraries
    assert variants.versions(name).keys() <= set(variants.VARIANTS[name].libraries)


def test_theanos_version_is_the_installed_one():
    assert variants.versions("scan") == {"Theano": "1.0.5"}
