"""Cases, which asv's benchmarks share: one variant and one workload, prepared once per process."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import os
import time
import types
from collections.abc import Callable, Iterator
from functools import cached_property

from rnnbench import variants
from rnnbench.history.benchmark_names import class_prefix
from rnnbench.measure import cudnn_log, device_time, hardware, state, variables
from rnnbench.measure.clock import DeviceClock, SlowedClock
from rnnbench.network import precision
from rnnbench.network.contract import Network, Unavailable
from rnnbench.network.models import ALL_MODELS, grids, workload
from rnnbench.network.workload import Workload

DEVICE = os.environ.get("RNNBENCH_DEVICE") or "cpu"

# The seconds and calls of a warm-up. docs/method.md has the figures.
_LEAST_SECONDS, _MOST_SECONDS = 0.2, 1.0
_LEAST_CALLS = 8


class Case:
    """One variant and one workload on the device that RNNBENCH_DEVICE names.

    asv calls a benchmark's setup before every sample. So a case builds its network and clock once and keeps them.
    If the variant can't run, the methods raise NotImplementedError, which asv shows as n/a.
    """

    device = DEVICE

    def __init__(self, variant: str, work: Workload, parameters: str) -> None:
        self.variant = variant
        self.workload = variants.workload(variant, work)
        self._parameters = parameters
        self._warm: set[str] = set()
        self._is_watched = False

    @cached_property
    def network(self) -> Network:
        """The variant's network for the workload, built at the first access."""
        with _shown_as_not_available():
            return variants.build(self.variant, self.workload, device=DEVICE)

    @cached_property
    def clock(self) -> DeviceClock:
        """The clock, in seconds: it waits for the network's device and refuses impossible times."""
        limit = hardware.limit(DEVICE, precision.of_variant(self.variant))
        slowdown = variables.slowdown()
        return SlowedClock(self.network, limit, slowdown) if slowdown else DeviceClock(self.network, limit)

    def require(self) -> None:
        """Raise NotImplementedError if the variant can't run. This doesn't build the network."""
        with _shown_as_not_available():
            variants.require(self.variant, self.workload, device=DEVICE)

    def warm(self, function: str) -> None:
        """Compile the network's "forward" or "train" and call it until its times have settled."""
        if function in self._warm:
            return
        network = self.network
        with _shown_as_not_available():  # a call may find that it can't run these sizes
            call = getattr(network, function)
            try:
                with cudnn_log.listening() as recorder:
                    call()
                    network.synchronize()
            except Exception:
                # A call may not say why it fails while its cuDNN log is read, so repeat it without the log.
                call()
                network.synchronize()
                raise
        # Observing the machine lets a GPU rest, so it comes before the calls that warm the GPU up.
        self.watch(cudnn=recorder.choice())
        start = time.perf_counter()
        for calls in itertools.count(2):
            call()
            network.synchronize()
            seconds = time.perf_counter() - start
            if seconds > _LEAST_SECONDS and (calls >= _LEAST_CALLS or seconds > _MOST_SECONDS):
                break
        self._warm.add(function)

    def device_seconds(self, function: str) -> float:
        """Return the GPU's own time of "forward" or "train", in seconds. On a CPU it raises NotImplementedError."""
        if DEVICE != "cuda":
            raise NotImplementedError("only a GPU has a time of its own: on a CPU, a call's time is all there is")
        self.warm(function)
        with _shown_as_not_available():
            return device_time.seconds(self.network, function)

    def watch(self, cudnn: cudnn_log.Choice | None = None) -> None:
        """Store with the figures: the libraries used, and the machine's state from now to the end of this process."""
        if not self._is_watched:
            state.watch(DEVICE, self._parameters, libraries=variants.versions(self.variant), cudnn=cudnn)
            self._is_watched = True


@functools.cache
def prepared(variant: str, *parameters: int | str, group: str = "lstm") -> Case:
    """Return the case of a variant at a benchmark's parameters. Each process makes it only once.

    `group` is one of models.GROUPS. A family's parameters are a shape (batch, seq, hidden, depth), those of the models
    a name.
    """
    work = workload(*parameters) if group == ALL_MODELS else workload(group, parameters)  # type: ignore[arg-type]
    return Case(variant, work, ", ".join(map(repr, parameters)))


def classes_for_variants(base: type, among: Callable[[variants.Variant], bool] = lambda _: True) -> dict[str, type]:
    """Return a dict from class names to subclasses of a benchmark class, one for each variant that `among` accepts.

    For example, _LSTM's subclass for cudnn_tf32 is named CudnnTF32LSTM. If the class has a `group` of
    networks, such as "gru" or "models", only the variants that can compute one of them have a subclass.
    """
    group = getattr(base, "group", "lstm")
    for _, method in inspect.getmembers(base, inspect.isfunction):
        if not hasattr(method, "pretty_source"):  # asv would read the same source anew for each variant
            method.pretty_source = inspect.getsource(method).rstrip()  # type: ignore[attr-defined]
    classes = {}
    for variant, row in variants.VARIANTS.items():
        if among(row) and _supports(variant, group):
            name = class_prefix(variant) + base.__name__.removeprefix("_")
            content = {"__module__": base.__module__, "__doc__": f"{row.description}.", "variant": variant}
            classes[name] = type(name, (base,), content | _warmed_methods(base, row, group))
    return classes


@functools.cache  # asv reads all benchmarks before each run
def _supports(variant: str, group: str) -> bool:
    if group == "lstm":  # all variants do
        return True
    smallest, *_ = grids(group).values()
    return any(variants.supports(variant, workload(*subject)) is None for subject in smallest)


def _warmed_methods(base: type, row: variants.Variant, group: str) -> dict[str, types.FunctionType]:
    """Return copies of a class's methods that need a warm-up, each with a setup that warms its function up.

    asv calls the setup of a method after the setup of its class. A method that times calls needs a warm-up. A method
    that uses gradients needs one only if the variant can't train: the warm-up then fails, and asv shows n/a.
    """
    methods = {}
    for name in dir(base):
        kind, _, subject = name.partition("_")
        function = {"forward": "forward", "train": "train", "gradients": "train"}.get(subject)
        if function and (kind == "time" or (function == "train" and not row.trains)):
            method = getattr(base, name)
            methods[name] = types.FunctionType(method.__code__, method.__globals__, name)
            vars(methods[name]).update(vars(method))
            methods[name].setup = functools.partial(_warm, row.name, group, function)  # type: ignore[attr-defined]
    return methods


def _warm(variant: str, group: str, function: str, *parameters: int | str) -> None:
    prepared(variant, *parameters, group=group).warm(function)


@contextlib.contextmanager
def _shown_as_not_available() -> Iterator[None]:
    try:
        yield
    except Unavailable as reason:
        raise NotImplementedError(str(reason).partition("\n")[0]) from reason  # Theano adds pages about the graph
