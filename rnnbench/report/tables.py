"""The figures of a commit, each with what it is compared with: the rows of every table and plot."""

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
# Of an error a quotient says nothing.
_COMPARED = tuple(name for name in QUANTITIES if not name.startswith("error"))


class Row(NamedTuple):
    """A figure, and what it is compared with; None where there is nothing to compare it with."""

    figure: Figure
    implementation: str  # the variant, with its environment where several have measured it
    speedup: float | None  # how many times as fast as scan
    of_floor: float | None  # the floor's time over this one: 1 is as fast as the hardware allows
    against: float | None  # the other figure over this one: above 1 is better than there


class Versus(NamedTuple):
    """How many times as fast one is as another, by their medians, and by their quartiles at worst and at best."""

    one: Row
    other: Row
    times: float
    low: float | None
    high: float | None


class Standing(NamedTuple):
    """How the variants of one precision stand in a shape."""

    shape: Shape
    quantity: str  # one of CALLS
    tf32: bool
    best: Row
    lead: Versus  # the best against the next variant
    ours: Versus | None  # Theano's best against the best peer; None where one of them has no time


class Report(NamedTuple):
    """What a machine measured at a commit, in the order of the tables."""

    facts: dict[str, str]  # machine.json's
    commit: str
    date: datetime.date
    other: str | None  # what `Row.against` compares with: a machine, a commit, or the published figures
    other_commit: str  # empty for the published ones
    differences: Sequence[str]  # how the other was measured otherwise, in sentences
    precision: str | None  # from which change on the machine's figures show it, in a sentence; None: unmeasured
    rows: list[Row]


def make(results: Path, machine: str | None = None, commit: str | None = None, against: str | None = None) -> Report:
    """Return what a machine measured at a commit.

    The machine is this host unless named, or else the one with the newest results; the commit, or
    its hash's beginning, is the newest with figures unless named. `against` is another machine, a
    commit of the same one, or "titan-x", the figures published in 2016.

    Raises NotFound, which says what there is.
    """
    facts = history.machines(results)
    runs = history.runs(results)
    if machine is None:
        measured = {run.machine for run in runs}
        machine = platform.node() if platform.node() in measured else runs[0].machine if runs else None
    if machine not in facts:
        raise NotFound(f"{results} has no results of {machine or 'any machine'}: it has {_listed(facts)}")
    of_machine = [run for run in runs if run.machine == machine]
    figures = _newest(_at(of_machine, commit) if commit else of_machine)
    if not figures:
        raise NotFound(f"{results} has no figure of {machine}: time some with rnnbench run --machine {machine}")

    others: list[Figure] = []
    if against == published.TITAN_X:
        others = list(published.figures())
    elif against is not None and against in facts:
        of_other = [run for run in runs if run.machine == against]
        same_commit = [run for run in of_other if run.commit == figures[0].commit]
        others = _newest(same_commit) or _newest(of_other)
    elif against is not None:
        try:
            others = _newest(_at(of_machine, against))
        except NotFound as reason:
            raise NotFound(f"{reason}; nor is it a machine ({_listed(facts)}) or {published.TITAN_X}") from None
    if against is not None and not others:
        raise NotFound(f"{results} has no figure of {against} to compare with")
    other = None
    if others:
        other = others[0].machine if others[0].machine != machine else others[0].commit[:8]

    verdicts = selftest.read(of_machine[0].path.parent)
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


