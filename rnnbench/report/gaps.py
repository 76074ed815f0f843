"""What a grid's benchmarks haven't measured yet, and the command that measures it."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from rnnbench import history
from rnnbench.history import NotFound, ResultsWarning, Run
from rnnbench.history.benchmark_names import asv_filter, describe
from rnnbench.network.shapes import GRIDS, Shape
from rnnbench.report import absence
from rnnbench.report.tables import day
from rnnbench.variants import THEANO, is_ours


class Gap(NamedTuple):
    """What a machine lacks of a grid at a commit."""

    machine: str
    commit: str
    missing: dict[str, list[Shape]]  # by benchmark
    failed: dict[str, list[Shape]]  # what was tried, and broke
    command: str  # measures what is missing; empty where nothing is


def listing(results: Path, machine: str | None, commit: str | None, grid: str | None) -> str:
    """Return what has results, of a machine and a commit if they are named, and what is missing from a grid.

    Without a commit that is of each machine's newest. Needs tabulate. Raises NotFound where there is
    nothing of these names.
    """
    from tabulate import tabulate

    runs = history.runs(results, machine, commit)
    if not runs:
        of = " ".join(filter(None, [machine and f"of {machine}", commit and f"at {commit}"]))
        has = ", ".join(history.machines(results)) or "none"
        raise NotFound(f"{results} has no results {of}; its machines: {has}")
    rows = [(run.commit[:8], day(run.date).isoformat(), run.machine, run.environment) for run in runs]
    parts = [tabulate(rows, ["commit", "date", "machine", "environment"], "simple", disable_numparse=True)]
    if grid:
        newest: dict[str, str] = {}
        for run in runs:
            newest.setdefault(run.machine, run.commit)
        asked = [run for run in runs if commit or run.commit == newest[run.machine]]
        parts += [_sentences(gap, grid) for gap in find(results, asked, grid)]
    return "\n\n".join(parts) + "\n"


def find(results: Path, runs: Iterable[Run], grid: str) -> list[Gap]:
    """Return what each machine and commit of these runs lacks of a grid, in the order of the runs.

    A benchmark or a variant that was tried and is n/a throughout can't run there and lacks nothing.
    What benchmarks there are is what asv wrote to benchmarks.json, and what the runs themselves have.

    Raises ValueError for an unknown grid.
    """
    wanted = re.compile(asv_filter(grid))
    known = _known(results)
    facts = history.machines(results)
    by_commit: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        by_commit[run.machine, run.commit].append(run)
    return [_gap(key, of_commit, known, wanted, facts[key[0]]) for key, of_commit in by_commit.items()]


def _sentences(gap: Gap, grid: str) -> str:
    count = sum(map(len, gap.missing.values()))
    where = f"{gap.machine} at {gap.commit[:8]}"
    figures = f"of the {grid} grid's figures"
    lines = [f"{where} lacks {count} {figures}:" if count else f"{where} has all {figures}."]
    lines += _by_shapes(gap.missing)
    if gap.failed:
        lines.append("These failed, as the run's output says:")
        lines += _by_shapes(gap.failed)
    if gap.command:
        lines += ["To measure what is missing (what can't run there stays n/a):", f"  {gap.command}"]
    return "\n".join(lines)


def _by_shapes(benchmarks: Mapping[str, list[Shape]]) -> list[str]:
    lines = []
    for shapes, names in _together(benchmarks).items():
        sizes = ", ".join(f"({', '.join(map(str, shape))})" for shape in shapes)
        lines += [f"  {sizes}:", *(f"    {name}" for name in names)]
    return lines


def _together(benchmarks: Mapping[str, list[Shape]]) -> dict[tuple[Shape, ...], list[str]]:
    """Return the names of the benchmarks that have the same shapes, by these."""
    names = defaultdict(list)
    for name, shapes in benchmarks.items():
        names[tuple(shapes)].append(name)
    return names


def _gap(
    key: tuple[str, str], runs: Iterable[Run], known: Iterable[str], wanted: re.Pattern[str], facts: Mapping[str, str]
) -> Gap:
    states: dict[str, dict[Shape, str]] = {name: {} for name in known}
    for run in runs:
        for figure in history.read(run, unavailable=True):
            shapes = states.setdefault(figure.benchmark, {})
            # Of several environments the one that got furthest counts.
            shapes[figure.shape] = max(shapes.get(figure.shape, "n/a"), figure.state, key=("n/a", "failed", "ok").index)
    by_variant: dict[str, set[str]] = defaultdict(set)
    for name, shapes in states.items():
        by_variant[describe(name)[0]].update(shapes.values())
    missing, failed = {}, {}
    for name, shapes in states.items():
        variant = describe(name)[0]
        if {"n/a"} in (set(shapes.values()), by_variant[variant]):
            continue
        possible = [shape for shape in GRIDS["full"] if not absence.reason(variant, shape, facts)]
        asked = [shape for shape in possible if wanted.search(_parametrized(name, shape))]
        if lacking := [shape for shape in asked if shapes.get(shape, "n/a") == "n/a"]:
            missing[name] = lacking
        if broken := [shape for shape in asked if shapes.get(shape) == "failed"]:
            failed[name] = broken
    machine, commit = key
    return Gap(machine, commit, missing, failed, _command(machine, commit, missing, facts) if missing else "")


def _command(machine: str, commit: str, missing: Mapping[str, list[Shape]], facts: Mapping[str, str]) -> str:
    patterns = []
    for shapes, names in _together(missing).items():
        sizes = "|".join(", ".join(map(str, shape)) for shape in shapes)
        patterns.append(rf"^({'|'.join(map(re.escape, names))})\(({sizes})\)")
    # The machine's name says nothing of the device: without this, its CPU would be timed.
    device = "RNNBENCH_DEVICE=cuda " if "gpu" in facts else ""
    words = ["rnnbench", "run", "--machine", machine, "--record-samples", "--bench", "|".join(patterns)]
    ours = {is_ours(describe(name)[0]) for name in missing}
    if ours != {True}:  # asv.conf.json's environment has Theano's variants alone
        words += ["--environment", "peers:3.11", *(["--environment", f"{THEANO}:3.11"] if True in ours else [])]
    words.append(f"{commit}^!")
    return device + shlex.join(words)


def _known(results: Path) -> list[str]:
    """Return the names of our benchmarks in asv's own list of them."""
    path = results / "benchmarks.json"
    try:
        names = list(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError) as reason:
        warnings.warn(history.printable(f"leaving out {path}: {reason}"), ResultsWarning, stacklevel=2)
        return []
    return [name for name in names if _is_ours(name)]


def _is_ours(name: str) -> bool:
    try:
        describe(name)
    except ValueError:
        return False
    return True


def _parametrized(name: str, shape: Shape) -> str:
    """Return what asv matches a pattern against."""
    return f"{name}({', '.join(map(str, shape))})"
