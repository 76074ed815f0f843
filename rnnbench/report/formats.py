"""The tables as text for a terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rnnbench.history import Figure
from rnnbench.report.tables import BASELINE, CALLS, Report, Row

UNITS = {
    "train": "µs per example",
    "forward": "µs per example",
    "memory": "bytes",
    "error_outputs": "relative error",
    "error_gradients": "relative error",
}  # the builds' is s


class Table(NamedTuple):
    """A table's title, its columns' headings, and its cells as text."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def tables(report: Report) -> list[Table]:
    """Return the tables that have figures: the calls', the builds', and memory and accuracy."""
    builds = {
        "build_train_warm": "Train, warm, s",
        "build_forward_warm": "Forward, warm, s",
        "build_train_cold": "Train, cold, s",
        "build_forward_cold": "Forward, cold, s",
    }
    rest = {"memory": "Memory, MB", "error_outputs": "Error, outputs", "error_gradients": "Error, gradients"}
    drawn = [
        _times(report),
        _table("From a started Python to the first result", builds, report),
        _table("Memory of a train step, and error against float64", rest, report),
    ]
    return [table for table in drawn if table.rows]


def text(report: Report) -> str:
    """Return the tables as a terminal shows them; needs tabulate."""
    return _document(report, "simple", heading="{}", note="{}", escape=lambda words: words)


def markdown(report: Report) -> str:
    """Return the tables as Markdown; needs tabulate."""
    return _document(report, "pipe", heading="### {}", note="- {}", escape=_escape)


def markdown_times(report: Report) -> str:
    """Return the table of the calls' times alone, as Markdown; needs tabulate."""
    return _draw(_times(report), "pipe", _escape)


def comma_separated(report: Report) -> str:
    """Return a line for each figure, with a heading."""
    lines = io.StringIO()
    records = _records(report)
    writer = csv.DictWriter(lines, records[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return lines.getvalue()


def as_json(report: Report) -> str:
    """Return an object of the machine's facts, the commit, and a list of the figures."""
    content = {
        "machine": report.facts,
        "commit": report.commit,
        "date": report.date.isoformat(),
        "against": report.other,
        "differences": list(report.differences),
        "precision": report.precision,
        "figures": _records(report),
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
    scale = 1e6 / figure.cell.batch if figure.quantity in CALLS else 1
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
                "depth": figure.cell.depth,
                "batch": figure.cell.batch,
                "seq": figure.cell.seq,
                "hidden": figure.cell.hidden,
                "version": figure.variant,
                "quantity": figure.quantity,
                "state": figure.state,
                "unit": UNITS.get(figure.quantity, "s"),
                "value": value,
                "low": low,
                "high": high,
                "samples": figure.samples,
                "speedup": row.speedup,
                "of_floor": row.of_floor,
                "against": row.against,
            }
        )
    return records


def _times(report: Report) -> Table:
    return _table("Time per example", {"train": "Train, µs", "forward": "Forward, µs"}, report)


def _table(title: str, quantities: dict[str, str], report: Report) -> Table:
    lines: dict[tuple, dict[str, Row]] = defaultdict(dict)
    for row in report.rows:
        if row.figure.quantity in quantities:
            lines[row.figure.cell, row.version][row.figure.quantity] = row
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
        ["depth", "batch × seq", "hidden", "version", *(heading for heading, _, _ in columns)],
        [
            [
                str(cell.depth),
                f"{cell.batch} × {cell.seq}",
                str(cell.hidden),
                version,
                *(_shown(line[name], column) if name in line else "n/a" for _, name, column in columns),
            ]
            for (cell, version), line in lines.items()
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
    return f"{value} ({'–'.join(quartiles)})" if quartiles else value


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


def _draw(table: Table, style: str, escape: Callable[[str], str]) -> str:
    from tabulate import tabulate

    rows = [[escape(cell) for cell in row] for row in table.rows]
    right = ["right"] * 3 + ["left"] + ["right"] * (len(table.headings) - 4)
    return tabulate(rows, [escape(one) for one in table.headings], style, disable_numparse=True, colalign=right)


def _notes(report: Report) -> Sequence[str]:
    """Return what a reader has to know of the columns that there are."""
    rows = report.rows
    notes = ["µs: the median of calls on a whole batch, divided by the batch, and the quartiles."]
    if any(row.speedup for row in rows):
        notes.append(f"vs {BASELINE}: how many times as fast as {BASELINE}, by the medians.")
    if any(row.of_floor for row in rows):
        notes.append("of floor: 100% is the least time that the hardware's peak rates allow.")
    if report.other:
        where = f"at {report.other_commit[:8]}" if report.other_commit else "as published"
        notes.append(f"vs {report.other}: the figure there, {where}, over the one here; below 1 is worse here.")
    if report.precision:
        notes.append(report.precision)
    return [*notes, *report.differences]


def _escape(words: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\`*|<[" else letter for letter in words)
