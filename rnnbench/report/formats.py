"""The tables as text for a terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rnnbench.history import Figure, Software
from rnnbench.measure.state import MARKS
from rnnbench.network.shapes import Shape
from rnnbench.report import absence, plot
from rnnbench.report.tables import BASELINE, CALLS, Report, Row, Standing, Versus, standings

UNITS = {
    "train": "µs per example",
    "forward": "µs per example",
    "memory": "bytes",
    "error_outputs": "relative error",
    "error_gradients": "relative error",
}  # the builds' is s


# The software's headings, which are those of all tables' columns that hold no figures.
_SOFTWARE = ["implementation", "libraries", "cuDNN", "algorithm", "math type", "calls", "batch × seq × hidden × depth"]


class Table(NamedTuple):
    """A table's title, its columns' headings, and its cells as text."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def tables(report: Report) -> list[Table]:
    """Return the tables that have figures: the calls', how they stand, the builds', memory and accuracy, and slopes."""
    builds = {
        "build_train_warm": "Train, warm, s",
        "build_forward_warm": "Forward, warm, s",
        "build_train_cold": "Train, cold, s",
        "build_forward_cold": "Forward, cold, s",
    }
    rest = {"memory": "Memory, MB", "error_outputs": "Error, outputs", "error_gradients": "Error, gradients"}
    drawn = [
        _times(report),
        ranking(standings(report.rows)),
        _table("From a started Python to the first result", builds, report),
        _table("Memory of a train step, and error against float64", rest, report),
        _slopes(report),
        software(report.rows),
    ]
    return [table for table in drawn if table.rows]


def text(report: Report) -> str:
    """Return the tables as a terminal shows them; needs tabulate."""
    return _document(report, "simple", heading="{}", note="{}", escape=lambda words: words)


def markdown(report: Report) -> str:
    """Return the tables as Markdown; needs tabulate."""
    return _document(report, "pipe", heading="### {}", note="- {}", escape=_escape)


def markdown_times(report: Report) -> str:
    """Return the table of the calls' times alone, and what is marked in it, as Markdown; needs tabulate."""
    return _markdown_calls(report, _times(report))


def markdown_ranking(report: Report) -> str:
    """Return the table of how the variants stand alone, and what is marked in it, as Markdown; needs tabulate."""
    return _markdown_calls(report, ranking(standings(report.rows)))


def ranking(ranked: Sequence[Standing]) -> Table:
    """Return the table of how the variants stand; its rows begin with the depth, batch × seq and hidden."""
    of_floor = any(one.best.of_floor for one in ranked)
    return Table(
        "The best of each shape, and Theano's best beside the best peer",
        [
            "depth",
            "batch × seq",
            "hidden",
            "call",
            "best",
            "time, µs",
            "vs the next",
            *(["of floor"] if of_floor else []),
            "Theano vs peer",
        ],
        [
            [
                str(one.shape.depth),
                f"{one.shape.batch} × {one.shape.seq}",
                str(one.shape.hidden),
                f"{one.quantity}{', TF32' if one.tf32 else ''}",
                one.best.implementation,
                _spread(one.best),
                f"{_times_as_fast(one.lead)} {_named(one.lead.other)}",
                *([_shown(one.best, "of_floor")] if of_floor else []),
                f"{_named(one.ours.one)} {_times_as_fast(one.ours)} {_named(one.ours.other)}" if one.ours else "",
            ]
            for one in ranked
        ],
    )


