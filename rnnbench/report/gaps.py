"""Find the figures of a grid that are missing from the results, and the command that times the grid."""

from __future__ import annotations

import shlex
import textwrap
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rnnbench import history
from rnnbench.history import NotFound, ResultsWarning, Run, figures, work_tree
from rnnbench.history.benchmark_names import ON_GPUS, describe, group_of, names_of, selected
from rnnbench.network import models
from rnnbench.network.models import Subject
from rnnbench.network.shapes import GRIDS
from rnnbench.report import absence
from rnnbench.report.tables import day
from rnnbench.variants import VARIANTS, is_ours

_WIDTH = 80
_CHECKOUT = "git checkout"


class Gap(NamedTuple):
    """The figures of a grid that a machine lacks at a commit."""

    machine: str
    commit: str
    missing: dict[str, list[Subject]]  # by benchmark
    failed: dict[str, list[Subject]]  # by benchmark: what was tried and failed
    expected: int  # the number of figures that the machine can have in the grid
    command: str  # times the grid; empty if no figure is missing


def listing(results: Path, machine: str | None, commit: str | None, grid: str | None, network: str = "lstm") -> str:
    """Return a list of the runs with results as text, and the figures that are missing from a grid if one is named.

    The grid is one of the family `network`, or "models". The list can be limited to a machine or a commit. Without a
    commit, the missing figures are those of each machine's newest commit. Needs tabulate.

    Raises NotFound if no run matches.
    """
    from tabulate import tabulate

    runs = history.runs(results, machine, commit and work_tree.resolve(commit, results))
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
        parts += [_gap_text(gap, grid, models.group_of(grid, network)) for gap in find(results, checked, grid, network)]
    return "\n\n".join(parts) + "\n"


def find(results: Path, runs: Iterable[Run], grid: str, network: str = "lstm") -> list[Gap]:
    """Return the gaps of a grid for each machine and commit of these runs, in the order of the runs.

    The grid is one of the family `network`, or "models". The benchmarks are those in asv's benchmarks.json and those in
    the runs. A benchmark or a variant that is n/a at every shape can't run on the machine, so none of its figures is
    missing.

    Raises ValueError for an unknown grid.
    """
    group = models.group_of(grid, network)
    benchmarks = _benchmarks(results)
    if group != "lstm" and not any(group_of(name) == group for name in benchmarks):  # no run has told asv of them yet
        benchmarks += names_of(group, VARIANTS)
    facts = history.machines(results)
    runs_by_commit: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        runs_by_commit[run.machine, run.commit].append(run)
    return [
        at(machine, commit, same_commit, grid, group, benchmarks, facts[machine])
        for (machine, commit), same_commit in runs_by_commit.items()
    ]


def at(
    machine: str,
    commit: str,
    runs: Sequence[Run],
    grid: str,
    group: str,
    benchmarks: Iterable[str],
    facts: Mapping[str, str],
) -> Gap:
    """Return the gap of a grid for a machine at a commit, from its runs there, which may be none.

    The grid is one of a group of networks. `benchmarks` are the names to expect, beside those in the runs. `facts` are
    those of machine.json. Raises ValueError for an unknown grid.
    """
    wanted = selected(grid, group)
    possible: dict[str, list[Subject]] = {}
    states: dict[str, dict[Subject, str]] = {name: {} for name in benchmarks}
    for run in runs:
        for figure in history.read(run, unavailable=True):
            found = states.setdefault(figure.benchmark, {})
            # If several environments tried a shape, the best result counts.
            found[figure.subject] = max(
                found.get(figure.subject, "n/a"), figure.state, key=("n/a", "failed", "ok").index
            )
    variant_states: dict[str, set[str]] = defaultdict(set)
    for name, shapes in states.items():
        variant_states[describe(name)[0]].update(shapes.values())
    missing, failed, count = {}, {}, 0
    for name, shapes in states.items():
        variant, quantity = describe(name)
        if group_of(name) != group or (quantity in ON_GPUS and "gpu" not in facts):
            continue
        if {"n/a"} in (set(shapes.values()), variant_states[variant]):
            continue
        if variant not in possible:
            possible[variant] = [subject for subject in wanted if not absence.reason(variant, subject, facts)]
        expected = [subject for subject in possible[variant] if quantity in wanted[subject]]
        count += len(expected)
        if lacking := [subject for subject in expected if shapes.get(subject, "n/a") == "n/a"]:
            missing[name] = lacking
        if broken := [subject for subject in expected if shapes.get(subject) == "failed"]:
            failed[name] = broken
    # An older commit's code may have LSTMs only.
    is_known = group == "lstm" or any(shapes for name, shapes in states.items() if group_of(name) == group)
    command = _command(machine, commit if is_known else "", grid, group, missing, runs, facts) if missing else ""
    return Gap(machine, commit, missing, failed, count, command)


