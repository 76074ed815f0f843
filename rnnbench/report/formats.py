"""The texts and tables of a report, and the report as Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from rnnbench.history import Figure, Software
from rnnbench.history.benchmark_names import ON_GPUS
from rnnbench.measure.state import MARKS
from rnnbench.network import models
from rnnbench.network.models import Subject
from rnnbench.network.precision import PRECISIONS, THREE_TF32, of_variant
from rnnbench.report import absence, plot
from rnnbench.report.tables import BASELINE, CALLS, Report, Row, Standing, Versus, heading, noun, standings
from rnnbench.report.uncertainty import Ratio

UNITS = {
    "train": "µs per example",
    "forward": "µs per example",
    "device_train": "µs per example",
    "device_forward": "µs per example",
    "memory": "bytes",
    "error_outputs": "relative error",
    "error_gradients": "relative error",
}  # builds are in seconds

_PER_EXAMPLE = (*CALLS, *ON_GPUS)

# A ratio is written with these decimals if it is below the limit: three digits at most, and two decimals near 1.
RATIO_DIGITS = ((1.995, 2), (99.95, 1), (math.inf, 0))
PERCENT_DIGITS = ((0.995, 2), (9.95, 1), (math.inf, 0))

SIZE_HEADINGS = ["depth", "batch × seq", "hidden"]
MODEL_HEADINGS = ["model"]
# These are also all columns of other tables that hold text. They are aligned left, columns of numbers right.
SOFTWARE_HEADINGS = ["implementation", "libraries", "cuDNN", "algorithm", "math type", "calls", "shapes", "models"]


class Table(NamedTuple):
    """A table's title, its columns' headings, and its cells as text."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def tables(report: Report) -> list[Table]:
    """Return the tables of a report: ranking, times, builds, memory, accuracy, growth, software.

    A table without figures is left out.
    """
    candidates = [
        ranking(standings(report.rows, report.detectable), noun(report)),
        times(report),
        builds(report),
        memory(report),
        accuracy(report),
        growth(report),
        software(report.rows, noun(report)),
    ]
    return [table for table in candidates if table.rows]


def markdown(report: Report) -> str:
    """Return the report as Markdown; needs tabulate."""
    parts = [f"### {_escape(heading(report))}"]
    for table in tables(report):
        parts += [table.title, _draw(table)]
    parts.append("\n".join(f"- {_escape(line)}" for line in notes(report)))
    return "\n\n".join(parts) + "\n"


def markdown_times(report: Report) -> str:
    """Return the table of times and the notes on its figures as Markdown; needs tabulate."""
    return _markdown_calls(report, times(report))


def markdown_ranking(report: Report) -> str:
    """Return the ranking and the notes on its figures as Markdown; needs tabulate."""
    ranked = standings(report.rows, report.detectable)
    return _markdown_calls(report, ranking(ranked, noun(report)), ranking_notes(report))


def ranking(ranked: Sequence[Standing], noun: str = "shape") -> Table:
    """Return a table with a row for each standing.

    A row begins with the depth, batch × seq and hidden, or, with the noun "model", with the model's name.
    """
    has_floor = any(standing.best.of_floor for standing in ranked)
    return Table(
        f"The fastest implementation at each {noun}, its lead over the next, and Theano's best against the best peer",
        [
            *_first_headings(noun),
            "call",
            "fastest",
            "time, µs",
            "lead over the next",
            *(["of floor"] if has_floor else []),
            "Theano vs peer",
        ],
        [
            [
                *sizes(standing.subject),
                call_text(standing),
                leader_text(standing.best),
                value_text(standing.best),
                lead_text(standing.lead),
                *([_cell_text(standing.best, "of_floor")] if has_floor else []),
                _ours_text(standing),
            ]
            for standing in ranked
        ],
    )