def standings(rows: Sequence[Row]) -> list[Standing]:
    """Return how the variants stand wherever two were timed, in the order of the rows.

    What isn't as accurate there as its tolerance asks doesn't stand.
    """
    wrong = {(row.figure.shape, row.implementation) for row in rows if is_wrong(row.figure)}
    found: dict[tuple[Shape, str, bool], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        figure = row.figure
        if figure.quantity in CALLS and figure.value and (figure.shape, row.implementation) not in wrong:
            fastest = found[figure.shape, figure.quantity, figure.variant.endswith("tf32")]
            fastest[figure.variant] = min(row, fastest.get(figure.variant, row), key=_seconds)
    ranked = []
    for (shape, quantity, tf32), fastest in found.items():
        best, *others = sorted(fastest.values(), key=_seconds)
        if others:
            ours, peer = (
                next((row for row in (best, *others) if is_ours(row.figure.variant) == wanted), None)
                for wanted in (True, False)
            )
            beside = _versus(ours, peer) if ours and peer else None
            ranked.append(Standing(shape, quantity, tf32, best, _versus(best, others[0]), beside))
    # Sorted by what tells them apart, a shape's stay together and in place.
    places = {shape: place for place, shape in enumerate(dict.fromkeys(one.shape for one in ranked))}
    return sorted(ranked, key=lambda one: (places[one.shape], one.tf32, CALLS.index(one.quantity)))


def day(milliseconds: int) -> datetime.date:
    """Return the day of a commit from its ms since 1970, in UTC."""
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC).date()


def _at(runs: Sequence[Run], commit: str) -> list[Run]:
    found = [run for run in runs if run.commit.startswith(commit)]
    commits = sorted({run.commit for run in found})
    if len(commits) > 1:
        raise NotFound(f"{commit} is the beginning of several commits: {', '.join(commits)}")
    if not commits:
        newest = list(dict.fromkeys(run.commit[:8] for run in runs))[:10]
        raise NotFound(f"there are no results of commit {commit}; the newest that have some: {', '.join(newest)}")
    return found


def _newest(runs: Iterable[Run]) -> list[Figure]:
    """Return the figures of the first commit that has any; its environments' files are read together."""
    for _, of_commit in itertools.groupby(runs, key=lambda run: run.commit):
        if found := [figure for run in of_commit for figure in history.read(run)]:
            return found
    return []


def compare(figures: Sequence[Figure], others: Iterable[Figure], facts: Mapping[str, str]) -> list[Row]:
    """Return a machine's figures beside others and its floors, in the order of the tables."""
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
                    speedup = _quotient(figure, baselines.get((BASELINE, figure.quantity, figure.shape), ()))
            if counterparts and figure.quantity in _COMPARED:
                against = _quotient(figure, counterparts.get((figure.variant, figure.quantity, figure.shape), ()))
        rows.append(Row(figure, implementation, speedup, of_floor, against))
    return rows


def is_wrong(figure: Figure) -> bool:
    """Return whether a figure is an error larger than its variant's tolerance."""
    if not figure.quantity.startswith("error") or not figure.value:
        return False
    row = VARIANTS.get(figure.variant)
    return row is not None and figure.value > row.tolerance


def _seconds(row: Row) -> float:
    return row.figure.value or math.inf


def _versus(one: Row, other: Row) -> Versus:
    mine, theirs = one.figure, other.figure
    return Versus(
        one,
        other,
        _seconds(other) / _seconds(one),
        theirs.low / mine.high if theirs.low and mine.high else None,
        theirs.high / mine.low if theirs.high and mine.low else None,
    )


def _order(figure: Figure) -> tuple:
    """As the published tables are ordered, the loop first."""
    batch, seq, hidden, depth = figure.shape
    return depth, seq, batch, hidden, figure.variant != BASELINE, figure.variant, figure.environment


def _by_key(figures: Iterable[Figure]) -> dict[tuple, list[Figure]]:
    found: dict[tuple, list[Figure]] = defaultdict(list)
    for figure in figures:
        if figure.value:
            found[figure.variant, figure.quantity, figure.shape].append(figure)
    return found


def _quotient(figure: Figure, others: Sequence[Figure]) -> float | None:
    """Return another's value over the figure's, of the same environment if there is a choice."""
    # Published figures are of no version.
    comparable = [other for other in others if other.version in (figure.version, "") or other.variant != figure.variant]
    nearest = sorted(comparable, key=lambda other: other.environment != figure.environment)
    return nearest[0].value / figure.value if nearest and nearest[0].value and figure.value else None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
