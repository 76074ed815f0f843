"""The GPU's own time of an LSTM's call on a whole batch, in seconds: the time without waiting for the host."""

from rnnbench import classes_for_variants

from .common import _DeviceTimes, on_gpus


class _Device(_DeviceTimes):
    pass


globals().update(classes_for_variants(_Device, on_gpus))
