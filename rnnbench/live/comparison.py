"""Compare the times of two versions of the code, figure by figure, in pairs of live processes that take turns."""

from __future__ import annotations

import contextlib
import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from rnnbench import variants
from rnnbench.live.interval import UNSURE, Interval, Judge
from rnnbench.live.process import Code, Failed, Process
from rnnbench.live.versions import Version
from rnnbench.measure import hardware
from rnnbench.network import precision
from rnnbench.network.contract import Unavailable
from rnnbench.network.shapes import Shape
from rnnbench.network.workload import Workload

FUNCTIONS = ("forward", "train")

# docs/method.md has the figures for these.
_TURN_SECONDS = 0.015  # about how long a turn lasts
_MOST_CALLS = 100  # in a turn
_PAIR_SECONDS = 0.5  # how long the turns of a pair last for one figure
_LEAST_TURNS = 4  # of each process


class Timed(NamedTuple):
    """The times of one figure in one pair of processes."""

    log_ratio: float  # of the second version's time to the first one's
    seconds: tuple[float, float]  # the median time of a call, for both versions


class Result(NamedTuple):
    """What a comparison says about one figure, or why there is nothing to say."""

    implementations: tuple[str, str]
    shape: Shape
    function: str
    verdict: str
    bounds: Interval
    seconds: tuple[float, float] | None = None  # the median time of a call, for both versions
    pairs: int = 0
    took: float = 0.0  # seconds from the first pair of processes to the verdict
    problem: str | None = None  # why it could not be compared


def compare(
    versions: tuple[Version, Version],
    implementations: Sequence[str],
    shapes: Sequence[Shape],
    device: str,
    seconds: float,
    least: float,
    tell: Callable[[str], None],
) -> Iterator[Result]:
    """Yield the result of each figure: of each implementation and shape, forward and train.

    A figure is compared until its verdict is sure or it took `seconds`. `least` is the share of the time that counts as
    a change. `tell` is called with lines of progress.
    """
    alone = versions[0].implementation is not None and versions[1].implementation is not None
    for shape in shapes:
        for name in implementations if not alone else [""]:
            pair = (versions[0].implementation or name, versions[1].implementation or name)
            codes = (versions[0].code, versions[1].code)
            yield from compare_figures(codes, pair, shape, device, seconds, least, tell)


def compare_figures(
    codes: tuple[Code, Code],
    implementations: tuple[str, str],
    shape: Shape,
    device: str,
    seconds: float,
    least: float,
    tell: Callable[[str], None],
) -> list[Result]:
    """Return the results of forward and train at one shape. The same pairs of processes serve both."""
    functions = FUNCTIONS if all(variants.find(name).trains for name in implementations) else FUNCTIONS[:1]
    judges = {function: Judge(least) for function in functions}
    times: dict[str, list[tuple[float, float]]] = {function: [] for function in functions}
    took = dict.fromkeys(functions, 0.0)
    what = f"{' and '.join(dict.fromkeys(implementations))} at {' × '.join(map(str, shape))}"
    tell(f"{what}: starting the first pair of processes, which may compile for minutes")
    start, number, problem = None, 0, None
    unsure = list(functions)
    while unsure:
        try:
            with started(codes, implementations, shape, device, unsure) as processes:
                # The first pair may compile. That time isn't counted.
                start = start or time.perf_counter()
                timed = {}
                for function in unsure:
                    warm(processes, function)
                    timed[function] = time_turns(processes, function)
            for function, pair in timed.items():
                check_possible(min(pair.seconds), function, implementations, Workload(*shape), device)
        except (Unavailable, Failed) as reason:
            problem = str(reason)
            break
        number += 1
        elapsed = time.perf_counter() - start
        is_last = elapsed * (number + 1) / number > seconds * len(functions)
        for function, pair in timed.items():
            judge = judges[function]
            times[function].append(pair.seconds)
            took[function] = elapsed
            if judge.add(pair.log_ratio, is_last):
                tell(f"{what}, {function}: {describe(judge.bounds)} after {judge.pairs} pairs: {judge.verdict}")
        unsure = [] if is_last else [function for function in unsure if judges[function].verdict == UNSURE]
    return [
        Result(
            implementations,
            shape,
            function,
            judge.verdict,
            judge.bounds,
            _medians(times[function]),
            judge.pairs,
            took[function],
            problem if judge.verdict == UNSURE else None,
        )
        for function, judge in judges.items()
    ]


def describe(bounds: Interval) -> str:
    """Return a ratio and its interval as text, e.g. "1.021 (1.013 to 1.030)"."""
    if math.isinf(bounds.high):
        return f"{bounds.ratio:.3f} (too few pairs for an interval)"
    return f"{bounds.ratio:.3f} ({bounds.low:.3f} to {bounds.high:.3f})"


