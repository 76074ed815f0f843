"""The clock: it counts all of the device's work in a call, and no other work."""

import threading
import time

import pytest
from asv_runner.benchmarks.time import TimeBenchmark
from helpers import spinning

from benchmarks import lstm
from rnnbench import variants
from rnnbench.measure.clock import DeviceClock, ImpossibleTime, SlowedClock
from rnnbench.variants import Variant

# With so many tries, at least one is undisturbed even on a busy machine.
TRIES = 100


class SimulatedDevice:
    """A device and its host in simulated time: calls return at once, and their work waits in a queue."""

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
    assert timed(DeviceClock(device, now=lambda: device.time), lambda: device.start(3)) == 3


def test_work_from_before_a_call_does_not_count():
    device = SimulatedDevice()
    device.start(100)
    assert timed(DeviceClock(device, now=lambda: device.time), lambda: device.start(3)) == 3


def test_an_idle_device_takes_no_time():
    device = SimulatedDevice()
    assert timed(DeviceClock(device, now=lambda: device.time), lambda: None) == 0


def test_a_time_at_the_limit_is_accepted():
    device = SimulatedDevice()
    clock = DeviceClock(device, limit=100, now=lambda: device.time)
    for _ in range(3):
        clock()
        device.start(2)
        clock.started(200)
        clock()


def test_a_time_beyond_the_limit_is_refused_and_says_why():
    device = SimulatedDevice()
    clock = DeviceClock(device, limit=100, now=lambda: device.time)
    clock()
    device.start(2)
    clock.started(201)
    with pytest.raises(ImpossibleTime, match=r"201 floating-point operations in 2 s: .* at most 100 a second"):
        clock()
    clock()  # the refused operations don't count again


def test_a_clock_that_does_not_wait_is_detected():
    device = SimulatedDevice()
    hasty = DeviceClock(type("Hasty", (), {"synchronize": lambda self: None})(), limit=100, now=lambda: device.time)
    hasty()
    device.start(3)
    device.time += 0.01  # the call itself
    hasty.started(200)
    with pytest.raises(ImpossibleTime):
        hasty()


class ThreadedDevice:
    """A device that works in real time, beside the host."""

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
    # The upper bound allows for a busy machine.
    assert 0.05 <= timed(DeviceClock(device), device.start) < 0.5


@pytest.mark.parametrize("seconds", [0.002, 0.01])
def test_a_known_time_is_measured(seconds):
    device = spinning.Device()
    clock = DeviceClock(device)
    measured = [timed(clock, lambda: device.start(seconds)) for _ in range(TRIES)]
    assert seconds <= min(measured) < 1.02 * seconds


def test_calls_timed_together_take_the_sum_of_their_times():
    device = spinning.Device()
    clock = DeviceClock(device)
    seconds = [0.002, 0.003, 0.005]

    def start_all():
        for each in seconds:
            device.start(each)

    together = min(timed(clock, start_all) for _ in range(TRIES))
    alone = sum(min(timed(clock, lambda each=each: device.start(each)) for _ in range(TRIES)) for each in seconds)
    assert together == pytest.approx(alone, rel=0.02)


@pytest.mark.parametrize(("method", "seconds"), [("forward", spinning.SECONDS), ("train", 3 * spinning.SECONDS)])
def test_asvs_samples_equal_the_known_time(method, seconds, add_variant):
    """This includes a benchmark's setup, its timer and asv's loop."""
    add_variant(Variant("spinning", "Spinning", "It spins", variants.DEVICES))

    class SpinningLSTM(lstm._LSTM):
        variant = "spinning"
        repeat = TRIES

    instance = SpinningLSTM()
    benchmark = TimeBenchmark("spinning", getattr(instance, f"time_{method}"), [instance])
    benchmark.set_param_idx(0)
    benchmark.do_setup()
    samples = benchmark.do_run()["samples"]
    assert len(samples) == TRIES
    assert seconds <= min(samples) < 1.02 * seconds


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_a_slowed_call_takes_longer_by_the_share(share):
    device = spinning.Device()
    clock = SlowedClock(device, limit=1e9, share=share)

    def call():
        device.start(0.01)
        clock.started(1)

    slowed = min(timed(clock, call) for _ in range(TRIES))
    assert slowed == pytest.approx((1 + share) * 0.01, rel=0.01)
