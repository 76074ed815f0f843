"""The time of an LSTM's call on a whole batch, in seconds: forward, and train (forward, loss, backward)."""

from rnnbench import classes_for_variants

from .common import _Times


class _LSTM(_Times):
    pass


globals().update(classes_for_variants(_LSTM))
