"""A report for a terminal: the answer first, in tables of 80 columns; needs rich."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rnnbench.history import Figure
from rnnbench.network import models
from rnnbench.network.precision import PRECISIONS
from rnnbench.report import formats, summary
from rnnbench.report.formats import Table, number
from rnnbench.report.summary import Summary
from rnnbench.report.tables import BASELINE, CALLS, Report, Row, Standing, contenders, heading, noun, standings

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

WIDTH = 80

_CALLS = {"train": "train step", "forward": "forward pass"}
_SUBJECTS = ("shape", "model")  # the headings of the first column
_BEST, _TIE, _DOUBT, _FAILED, _TITLE, _NOTE = "bold green", "cyan", "yellow", "red", "bold", "dim"
_VERDICTS = {"faster": "green", "slower": "red", "no change": _TIE}


def show(report: Report, console: Console, sections: Sequence[str] = (), on_gpu: Report | None = None) -> None:
    """Print sections of a report, or all of them; SECTIONS has their names.

    Below the summary stands the table of that of `on_gpu`, if given.
    """
    console.print(_text(heading(report), _TITLE))
    for name, section in SECTIONS.items():
        if not sections or name in sections:
            _print(section(report), console)
        if name == "summary" and on_gpu:
            console.print()
            console.print(_text(f"On a GPU, as recorded: {heading(on_gpu)}", _TITLE))
            _print(_summary_table(_summaries(on_gpu), noun(on_gpu)), console)


def _print(parts: Iterable[RenderableType], console: Console) -> None:
    """Print a blank line and a part, for each part; a table follows its title at once."""
    from rich.table import Table as Drawing

    for part in parts:
        if not isinstance(part, Drawing):
            console.print()
        console.print(part)


def console() -> Console:
    """Return a console for stdout: as wide and coloured as the terminal, or 80 columns without colour."""
    found = _console(None)
    if not found.is_terminal:
        found.width = WIDTH
    return found


def text(report: Report, sections: Sequence[str] = ()) -> str:
    """Return sections of a report, or all of them, as text of 80 columns without colour."""
    file = io.StringIO()
    plain = _console(file)
    plain.width = WIDTH
    show(report, plain, sections)
    return file.getvalue()


def _console(file: io.StringIO | None) -> Console:
    from rich import console

    # Text from files must not be read as markup or as the names of symbols.
    return console.Console(file=file, highlight=False, markup=False, emoji=False)


def _summary(report: Report) -> Iterator[RenderableType]:
    if summary.summaries(report, "train"):
        yield _text(summary.answers(report).replace("`", ""))
    elif not summary.summaries(report, "forward"):
        yield _text("One implementation was timed, so there is nothing to compare it with.")
        return
    found = _summaries(report)
    yield from _summary_table(found, noun(report))
    notes = [f"The geometric mean over the {noun(report)}s, with the smallest and the largest."]
    if any(one.ties for variants in found.values() for one in variants.values()):
        notes.append(f"ties: the {noun(report)}s where this machine can't tell which one is the fastest.")
    yield _notes([*notes, *formats.unchecked(_calls(report)), *_doubts(_calls(report).rows)])


def _summaries(report: Report) -> dict[str, dict[str, Summary]]:
    """Return the summaries by call and implementation, of the calls that have some."""
    found = {call: {one.variant: one for one in summary.summaries(report, call)} for call in CALLS}
    return {call: variants for call, variants in found.items() if variants}


def _summary_table(found: dict[str, dict[str, Summary]], noun: str) -> Iterator[RenderableType]:
    names = dict.fromkeys(variant for variants in found.values() for variant in variants)
    yield from _drawn(
        Table(
            f"All {noun}s at once: the time, as a multiple of the fastest one's",
            ["implementation", *(heading for call in found for heading in (call, "wins", "ties"))],
            [[name, *(cell for call in found for cell in _summed(found[call].get(name)))] for name in names],
        )
    )


def _summed(found: Summary | None) -> list[str]:
    return [summary.spread_text(found), str(found.wins), str(found.ties)] if found else ["n/a", "n/a", "n/a"]


def _ranking(report: Report) -> Iterator[RenderableType]:
    ranked = standings(report.rows, report.detectable)
    if not ranked:
        return
    for precision, words in PRECISIONS.items():
        for call in CALLS:
            chosen = [standing for standing in ranked if (standing.quantity, standing.precision) == (call, precision)]
            if chosen:
                what = _CALLS[call] if precision == "float32" else f"{_CALLS[call]}, {words}"
                title = f"The fastest at each {noun(report)}: {what}"
                headings = [noun(report), "fastest", "time, µs", "lead", "over"]
                yield from _drawn(Table(title, headings, [_ranked(standing) for standing in chosen]))
    leaders = [row for standing in ranked for row in (standing.best, standing.lead.other)]
    notes = [formats.time_note(report), *formats.ranking_notes(report), *formats.unchecked(_calls(report))]
    yield _notes([*notes, *_doubts(leaders)])


def _ranked(standing: Standing) -> list[str]:
    best, lead = standing.best, standing.lead
    shown = f"{'tie, ' if lead.ratio.is_tie else ''}{formats.times_text(lead.ratio)}"
    return [_subject(best), formats.leader_text(best), formats.value_text(best), shown, formats.name_text(lead.other)]


def _against(report: Report) -> Iterator[RenderableType]:
    rows = [row for row in report.rows if row.against and row.figure.quantity in CALLS]
    if not rows:
        return
    counts = Counter(formats.verdict(row) for row in rows)
    if counts[None] < len(rows):
        yield _text(
            f"Against {report.other}: {counts['faster']} faster here, {counts['slower']} slower, "
            f"{counts['no change']} no change that this machine can tell.",
            _TITLE,
        )
    for call in CALLS:
        lines = [
            [
                _subject(row),
                row.implementation,
                _median(row.figure),
                _median(row.against.figure),
                formats.times_text(row.against.ratio),
                formats.verdict(row) or "",
            ]
            for row in rows
            if row.figure.quantity == call and row.against
        ]
        headings = [noun(report), "implementation", "here", "there", "ratio", ""]
        yield from _drawn(Table(f"Against {report.other}: {_CALLS[call]}, µs per example", headings, lines))
    figures = [figure for row in rows if row.against for figure in (row.figure, row.against.figure)]
    doubts = [f"*: {doubt}" for doubt in formats.doubts_of(figures)]
    yield _notes([formats.against_note(report), *doubts, *report.differences])


def _median(figure: Figure) -> str:
    return f"{number(formats.in_unit(figure, figure.value) or 0)}{'*' if figure.marks else ''}"


def _times(report: Report) -> Iterator[RenderableType]:
    fastest = {min(rows.values(), key=lambda row: row.figure.value or 0) for rows in contenders(report.rows).values()}
    shown = []
    for call in CALLS:
        rows = [row for row in report.rows if row.figure.quantity == call]
        shown += rows
        on_gpu = {
            (row.figure.subject, row.implementation): formats.value_text(row)
            for row in report.rows
            if row.figure.quantity == f"device_{call}"
        }
        speedups, floors = any(row.speedup for row in rows), any(row.of_floor for row in rows)
        headings = [noun(report), "implementation", "time, µs", *(["on the GPU, µs"] if on_gpu else [])]
        headings += [heading for heading, has in ((f"vs {BASELINE}", speedups), ("of floor", floors)) if has]
        lines = []
        for row in rows:
            line = [_subject(row), row.implementation, formats.value_text(row)]
            line += [on_gpu.get((row.figure.subject, row.implementation), "n/a")] if on_gpu else []
            line += [formats.speedup_text(row)] if speedups else []
            line += [formats.percent_text(row.of_floor) if row.of_floor else ""] if floors else []
            lines.append(line)
        best = {(_subject(row), row.implementation) for row in rows if row in fastest}
        yield from _drawn(Table(f"Time per example: {_CALLS[call]}", headings, lines), best)
    if shown:
        yield _notes([*formats.times_notes(report), *_doubts(shown)])


def _growth(report: Report) -> Iterator[RenderableType]:
    table = formats.growth(report)
    for call in CALLS:
        part = _columns(table, call.capitalize())
        yield from _drawn(part._replace(title=f"{table.title}: {_CALLS[call]}"))


def _builds(report: Report) -> Iterator[RenderableType]:
    table = formats.builds(report)
    for kind, cache in (("warm", "full"), ("cold", "empty")):
        part = _columns(table, kind)
        yield from _drawn(part._replace(title=f"{table.title}, with a compile cache that is {cache}"))


def _columns(table: Table, word: str) -> Table:
    """Return a table's first columns, and of the others those whose heading has the word, without the word.

    Columns and rows without a figure are left out.
    """
    first = table.headings.index("implementation") + 1
    wanted = [place for place in range(first, len(table.headings)) if word in table.headings[place].split(", ")]
    wanted = [place for place in wanted if any(row[place] not in ("", "n/a") for row in table.rows)]
    headings = [", ".join(part for part in table.headings[place].split(", ") if part != word) for place in wanted]
    rows = [row for row in table.rows if any(row[place] not in ("", "n/a") for place in wanted)]
    cells = [[*row[:first], *(row[place] for place in wanted)] for row in rows]
    return Table(table.title, [*table.headings[:first], *headings], cells)


def _software(report: Report) -> Iterator[RenderableType]:
    table = formats.software(report.rows, noun(report))
    yield from _drawn(table._replace(rows=[[*row[:-1], row[-1].replace(" × ", "×")] for row in table.rows]))


def _plain(table: Callable[[Report], Table]) -> Callable[[Report], Iterator[RenderableType]]:
    """Return the section that shows one of the tables of formats."""
    return lambda report: _drawn(table(report))


SECTIONS: dict[str, Callable[[Report], Iterator[RenderableType]]] = {
    "summary": _summary,
    "ranking": _ranking,
    "against": _against,
    "times": _times,
    "builds": _builds,
    "memory": _plain(formats.memory),
    "accuracy": _plain(formats.accuracy),
    "growth": _growth,
    "software": _software,
}


def _drawn(table: Table, best: Collection[tuple[str, ...]] = ()) -> Iterator[RenderableType]:
    """Yield a table, with the shape or model in the first of its rows only; nothing if it has no rows.

    `best` has the subject and the implementation of the rows to emphasize.
    """
    from rich import box
    from rich.table import Table as Drawing

    if not table.rows:
        return
    if table.headings[:3] == formats.SIZE_HEADINGS:
        rows = [["×".join([*row[1].split(" × "), row[2], row[0]]), *row[3:]] for row in table.rows]
        table = Table(table.title, ["shape", *table.headings[3:]], rows)
    # A column without text says nothing.
    used = [place for place in range(len(table.headings)) if any(row[place] for row in table.rows)]
    drawing = Drawing(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="",
    )
    for place in used:
        is_text = table.headings[place] in (*formats.SOFTWARE_HEADINGS, *_SUBJECTS, "fastest", "over", "")
        drawing.add_column(
            _text(table.headings[place]),
            justify="left" if is_text else "right",
            overflow="fold",
            no_wrap=table.headings[place] in (*_SUBJECTS, "implementation"),
        )
    yield _text(table.title, _TITLE)
    previous = None
    for row in table.rows:
        style = _BEST if tuple(row[:2]) in best else None
        cells = [_text(row[place], style or _style(row[place])) for place in used]
        if table.headings[0] in _SUBJECTS and row[0] == previous:
            cells[0] = _text("")
        previous = row[0]
        drawing.add_row(*cells)
    yield drawing


def _style(cell: str) -> str:
    if cell in _VERDICTS:
        return _VERDICTS[cell]
    if cell.endswith("*"):
        return _DOUBT
    return _FAILED if cell == "failed" else _TIE if cell.startswith("tie") else ""


def _doubts(rows: Sequence[Row]) -> list[str]:
    return [f"*: {doubt}" for doubt in formats.doubts(rows)]


def _calls(report: Report) -> Report:
    return report._replace(rows=[row for row in report.rows if row.figure.quantity in CALLS])


def _subject(row: Row) -> str:
    return models.label(*row.figure.subject)


def _notes(lines: Sequence[str]) -> Text:
    return _text("\n".join(lines), _NOTE)


def _text(words: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(words, style=style)
