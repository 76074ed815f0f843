"""Write a report as tables for a terminal, or as Markdown, CSV or JSON."""

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
}  # builds are in seconds

# These are also all columns of other tables that hold text. They are aligned left, columns of numbers right.
_SOFTWARE_HEADINGS = [
    "implementation",
    "libraries",
    "cuDNN",
    "algorithm",
    "math type",
    "calls",
    "batch × seq × hidden × depth",
]


class Table(NamedTuple):
    """A table's title, its columns' headings, and its cells as text."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def tables(report: Report) -> list[Table]:
    """Return the tables of a report: times, ranking, builds, memory and errors, slopes, software.

    A table without figures is left out.
    """
    builds = {
        "build_train_warm": "Train, warm, s",
        "build_forward_warm": "Forward, warm, s",
        "build_train_cold": "Train, cold, s",
        "build_forward_cold": "Forward, cold, s",
    }
    memory_and_errors = {
        "memory": "Memory, MB",
        "error_outputs": "Error, outputs",
        "error_gradients": "Error, gradients",
    }
    candidates = [
        _times_table(report),
        ranking(standings(report.rows)),
        _figures_table("Build time, from the start of Python to the first result", builds, report),
        _figures_table("Memory of a train step, and error against the float64 reference", memory_and_errors, report),
        _slopes_table(report),
        software(report.rows),
    ]
    return [table for table in candidates if table.rows]


def text(report: Report) -> str:
    """Return the report as text for a terminal; needs tabulate."""
    return _document(report, "simple", heading="{}", note="{}", escape=lambda words: words)


def markdown(report: Report) -> str:
    """Return the report as Markdown; needs tabulate."""
    return _document(report, "pipe", heading="### {}", note="- {}", escape=_escape)


def markdown_times(report: Report) -> str:
    """Return the table of times and the notes on its doubtful figures as Markdown; needs tabulate."""
    return _markdown_calls(report, _times_table(report))


def markdown_ranking(report: Report) -> str:
    """Return the ranking and the notes on its doubtful figures as Markdown; needs tabulate."""
    return _markdown_calls(report, ranking(standings(report.rows)))


def ranking(ranked: Sequence[Standing]) -> Table:
    """Return a table with a row for each standing; a row begins with the depth, batch × seq and hidden."""
    has_floor = any(standing.best.of_floor for standing in ranked)
    return Table(
        "The fastest implementation at each shape, its lead over the next, and Theano's best against the best peer",
        [
            "depth",
            "batch × seq",
            "hidden",
            "call",
            "best",
            "time, µs",
            "vs the next",
            *(["of floor"] if has_floor else []),
            "Theano vs peer",
        ],
        [
            [
                str(standing.shape.depth),
                f"{standing.shape.batch} × {standing.shape.seq}",
                str(standing.shape.hidden),
                f"{standing.quantity}{', TF32' if standing.tf32 else ''}",
                standing.best.implementation,
                _value_text(standing.best),
                f"{_speedup_text(standing.lead)} {_name_text(standing.lead.other)}",
                *([_cell_text(standing.best, "of_floor")] if has_floor else []),
                _ours_text(standing.ours) if standing.ours else "",
            ]
            for standing in ranked
        ],
    )


def software(rows: Sequence[Row]) -> Table:
    """Return the table of library versions and cuDNN's choices.

    The shapes that an implementation computed with the same software share a row, and so do the calls with the
    same shapes.
    """
    shapes_by_software: dict[tuple[str, Software], dict[str, dict[Shape, None]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for row in rows:
        figure = row.figure
        if figure.quantity in CALLS and figure.software:
            shapes_by_software[row.implementation, figure.software][figure.quantity][figure.shape] = None
    lines = []
    for (implementation, used), shapes_by_call in sorted(shapes_by_software.items()):
        calls_by_shapes: dict[tuple[Shape, ...], list[str]] = defaultdict(list)
        for quantity, shapes in shapes_by_call.items():
            calls_by_shapes[tuple(shapes)].append(quantity)
        for same_shapes, quantities in calls_by_shapes.items():
            sizes = ", ".join(" × ".join(map(str, shape)) for shape in same_shapes)
            lines.append([implementation, *used, ", ".join(sorted(quantities, key=CALLS.index)), sizes])
    title = "Software: library versions, and the algorithm and math type that cuDNN logged"
    return Table(title, _SOFTWARE_HEADINGS, lines)


def doubts(report: Report) -> list[str]:
    """Return a sentence for each mark that figures have: how many have it, what it means and what to do."""
    counts = Counter(mark for row in report.rows for mark in row.figure.marks or ())
    total = len(report.rows)
    return [
        f"doubtful ({mark}), {counts[mark]} of {total} figures: {advice}."
        for mark, advice in MARKS.items()
        if counts[mark]
    ]


def comma_separated(report: Report) -> str:
    """Return the figures as CSV: a line of headings, and a line for each figure."""
    lines = io.StringIO()
    records = _records(report)
    writer = csv.DictWriter(lines, records[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return lines.getvalue()


def as_json(report: Report) -> str:
    """Return a JSON object with the machine's facts, the commit, the figures and the standings."""
    content = {
        "machine": report.facts,
        "commit": report.commit,
        "date": report.date.isoformat(),
        "against": report.other,
        "differences": list(report.differences),
        "precision": report.precision,
        "figures": _records(report),
        "standings": [_standing_record(standing) for standing in standings(report.rows)],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Report], str]] = {
    "text": text,
    "markdown": markdown,
    "csv": comma_separated,
    "json": as_json,
}


