"""Find the figures of a grid that are missing from the results, and the command that measures them."""

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
    """The figures of a grid that a machine lacks at a commit."""

    machine: str
    commit: str
    missing: dict[str, list[Shape]]  # by benchmark
    failed: dict[str, list[Shape]]  # by benchmark: the shapes that were tried and failed
    command: str  # measures the missing figures; empty if there are none


def listing(results: Path, machine: str | None, commit: str | None, grid: str | None) -> str:
    """Return a list of the runs with results as text, and the figures that are missing from a grid if one is named.

    The list can be limited to a machine or a commit. Without a commit, the missing figures are those of each
    machine's newest commit. Needs tabulate. Raises NotFound if no run matches.
    """
    from tabulate import tabulate

    runs = history.runs(results, machine, commit)
    if not runs:
        wanted = " ".join(filter(None, [machine and f"of {machine}", commit and f"at {commit}"]))
        machines = ", ".join(history.machines(results)) or "none"
        raise NotFound(f"{results} has no results {wanted}; its machines: {machines}")
    rows = [(run.commit[:8], day(run.date).isoformat(), run.machine, run.environment) for run in runs]
    parts = [tabulate(rows, ["commit", "date", "machine", "environment"], "simple", disable_numparse=True)]
    if grid:
        newest: dict[str, str] = {}
        for run in runs:
            newest.setdefault(run.machine, run.commit)
        checked = [run for run in runs if commit or run.commit == newest[run.machine]]
        parts += [_gap_text(gap, grid) for gap in find(results, checked, grid)]
    return "\n\n".join(parts) + "\n"


def find(results: Path, runs: Iterable[Run], grid: str) -> list[Gap]:
    """Return the gaps of a grid for each machine and commit of these runs, in the order of the runs.

    The benchmarks are those in asv's benchmarks.json and those in the runs. A benchmark or a variant that is n/a at
    every shape can't run on the machine, so none of its figures is missing.

    Raises ValueError for an unknown grid.
    """
    wanted = re.compile(asv_filter(grid))
    benchmarks = _benchmarks(results)
    facts = history.machines(results)
    runs_by_commit: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        runs_by_commit[run.machine, run.commit].append(run)
    return [
        _gap(machine, commit, same_commit, benchmarks, wanted, facts[machine])
        for (machine, commit), same_commit in runs_by_commit.items()
    ]


def _gap_text(gap: Gap, grid: str) -> str:
    count = sum(map(len, gap.missing.values()))
    where = f"{gap.machine} at {gap.commit[:8]}"
    figures = f"of the {grid} grid's figures"
    lines = [f"{where} lacks {count} {figures}:" if count else f"{where} has all {figures}."]
    lines += _by_shapes(gap.missing)
    if gap.failed:
        lines.append("These failed; the output of the run shows the errors:")
        lines += _by_shapes(gap.failed)
    if gap.command:
        lines += ["To measure the missing figures (those that can't run there stay n/a):", f"  {gap.command}"]
    return "\n".join(lines)


def _by_shapes(benchmarks: Mapping[str, list[Shape]]) -> list[str]:
    lines = []
    for shapes, names in _grouped_by_shapes(benchmarks).items():
        sizes = ", ".join(f"({', '.join(map(str, shape))})" for shape in shapes)
        lines += [f"  {sizes}:", *(f"    {name}" for name in names)]
    return lines


def _grouped_by_shapes(benchmarks: Mapping[str, list[Shape]]) -> dict[tuple[Shape, ...], list[str]]:
    names = defaultdict(list)
    for name, shapes in benchmarks.items():
        names[tuple(shapes)].append(name)
    return names


def _gap(
    machine: str,
    commit: str,
    runs: Iterable[Run],
    benchmarks: Iterable[str],
    wanted: re.Pattern[str],
    facts: Mapping[str, str],
) -> Gap:
    states: dict[str, dict[Shape, str]] = {name: {} for name in benchmarks}
    for run in runs:
        for figure in history.read(run, unavailable=True):
            shapes = states.setdefault(figure.benchmark, {})
            # If several environments tried a shape, the best result counts.
            shapes[figure.shape] = max(shapes.get(figure.shape, "n/a"), figure.state, key=("n/a", "failed", "ok").index)
    variant_states: dict[str, set[str]] = defaultdict(set)
    for name, shapes in states.items():
        variant_states[describe(name)[0]].update(shapes.values())
    missing, failed = {}, {}
    for name, shapes in states.items():
        variant = describe(name)[0]
        if {"n/a"} in (set(shapes.values()), variant_states[variant]):
            continue
        possible = [shape for shape in GRIDS["full"] if not absence.reason(variant, shape, facts)]
        expected = [shape for shape in possible if wanted.search(_parametrized(name, shape))]
        if lacking := [shape for shape in expected if shapes.get(shape, "n/a") == "n/a"]:
            missing[name] = lacking
        if broken := [shape for shape in expected if shapes.get(shape) == "failed"]:
            failed[name] = broken
    return Gap(machine, commit, missing, failed, _command(machine, commit, missing, facts) if missing else "")


def _command(machine: str, commit: str, missing: Mapping[str, list[Shape]], facts: Mapping[str, str]) -> str:
    patterns = []
    for shapes, names in _grouped_by_shapes(missing).items():
        sizes = "|".join(", ".join(map(str, shape)) for shape in shapes)
        patterns.append(rf"^({'|'.join(map(re.escape, names))})\(({sizes})\)")
    # Without this, rnnbench run would time the CPU.
    device = "RNNBENCH_DEVICE=cuda " if "gpu" in facts else ""
    words = ["rnnbench", "run", "--machine", machine, "--record-samples", "--bench", "|".join(patterns)]
    ours = {is_ours(describe(name)[0]) for name in missing}
    if ours != {True}:  # asv.conf.json's own environment can only run Theano's variants
        words += ["--environment", "peers:3.11", *(["--environment", f"{THEANO}:3.11"] if True in ours else [])]
    words.append(f"{commit}^!")
    return device + shlex.join(words)


def _benchmarks(results: Path) -> list[str]:
    """Return the names of our benchmarks in asv's benchmarks.json."""
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
    """Return the name of a benchmark at a shape, as asv matches it with --bench."""
    return f"{name}({', '.join(map(str, shape))})"