def times(report: Report) -> Table:
    """Return the table of the calls' times, and of the GPU's own times."""
    columns = {
        "train": "Train, µs",
        "forward": "Forward, µs",
        "device_train": "Train on the GPU, µs",
        "device_forward": "Forward on the GPU, µs",
    }
    return _figures_table("Time per example", columns, report)


def builds(report: Report) -> Table:
    """Return the table of build times."""
    columns = {
        "build_train_warm": "Train, warm, s",
        "build_forward_warm": "Forward, warm, s",
        "build_train_cold": "Train, cold, s",
        "build_forward_cold": "Forward, cold, s",
    }
    return _figures_table("Build time, from the start of Python to the first result", columns, report)


def memory(report: Report) -> Table:
    """Return the table of memory."""
    return _figures_table("Memory of a train step", {"memory": "Memory, MB"}, report)


def accuracy(report: Report) -> Table:
    """Return the table of errors."""
    columns = {"error_outputs": "Error, outputs", "error_gradients": "Error, gradients"}
    return _figures_table("Accuracy: the error against the float64 reference", columns, report)


def growth(report: Report) -> Table:
    """Return the table of the exponents x in time ~ size^x, for each call and each size; see plot.lines."""
    exponents: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for quantity, axis in itertools.product(CALLS, plot.AXES):
        _, lines = plot.lines((row for row in report.rows if row.figure.quantity == quantity), axis)
        for implementation, line in lines.items():
            exponents[implementation][quantity, axis] = plot.slope(line, axis)
    columns = [
        each for each in itertools.product(CALLS, plot.AXES) if any(each in found for found in exponents.values())
    ]
    return Table(
        "How time grows with each size (exponent: 1 = proportional), other sizes fixed",
        ["implementation", *(f"{quantity.capitalize()}, {axis}" for quantity, axis in columns)],
        [
            [implementation, *(plot.slope_text(found[column]) if column in found else "n/a" for column in columns)]
            for implementation, found in exponents.items()
        ],
    )


