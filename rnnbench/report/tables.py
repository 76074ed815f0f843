"""Collect the figures of a machine and a commit, and compare them: the rows of every table and plot."""

from __future__ import annotations

import datetime
import itertools
import math
import platform
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rnnbench import history
from rnnbench.history import Figure, NotFound, Run, selftest
from rnnbench.history.benchmark_names import QUANTITIES
from rnnbench.measure.floor import floor
from rnnbench.network.shapes import Shape
from rnnbench.report import published
from rnnbench.variants import VARIANTS, is_ours

BASELINE = "scan"
CALLS = ("train", "forward")
# A ratio of two errors means nothing.
_COMPARED = tuple(name for name in QUANTITIES if not name.startswith("error"))


class Row(NamedTuple):
    """A figure and its ratios to other figures; a ratio is None if there is no other figure."""

    figure: Figure
    implementation: str  # the variant; with its environment if several environments have timed it
    speedup: float | None  # the baseline's time / this time
    of_floor: float | None  # the floor / this time; 1 is as fast as the hardware allows
    against: float | None  # the figure of `Report.other` / this figure; above 1, this one is better


class Versus(NamedTuple):
    """How many times as fast a row is as another one."""

    one: Row
    other: Row
    times: float  # the other's median / this median
    low: float | None  # the other's lower quartile / this upper quartile
    high: float | None  # the other's upper quartile / this lower quartile


class Standing(NamedTuple):
    """The ranking of the variants of one precision at a shape."""

    shape: Shape
    quantity: str  # one of CALLS
    tf32: bool
    best: Row
    lead: Versus  # the best variant against the next one
    ours: Versus | None  # Theano's best against the best peer; None if one of them has no time


class Report(NamedTuple):
    """The figures of a machine at a commit, in the order of the tables."""

    facts: dict[str, str]  # from machine.json
    commit: str
    date: datetime.date
    other: str | None  # whose figures `Row.against` compares with: a machine, a commit or titan-x
    other_commit: str  # empty for the published figures
    differences: Sequence[str]  # sentences: how the measurement of the other figures differs from ours
    precision: str | None  # a sentence: the smallest change the machine can detect; None if unknown
    rows: list[Row]


def make(results: Path, machine: str | None = None, commit: str | None = None, against: str | None = None) -> Report:
    """Return the figures of a machine at a commit, compared with each other and with those of `against`.

    The default machine is this host, or the machine with the newest results if this host has none. `commit` is a hash
    or its beginning. The default is the machine's newest commit with figures. `against` is another machine, a commit
    of the same machine, or "titan-x" for the figures published in 2016.

    Raises NotFound if there are no such results. The message lists what there is.
    """
    facts = history.machines(results)
    runs = history.runs(results)
    if machine is None:
        measured = {run.machine for run in runs}
        machine = platform.node() if platform.node() in measured else runs[0].machine if runs else None
    if machine not in facts:
        raise NotFound(f"{results} has no results of {machine or 'any machine'}; its machines: {_listed(facts)}")
    runs_here = [run for run in runs if run.machine == machine]
    figures = _newest_figures(_runs_at(runs_here, commit) if commit else runs_here)
    if not figures:
        raise NotFound(f"{results} has no figures of {machine}. To measure some: rnnbench run --machine {machine}")

    others: list[Figure] = []
    if against == published.TITAN_X:
        others = list(published.figures())
    elif against is not None and against in facts:
        runs_there = [run for run in runs if run.machine == against]
        same_commit = [run for run in runs_there if run.commit == figures[0].commit]
        others = _newest_figures(same_commit) or _newest_figures(runs_there)
    elif against is not None:
        try:
            others = _newest_figures(_runs_at(runs_here, against))
        except NotFound as reason:
            known = f"the machines ({_listed(facts)}) and {published.TITAN_X}"
            raise NotFound(f"{reason}. {against} isn't among {known} either") from None
    if against is not None and not others:
        raise NotFound(f"{results} has no figures of {against} to compare with")
    other = None
    if others:
        other = others[0].machine if others[0].machine != machine else others[0].commit[:8]

    verdicts = selftest.read(runs_here[0].path.parent)
    return Report(
        facts[machine],
        figures[0].commit,
        day(figures[0].date),
        other,
        others[0].commit if others else "",
        published.SOURCES[published.DEFAULT].differences if against == published.TITAN_X else (),
        selftest.sentence(verdicts) if verdicts else None,
        compare(figures, others, facts[machine]),
    )


