"""The clock that waits for the device."""

from __future__ import annotations

import time
from collections.abc import Callable

from rnnbench.variants.network import Network


def device_clock(network: Network, now: Callable[[], float] = time.perf_counter) -> Callable[[], float]:
    """Return a clock, in seconds, that waits until the network's device is idle before it reads the time.

    Read before and after a call it times the whole call: work still running from before is waited
    for by the first reading, and work that the call only started by the second.
    """

    def read() -> float:
        network.synchronize()
        return now()

    return read
