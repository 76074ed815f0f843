"""Collect the figures of a machine and a commit, and compare them: the rows of every table and plot."""

from __future__ import annotations

import datetime
import functools
import itertools
import math
import platform
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rnnbench import history
from rnnbench.history import Figure, NotFound, Run, live_selftest, selftest, work_tree
from rnnbench.history.benchmark_names import QUANTITIES
from rnnbench.measure.floor import floor
from rnnbench.network import models, precision
from rnnbench.network.models import Subject
from rnnbench.report import published, uncertainty
from rnnbench.report.uncertainty import Interval, Ratio, Spread
from rnnbench.variants import VARIANTS, gradient_tolerance, is_ours

BASELINE = "scan"
CALLS = ("train", "forward")
CHECKED = "error_outputs"  # the quantity that each check of the accuracy measures
_PLACES = {name: place for place, name in enumerate(models.MODELS)}
# A ratio of two errors means nothing.
_COMPARED = tuple(name for name in QUANTITIES if not name.startswith("error"))


class Against(NamedTuple):
    """The figure of `Report.other` that a figure is compared with."""

    figure: Figure
    interval: Interval | None
    ratio: Ratio  # the other figure / this one; above 1, this one is better


class Row(NamedTuple):
    """A figure, its interval, and its ratios to other figures; a ratio is None if there is no other figure."""

    figure: Figure
    implementation: str  # the variant; with its environment if several environments have timed it
    interval: Interval | None
    is_checked: bool  # whether this run measured the implementation's accuracy there
    baseline: Figure | None  # the baseline's figure there; None for the baseline itself
    of_floor: float | None  # the floor / this time; 1 is as fast as the hardware allows
    against: Against | None

    @property
    def speedup(self) -> float | None:
        """The baseline's time / this time."""
        return self.baseline.value / self.figure.value if self.baseline and self.baseline.value else None  # type: ignore[operator]


class Versus(NamedTuple):
    """How many times as fast a row is as another one."""

    one: Row
    other: Row
    ratio: Ratio  # the other's time / this time


class Standing(NamedTuple):
    """The ranking of the variants of one precision at a shape, or of a model."""

    subject: Subject
    quantity: str  # one of CALLS
    precision: str  # one of network.precision.PRECISIONS
    best: Row
    lead: Versus  # the best variant against the next one
    ours: Versus | None  # Theano's best against the best peer; None if one of them has no time


# By subject, call and precision, and then by variant.
Contenders = dict[tuple[Subject, str, str], dict[str, Row]]


class Report(NamedTuple):
    """The figures of a group of networks that a machine has at a commit, in the order of the tables."""

    facts: dict[str, str]  # from machine.json
    commit: str
    date: datetime.date
    other: str | None  # whose figures `Row.against` compares with: a machine, a commit or titan-x
    other_commit: str  # empty for the published figures
    differences: Sequence[str]  # sentences: how the measurement of the other figures differs from ours
    precision: str | None  # sentences: the smallest change the machine can detect; None if unknown
    detectable: float  # that change: 0.1 for 10%, 0 if unknown
    rows: list[Row]
    group: str = "lstm"  # one of models.GROUPS


