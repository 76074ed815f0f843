"""By how much memory grows, at its peak, in a network's first train step, in bytes."""

from rnnbench.memory import peak_memory

from .common import Sizes, network


class _Memory(Sizes):
    variant: str
    unit = "bytes"

    def setup(self, *sizes):
        self.network = network(self.variant, *sizes)

    def track_train(self, *sizes):
        train = self.network.train  # compiled here, before memory is measured
        return peak_memory(train)


class ScanMemory(_Memory):
    """Theano's loop."""

    variant = "scan"


class CudnnMemory(_Memory):
    """Theano's RNNBlock."""

    variant = "cudnn"
