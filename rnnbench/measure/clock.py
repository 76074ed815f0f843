"""The clock: it waits for the device before it reads the time, and refuses a time that is impossibly short."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from rnnbench.network.contract import Network


class ImpossibleTime(Exception):
    """A time is too short for the device's peak rate, so the clock didn't wait for all of the work."""


class DeviceClock:
    """A clock, in seconds, that waits until the network's device is idle before it reads the time.

    Read it before and after a call to time the whole call. The first reading waits for earlier work, which then
    doesn't count. The second reading waits for the work that the call started, so that all of it counts.

    A reading raises ImpossibleTime if the operations reported to `started` since the last reading exceed `limit`
    FLOP/s.
    """

    def __init__(self, network: Network, limit: float = math.inf, now: Callable[[], float] = time.perf_counter) -> None:
        self._network = network
        self._limit = limit
        self._now = now
        self._last = -math.inf
        self._flops = 0

    def started(self, flops: int) -> None:
        """Tell the clock how many floating-point operations a call computes."""
        self._flops += flops

    def __call__(self) -> float:
        self._network.synchronize()
        now = self._now()
        flops, self._flops = self._flops, 0
        seconds, self._last = now - self._last, now
        if flops > self._limit * seconds:
            raise ImpossibleTime(
                f"{flops:.3g} floating-point operations in {seconds:.3g} s: the device does at most "
                f"{self._limit:.3g} a second, so the clock didn't wait for all of its work"
            )
        return now


class SlowedClock(DeviceClock):
    """A clock that lengthens each call by a share of its time: `rnnbench selftest` has to find this slowdown."""

    def __init__(self, network: Network, limit: float, share: float) -> None:
        super().__init__(network, limit)
        self._share = share

    def __call__(self) -> float:
        if self._flops:  # a call was started since the last reading
            self._network.synchronize()
            now = self._now()
            end = now + self._share * (now - self._last)
            while self._now() < end:
                pass
        return super().__call__()