def software(rows: Sequence[Row], noun: str = "shape") -> Table:
    """Return the table of library versions and cuDNN's choices.

    The shapes that an implementation computed with the same software share a row, and so do the calls with the same
    shapes. With the noun "model", read models for shapes.
    """
    shapes_by_software: dict[tuple[str, Software], dict[str, dict[Subject, None]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    timed: dict[str, set[Subject]] = defaultdict(set)
    for row in rows:
        figure = row.figure
        if figure.quantity in CALLS:
            timed[row.implementation].add(figure.subject)
            if figure.software:
                shapes_by_software[row.implementation, figure.software][figure.quantity][figure.subject] = None
    lines = []
    for (implementation, used), shapes_by_call in sorted(shapes_by_software.items()):
        calls_by_shapes: dict[tuple[Subject, ...], list[str]] = defaultdict(list)
        for quantity, shapes in shapes_by_call.items():
            calls_by_shapes[tuple(shapes)].append(quantity)
        for same_shapes, quantities in calls_by_shapes.items():
            named = ", ".join(models.label(*subject, " × ") for subject in same_shapes)
            if 1 < len(same_shapes) == len(timed[implementation]):
                named = f"all {len(same_shapes)}"
            lines.append([implementation, *used, ", ".join(sorted(quantities, key=CALLS.index)), named])
    title = "Software: library versions, and the algorithm and math type that cuDNN logged"
    return Table(title, [*SOFTWARE_HEADINGS[:-2], f"{noun}s"], lines)


def doubts(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for each mark that these figures have: how many have it, what it means and what to do."""
    return doubts_of([row.figure for row in rows])


def doubts_of(figures: Sequence[Figure]) -> list[str]:
    """Return the same sentences for figures."""
    counts = Counter(mark for figure in figures for mark in figure.marks or ())
    return [
        f"doubtful ({mark}), {counts[mark]} of {len(figures)} figures: {advice}."
        for mark, advice in MARKS.items()
        if counts[mark]
    ]


def unchecked(report: Report) -> list[str]:
    """Return a sentence with the implementations that were timed, but whose accuracy this run didn't measure."""
    shapes: dict[str, set[Subject]] = defaultdict(set)
    lacking: dict[str, set[Subject]] = defaultdict(set)
    for row in report.rows:
        if row.figure.quantity in CALLS and row.figure.value:
            shapes[row.implementation].add(row.figure.subject)
            if not row.is_checked:
                lacking[row.implementation].add(row.figure.subject)
    if not lacking:
        return []
    named = defaultdict(list)
    for name, lacks in lacking.items():
        every = len(lacks) == len(shapes[name])
        named["" if every else f" at {len(lacks)} of {len(shapes[name])} {noun(report)}s"].append(name)
    if list(named) == [""] and len(lacking) == len(shapes):
        return ["Accuracy was not measured in this run. To check it: rnnbench verify."]
    listed = "; ".join(f"{', '.join(names)}{where}" for where, names in named.items())
    return [f"Accuracy was not measured in this run for {listed}. To check it: rnnbench verify."]


def time_note(report: Report) -> str:
    """Return the sentences on what a time and its brackets are."""
    return f"µs: the median time of a call divided by the batch size. {interval_note(report)}"


def interval_note(report: Report) -> str:
    """Return the sentences on what the brackets of the times hold."""
    rows = [row for row in report.rows if row.figure.quantity in CALLS and row.interval]
    if not rows:
        return "Each figure is a single sample, so nobody knows how far another run would lie from it."
    if not any(row.interval.covers_processes for row in rows if row.interval):
        return (
            "In brackets: the quartiles of the samples. The spread between processes isn't known: it is often larger."
        )
    several = {row.implementation for row in rows if len(row.figure.medians) > 1}
    single = [name for name in dict.fromkeys(row.implementation for row in rows) if name not in several]
    note = "In brackets: the interval that covers 95% of the spread between processes."
    widened = f" One process timed {', '.join(single)}; the others' spread widens the interval." if single else ""
    return note + widened


def ranking_notes(report: Report, ranked: Sequence[Standing] | None = None) -> list[str]:
    """Return the sentences that belong to a ranking: what a lead and a tie are, and what the machine can tell.

    `ranked` are the report's standings, if the caller has them.
    """
    ranked = standings(report.rows, report.detectable) if ranked is None else ranked
    if not ranked:
        return []
    lines = ["A lead is the ratio of the median times."]
    if any(standing.lead.ratio.is_tie for standing in ranked):
        limit = (
            f", or the lead is below {report.detectable:.0%}, which this machine can't tell"
            if report.detectable
            else ""
        )
        lines = [f"{lines[0]} A tie: its interval contains 1{limit}."]
    unknown = [] if all(standing.best.is_checked for standing in ranked) else ["?: its accuracy wasn't measured there."]
    timed = (row.figure.variant for row in report.rows if row.figure.quantity in CALLS and row.figure.value)
    return [*lines, *precision_notes(timed), *([report.precision] if report.precision else []), *unknown]


def precision_notes(variants: Iterable[str]) -> list[str]:
    """Return a sentence for each variant that has float32's accuracy without strict products of float32."""
    return [
        f"{name} isn't strict float32: it sums three products in TF32, on tensor cores, and is as accurate."
        for name in dict.fromkeys(variants)
        if of_variant(name) == THREE_TF32
    ]


def times_notes(report: Report) -> list[str]:
    """Return a sentence for each column and each word of the table of times that needs an explanation."""
    lines = [time_note(report)]
    if any(row.figure.quantity in ON_GPUS for row in report.rows):
        lines.append("on the GPU: the time that the GPU itself takes, without waiting for the host.")
    if any(row.speedup for row in report.rows):
        lines.append(f"vs {BASELINE}: {BASELINE}'s median time divided by this one; above 1×, faster than {BASELINE}.")
    if any(row.of_floor for row in report.rows):
        lines.append("of floor: 100% is the shortest time that the hardware's peak rates allow.")
    if "gpu" not in report.facts and any((row.of_floor or 0) > 1.005 for row in report.rows):
        name = report.facts["machine"]
        lines.append(f"above 100%: the peak rates are too low: rnnbench machine {name} measures them again.")
    if any(row.figure.state == "failed" for row in report.rows):
        lines.append(f"failed: {absence.FAILED}.")
    for reason, names in absence.of_variants(report.facts, report.group).items():
        lines.append(f"n/a on this machine: {', '.join(names)} ({reason}).")
    return lines


def notes(report: Report) -> list[str]:
    """Return a sentence for each column and each word of the report that needs an explanation."""
    lines = times_notes(report) + (ranking_notes(report) or ([report.precision] if report.precision else []))
    if report.other:
        lines.append(against_note(report))
    return [*lines, *unchecked(report), *(f"*: {doubt}" for doubt in doubts(report.rows)), *report.differences]


def against_note(report: Report) -> str:
    """Return the sentences on the ratio to the other machine's or commit's figures."""
    where = f"at {report.other_commit[:8]}" if report.other_commit else "as published"
    note = f"vs {report.other}: its figure ({where}) divided by the one here; below 1×, the one here is worse."
    threads = {(row.figure.threads, row.against.figure.threads) for row in report.rows if row.against}
    for here, there in sorted(pair for pair in threads if all(pair) and pair[0] != pair[1]):
        note += f" Some figures were timed with other numbers of threads: {there} there, {here} here."
    pairs = ((row.interval, row.against.interval) for row in report.rows if row.against)
    if any(here and there and not (here.covers_processes and there.covers_processes) for here, there in pairs):
        return f"{note} Some brackets are from quartiles, because nobody knows the spread between processes there."
    return note


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
        "networks": report.group,
        "commit": report.commit,
        "date": report.date.isoformat(),
        "against": report.other,
        "differences": list(report.differences),
        "precision": report.precision,
        "detectable": report.detectable or None,
        "figures": _records(report),
        "standings": [_standing_record(standing) for standing in standings(report.rows, report.detectable)],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Report], str]] = {
    "markdown": markdown,
    "csv": comma_separated,
    "json": as_json,
}