def _gap_text(gap: Gap, grid: str, group: str) -> str:
    count = sum(map(len, gap.missing.values()))
    where = f"{gap.machine} at {gap.commit[:8]}"
    name = f"the {grid} grid" if grid in GRIDS else "the models" if grid == models.ALL_MODELS else grid
    if group not in ("lstm", models.ALL_MODELS):
        name += f" ({models.GROUPS[group]})"
    if not gap.expected:
        return f"{where} can't run any shape of {name}."
    whole = f"{gap.expected} figures of {name}"
    lines = [f"{where} lacks {count} of {whole}:" if count else f"{where} has all {whole}."]
    lines += _by_shapes(gap.missing)
    if gap.failed:
        lines.append("These failed; the output of the run shows the errors:")
        lines += _by_shapes(gap.failed)
    if gap.command:
        where = "there" if gap.command.startswith(_CHECKOUT) else "at HEAD"
        lines += [f"To time the whole grid {where} (what can't run stays n/a):", f"  {gap.command}"]
    return "\n".join(lines)


def _by_shapes(benchmarks: Mapping[str, list[Subject]]) -> list[str]:
    """Return a line for each group of shapes or models, and below it one for each quantity with its variants."""
    lines = []
    for shapes, names in _grouped_by_shapes(benchmarks).items():
        sizes = ", ".join(models.label(*subject) for subject in shapes)
        lines += textwrap.wrap(f"{sizes}:", _WIDTH, initial_indent="  ", subsequent_indent="  ")
        variants = defaultdict(list)
        for variant, quantity in map(describe, names):
            variants[quantity].append(variant)
        for quantity, lacking in variants.items():
            text = f"{quantity.replace('_', ' ')}: {', '.join(lacking)}"
            lines += textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="      ")
    return lines


def _grouped_by_shapes(benchmarks: Mapping[str, list[Subject]]) -> dict[tuple[Subject, ...], list[str]]:
    names = defaultdict(list)
    for name, shapes in benchmarks.items():
        names[tuple(shapes)].append(name)
    return names


def _command(
    machine: str,
    commit: str,
    grid: str,
    group: str,
    missing: Iterable[str],
    runs: Iterable[Run],
    facts: Mapping[str, str],
) -> str:
    """Return the make command that times a grid on a machine, in the environments that it has used.

    Without a commit it times HEAD.
    """
    pythons = [_python(run) for run in runs if run.environment.startswith("existing")]
    ours = all(is_ours(describe(name)[0]) for name in missing)
    words = ["make", "bench" if ours and not pythons else "bench-peers", f"GRID={grid}", f"MACHINE={machine}"]
    if group not in ("lstm", models.ALL_MODELS):
        words.append(f"NETWORK={group}")
    if pythons:
        words.append(f"ENVIRONMENTS={' '.join(f'existing:{python}' for python in pythons)}")
    # Without this, make would time the CPU.
    device = "RNNBENCH_DEVICE=cuda " if "gpu" in facts else ""
    # make times HEAD.
    checkout = f"{_CHECKOUT} {commit[:8]} && " if commit else ""
    return f"{checkout}{device}{shlex.join(words)}"


def _python(run: Run) -> str:
    """Return the interpreter that an existing environment named."""
    return history.printable(str(figures.parse(run.path).get("python")))


def _benchmarks(results: Path) -> list[str]:
    """Return the names of our benchmarks in asv's benchmarks.json."""
    path = results / "benchmarks.json"
    try:
        content = figures.parse(path)
        if not isinstance(content, dict):
            raise ValueError("it isn't as asv writes it")
    except ValueError as reason:
        warnings.warn(history.printable(f"leaving out {path}: {reason}"), ResultsWarning, stacklevel=2)
        return []
    return [name for name in content if _is_ours(name)]


def _is_ours(name: str) -> bool:
    try:
        describe(name)
    except ValueError:
        return False
    return True
