"""The peak growth of memory during a network's first train step, in bytes."""

from rnnbench import classes_for_variants, peak_memory, prepared

from .common import Shapes


class _Memory(Shapes):
    variant: str
    unit = "bytes"

    def setup(self, *shape):
        self.case = prepared(self.variant, *shape)
        self.network = self.case.network

    def track_train(self, *shape):
        train = self.network.train  # this compiles the step before memory is measured

        def step():
            train()
            self.network.synchronize()

        return peak_memory(step, self.case.device)


globals().update(classes_for_variants(_Memory))
