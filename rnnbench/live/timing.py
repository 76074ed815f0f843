"""Time implementations against each other at any network, in live processes that take turns; docs/time.md.

Each implementation is built, checked against the reference and timed in a process of its own. Processes build at the
same time, but all of them are stopped while one is timed.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rnnbench import variants
from rnnbench.live.comparison import FUNCTIONS, check_possible
from rnnbench.live.process import Code, Failed, Process, first_ready
from rnnbench.measure import threads
from rnnbench.network import precision, reference
from rnnbench.network.contract import Unavailable
from rnnbench.network.workload import Weights, Workload

# docs/time.md has the reasons for these.
_TURN_SECONDS = 0.015  # about how long a turn lasts
_MOST_CALLS = 100  # in a turn
_FUNCTION_SECONDS = 0.4  # for which each process calls a function in its turns
_LEAST_TURNS = 4  # of each process
_SHORT = 0.3  # the seconds of a call that is looked at more than once
_PATIENCE = 10.0  # the seconds after which fewer turns must do
_MOST_PROCESSES = 5  # of each implementation
_SECONDS = 30.0  # no more processes are started if they would end later than this
# What the float64 reference takes: seconds for an operation, and for a step of a layer.
_REFERENCE_FLOP, _REFERENCE_STEP = 5e-11, 3e-4
_REFERENCE_SECONDS = 1.5


@dataclass
class Timing:
    """What is known so far of one implementation at one network."""

    implementation: str
    work: Workload  # in the precision of the implementation
    stage: str = "waiting"  # waiting, building, built, timing, timed, or failed
    problem: str | None = None  # why it has no times, or not all
    checked_at: Workload | None = None  # the network at which it was checked
    errors: dict[str, float] = field(default_factory=dict)  # of the "outputs" and the "gradients"
    tolerances: dict[str, float] = field(default_factory=dict)  # the largest that these may be
    first_look: dict[str, float] = field(default_factory=dict)  # seconds of a call, before the turns
    times: dict[str, list[list[float]]] = field(default_factory=dict)  # the seconds of each turn of each process
    device_seconds: dict[str, float | None] = field(default_factory=dict)  # the GPU's own time of a call

    @property
    def network(self) -> Workload:
        """The workload in float32: the same for all implementations of a network."""
        return replace(self.work, precision="float32")

    @property
    def precision(self) -> str:
        """The precision of its products, one of network.precision.PRECISIONS."""
        return precision.of_variant(self.implementation, self.work.precision)

    @property
    def functions(self) -> tuple[str, ...]:
        """The calls that the implementation has."""
        return FUNCTIONS if variants.find(self.implementation).trains else FUNCTIONS[:1]

    @property
    def wrong(self) -> str | None:
        """A sentence that says which error exceeds the tolerance; None if no error does."""
        for what, error in self.errors.items():
            limit = self.tolerances[what]
            if not error <= limit:  # NaN is a fault too
                return f"{self.implementation} is wrong: its {what} have the error {error:.2e}, over {limit:g}"
        return None

    def seconds(self, function: str) -> float | None:
        """Return the median time of a call, or the first look at it while there is no other."""
        turns = [seconds for process in self.times.get(function, ()) for seconds in process]
        return statistics.median(turns) if turns else self.first_look.get(function)


def measure(timings: Sequence[Timing], codes: Mapping[str, Code], device: str, tell: Callable[[Timing], None]) -> None:
    """Check and time implementations at their networks, and write all that becomes known into `timings` at once.

    Those of a network stand one after the other. `codes` says how each implementation is run. `tell` is called with
    each timing that has changed. All is timed again in new processes while the time allows it.
    """
    start = time.perf_counter()
    for number in range(1, _MOST_PROCESSES + 1):
        with tempfile.TemporaryDirectory(prefix="rnnbench-time-") as folder, contextlib.ExitStack() as stack:
            processes = _Processes(stack, codes, device, tell, Path(folder))
            for _, group in itertools.groupby(timings, key=lambda timing: timing.network):
                processes.time([timing for timing in group if _is_well(timing)], is_first=number == 1)
        elapsed = time.perf_counter() - start
        if elapsed * (number + 1) / number > _SECONDS:
            return


def smaller(work: Workload) -> Workload:
    """Return a workload that the reference computes in about a second: this one, or the same network at less of it.

    The batch shrinks first, then the steps, then the hidden size, since kernels are mostly chosen by the hidden size.
    """
    while _reference_seconds(work) > _REFERENCE_SECONDS:
        if work.batch > 4:
            work = resized(work, batch=work.batch // 2)
        elif work.seq > 8:
            work = resized(work, seq=work.seq // 2)
        elif work.hidden > 32:
            work = resized(work, hidden=work.hidden // 2)
        else:
            break
    return work


def resized(work: Workload, **sizes: int) -> Workload:
    """Return a network with other sizes. Inputs as wide as the hidden states stay so, and lengths stay within seq."""
    changes: dict[str, Any] = dict(sizes)
    if "hidden" in sizes and work.input_size == work.hidden:
        changes["input_size"] = sizes["hidden"]
    if "seq" in sizes and work.least_length is not None:
        changes["least_length"] = min(work.least_length, sizes["seq"])
    return replace(work, **changes)


def _reference_seconds(work: Workload) -> float:
    steps = work.seq * work.depth * work.directions
    return work.train_flops * _REFERENCE_FLOP + steps * _REFERENCE_STEP


class _Processes:
    """The live processes of a round, one for each implementation. They serve all networks."""

    def __init__(
        self,
        stack: contextlib.ExitStack,
        codes: Mapping[str, Code],
        device: str,
        tell: Callable[[Timing], None],
        folder: Path,
    ) -> None:
        self._stack, self._codes, self._device, self._tell, self._folder = stack, codes, device, tell, folder
        self._live: dict[str, Process] = {}
        self._expected: dict[Workload, tuple[np.ndarray, Weights]] = {}

    def time(self, timings: Sequence[Timing], is_first: bool) -> None:
        """Build, check and time implementations at one network. They are checked when `is_first`."""
        self._expected.clear()
        if is_first:
            for timing in timings:
                timing.checked_at = smaller(timing.work)
                self._reference(timing.checked_at)
        self._build(timings, is_first)
        for function in FUNCTIONS:
            self._take_turns([timing for timing in timings if _is_well(timing, function)], function)
        for timing in timings:
            if _is_well(timing):
                with self._failing(timing):
                    self._finish(timing, is_first)

    def _build(self, timings: Sequence[Timing], is_first: bool) -> None:
        """Build all networks, as many at once as there are processors, and look at each as soon as it is built."""
        # Those that compile take long, so they start early, but behind one that soon has a time to show.
        compiling = [timing for timing in timings if variants.find(timing.implementation).caches]
        quick = [timing for timing in timings if timing not in compiling]
        waiting = quick[:1] + compiling + quick[1:]
        building: dict[Process, tuple[Timing, list[Workload]]] = {}  # and what it builds next
        while waiting or building:
            while waiting and len(building) < threads.processors():
                timing = waiting.pop(0)
                self._set(timing, "building")
                works = [timing.work]
                if is_first and timing.checked_at and timing.checked_at != timing.work:
                    works.insert(0, timing.checked_at)
                with self._failing(timing):
                    process = self._process(timing.implementation)
                    building[process] = timing, self._start(process, timing, works)
            if not building:
                continue
            process = first_ready(building)
            timing, works = building.pop(process)
            with self._failing(timing), _stopped(building):
                process.wait()
                if is_first and not timing.errors:
                    self._check(process, timing)
                if works:
                    building[process] = timing, self._start(process, timing, works)
                else:
                    self._look(process, timing)

    def _start(self, process: Process, timing: Timing, works: list[Workload]) -> list[Workload]:
        """Start to build the first of these networks, and return the others."""
        process.build(timing.implementation, works[0], self._device, timing.functions)
        return works[1:]

    def _process(self, implementation: str) -> Process:
        """Return the process of an implementation, started if there is none."""
        if implementation not in self._live:
            self._live[implementation] = self._stack.enter_context(Process(self._codes[implementation]))
        return self._live[implementation]

    def _reference(self, work: Workload) -> tuple[np.ndarray, Weights]:
        if work not in self._expected:
            self._expected[work] = reference.outputs(work), reference.gradients(work)
        return self._expected[work]

    def _check(self, process: Process, timing: Timing) -> None:
        """Compare the outputs and gradients with the reference's."""
        path = self._folder / "arrays.npz"
        process.save(path)
        work = timing.checked_at or timing.work
        outputs, gradients = self._reference(work)
        timing.tolerances["outputs"] = variants.find(timing.implementation).tolerance
        with _readable(), np.load(path) as arrays:
            timing.errors["outputs"] = reference.error_or_infinity(arrays["outputs"], outputs)
            if "train" in timing.functions:
                expected = {
                    f"{number}.{name}": array for number, one in enumerate(gradients) for name, array in one.items()
                }
                errors = [reference.error_or_infinity(arrays.get(name), array) for name, array in expected.items()]
                timing.tolerances["gradients"] = variants.gradient_tolerance(timing.implementation, work)
                timing.errors["gradients"] = float(np.max(errors))  # np.max keeps NaN
        path.unlink()

    def _look(self, process: Process, timing: Timing) -> None:
        """Warm the functions up, and time a few calls."""
        for function in timing.functions:
            process.warm(function)
            seconds = process.time(function, 1)
            if seconds[0] < _SHORT:
                seconds = process.time(function, 3)
            timing.first_look[function] = statistics.median(seconds)
        self._set(timing, "built")

    def _take_turns(self, timings: Sequence[Timing], function: str) -> None:
        """Time calls of all processes in turn. The order changes with each round, so drift favours none of them."""
        turns: dict[str, list[float]] = {timing.implementation: [] for timing in timings}
        for timing in timings:
            self._set(timing, "timing")
        order = random.sample(timings, len(timings))
        start = time.perf_counter()
        for count in itertools.count():
            elapsed = time.perf_counter() - start
            is_enough = elapsed > _FUNCTION_SECONDS * len(order) and count >= _LEAST_TURNS
            if is_enough or (count and elapsed > _PATIENCE):
                break
            for timing in list(order):
                seconds = timing.first_look[function]
                calls = min(_MOST_CALLS, max(1, round(_TURN_SECONDS / seconds)))
                with self._failing(timing):
                    timed = self._live[timing.implementation].time(function, calls)
                    # The other processes have used the processor's caches.
                    turns[timing.implementation].append(statistics.median(timed[1:] or timed))
                    check_possible(min(timed), function, [timing.implementation], timing.work, self._device)
                if not _is_well(timing):
                    order.remove(timing)
            order.reverse()
        for timing in order:
            timing.times.setdefault(function, []).append(turns[timing.implementation])
            self._set(timing, "timing")

    def _finish(self, timing: Timing, is_first: bool) -> None:
        if is_first and self._device == "cuda":
            process = self._live[timing.implementation]
            timing.device_seconds = {function: process.device_time(function) for function in timing.functions}
        self._set(timing, "timed")

    @contextlib.contextmanager
    def _failing(self, timing: Timing) -> Iterator[None]:
        """Note with the timing that its process failed. The others go on."""
        try:
            yield
        except (Failed, Unavailable) as problem:
            timing.problem = str(problem)
            self._live.pop(timing.implementation, None)
            self._set(timing, "failed")

    def _set(self, timing: Timing, stage: str) -> None:
        timing.stage = stage
        self._tell(timing)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Say that arrays can't be compared, if they hold no numbers."""
    try:
        yield
    except (TypeError, ValueError) as problem:
        raise Failed(f"its outputs or gradients aren't arrays of numbers: {problem}") from problem


@contextlib.contextmanager
def _stopped(processes: Iterable[Process]) -> Iterator[None]:
    """Stop processes that build, so that nothing but the one that is timed runs."""
    building = list(processes)
    for process in building:
        process.stop()
    try:
        yield
    finally:
        for process in building:
            process.go_on()


def _is_well(timing: Timing, function: str = "forward") -> bool:
    """Return whether an implementation has not failed, and has a function."""
    return timing.stage != "failed" and function in timing.functions
