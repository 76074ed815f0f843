"""A GRU at the LSTM's shapes: the time of a call, the GPU's own time, and the error."""

from rnnbench import classes_for_variants

from .common import _DeviceTimes, _Errors, _Times, on_gpus


class _GRU(_Times):
    group = "gru"


class _Device(_DeviceTimes):
    group = "gru"


class _Accuracy(_Errors):
    group = "gru"


globals().update(classes_for_variants(_GRU) | classes_for_variants(_Device, on_gpus) | classes_for_variants(_Accuracy))