def as_json(results: Iterable[Result]) -> list[dict[str, object]]:
    """Return the results as lists and dicts that JSON can hold. Numbers that nobody measured are None."""
    rows = []
    for result in results:
        bounds = {name: bound if math.isfinite(bound) else None for name, bound in result.bounds._asdict().items()}
        row = result._asdict() | {"shape": result.shape._asdict()} | bounds
        del row["bounds"]
        rows.append(row)
    return rows


def table(results: Iterable[Result], names: tuple[str, str]) -> str:
    """Return a table with a row for each figure, and the problems below it; needs tabulate."""
    from tabulate import tabulate

    rows, problems = [], []
    for result in results:
        what = " and ".join(dict.fromkeys(result.implementations)), " × ".join(map(str, result.shape)), result.function
        milliseconds = [f"{1e3 * seconds:.4g}" for seconds in result.seconds] if result.seconds else ["", ""]
        bounds = result.bounds
        has_bounds = result.pairs and not math.isinf(bounds.high)
        rows.append(
            [
                *what,
                *milliseconds,
                f"{bounds.ratio:.3f}" if result.pairs else "",
                f"{bounds.low:.3f} to {bounds.high:.3f}" if has_bounds else "",
                result.pairs,
                f"{result.took:.0f}",
                "failed" if result.problem else result.verdict,
            ]
        )
        if result.problem:
            problems.append(f"{what[0]} at {what[1]} failed: {result.problem}")
    headings = ["implementation", "shape", "call", *(f"{name}, ms" for name in names)]
    headings += ["ratio", "99% interval", "pairs", "s", f"{names[1]} is"]
    alignment = ["left"] * 3 + ["right"] * 6 + ["left"]
    text = tabulate(rows, headings, "simple", disable_numparse=True, colalign=alignment if rows else None)
    return "\n".join([text, *dict.fromkeys(problems)])


@contextlib.contextmanager
def started(
    codes: tuple[Code, Code], implementations: tuple[str, str], shape: Shape, device: str, functions: Sequence[str]
) -> Iterator[tuple[Process, Process]]:
    """Start a process for each version, the first one drawn by a coin, and wait until both have built their network."""
    processes: list[Process | None] = [None, None]
    with contextlib.ExitStack() as stack:
        for side in random.sample(range(2), 2):
            process = stack.enter_context(Process(codes[side]))
            process.build(implementations[side], Workload(*shape), device, functions)
            processes[side] = process
        first, second = processes
        assert first
        assert second
        first.wait()
        second.wait()
        yield first, second


def warm(processes: tuple[Process, Process], function: str) -> None:
    """Call a function in both processes until its times have settled."""
    for process in processes:
        process.warm(function)


def time_turns(processes: tuple[Process, Process], function: str, slowdown: float = 0) -> Timed:
    """Time calls of both warm processes in turn, and return the median ratio of neighbouring turns.

    The order changes with each round, so a machine whose speed drifts favours none of them. The first call of a turn
    isn't timed, unless it is the only one: the other process has used the processor's caches. A selftest slows each
    call of the second process by a share of its time, `slowdown`.
    """
    slowdowns = (0, slowdown)
    seconds = [
        statistics.median(process.time(function, 3, slowed))
        for process, slowed in zip(processes, slowdowns, strict=True)
    ]
    calls = min(_MOST_CALLS, max(1, round(_TURN_SECONDS / max(seconds))))
    turns: tuple[list[float], list[float]] = ([], [])
    order = random.sample(range(2), 2)
    end = time.perf_counter() + _PAIR_SECONDS
    while len(turns[0]) < _LEAST_TURNS or time.perf_counter() < end:
        for side in order:
            timed = processes[side].time(function, calls, slowdowns[side])
            turns[side].append(statistics.median(timed[1:] or timed))
        order.reverse()
    ratios = [math.log(second / first) for first, second in zip(*turns, strict=True)]
    return Timed(statistics.median(ratios), (statistics.median(turns[0]), statistics.median(turns[1])))


def check_possible(seconds: float, function: str, implementations: Sequence[str], work: Workload, device: str) -> None:
    """Raise Failed if a call takes less time than the device needs: then it doesn't wait for all of the work."""
    flops = work.forward_flops if function == "forward" else work.train_flops
    computed_in = {work.precision, *map(precision.of_variant, implementations)}
    if any(variants.find(name).source for name in implementations):
        computed_in.add("tf32")  # code from outside may be as exact as float32 with sums of such products
    limit = max(hardware.limit(device, each) for each in computed_in)
    if flops > limit * seconds:
        raise Failed(
            f"{function} took {seconds:.3g} s for {flops:.3g} floating-point operations: the device does at most "
            f"{limit:.3g} a second, so a call returned before its work was done"
        )


def _medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    if not pairs:
        return None
    first, second = zip(*pairs, strict=True)
    return statistics.median(first), statistics.median(second)
