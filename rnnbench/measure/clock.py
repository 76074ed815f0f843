"""The clock that waits for the device, and refuses a time that no device could have needed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from rnnbench.network.contract import Network


class ImpossibleTime(Exception):
    """A time so short that the device would have passed its own limit: something wasn't waited for."""


class DeviceClock:
    """A clock, in seconds, that waits until the network's device is idle before it reads the time.

    Read before and after a call it times the whole call: work still running from before is waited
    for by the first reading, and work that the call only started by the second.

    A reading raises ImpossibleTime if what was `started` since the reading before means more than
    `limit` FLOP/s.
    """

    def __init__(self, network: Network, limit: float = math.inf, now: Callable[[], float] = time.perf_counter) -> None:
        self._network = network
        self._limit = limit
        self._now = now
        self._last = -math.inf
        self._flops = 0

    def started(self, flops: int) -> None:
        """Tell the clock what a call computes, in floating-point operations."""
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
    """A clock that holds up each call for a share of its own time: the slower copy that a selftest has to find."""

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
