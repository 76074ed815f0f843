"""What asv's benchmarks share: one variant at one shape, prepared once in the process that measures it."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import time
import types
from collections.abc import Callable, Iterator
from functools import cached_property

from rnnbench import variants
from rnnbench.history.benchmark_names import class_prefix
from rnnbench.measure import cudnn_log, hardware, state
from rnnbench.measure.clock import DeviceClock, SlowedClock
from rnnbench.network.contract import Network, Unavailable
from rnnbench.network.shapes import Shape
from rnnbench.network.workload import Workload

DEVICE = os.environ.get("RNNBENCH_DEVICE", "cpu")
# `rnnbench selftest` sets it: each timed call is slowed by this share of its time.
SLOWDOWN = float(os.environ.get("RNNBENCH_SLOWDOWN", 0))

# Seconds and calls of a warm-up; docs/method.md says why.
_WARM_UP, _WARM_UP_AT_MOST = 0.2, 1.0
_SETTLED = 8


class Case:
    """One variant at one shape on the device that RNNBENCH_DEVICE names.

    asv calls a benchmark's setup before every timed call. So a case makes each thing once and keeps it.
    Its methods raise NotImplementedError, which asv shows as n/a, where the variant can't run.
    """

    device = DEVICE

    def __init__(self, variant: str, *shape: int) -> None:
        self.variant = variant
        self.workload = Workload(*shape)
        self._shape = Shape(*shape)
        self._warm: set[str] = set()
        self._is_watched = False

    @cached_property
    def network(self) -> Network:
        """The variant's network for the workload."""
        with _shown_as_not_available():
            return variants.build(self.variant, self.workload, device=DEVICE)

    @cached_property
    def clock(self) -> DeviceClock:
        """A clock in seconds that waits for the network's device and refuses impossible times."""
        limit = hardware.limit(DEVICE, tf32=variants.VARIANTS[self.variant].tf32)
        return SlowedClock(self.network, limit, SLOWDOWN) if SLOWDOWN else DeviceClock(self.network, limit)

    def require(self) -> None:
        """Raise NotImplementedError where the variant can't run, without building it."""
        with _shown_as_not_available():
            variants.require(self.variant, self.workload, device=DEVICE)

    def warm(self, function: str) -> None:
        """Compile the network's "forward" or "train" and call it until its times have settled."""
        if function in self._warm:
            return
        network = self.network
        with _shown_as_not_available():
            call = getattr(network, function)
        try:
            with cudnn_log.listening() as heard:
                call()
                network.synchronize()
        except Exception:
            # A call that is listened to may not say why it fails.
            call()
            network.synchronize()
            raise
        # It takes long and lets a GPU rest. So it comes before the calls that settle.
        self.watch(cudnn=heard.choice())
        start = time.perf_counter()
        for calls in itertools.count(2):
            call()
            network.synchronize()
            seconds = time.perf_counter() - start
            if seconds > _WARM_UP and (calls >= _SETTLED or seconds > _WARM_UP_AT_MOST):
                break
        self._warm.add(function)

    def watch(self, cudnn: cudnn_log.Choice | None = None) -> None:
        """Store the machine's state from now to the end of this process with its figures, and the libraries used."""
        if not self._is_watched:
            state.watch(DEVICE, self._shape, libraries=variants.versions(self.variant), cudnn=cudnn)
            self._is_watched = True


@functools.cache
def prepared(variant: str, *shape: int) -> Case:
    """Return the case of a variant at a shape (batch, seq, hidden, depth): the same one for the whole process."""
    return Case(variant, *shape)


def classes_for_variants(base: type, among: Callable[[variants.Variant], bool] = lambda _: True) -> dict[str, type]:
    """Return a subclass of a benchmark class for each variant, by its name.

    The name of _LSTM's for cudnn_tf32 is CudnnTF32LSTM. `among` chooses the variants.
    """
    found = {}
    for variant, row in variants.VARIANTS.items():
        if among(row):
            name = class_prefix(variant) + base.__name__.removeprefix("_")
            content = {"__module__": base.__module__, "__doc__": f"{row.description}.", "variant": variant}
            found[name] = type(name, (base,), content | _warmed_methods(base, row))
    return found


def _warmed_methods(base: type, row: variants.Variant) -> dict[str, types.FunctionType]:
    """Return copies of a class's methods that need a warm function, each with a setup that warms it.

    asv calls a method's own setup after its class's. Methods that time calls need one. Methods that take gradients
    need one where the variant has none: asv then shows them as n/a.
    """
    found = {}
    for name in dir(base):
        kind, _, subject = name.partition("_")
        function = {"forward": "forward", "train": "train", "gradients": "train"}.get(subject)
        if function and (kind == "time" or (function == "train" and not row.trains)):
            method = getattr(base, name)
            found[name] = types.FunctionType(method.__code__, method.__globals__, name)
            found[name].setup = functools.partial(_warm, row.name, function)  # type: ignore[attr-defined]
    return found


def _warm(variant: str, function: str, *shape: int) -> None:
    prepared(variant, *shape).warm(function)


@contextlib.contextmanager
def _shown_as_not_available() -> Iterator[None]:
    try:
        yield
    except Unavailable as reason:
        raise NotImplementedError(str(reason)) from reason
