"""What the benchmark classes share: the grid, and a network kept for the whole process."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
import time
import types
from collections.abc import Callable, Iterator
from types import TracebackType

from rnnbench import Network, Unavailable, Workload, build, variants
from rnnbench.measure import cudnn_log, failures, hardware, state
from rnnbench.measure.clock import DeviceClock, SlowedClock
from rnnbench.network.grids import PARAM_NAMES, PARAMS, Cell


def _tell(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
    if line := failures.sentence(problem):
        print(f"failed: {line}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, problem, trace)


# A cell that fails ends its process, with a sentence instead of pages where that says it all.
sys.excepthook = _tell

DEVICE = os.environ.get("RNNBENCH_DEVICE", "cpu")
# By which share each timed call is slowed: `rnnbench selftest` sets it, to see from which on asv finds it.
SLOWDOWN = float(os.environ.get("RNNBENCH_SLOWDOWN", 0))

# Seconds: a processor or GPU has then risen to its clock.
_WARM_UP, _WARM_UP_AT_MOST = 0.2, 1.0
# Calls: on an H100 cuDNN's first six each found other addresses, or recorded a graph.
_SETTLED = 8


@functools.cache
def workload(*sizes: int) -> Workload:
    return Workload(*sizes)


# asv calls setup before every timed call: what it needs is made once.
@functools.cache
def network(variant: str, *sizes: int) -> Network:
    """Return a variant's network; NotImplementedError, which asv shows as n/a, where it can't run."""
    with _shown_as_not_available():
        return build(variant, workload(*sizes), device=DEVICE)


# asv reads the clock of the first setup: every later one must be the same.
@functools.cache
def clock(variant: str, *sizes: int) -> DeviceClock:
    """Return a clock for a network, which takes no time for true that its device couldn't do."""
    made, limit = network(variant, *sizes), hardware.limit(DEVICE, tf32=variants.VARIANTS[variant].tf32)
    return SlowedClock(made, limit, SLOWDOWN) if SLOWDOWN else DeviceClock(made, limit)


# asv's own warm-up would be over with the first call, and its limit on time as well, where that compiles.
@functools.cache
def warm(variant: str, function: str, *sizes: int) -> None:
    """Compile a network's function and call it until its times have settled; asv shows n/a where there is none."""
    made = network(variant, *sizes)
    with _shown_as_not_available():
        call = getattr(made, function)
    try:
        with cudnn_log.listening() as heard:
            call()
            made.synchronize()
    except Exception:
        # A call that is listened to may not say why it fails.
        call()
        made.synchronize()
        raise
    # What takes long and lets a GPU rest comes before the calls that settle: on an H100 the next twenty are slower.
    watch(variant, *sizes, cudnn=heard.choice())
    start = time.perf_counter()
    for calls in itertools.count(2):
        call()
        made.synchronize()
        seconds = time.perf_counter() - start
        if seconds > _WARM_UP and (calls >= _SETTLED or seconds > _WARM_UP_AT_MOST):
            break


# Once a process: what is seen belongs to all that it times. asv calls a benchmark's setup again and again.
@functools.cache
def watch(variant: str, *sizes: int, cudnn: cudnn_log.Choice | None = None) -> None:
    """Have the machine's state from now to the end of this process stored with its times, and what computed."""
    state.watch(DEVICE, Cell(*sizes), libraries=variants.versions(variant), cudnn=cudnn)


def require(variant: str, *sizes: int) -> None:
    """Raise NotImplementedError where a variant can't run, without building it."""
    with _shown_as_not_available():
        variants.require(variant, workload(*sizes), device=DEVICE)


@contextlib.contextmanager
def _shown_as_not_available() -> Iterator[None]:
    try:
        yield
    except Unavailable as reason:
        raise NotImplementedError(str(reason)) from reason


class Sizes:
    """The parameters of every benchmark: (batch, seq, hidden, depth)."""

    params = PARAMS
    param_names = PARAM_NAMES
    # asv starts a new series when this changes: raise it when the same name measures something else.
    version = "1"
    # Seconds without output until asv gives up; a first compile on a slow machine takes minutes.
    timeout = 1200


def of_each_variant(base: type, among: Callable[[variants.Variant], bool] = lambda _: True) -> dict[str, type]:
    """Return classes made of a base, one for each variant, by their names: of _LSTM cudnn_tf32's is CudnnTF32LSTM."""
    found = {}
    for variant, row in variants.VARIANTS.items():
        if among(row):
            name = variants.class_prefix(variant) + base.__name__.removeprefix("_")
            content = {"__module__": base.__module__, "__doc__": f"{row.description}.", "variant": variant}
            found[name] = type(name, (base,), content | _prepared(base, variant))
    return found


def _prepared(base: type, variant: str) -> dict[str, types.FunctionType]:
    """Return those of a base's methods that time calls, or need gradients that a variant hasn't, to be warmed first.

    asv calls a benchmark's own setup after its class's: one that times finds its function warm, and one
    that can't run is shown as n/a.
    """
    found = {}
    for name in dir(base):
        kind, _, subject = name.partition("_")
        function = {"forward": "forward", "train": "train", "gradients": "train"}.get(subject)
        if kind == "time" or (function == "train" and not variants.VARIANTS[variant].trains):
            method = getattr(base, name)
            found[name] = types.FunctionType(method.__code__, method.__globals__, name)
            found[name].setup = functools.partial(warm, variant, function)  # type: ignore[attr-defined]
    return found
