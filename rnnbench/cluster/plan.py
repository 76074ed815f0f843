"""Find the tasks of a sweep: the shapes and models that lack figures. A task times all implementations of one."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnbench import history, variants
from rnnbench.cluster.sweep import Canary, Sweep
from rnnbench.history import NotFound, benchmark_names
from rnnbench.history.benchmark_names import parameters
from rnnbench.network import models
from rnnbench.network.models import Subject

ALL = "all"  # every grid of every family of networks, and all models
# docs/method.md: the seconds that a process takes, and how many processes time each quantity. A build's samples and
# its warm-up are processes of their own.
_SECONDS = 3
_BUILDS = [quantity for quantity in benchmark_names.QUANTITIES if "build" in quantity]
_PROCESSES = {"forward": 2, "train": 2, **dict.fromkeys(_BUILDS, 5)}

Grid = tuple[str, str]  # a grid and its group of networks


@dataclass(frozen=True)
class Task:
    """One shape or model with all its implementations and environments, to be timed in turn on one GPU."""

    folder: Path  # the sweep's
    subject: Subject
    grids: tuple[Grid, ...]  # that it is timed for; they decide whether builds are timed
    implementations: tuple[str, ...]
    environments: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of its files, such as 32x30x128x1, gru-32x30x128x1 or rnnt-encoder."""
        network, _ = self.subject
        label = models.label(*self.subject, "x")
        return label if network in ("lstm", label) else f"{network}-{label}"

    @property
    def parameters(self) -> str:
        """Its benchmarks' parameters, as asv writes them."""
        return parameters(self.subject)

    def pattern(self, implementations: Iterable[str], device: str) -> str:
        """Return the regular expression that selects its benchmarks of some implementations."""
        names = tuple(implementations)
        return "|".join(
            pattern
            for grid, group in self.grids
            for subject, pattern in zip(
                benchmark_names.selected(grid, group),
                benchmark_names.asv_filters(grid, names, device, group),
                strict=True,
            )
            if subject == self.subject
        )


def grids(name: str, network: str) -> Iterator[Grid]:
    """Yield the grids that a name means, with the groups that they belong to: one of a family, or all."""
    if name == ALL:
        for group in models.GROUPS:
            yield from ((grid, group) for grid in models.grids(group))
    else:
        yield name, models.group_of(name, network)


def made_for(device: str) -> tuple[str, ...]:
    """Return the implementations that are made for a device."""
    return tuple(name for name, row in variants.VARIANTS.items() if device in row.devices)


def canary(wanted: Sequence[Grid], implementations: Sequence[str], environments: Sequence[str]) -> Canary:
    """Return the canary of a sweep: the first subject, with the first implementation that a node can run."""
    return Canary(*wanted[0], tuple(implementations), tuple(environments))


def missing(
    sweep: Sweep, wanted: Sequence[Grid], implementations: Sequence[str], environments: Sequence[str], results: Path
) -> list[Task]:
    """Return the tasks for what `rnnbench history` says is missing, in the grids' order.

    A shape of which any figure is missing is timed anew with all its implementations, because two GPUs of a kind
    differ. A shape that the sweep has measured, but not merged yet, isn't missing. Neither is an implementation that
    no environment has, once a node has looked.
    """
    from rnnbench.report import gaps  # the command line needs no report for its other commands

    left_out = unavailable(sweep, implementations, environments)
    names = tuple(name for name in implementations if name not in left_out)
    try:
        runs = history.runs(results, sweep.machine, sweep.commit)
        facts = history.machines(results).get(sweep.machine)
    except NotFound:
        runs, facts = [], None
    facts = facts or ({"gpu": ""} if sweep.device == "cuda" else {})
    grids_of: dict[Subject, list[Grid]] = {}
    for grid, group in wanted:
        benchmarks = [
            name for name in benchmark_names.names_of(group, names) if "ColdBuild" not in name or _caches(name)
        ]
        gap = gaps.at(sweep.machine, sweep.commit, runs, grid, group, benchmarks, facts)
        lacking = {
            subject
            for benchmark, subjects in gap.missing.items()
            if benchmark_names.describe(benchmark)[0] in names
            for subject in subjects
        }
        for subject in benchmark_names.selected(grid, group):
            if subject in lacking:
                grids_of.setdefault(subject, []).append((grid, group))
    tasks = [
        Task(sweep.folder, subject, tuple(its_grids), names, tuple(environments))
        for subject, its_grids in grids_of.items()
    ]
    done = set(sweep.names("done"))
    return [task for task in tasks if task.name not in done or not covers(sweep.read(f"done/{task.name}.json"), task)]


def expected_seconds(sweep: Sweep, tasks: Sequence[Task]) -> float:
    """Return how long tasks may take on one GPU: as long as those that are done, or what processes usually take."""
    if done := sweep.names("done"):
        return len(tasks) * statistics.fmean(sweep.read(f"done/{name}.json")["seconds"] for name in done)
    selected = {grid: benchmark_names.selected(*grid) for task in tasks for grid in task.grids}
    processes = 0
    for task in tasks:
        quantities = {quantity for grid in task.grids for quantity in selected[grid][task.subject]}
        if sweep.device == "cpu":
            quantities -= set(benchmark_names.ON_GPUS)
        processes += len(task.implementations) * sum(_PROCESSES.get(quantity, 1) for quantity in quantities)
    return float(_SECONDS * processes)


def unavailable(sweep: Sweep, implementations: Iterable[str], environments: Iterable[str]) -> set[str]:
    """Return the implementations that none of the environments has, once a node has looked into all of them."""
    answers = [available(sweep, environment) for environment in environments]
    if None in answers:
        return set()
    return set(implementations).difference(*(answer for answer in answers if answer))


def available(sweep: Sweep, environment: str) -> list[str] | None:
    """Return the implementations that can run in an environment, or None if no node has looked yet."""
    known: list[str] | None = sweep.read(_available(environment))
    return known


def note_available(sweep: Sweep, environment: str, names: Sequence[str]) -> None:
    """Store the implementations that can run in an environment, as a node of the sweep sees it."""
    sweep.write(_available(environment), list(names))


def covers(done: Any, task: Task) -> bool:
    """Return whether the content of a task's file has figures of all that the task times."""
    return set(task.implementations) <= set(done["implementations"]) and set(task.grids) <= set(
        map(tuple, done["grids"])
    )


def _available(environment: str) -> str:
    return f"available/{environment.replace('/', '_')}.json"


def _caches(benchmark: str) -> bool:
    return variants.VARIANTS[benchmark_names.describe(benchmark)[0]].caches
