"""By how much memory grows, at its peak, in a network's first train step, in bytes."""

from rnnbench.memory import peak_memory

from .common import DEVICE, Sizes, network


class _Memory(Sizes):
    variant: str
    unit = "bytes"

    def setup(self, *sizes):
        self.network = network(self.variant, *sizes)

    def track_train(self, *sizes):
        train = self.network.train  # compiled here, before memory is measured

        def step():
            train()
            self.network.synchronize()

        return peak_memory(step, DEVICE)


class ScanMemory(_Memory):
    """Theano's loop."""

    variant = "scan"


class CudnnMemory(_Memory):
    """Theano's RNNBlock."""

    variant = "cudnn"


class CudnnTF32Memory(_Memory):
    """Theano's RNNBlock, its products rounded to TF32."""

    variant = "cudnn_tf32"


class TorchMemory(_Memory):
    """PyTorch's nn.LSTM."""

    variant = "torch"


class TorchTF32Memory(_Memory):
    """PyTorch's nn.LSTM, its products rounded to TF32."""

    variant = "torch_tf32"