def software(rows: Sequence[Row]) -> Table:
    """Return the table of the libraries and of cuDNN's choices: a line for all shapes that were computed alike."""
    alike: dict[tuple[str, Software], dict[str, dict[Shape, None]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        figure = row.figure
        if figure.quantity in CALLS and figure.software:
            alike[row.implementation, figure.software][figure.quantity][figure.shape] = None
    lines = []
    for (implementation, computed), calls in sorted(alike.items()):
        together: dict[tuple[Shape, ...], list[str]] = defaultdict(list)
        for quantity, shapes in calls.items():
            together[tuple(shapes)].append(quantity)
        for of_them, quantities in together.items():
            sizes = ", ".join(" × ".join(map(str, shape)) for shape in of_them)
            lines.append([implementation, *computed, ", ".join(sorted(quantities, key=CALLS.index)), sizes])
    return Table("What computed the calls, and what cuDNN was told, by its own log", _SOFTWARE, lines)


def doubts(report: Report) -> list[str]:
    """Return a sentence for each way in which the machine's state makes figures doubtful, and how many it does."""
    counts = Counter(mark for row in report.rows for mark in row.figure.marks or ())
    of = f"of {len(report.rows)} figures"
    return [f"{counts[mark]} {of}, {mark}: {advice}." for mark, advice in MARKS.items() if counts[mark]]


def comma_separated(report: Report) -> str:
    """Return a line for each figure, with a heading."""
    lines = io.StringIO()
    records = _records(report)
    writer = csv.DictWriter(lines, records[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return lines.getvalue()


def as_json(report: Report) -> str:
    """Return an object of the machine's facts, the commit, and lists of the figures and of how they stand."""
    content = {
        "machine": report.facts,
        "commit": report.commit,
        "date": report.date.isoformat(),
        "against": report.other,
        "differences": list(report.differences),
        "precision": report.precision,
        "figures": _records(report),
        "standings": [_standing(one) for one in standings(report.rows)],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Report], str]] = {
    "text": text,
    "markdown": markdown,
    "csv": comma_separated,
    "json": as_json,
}


def in_unit(figure: Figure) -> tuple[float | None, float | None, float | None]:
    """Return a figure's value and quartiles in the unit of its quantity: a call's are µs per example."""
    scale = 1e6 / figure.shape.batch if figure.quantity in CALLS else 1
    value, low, high = (one and one * scale for one in (figure.value, figure.low, figure.high))
    return value, low, high


def number(value: float) -> str:
    """Return a number with three significant digits, in full where that is short."""
    if value == 0:
        return "0"
    if not 1e-3 <= value < 1e7:
        return f"{value:.1e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def _records(report: Report) -> list[dict[str, object]]:
    records = []
    for row in report.rows:
        figure = row.figure
        value, low, high = in_unit(figure)
        records.append(
            {
                "machine": figure.machine,
                "commit": figure.commit,
                "environment": figure.environment,
                "depth": figure.shape.depth,
                "batch": figure.shape.batch,
                "seq": figure.shape.seq,
                "hidden": figure.shape.hidden,
                "version": figure.variant,
                "quantity": figure.quantity,
                "state": figure.state,
                "unit": UNITS.get(figure.quantity, "s"),
                "value": value,
                "low": low,
                "high": high,
                "samples": figure.samples,
                "marks": None if figure.marks is None else " ".join(figure.marks) or "none",
                **(figure.software or Software("", "", "", ""))._asdict(),
                "speedup": row.speedup,
                "of_floor": row.of_floor,
                "against": row.against,
            }
        )
    return records


def _standing(one: Standing) -> dict[str, object]:
    return {
        **one.shape._asdict(),
        "quantity": one.quantity,
        "tf32": one.tf32,
        "best": one.best.implementation,
        "of_floor": one.best.of_floor,
        "lead": _comparison(one.lead),
        "ours": one.ours and _comparison(one.ours),
    }


def _comparison(versus: Versus) -> dict[str, object]:
    return {**versus._asdict(), "one": versus.one.implementation, "other": versus.other.implementation}


def _times_as_fast(versus: Versus) -> str:
    spread = f" ({_short(versus.low)}–{_short(versus.high)})" if versus.low and versus.high else ""
    return f"{_short(versus.times)}×{spread}"


def _named(row: Row) -> str:
    return f"{row.implementation}*" if row.figure.marks else row.implementation


def _times(report: Report) -> Table:
    return _table("Time per example", {"train": "Train, µs", "forward": "Forward, µs"}, report)


def _table(title: str, quantities: dict[str, str], report: Report) -> Table:
    lines: dict[tuple, dict[str, Row]] = defaultdict(dict)
    for row in report.rows:
        if row.figure.quantity in quantities:
            lines[row.figure.shape, row.implementation][row.figure.quantity] = row
    present = [name for name in quantities if any(name in line for line in lines.values())]
    columns = [(quantities[name], name, "value") for name in present]
    for heading, compared in (
        (f"vs {BASELINE}", "speedup"),
        ("of floor", "of_floor"),
        (f"vs {report.other}", "against"),
    ):
        for name in present:
            if any(getattr(line[name], compared) for line in lines.values() if name in line):
                columns.append((f"{quantities[name].rpartition(',')[0]}, {heading}", name, compared))
    return Table(
        title,
        ["depth", "batch × seq", "hidden", "implementation", *(heading for heading, _, _ in columns)],
        [
            [
                str(shape.depth),
                f"{shape.batch} × {shape.seq}",
                str(shape.hidden),
                implementation,
                *(_shown(line[name], column) if name in line else "n/a" for _, name, column in columns),
            ]
            for (shape, implementation), line in lines.items()
        ],
    )


def _slopes(report: Report) -> Table:
    """Return the power of each size that a call's time grows with, where two shapes differ in that size alone."""
    slopes: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    columns = list(itertools.product(CALLS, plot.AXES))
    for quantity, axis in columns:
        _, lines = plot.lines((row for row in report.rows if row.figure.quantity == quantity), axis)
        for implementation, line in lines.items():
            slopes[implementation][quantity, axis] = plot.slope(line, axis)
    return Table(
        "How time grows: the slope on log axes, of the shapes with the most figures that differ in that size alone",
        ["implementation", *(f"{quantity.capitalize()}, {axis}" for quantity, axis in columns)],
        [
            [implementation, *(f"{of[column]:z.2f}" if column in of else "n/a" for column in columns)]
            for implementation, of in slopes.items()
        ],
    )


def _shown(row: Row, column: str) -> str:
    if column == "value":
        return _spread(row)
    quotient = getattr(row, column)
    if quotient is None:
        return ""
    return f"{_short(100 * quotient)}%" if column == "of_floor" else f"{_short(quotient)}×"


def _spread(row: Row) -> str:
    if row.figure.state != "ok":
        return row.figure.state
    scale = 1e-6 if row.figure.quantity == "memory" else 1
    value, *quartiles = (number(one * scale) for one in in_unit(row.figure) if one is not None)
    spread = f"{value} ({'–'.join(quartiles)})" if quartiles else value
    return f"{spread}*" if row.figure.marks else spread


def _short(value: float) -> str:
    return f"{value:.{2 if value < 1 else 1 if value < 10 else 0}f}"


def _document(report: Report, style: str, heading: str, note: str, escape: Callable[[str], str]) -> str:
    facts = report.facts
    hardware = facts.get("gpu") or facts.get("cpu") or "unknown hardware"
    parts = [heading.format(escape(f"{facts['machine']} ({hardware}) at {report.commit[:8]} of {report.date}"))]
    for table in tables(report):
        parts += [table.title, _draw(table, style, escape)]
    parts.append("\n".join(note.format(escape(line)) for line in _notes(report)))
    return "\n\n".join(parts) + "\n"


def _markdown_calls(report: Report, table: Table) -> str:
    calls = report._replace(rows=[row for row in report.rows if row.figure.quantity in CALLS])
    lines = [_draw(table, "pipe", _escape)]
    if notes := doubts(calls):
        lines += ["", *(f"- {_escape(f'*: {note}')}" for note in notes)]
    return "\n".join(lines)


def _draw(table: Table, style: str, escape: Callable[[str], str]) -> str:
    from tabulate import tabulate

    rows = [[escape(cell) for cell in row] for row in table.rows]
    sides = ["left" if heading in _SOFTWARE else "right" for heading in table.headings]
    return tabulate(rows, [escape(one) for one in table.headings], style, disable_numparse=True, colalign=sides)


def _notes(report: Report) -> Sequence[str]:
    """Return what a reader has to know of the columns that there are."""
    rows = report.rows
    notes = ["µs: the median of calls on a whole batch, divided by the batch, and the quartiles."]
    if any(row.speedup for row in rows):
        notes.append(f"vs {BASELINE}: how many times as fast as {BASELINE}, by the medians.")
    if any(row.of_floor for row in rows):
        notes.append("of floor: 100% is the least time that the hardware's peak rates allow.")
    if standings(rows):
        notes.append("vs the next, vs peer: how many times as fast, and by the quartiles at worst and at best.")
    if any(row.figure.state == "failed" for row in rows):
        notes.append(f"failed: {absence.FAILED}.")
    notes += [f"{', '.join(names)}: n/a, {reason}." for reason, names in absence.of_variants(report.facts).items()]
    if report.other:
        where = f"at {report.other_commit[:8]}" if report.other_commit else "as published"
        notes.append(f"vs {report.other}: the figure there, {where}, over the one here; below 1 is worse here.")
    if report.precision:
        notes.append(report.precision)
    return [*notes, *(f"*: {doubt}" for doubt in doubts(report)), *report.differences]


def _escape(words: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\`*|<[" else letter for letter in words)