def in_unit(figure: Figure, value: float | None) -> float | None:
    """Return a value of a figure, such as its median, in the unit of its quantity (see UNITS)."""
    return value and value * (1e6 / figure.shape.batch if figure.quantity in _PER_EXAMPLE else 1)


def number(value: float) -> str:
    """Return a number as text: three significant digits, or two and an exponent below 1e-3 and from 1e7."""
    # The page has ten thousands of these texts. 99.96 has no decimal, because rounding carries.
    if 0.9995 <= value < 1e7:
        return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
    if value == 0:
        return "0"
    if not 1e-3 <= value < 1e7:
        return f"{value:.1e}"
    return f"{value:.{2 - math.floor(math.log10(float(f'{value:.3g}')))}f}"


def ratio_text(value: float) -> str:
    """Return a ratio as text, with the digits of RATIO_DIGITS."""
    return _rounded(value, RATIO_DIGITS)


def percent_text(share: float) -> str:
    """Return a share as a percentage, with the digits of PERCENT_DIGITS."""
    return f"{_rounded(100 * share, PERCENT_DIGITS)}%"


def value_text(row: Row) -> str:
    """Return a figure as text: its median, its interval in brackets, and a * if it is in doubt."""
    if row.figure.state != "ok":
        return row.figure.state
    scale = 1e-6 if row.figure.quantity == "memory" else in_unit(row.figure, 1) or 1
    text = number((row.figure.value or 0) * scale)
    if row.interval:
        text = f"{text} ({number(row.interval.low * scale)}–{number(row.interval.high * scale)})"
    return f"{text}*" if row.figure.marks else text


