"""The error against the float64 reference: ‖array − reference‖ / ‖reference‖. For gradients, the largest error."""

from rnnbench import classes_for_variants, prepared, reference

from .common import Shapes


class _Accuracy(Shapes):
    variant: str
    unit = "relative error"

    def setup(self, *shape):
        case = prepared(self.variant, *shape)
        self.network, self.workload = case.network, case.workload

    def track_outputs(self, *shape):
        return reference.error(self.network.outputs(), reference.outputs(self.workload))

    def track_gradients(self, *shape):
        return reference.largest_gradient_error(self.network.gradients(), reference.gradients(self.workload))


globals().update(classes_for_variants(_Accuracy))