def contenders(rows: Sequence[Row]) -> dict[tuple[Shape, str, bool], dict[str, Row]]:
    """Return the rows that compete: by shape, call and whether it is in TF32, and then by variant.

    A variant that several environments have timed competes with its fastest row. A variant whose error
    exceeds its tolerance at a shape doesn't compete there.
    """
    wrong = {(row.figure.shape, row.implementation) for row in rows if is_wrong(row.figure)}
    competing: dict[tuple[Shape, str, bool], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        figure = row.figure
        if figure.quantity in CALLS and figure.value and (figure.shape, row.implementation) not in wrong:
            fastest = competing[figure.shape, figure.quantity, figure.variant.endswith("tf32")]
            fastest[figure.variant] = min(row, fastest.get(figure.variant, row), key=_seconds)
    return competing


def standings(rows: Sequence[Row]) -> list[Standing]:
    """Return a standing for each shape, call and precision with two or more contenders, in the order of the rows."""
    ranked = []
    for (shape, quantity, tf32), fastest in contenders(rows).items():
        best, *others = sorted(fastest.values(), key=_seconds)
        if others:
            ours, peer = (
                next((row for row in (best, *others) if is_ours(row.figure.variant) == wanted), None)
                for wanted in (True, False)
            )
            ours_against_peer = _versus(ours, peer) if ours and peer else None
            ranked.append(Standing(shape, quantity, tf32, best, _versus(best, others[0]), ours_against_peer))
    # The shapes keep the order of the rows. Each has strict float32 before TF32, and train before forward.
    places = {shape: place for place, shape in enumerate(dict.fromkeys(standing.shape for standing in ranked))}
    return sorted(ranked, key=lambda standing: (places[standing.shape], standing.tf32, CALLS.index(standing.quantity)))


def day(milliseconds: int) -> datetime.date:
    """Return the UTC day of a time in milliseconds since 1970."""
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC).date()


def _runs_at(runs: Sequence[Run], commit: str) -> list[Run]:
    matching = [run for run in runs if run.commit.startswith(commit)]
    commits = sorted({run.commit for run in matching})
    if len(commits) > 1:
        raise NotFound(f"{commit} is the beginning of several commits: {', '.join(commits)}")
    if not commits:
        newest = list(dict.fromkeys(run.commit[:8] for run in runs))[:10]
        raise NotFound(f"there are no results of commit {commit}; the newest commits with results: {', '.join(newest)}")
    return matching


def _newest_figures(runs: Iterable[Run]) -> list[Figure]:
    """Return the figures of the first commit that has any, from the files of all its environments."""
    for _, same_commit in itertools.groupby(runs, key=lambda run: run.commit):
        if figures := [figure for run in same_commit for figure in history.read(run)]:
            return figures
    return []


def compare(figures: Sequence[Figure], others: Iterable[Figure], facts: Mapping[str, str]) -> list[Row]:
    """Return a row for each figure, compared with the other figures and the floors, in the order of the tables."""
    environments: dict[str, set[str]] = defaultdict(set)
    for figure in figures:
        environments[figure.variant].add(figure.environment)
    baselines = _by_key(figure for figure in figures if figure.variant == BASELINE)
    counterparts = _by_key(others)

    rows = []
    for figure in sorted(figures, key=_order):
        several = len(environments[figure.variant]) > 1
        implementation = f"{figure.variant} ({figure.environment})" if several else figure.variant
        speedup = of_floor = against = None
        if figure.value:
            if figure.quantity in CALLS:
                least = floor(figure.shape, figure.quantity, figure.variant, facts)
                of_floor = least and least.seconds / figure.value
                if figure.variant != BASELINE:
                    speedup = _ratio(figure, baselines.get((BASELINE, figure.quantity, figure.shape), ()))
            if counterparts and figure.quantity in _COMPARED:
                against = _ratio(figure, counterparts.get((figure.variant, figure.quantity, figure.shape), ()))
        rows.append(Row(figure, implementation, speedup, of_floor, against))
    return rows


def is_wrong(figure: Figure) -> bool:
    """Return whether a figure is an error that exceeds its variant's tolerance."""
    if not figure.quantity.startswith("error") or not figure.value:
        return False
    row = VARIANTS.get(figure.variant)
    return row is not None and figure.value > row.tolerance


def _seconds(row: Row) -> float:
    return row.figure.value or math.inf


def _versus(one: Row, other: Row) -> Versus:
    figure, other_figure = one.figure, other.figure
    return Versus(
        one,
        other,
        _seconds(other) / _seconds(one),
        other_figure.low / figure.high if other_figure.low and figure.high else None,
        other_figure.high / figure.low if other_figure.high and figure.low else None,
    )


def _order(figure: Figure) -> tuple:
    """Return the sort key of the published tables: by depth, seq, batch and hidden, the baseline first."""
    batch, seq, hidden, depth = figure.shape
    return depth, seq, batch, hidden, figure.variant != BASELINE, figure.variant, figure.environment


def _by_key(figures: Iterable[Figure]) -> dict[tuple, list[Figure]]:
    figures_by_key: dict[tuple, list[Figure]] = defaultdict(list)
    for figure in figures:
        if figure.value:
            figures_by_key[figure.variant, figure.quantity, figure.shape].append(figure)
    return figures_by_key


def _ratio(figure: Figure, others: Sequence[Figure]) -> float | None:
    """Return the value of another figure divided by this one's; one of the same environment is preferred."""
    # Figures of one variant are comparable if its benchmark has the same version. Published figures have none.
    comparable = [other for other in others if other.version in (figure.version, "") or other.variant != figure.variant]
    nearest = sorted(comparable, key=lambda other: other.environment != figure.environment)
    return nearest[0].value / figure.value if nearest and nearest[0].value and figure.value else None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