def times_text(ratio: Ratio) -> str:
    """Return a ratio with its interval in brackets: 1.90× (1.63–2.2)."""
    bounds = f" ({ratio_text(ratio.low)}–{ratio_text(ratio.high)})" if ratio.low and ratio.high else ""
    return f"{ratio_text(ratio.times)}×{bounds}"


def speedup_text(row: Row) -> str:
    """Return the ratio of the baseline's time to a row's, with a * if one of the two is in doubt; empty without one."""
    if row.speedup is None:
        return ""
    doubtful = row.figure.marks or (row.baseline and row.baseline.marks)
    return f"{ratio_text(row.speedup)}×{'*' if doubtful else ''}"


def lead_text(lead: Versus) -> str:
    """Return a lead over another implementation as text, or a tie with it."""
    if lead.ratio.is_tie:
        return f"tie with {name_text(lead.other)}, {times_text(lead.ratio)}"
    return f"{times_text(lead.ratio)} {name_text(lead.other)}"


def name_text(row: Row) -> str:
    """Return the implementation's name, with a * if its figure is in doubt."""
    return f"{row.implementation}*" if row.figure.marks else row.implementation


def leader_text(row: Row) -> str:
    """Return the name of the fastest implementation, with a ? if its accuracy wasn't measured."""
    return row.implementation if row.is_checked else f"{row.implementation}?"


def call_text(standing: Standing) -> str:
    """Return the call of a standing, and its precision if that isn't strict float32."""
    words = PRECISIONS[standing.precision]
    return standing.quantity if standing.precision == "float32" else f"{standing.quantity}, {words}"


def sizes(subject: Subject) -> list[str]:
    """Return a subject as the cells of SIZE_HEADINGS, or a model's of MODEL_HEADINGS."""
    network, shape = subject
    if network in models.MODELS:
        return [network]
    return [str(shape.depth), f"{shape.batch} × {shape.seq}", str(shape.hidden)]


def _records(report: Report) -> list[dict[str, object]]:
    records = []
    for row in report.rows:
        figure, interval, against = row.figure, row.interval, row.against
        low, high = (interval.low, interval.high) if interval and interval.covers_processes else (None, None)
        there = against and against.interval
        # asv stores the quartiles of single samples too; they say nothing.
        quartiles = (figure.low, figure.high) if figure.samples > 1 else (None, None)
        value, q25, q75, low95, high95, other, other_low, other_high = (
            in_unit(figure, each)
            for each in (
                figure.value,
                *quartiles,
                low,
                high,
                against and against.figure.value,
                there and there.low,
                there and there.high,
            )
        )
        records.append(
            {
                "machine": figure.machine,
                "commit": figure.commit,
                "environment": figure.environment,
                "network": figure.network,
                "depth": figure.shape.depth,
                "batch": figure.shape.batch,
                "seq": figure.shape.seq,
                "hidden": figure.shape.hidden,
                "implementation": figure.variant,
                "quantity": figure.quantity,
                "state": figure.state,
                "unit": UNITS.get(figure.quantity, "s"),
                "value": value,
                "q25": q25,
                "q75": q75,
                "low95": low95,
                "high95": high95,
                "samples": figure.samples,
                "processes": len(figure.medians) or None,
                "accuracy_measured": row.is_checked,
                "marks": None if figure.marks is None else " ".join(figure.marks) or "none",
                "threads": figure.threads,
                **(figure.software or Software("", "", "", ""))._asdict(),
                "speedup": row.speedup,
                "of_floor": row.of_floor,
                "other": other,
                "other_low": other_low,
                "other_high": other_high,
                "against": against and against.ratio.times,
                "against_low": against and against.ratio.low,
                "against_high": against and against.ratio.high,
                "verdict": verdict(row),
            }
        )
    return records


def verdict(row: Row) -> str | None:
    """Return how a time compares with the other machine's or commit's: "faster", "slower" or "no change".

    None if there is no other time, or no interval to judge by.
    """
    if row.against is None or row.figure.quantity not in CALLS or row.against.ratio.low is None:
        return None
    return "no change" if row.against.ratio.is_tie else "faster" if row.against.ratio.times > 1 else "slower"


