"""The time of a call on a whole batch, in seconds: forward, and train (forward, loss, backward)."""

from .common import Sizes, clock, network, of_each_variant, workload


class _LSTM(Sizes):
    variant: str

    # One call a sample, so that each figure has a spread; two processes, since memory's layout
    # differs between them; and enough samples for asv's test, which needs seven a side. How small a
    # change is found with these, `rnnbench selftest` measures.
    number = 1
    rounds = 2
    repeat = (7, 20, 2.0)
    warmup_time = 0

    def setup(self, *sizes):
        self.network = network(self.variant, *sizes)
        self.timer = clock(self.variant, *sizes)
        self.forward_flops = workload(*sizes).forward_flops
        self.train_flops = workload(*sizes).train_flops

    def time_forward(self, *sizes):
        self.network.forward()
        self.timer.started(self.forward_flops)

    def time_train(self, *sizes):
        self.network.train()
        self.timer.started(self.train_flops)


globals().update(of_each_variant(_LSTM))