def make(
    results: Path,
    machine: str | None = None,
    commit: str | None = None,
    against: str | None = None,
    group: str = "lstm",
) -> Report:
    """Return the figures of a machine at a commit, compared with each other and with those of `against`.

    The default machine is this host, or the machine with the newest results if this host has none. `commit` is a hash
    or its beginning, a branch, a tag or HEAD, for example. The default is the machine's newest commit with figures.
    `against` is another machine, a commit of the same machine, or "titan-x" for the figures published in 2016. The
    report has the networks of a group, one of models.GROUPS.

    Raises NotFound if there are no such results. The message lists what there is.
    """
    facts = history.machines(results)
    runs = history.runs(results)
    if machine is None:
        measured = list(dict.fromkeys(run.machine for run in runs))
        newest = (name for name in measured if _newest_figures((run for run in runs if run.machine == name), group))
        machine = platform.node() if platform.node() in measured else next(newest, measured[0] if measured else None)
    if machine not in facts:
        wanted = "any machine" if machine is None else repr(machine)
        raise NotFound(f"{results} has no results of {wanted}; its machines: {_listed(facts)}")
    runs_here = [run for run in runs if run.machine == machine]
    figures = _newest_figures(_runs_at(runs_here, commit, results) if commit else runs_here, group)
    if not figures:
        where = f"{machine} at {commit}" if commit else machine
        raise NotFound(
            f"{results} has no figures of {where} ({models.GROUPS[group]}). To measure some: {bench_command(group)}"
        )

    others: list[Figure] = []
    folder = other_folder = runs_here[0].path.parent
    if against == published.TITAN_X:
        others = [figure for figure in published.figures() if figure.network == group]
    elif against is not None and against in facts:
        runs_there = [run for run in runs if run.machine == against]
        same_commit = [run for run in runs_there if run.commit == figures[0].commit]
        others = _newest_figures(same_commit, group) or _newest_figures(runs_there, group)
        other_folder = runs_there[0].path.parent if runs_there else folder
    elif against is not None:
        try:
            others = _newest_figures(_runs_at(runs_here, against, results), group)
        except NotFound as reason:
            known = f"the machines ({_listed(facts)}) and {published.TITAN_X}"
            raise NotFound(f"{reason}. {against} isn't among {known} either") from None
    if against is not None and not others:
        raise NotFound(f"{results} has no figures of {against} to compare with ({models.GROUPS[group]})")
    other = None
    if others:
        other = others[0].machine if others[0].machine != machine else others[0].commit[:8]

    detectable, other_detectable = (selftest.detectable(selftest.read(each)) for each in (folder, other_folder))
    return Report(
        facts[machine],
        figures[0].commit,
        day(figures[0].date),
        other,
        others[0].commit if others else "",
        published.SOURCES[published.DEFAULT].differences if against == published.TITAN_X else (),
        live_selftest.findings(folder),
        detectable,
        compare(figures, others, facts[machine], max(detectable, other_detectable)),
        group,
    )


def choose(report: Report, variants: Collection[str] | None, call: str | None) -> Report:
    """Return the report with the figures of these variants only, and with the times of one call only.

    None keeps all. Raises NotFound if nothing is left.
    """
    rows = [
        row
        for row in report.rows
        if (variants is None or row.figure.variant in variants)
        and (call is None or row.figure.quantity == call or row.figure.quantity not in CALLS)
    ]
    if not rows:
        timed = _listed(dict.fromkeys(row.figure.variant for row in report.rows))
        raise NotFound(f"{report.facts['machine']} at {report.commit[:8]} has no such figures; it has: {timed}")
    return report._replace(rows=rows)


def heading(report: Report) -> str:
    """Return the report's machine, hardware, commit and day, and its networks if they aren't LSTMs."""
    hardware = report.facts.get("gpu") or report.facts.get("cpu") or "unknown hardware"
    title = "" if report.group == "lstm" else f"{models.GROUPS[report.group]}: "
    return f"{title}{report.facts['machine']} ({hardware}) at {report.commit[:8]} of {report.date}"


def bench_command(group: str) -> str:
    """Return the command that times a first grid of a group of networks, with all implementations."""
    words = {"lstm": [], models.ALL_MODELS: [f"GRID={models.ALL_MODELS}"]}.get(group, [f"NETWORK={group}"])
    return " ".join(["make bench-peers", *words])


def noun(report: Report) -> str:
    """Return what the rows of a report are about, as a word: "shape" or "model"."""
    return "model" if report.group == models.ALL_MODELS else "shape"


