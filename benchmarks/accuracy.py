"""The largest error against the float64 reference: ‖array − reference‖ / ‖reference‖."""

from rnnbench import reference

from .common import Sizes, network, of_each_variant, workload


class _Accuracy(Sizes):
    variant: str
    unit = "relative error"

    def setup(self, *sizes):
        self.network = network(self.variant, *sizes)

    def track_outputs(self, *sizes):
        return reference.error(self.network.outputs(), reference.outputs(workload(*sizes)))

    def track_gradients(self, *sizes):
        return reference.largest_gradient_error(self.network.gradients(), reference.gradients(workload(*sizes)))


globals().update(of_each_variant(_Accuracy))
