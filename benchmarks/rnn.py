"""A plain RNN with tanh at the LSTM's shapes: the time of a call, the GPU's own time, and the error."""

from rnnbench import classes_for_variants

from .common import _DeviceTimes, _Errors, _Times, on_gpus


class _RNN(_Times):
    group = "rnn"


class _Device(_DeviceTimes):
    group = "rnn"


class _Accuracy(_Errors):
    group = "rnn"


globals().update(classes_for_variants(_RNN) | classes_for_variants(_Device, on_gpus) | classes_for_variants(_Accuracy))
