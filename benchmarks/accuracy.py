"""An LSTM's error against the float64 reference: ‖array − reference‖ / ‖reference‖. Of gradients, the largest one."""

from rnnbench import classes_for_variants

from .common import _Errors


class _Accuracy(_Errors):
    pass


globals().update(classes_for_variants(_Accuracy))
