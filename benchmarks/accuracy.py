"""The largest error against the float64 reference: ‖array − reference‖ / ‖reference‖."""

from rnnbench import reference

from .common import Sizes, network, workload


class _Accuracy(Sizes):
    variant: str
    unit = "relative error"

    def setup(self, *sizes):
        self.network = network(self.variant, *sizes)

    def track_outputs(self, *sizes):
        return reference.error(self.network.outputs(), reference.outputs(workload(*sizes)))

    def track_gradients(self, *sizes):
        return reference.largest_gradient_error(self.network.gradients(), reference.gradients(workload(*sizes)))


class ScanAccuracy(_Accuracy):
    """Theano's loop."""

    variant = "scan"


class CudnnAccuracy(_Accuracy):
    """Theano's RNNBlock."""

    variant = "cudnn"


class CudnnTF32Accuracy(_Accuracy):
    """Theano's RNNBlock, its products rounded to TF32."""

    variant = "cudnn_tf32"


class TorchAccuracy(_Accuracy):
    """PyTorch's nn.LSTM."""

    variant = "torch"


class TorchTF32Accuracy(_Accuracy):
    """PyTorch's nn.LSTM, its products rounded to TF32."""

    variant = "torch_tf32"