def _standing_record(standing: Standing) -> dict[str, object]:
    network, shape = standing.subject
    return {
        "network": network,
        **shape._asdict(),
        "quantity": standing.quantity,
        "precision": standing.precision,
        "best": standing.best.implementation,
        "of_floor": standing.best.of_floor,
        "lead": _versus_record(standing.lead),
        "ours": standing.ours and _versus_record(standing.ours),
    }


def _versus_record(versus: Versus) -> dict[str, object]:
    return {"one": versus.one.implementation, "other": versus.other.implementation, **versus.ratio._asdict()}


def _ours_text(standing: Standing) -> str:
    ours = standing.ours
    if ours is None:
        return ""
    if (ours.one, ours.other) == (standing.lead.one, standing.lead.other):
        return "as the lead"
    tie = "tie, " if ours.ratio.is_tie else ""
    return f"{tie}{name_text(ours.one)} {times_text(ours.ratio)} {name_text(ours.other)}"


def _rounded(value: float, digits: Sequence[tuple[float, int]]) -> str:
    # A loop, because a dashboard has ten thousands of these.
    for below, decimals in digits:
        if value < below:
            return f"{value:.{decimals}f}"
    return f"{value:.0f}"


def _figures_table(title: str, quantities: dict[str, str], report: Report) -> Table:
    lines: dict[tuple, dict[str, Row]] = defaultdict(dict)
    for row in report.rows:
        if row.figure.quantity in quantities:
            lines[row.figure.subject, row.implementation][row.figure.quantity] = row
    present = [name for name in quantities if any(name in line for line in lines.values())]
    columns = [(quantities[name], name, "value") for name in present]
    for words, field in (
        (f"vs {BASELINE}", "speedup"),
        ("of floor", "of_floor"),
        (f"vs {report.other}", "against"),
    ):
        for name in present:
            if any(getattr(line[name], field) for line in lines.values() if name in line):
                columns.append((f"{quantities[name].rpartition(',')[0]}, {words}", name, field))
    return Table(
        title,
        [
            *_first_headings(noun(report)),
            "implementation",
            *(words for words, _, _ in columns),
        ],
        [
            [
                *sizes(subject),
                implementation,
                *(_cell_text(line[name], field) if name in line else "n/a" for _, name, field in columns),
            ]
            for (subject, implementation), line in lines.items()
        ],
    )


def _first_headings(noun: str) -> list[str]:
    return MODEL_HEADINGS if noun == "model" else SIZE_HEADINGS


def _cell_text(row: Row, field: str) -> str:
    """Return the text of a row's value, or of one of the ratios speedup, of_floor and against."""
    if field == "value":
        return value_text(row)
    ratio = getattr(row, field)
    if ratio is None:
        return ""
    if field == "of_floor":
        return percent_text(ratio)
    return times_text(ratio.ratio) if field == "against" else speedup_text(row)


def _markdown_calls(report: Report, table: Table, notes: Sequence[str] = ()) -> str:
    calls = report._replace(rows=[row for row in report.rows if row.figure.quantity in CALLS])
    lines = [_draw(table)]
    notes = [interval_note(calls), *notes, *unchecked(calls), *(f"*: {doubt}" for doubt in doubts(calls.rows))]
    return "\n".join([*lines, "", *(f"- {_escape(note)}" for note in notes)])


def _draw(table: Table) -> str:
    from tabulate import tabulate

    rows = [[_escape(cell) for cell in row] for row in table.rows]
    sides = ["left" if heading in SOFTWARE_HEADINGS else "right" for heading in table.headings]
    return tabulate(rows, map(_escape, table.headings), "pipe", disable_numparse=True, colalign=sides)


def _escape(words: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\`*|<[" else letter for letter in words)
