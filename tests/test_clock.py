"""The clock: it counts the device's work, all of it and no other."""

import threading
import time

from rnnbench.clock import device_clock


class SimulatedDevice:
    """A device and its host in simulated time: calls return at once, work queues up."""

    def __init__(self):
        self.time = self.idle_at = 0.0

    def start(self, seconds):
        self.idle_at = max(self.time, self.idle_at) + seconds

    def synchronize(self):
        self.time = max(self.time, self.idle_at)


def timed(clock, call):
    start = clock()
    call()
    return clock() - start


def test_work_that_a_call_started_counts_in_full():
    device = SimulatedDevice()
    assert timed(device_clock(device, lambda: device.time), lambda: device.start(3)) == 3


def test_work_from_before_a_call_does_not_count():
    device = SimulatedDevice()
    device.start(100)
    assert timed(device_clock(device, lambda: device.time), lambda: device.start(3)) == 3


def test_an_idle_device_takes_no_time():
    device = SimulatedDevice()
    assert timed(device_clock(device, lambda: device.time), lambda: None) == 0


class ThreadedDevice:
    """A device whose work runs beside the host, in real time."""

    def __init__(self):
        self.work = threading.Thread()
        self.work.run()

    def start(self):
        self.work = threading.Thread(target=time.sleep, args=(0.05,))
        self.work.start()

    def synchronize(self):
        if self.work.is_alive():
            self.work.join()


def test_seconds_are_real_seconds():
    device = ThreadedDevice()
    # The upper bound is for a busy machine.
    assert 0.05 <= timed(device_clock(device), device.start) < 0.5
