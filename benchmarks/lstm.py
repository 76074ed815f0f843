"""The time of a call on a whole batch, in seconds: forward, and train (forward, loss, backward)."""

from .common import Sizes, clock, network, of_each_variant, workload


class _LSTM(Sizes):
    variant: str

    # One call a sample, so that each figure has a spread. Processes differ by more than a process's calls do: by 2 to
    # 6% against 1% on an H100 at 7a07e5d. Of 84 processes there, drawn anew, asv called figures of the same code
    # changed in 7 to 9% with one process each, 2 to 5% with two, 2% with four, with 7 calls as with 20; its test needs
    # 7. Since processes warm up right before they are timed, four gave 0 of 60 (2a02b160).
    # A process takes 3 s, of which 20 calls are mostly under one.
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
