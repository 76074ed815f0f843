"""A simulated asynchronous device, on which work takes a known time, and a variant that runs on it."""

import time

from rnnbench import reference

SECONDS = 0.005


class Device:
    """A device that finishes its work at a known time. The host waits in a busy loop, since a sleep may last longer."""

    def __init__(self):
        self._idle_at = 0.0

    def start(self, seconds):
        self._idle_at = max(time.perf_counter(), self._idle_at) + seconds

    def synchronize(self):
        while time.perf_counter() < self._idle_at:
            pass


class Network(Device):
    def __init__(self, work, device):
        super().__init__()
        self._work = work

    def outputs(self):
        return reference.outputs(self._work).astype("float32")

    def gradients(self):
        expected = reference.gradients(self._work)
        return [{name: array.astype("float32") for name, array in layer.items()} for layer in expected]

    def forward(self):
        self.start(SECONDS)

    def train(self):
        self.start(3 * SECONDS)