def contenders(rows: Sequence[Row]) -> Contenders:
    """Return the rows that compete: by subject, call and precision, and then by variant.

    A variant that several environments have timed competes with its fastest row. A variant whose error
    exceeds its tolerance at a shape doesn't compete there.
    """
    wrong = {
        (row.figure.subject, row.implementation)
        for row in rows
        if row.figure.quantity not in CALLS and is_wrong(row.figure)
    }
    competing: Contenders = defaultdict(dict)
    for row in rows:
        figure = row.figure
        if figure.quantity in CALLS and figure.value and (figure.subject, row.implementation) not in wrong:
            fastest = competing[figure.subject, figure.quantity, precision.of_variant(figure.variant)]
            other = fastest.get(figure.variant)
            if other is None or figure.value < _seconds(other):
                fastest[figure.variant] = row
    for (subject, quantity, computed_in), own in competing.items():
        for rival in precision.RIVALS[computed_in]:
            if rival != computed_in:
                own.update(competing.get((subject, quantity, rival), {}))
    return competing


def standings(rows: Sequence[Row], detectable: float = 0) -> list[Standing]:
    """Return a standing for each subject, call and precision with two or more contenders, in the order of the rows.

    `detectable` is the smallest change that the machine detects; a smaller lead is a tie.
    """
    return rank(contenders(rows), detectable)


def rank(competing: Contenders, detectable: float = 0) -> list[Standing]:
    """Return the standings of these contenders."""
    ranked = []
    for (subject, quantity, computed_in), fastest in competing.items():
        best, *others = sorted(fastest.values(), key=_seconds)
        if others:
            ours, peer = (
                next((row for row in (best, *others) if is_ours(row.figure.variant) == wanted), None)
                for wanted in (True, False)
            )
            ours_against_peer = _versus(ours, peer, detectable) if ours and peer else None
            ranked.append(
                Standing(subject, quantity, computed_in, best, _versus(best, others[0], detectable), ours_against_peer)
            )
    # The subjects keep the order of the rows. Each has strict float32 first, and train before forward.
    places = {subject: place for place, subject in enumerate(dict.fromkeys(standing.subject for standing in ranked))}
    precisions = list(precision.PRECISIONS)
    return sorted(
        ranked,
        key=lambda standing: (
            places[standing.subject],
            precisions.index(standing.precision),
            CALLS.index(standing.quantity),
        ),
    )


def is_tie(one: Row, other: Row, detectable: float) -> bool:
    """Return whether the machine can't tell two times apart; a row ties with itself."""
    return one is other or _versus(one, other, detectable).ratio.is_tie


def day(milliseconds: int) -> datetime.date:
    """Return the UTC day of a time in milliseconds since 1970."""
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc).date()


def _runs_at(runs: Sequence[Run], name: str, results: Path) -> list[Run]:
    commit = work_tree.resolve(name, results)
    named = name if commit.startswith(name) else f"{name} ({commit[:8]})"
    matching = [run for run in runs if run.commit.startswith(commit)]
    commits = sorted({run.commit for run in matching})
    if len(commits) > 1:
        raise NotFound(f"{named} is the beginning of several commits: {', '.join(commits)}")
    if not commits:
        newest = list(dict.fromkeys(run.commit[:8] for run in runs))[:10]
        raise NotFound(f"there are no results of commit {named}; the newest commits with results: {', '.join(newest)}")
    return matching


def _newest_figures(runs: Iterable[Run], group: str) -> list[Figure]:
    """Return a group's figures of the first commit that has any, from the files of all its environments."""
    for _, same_commit in itertools.groupby(runs, key=lambda run: run.commit):
        read = (figure for run in same_commit for figure in history.read(run))
        if figures := [figure for figure in read if models.group(figure.network) == group]:
            return figures
    return []


