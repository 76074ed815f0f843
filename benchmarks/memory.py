"""By how much memory grows, at its peak, in a network's first train step, in bytes."""

from rnnbench.measure.memory import peak_memory

from .common import DEVICE, Sizes, network, of_each_variant


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


globals().update(of_each_variant(_Memory))
