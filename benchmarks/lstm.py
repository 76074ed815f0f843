"""The time of a call on a whole batch, in seconds: forward, and train (forward, loss, backward)."""

from rnnbench import classes_for_variants, prepared

from .common import Shapes


class _LSTM(Shapes):
    variant: str

    # Each sample is one call. Each of two processes takes 7 samples, then up to 20 within 2 s. docs/method.md says why.
    number = 1
    rounds = 2
    repeat = (7, 20, 2.0)
    warmup_time = 0

    def setup(self, *shape):
        case = prepared(self.variant, *shape)
        self.network, self.timer = case.network, case.clock
        self.forward_flops, self.train_flops = case.workload.forward_flops, case.workload.train_flops

    def time_forward(self, *shape):
        self.network.forward()
        self.timer.started(self.forward_flops)

    def time_train(self, *shape):
        self.network.train()
        self.timer.started(self.train_flops)


globals().update(classes_for_variants(_LSTM))
