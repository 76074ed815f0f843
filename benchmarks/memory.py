"""By how much memory grows, at its peak, in a network's first train step, in bytes."""

from rnnbench.memory import peak_memory

from .common import DEVICE, Sizes, network


class _Memory(Sizes):
    variant: str
    unit = "bytes"

    def setup(self, *sizes):
        if DEVICE != "cpu":
            raise NotImplementedError("the peak of a GPU's memory isn't measured yet")
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