def compare(
    figures: Sequence[Figure],
    others: Sequence[Figure],
    facts: Mapping[str, str],
    detectable: float = 0,
) -> list[Row]:
    """Return a row for each figure, compared with the other figures and the floors, in the order of the tables.

    `detectable` is the smallest change that both machines detect, 0.1 for 10%.
    """
    environments: dict[str, set[str]] = defaultdict(set)
    for figure in figures:
        environments[figure.variant].add(figure.environment)
    baselines = _by_key(figure for figure in figures if figure.variant == BASELINE)
    counterparts = _by_key(others)
    checked = {(figure.variant, figure.subject) for figure in figures if figure.quantity == CHECKED}
    spread, other_spread = (
        uncertainty.spread([figure for figure in each if _is_time(figure)]) for each in (figures, others)
    )

    rows = []
    for figure in sorted(figures, key=_order):
        several = len(environments[figure.variant]) > 1
        implementation = f"{figure.variant} ({figure.environment})" if several else figure.variant
        baseline = of_floor = against = None
        interval = _interval(figure, spread)
        if figure.value:
            if figure.quantity in CALLS:
                least = floor(figure.shape, figure.quantity, figure.variant, facts, figure.network)
                of_floor = least and least.seconds / figure.value
                if figure.variant != BASELINE:
                    baseline = _counterpart(figure, baselines.get((BASELINE, figure.quantity, figure.subject), ()))
            if counterparts and figure.quantity in _COMPARED:
                found = _counterpart(figure, counterparts.get((figure.variant, figure.quantity, figure.subject), ()))
                if found and found.value:
                    there = _interval(found, other_spread)
                    ratio = uncertainty.ratio(figure.value, interval, found.value, there, detectable)
                    against = Against(found, there, ratio)
        is_checked = (figure.variant, figure.subject) in checked
        rows.append(Row(figure, implementation, interval, is_checked, baseline, of_floor, against))
    return rows


def is_wrong(figure: Figure) -> bool:
    """Return whether a figure is an error that exceeds its variant's tolerance."""
    row, error = VARIANTS.get(figure.variant), figure.value or 0
    if row is None or not figure.quantity.startswith("error") or error <= row.tolerance:
        return False
    return figure.quantity == CHECKED or error > _gradient_tolerance(figure.variant, figure.subject)


@functools.cache  # of a network with ReLU, the reference takes a second or more
def _gradient_tolerance(variant: str, subject: Subject) -> float:
    return gradient_tolerance(variant, models.workload(*subject))


def _seconds(row: Row) -> float:
    return row.figure.value or math.inf


def _versus(one: Row, other: Row, detectable: float) -> Versus:
    ratio = uncertainty.ratio(_seconds(one), one.interval, _seconds(other), other.interval, detectable)
    return Versus(one, other, ratio)


def _order(figure: Figure) -> tuple:
    """Return the sort key of the published tables: by depth, seq, batch and hidden, the baseline first.

    The models keep their own order.
    """
    batch, seq, hidden, depth = figure.shape
    place = _PLACES.get(figure.network, -1)
    return place, depth, seq, batch, hidden, figure.variant != BASELINE, figure.variant, figure.environment


def _by_key(figures: Iterable[Figure]) -> dict[tuple, list[Figure]]:
    figures_by_key: dict[tuple, list[Figure]] = defaultdict(list)
    for figure in figures:
        if figure.value:
            figures_by_key[figure.variant, figure.quantity, figure.subject].append(figure)
    return figures_by_key


def _counterpart(figure: Figure, others: Sequence[Figure]) -> Figure | None:
    """Return the figure to compare a figure with; one of the same environment is preferred."""
    # Figures of one variant are comparable if its benchmark has the same version. Published figures have none.
    comparable = (other for other in others if other.version in (figure.version, "") or other.variant != figure.variant)
    return min(comparable, key=lambda other: other.environment != figure.environment, default=None)


def _interval(figure: Figure, spread: Spread | None) -> Interval | None:
    return uncertainty.interval(figure, spread if _is_time(figure) else None)


def _is_time(figure: Figure) -> bool:
    return figure.quantity in CALLS and bool(figure.value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