def in_unit(figure: Figure) -> tuple[float | None, float | None, float | None]:
    """Return a figure's value, lower and upper quartile in the unit of its quantity (see UNITS)."""
    scale = 1e6 / figure.shape.batch if figure.quantity in CALLS else 1
    value, low, high = (each and each * scale for each in (figure.value, figure.low, figure.high))
    return value, low, high


def number(value: float) -> str:
    """Return a number as text: three significant digits, or two and an exponent below 1e-3 and from 1e7."""
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


def _standing_record(standing: Standing) -> dict[str, object]:
    return {
        **standing.shape._asdict(),
        "quantity": standing.quantity,
        "tf32": standing.tf32,
        "best": standing.best.implementation,
        "of_floor": standing.best.of_floor,
        "lead": _versus_record(standing.lead),
        "ours": standing.ours and _versus_record(standing.ours),
    }


def _versus_record(versus: Versus) -> dict[str, object]:
    return {**versus._asdict(), "one": versus.one.implementation, "other": versus.other.implementation}


def _speedup_text(versus: Versus) -> str:
    spread = f" ({_short(versus.low)}–{_short(versus.high)})" if versus.low and versus.high else ""
    return f"{_short(versus.times)}×{spread}"


def _ours_text(ours: Versus) -> str:
    return f"{_name_text(ours.one)} {_speedup_text(ours)} {_name_text(ours.other)}"


def _name_text(row: Row) -> str:
    return f"{row.implementation}*" if row.figure.marks else row.implementation


def _times_table(report: Report) -> Table:
    return _figures_table("Time per example", {"train": "Train, µs", "forward": "Forward, µs"}, report)


def _figures_table(title: str, quantities: dict[str, str], report: Report) -> Table:
    lines: dict[tuple, dict[str, Row]] = defaultdict(dict)
    for row in report.rows:
        if row.figure.quantity in quantities:
            lines[row.figure.shape, row.implementation][row.figure.quantity] = row
    present = [name for name in quantities if any(name in line for line in lines.values())]
    columns = [(quantities[name], name, "value") for name in present]
    for heading, field in (
        (f"vs {BASELINE}", "speedup"),
        ("of floor", "of_floor"),
        (f"vs {report.other}", "against"),
    ):
        for name in present:
            if any(getattr(line[name], field) for line in lines.values() if name in line):
                columns.append((f"{quantities[name].rpartition(',')[0]}, {heading}", name, field))
    return Table(
        title,
        ["depth", "batch × seq", "hidden", "implementation", *(heading for heading, _, _ in columns)],
        [
            [
                str(shape.depth),
                f"{shape.batch} × {shape.seq}",
                str(shape.hidden),
                implementation,
                *(_cell_text(line[name], field) if name in line else "n/a" for _, name, field in columns),
            ]
            for (shape, implementation), line in lines.items()
        ],
    )


def _slopes_table(report: Report) -> Table:
    """Return the table of the exponents x in time ~ size^x, for each call and each size; see plot.lines."""
    slopes: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    columns = list(itertools.product(CALLS, plot.AXES))
    for quantity, axis in columns:
        _, lines = plot.lines((row for row in report.rows if row.figure.quantity == quantity), axis)
        for implementation, line in lines.items():
            slopes[implementation][quantity, axis] = plot.slope(line, axis)
    return Table(
        "How time grows with each size (exponent: 1 = proportional), other sizes fixed",
        ["implementation", *(f"{quantity.capitalize()}, {axis}" for quantity, axis in columns)],
        [
            [implementation, *(f"{exponents[column]:z.2f}" if column in exponents else "n/a" for column in columns)]
            for implementation, exponents in slopes.items()
        ],
    )


def _cell_text(row: Row, field: str) -> str:
    """Return the text of a row's value, or of one of the ratios speedup, of_floor and against."""
    if field == "value":
        return _value_text(row)
    ratio = getattr(row, field)
    if ratio is None:
        return ""
    return f"{_short(100 * ratio)}%" if field == "of_floor" else f"{_short(ratio)}×"


def _value_text(row: Row) -> str:
    if row.figure.state != "ok":
        return row.figure.state
    scale = 1e-6 if row.figure.quantity == "memory" else 1
    value, *quartiles = (number(each * scale) for each in in_unit(row.figure) if each is not None)
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
    sides = ["left" if heading in _SOFTWARE_HEADINGS else "right" for heading in table.headings]
    return tabulate(rows, [escape(heading) for heading in table.headings], style, disable_numparse=True, colalign=sides)


def _notes(report: Report) -> Sequence[str]:
    """Return a sentence for each column and each word that needs an explanation."""
    rows = report.rows
    notes = ["µs: the median time of a call divided by the batch size, with the quartiles in brackets."]
    if any(row.speedup for row in rows):
        notes.append(f"vs {BASELINE}: {BASELINE}'s median time divided by this one; above 1×, faster than {BASELINE}.")
    if any(row.of_floor for row in rows):
        notes.append("of floor: 100% is the shortest time that the hardware's peak rates allow.")
    if standings(rows):
        notes.append(
            "vs the next, vs peer: ratios of the median times, with the range that the quartiles allow in brackets."
        )
    if any(row.figure.state == "failed" for row in rows):
        notes.append(f"failed: {absence.FAILED}.")
    for reason, names in absence.of_variants(report.facts).items():
        notes.append(f"n/a on this machine: {', '.join(names)} ({reason}).")
    if report.other:
        where = f"at {report.other_commit[:8]}" if report.other_commit else "as published"
        notes.append(
            f"vs {report.other}: its figure ({where}) divided by the one here; below 1×, the one here is worse."
        )
    if report.precision:
        notes.append(report.precision)
    return [*notes, *(f"*: {doubt}" for doubt in doubts(report)), *report.differences]


def _escape(words: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\`*|<[" else letter for letter in words)
