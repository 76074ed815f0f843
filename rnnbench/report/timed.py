"""What `rnnbench time` says: a table and a sentence for each network, JSON, CSV, and a plot."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rnnbench import variants
from rnnbench.live.interval import interval
from rnnbench.live.timing import Timing
from rnnbench.measure.floor import floor_of
from rnnbench.network.precision import RIVALS
from rnnbench.network.shapes import PARAM_NAMES
from rnnbench.network.workload import Workload
from rnnbench.report import plot, uncertainty
from rnnbench.report.formats import number, percent_text, precision_notes, ratio_text
from rnnbench.report.terminal import WIDTH
from rnnbench.report.uncertainty import Interval, Ratio, Spread

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

CALLS = ("train", "forward")
_VERBS = {"train": "trains", "forward": "computes the forward pass"}
# Processes that time the same code differ by 2 to 6%, as docs/method.md says. One process of each can't tell less.
_UNTOLD = 0.05


class Line(NamedTuple):
    """The time of one call of one implementation. The first five fields are those of uncertainty.Time."""

    variant: str
    value: float  # the median, in seconds for a whole batch
    low: float | None  # the quartiles of the turns
    high: float | None
    medians: tuple[float, ...]  # of each process's turns
    samples: int  # turns; 0 for a first look
    timing: Timing
    call: str


class Report(NamedTuple):
    """All timings of a run, and what is needed to judge them."""

    timings: Sequence[Timing]
    device: str
    facts: Mapping[str, str] = {}  # the machine's peak rates, named as in machine.json; may be empty
    doubts: Sequence[str] = ()  # sentences on the machine's state, as state.judge returns them

    def lines(self, call: str) -> list[Line]:
        """Return the known times of a call, the fastest first."""
        lines = [_line(timing, call) for timing in self.timings if timing.seconds(call)]
        return sorted(lines, key=lambda line: line.value)

    @property
    def spread(self) -> Spread | None:
        """How much the processes of a figure differ; None if too few were timed."""
        return uncertainty.spread(line for call in CALLS for line in self.lines(call))

    def of_network(self, work: Workload) -> Report:
        """Return the part of the report that is about one network."""
        return self._replace(timings=[timing for timing in self.timings if networks([timing]) == [work]])


def networks(timings: Sequence[Timing]) -> list[Workload]:
    """Return the networks of some timings, whatever their precision, in their order."""
    return list(dict.fromkeys(timing.network for timing in timings))


def title(work: Workload) -> str:
    """Return a network in words, such as "gru 64×50×256×2, 80 inputs, bidirectional"."""
    words = [f"{work.kind} {shape_text(work)}"]
    if work.input_size != work.hidden:
        words.append(f"{work.input_size} inputs")
    if work.bidirectional:
        words.append("bidirectional")
    if work.least_length is not None:
        words.append(f"{work.least_length} to {work.seq} steps")
    return ", ".join(words)


def shape_text(work: Workload) -> str:
    """Return the sizes of a network as batch×seq×hidden×depth."""
    return "×".join(str(getattr(work, name)) for name in PARAM_NAMES)


def sentences(report: Report, call: str, spread: Spread | None) -> list[str]:
    """Return sentences that say which implementation is the fastest in a call at one network, and by how much.

    Each precision has a race of its own, unless no precision has two implementations. Those with errors over their
    tolerance don't count.
    """
    lines = [line for line in report.lines(call) if line.samples and not line.timing.wrong]
    present = dict.fromkeys(line.timing.precision for line in lines)
    races = {name: [line for line in lines if line.timing.precision in RIVALS[name]] for name in present}
    found = {name: _sentence(race, call, spread) for name, race in races.items() if len(race) > 1}
    if not found and len(lines) > 1:
        return [_sentence(lines, call, spread)]
    return [f"In {name}, {text}" if len(races) > 1 else text for name, text in found.items()]


def _sentence(lines: Sequence[Line], call: str, spread: Spread | None) -> str:
    """Return a sentence on two or more times of a call, the fastest first."""
    best, *others = lines
    ties = []
    for other in others:
        ratio = _lead(best, other, spread)
        if not ratio.is_tie:
            break
        ties.append(other.variant)
    if ties:
        text = f"{_listed([best.variant, *ties])} tie as the fastest in {call}: this run can't tell them apart"
        return f"{text}." if len(ties) == len(others) else f"{text}. {_slower(ratio, other)}."
    bounds = f" ({ratio_text(ratio.low)} to {ratio_text(ratio.high)})" if ratio.low and ratio.high else ""
    return f"{best.variant} {_VERBS[call]} fastest: {ratio_text(ratio.times)} times as fast as {other.variant}{bounds}."


def _lead(best: Line, other: Line, spread: Spread | None) -> Ratio:
    """Return how many times as long the other one takes.

    Processes that ran the same code may differ by _UNTOLD, so one process of each can't tell less. Its turns are
    compared with the other's turns of the same rounds, because the machine's speed may change between rounds.
    """
    known, other_known = (uncertainty.interval(line, spread) for line in (best, other))
    if spread:
        return uncertainty.ratio(best.value, known, other.value, other_known)
    (turns,), (other_turns,) = best.timing.times[best.call][:1], other.timing.times[other.call][:1]
    found = interval([math.log(slow / fast) for fast, slow in zip(turns, other_turns, strict=False)], look=1)
    if math.isinf(found.high):  # too few rounds
        return uncertainty.ratio(best.value, known, other.value, other_known, _UNTOLD)
    return Ratio(*found, is_tie=found.low <= 1 or found.ratio < 1 + _UNTOLD)


def _slower(ratio: Ratio, other: Line) -> str:
    return f"{other.variant} follows, {ratio_text(ratio.times)} times as long"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def answers(report: Report) -> list[dict[str, str]]:
    """Return the sentence of each network and call, for JSON."""
    spread = report.spread
    found = []
    for work in networks(report.timings):
        for call in CALLS:
            for answer in sentences(report.of_network(work), call, spread):
                found.append({"network": title(work), "call": call, "answer": answer})
    return found


def rows(report: Report) -> list[dict[str, Any]]:
    """Return a dict for each call of each implementation, for JSON and CSV; what isn't known is None."""
    spread = report.spread
    found = []
    for timing in report.timings:
        for call in timing.functions:
            line = _line(timing, call) if timing.seconds(call) else None
            known = uncertainty.interval(line, spread) if line and line.samples else None
            work, checked = timing.work, timing.checked_at
            found.append(
                {
                    "implementation": timing.implementation,
                    "call": call,
                    "device": report.device,
                    **{name: getattr(work, name) for name in PARAM_NAMES},
                    **{name: getattr(work, name) for name in ("kind", "input_size", "bidirectional", "least_length")},
                    "precision": timing.precision,
                    "seconds": line and line.value,
                    "low": known and known.low,
                    "high": known and known.high,
                    "covers_processes": known and known.covers_processes,
                    "processes": line and len(line.medians),
                    "turns": line and line.samples,
                    "microseconds_per_example": line and 1e6 * line.value / work.batch,
                    "device_seconds": timing.device_seconds.get(call),
                    "of_floor": line and _of_floor(line, report.facts),
                    "error_outputs": timing.errors.get("outputs"),
                    "error_gradients": timing.errors.get("gradients"),
                    "checked_at": shape_text(checked) if checked and timing.errors else None,
                    "tolerance": timing.tolerances.get("gradients" if call == "train" else "outputs"),
                    "problem": timing.problem or timing.wrong,
                }
            )
    return found


def as_csv(report: Report) -> str:
    """Return the rows as CSV with a header."""
    file = io.StringIO()
    found = rows(report)
    writer = csv.DictWriter(file, found[0] if found else ["implementation"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return file.getvalue()


def show(report: Report, console: Console, swept: str | None = None, left_out: Mapping[str, str] | None = None) -> None:
    """Print the table and the sentences of each network, or the tables of a sweep, and the notes."""
    spread = report.spread
    if swept:
        for call in CALLS:
            console.print(_words(f"{call} on {report.device}, ms for a batch, by {swept}", "bold"))
            console.print(_sweep_table(report, call, swept))
            for work in networks(report.timings):
                for answer in sentences(report.of_network(work), call, spread):
                    console.print(_words(f"{swept} {getattr(work, swept)}: {answer}"))
            console.print()
    else:
        for work in networks(report.timings):
            part = report.of_network(work)
            console.print(_words(f"{title(work)} on {report.device}", "bold"))
            console.print(table(part))
            for call in CALLS:
                for answer in sentences(part, call, spread):
                    console.print(_words(answer))
            console.print()
    console.print(_words("\n".join(_notes(report, spread, left_out or {})), "dim"))


def table(report: Report) -> Table:
    """Return the table of one network: a row for each call of each implementation, those in the making last."""
    spread = report.spread
    on_gpu = report.device == "cuda"
    headings = ["implementation", "call", "ms", "±", "µs/example", *(["GPU ms"] if on_gpu else []), "of floor", "error"]
    drawing = _drawing(headings)
    known = dict.fromkeys(line.timing.implementation for call in CALLS for line in report.lines(call))
    timings = {timing.implementation: timing for timing in report.timings}
    for name in [*known, *(name for name in timings if name not in known)]:
        timing = timings[name]
        for number_of_row, call in enumerate(call for call in CALLS if call in timing.functions):
            style = "red" if timing.wrong else ""
            cells = ["" if number_of_row else name, call]
            if timing.seconds(call):
                line = _line(timing, call)
                cells += [
                    number(1e3 * line.value),
                    _spread_text(line, spread),
                    number(1e6 * line.value / timing.work.batch),
                ]
                if on_gpu:
                    seconds = timing.device_seconds.get(call)
                    cells.append(number(1e3 * seconds) if seconds else "")
                of_floor = _of_floor(line, report.facts)
                cells += [percent_text(of_floor) if of_floor else "", _error_text(timing, call)]
            elif not number_of_row:
                cells.append(timing.stage)
            drawing.add_row(*(_words(cell, style or ("dim" if not timing.times.get(call) else "")) for cell in cells))
    return drawing


@contextlib.contextmanager
def progress(report: Report) -> Iterator[Callable[[Timing], None]]:
    """Yield a function to call when a timing has changed. It shows on stderr what is known so far.

    On a terminal that is the table, and elsewhere a line for each step. Nothing is drawn at other moments, because
    that would disturb the times.
    """
    from rich.console import Console, Group
    from rich.live import Live

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:

        def tell(timing: Timing) -> None:
            # Later processes only make these figures surer.
            if timing.stage in ("timed", "failed") or not timing.times:
                console.print(_step(timing), soft_wrap=True)

        yield tell
        return

    def drawn(timing: Timing) -> RenderableType:
        heading = _words(f"{title(timing.network)} on {report.device}", "bold")
        doing = _words(f"{timing.implementation}: {timing.stage}", "dim")
        return Group(heading, table(report.of_network(timing.network)), doing)

    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda timing: live.update(drawn(timing), refresh=True)


def save_plot(report: Report, path: Path, swept: str | None) -> None:
    """Draw the times: curves over the size that was swept, else a bar for each implementation; needs matplotlib."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Page

    with matplotlib.rc_context(plot.SVG):
        page = Page(figsize=(12, 5), layout="constrained")
        FigureCanvasAgg(page)
        works = networks(report.timings)
        for panel, call in zip(page.subplots(1, len(CALLS)), CALLS, strict=True):
            lines = [line for line in report.lines(call) if line.samples]
            panel.set_title(call)
            if swept:
                _draw_curves(panel, report, lines, swept)
            else:
                labels = [
                    line.variant + (f"\n{title(line.timing.network)}" if len(works) > 1 else "") for line in lines
                ]
                colors = [_look(report, line.variant)["color"] for line in lines]
                panel.barh(range(len(lines)), [1e3 * line.value for line in lines], color=colors)
                panel.set_yticks(range(len(lines)), labels)
                panel.invert_yaxis()
                panel.set_xlabel("ms per batch")
        names = title(works[0]) if len(works) == 1 else f"{len(works)} networks"
        if swept:
            names = f"{title(works[0])} to {shape_text(works[-1])}"
        page.suptitle(f"{names} on {report.device}")
        plot.write(page, path)


def _look(report: Report, name: str) -> dict[str, Any]:
    """Return matplotlib's settings of an implementation's line. Those from outside have matplotlib's own colours."""
    names = dict.fromkeys(timing.implementation for timing in report.timings)
    outside = [each for each in names if variants.find(each).source]
    return {"color": f"C{outside.index(name)}", "marker": "*"} if name in outside else plot.look(name)


def _draw_curves(panel: Any, report: Report, lines: Sequence[Line], swept: str) -> None:
    lines = sorted(lines, key=lambda line: (line.variant, getattr(line.timing.work, swept)))
    for name, curve in itertools.groupby(lines, key=lambda line: line.variant):
        points = [(getattr(line.timing.work, swept), 1e3 * line.value) for line in curve]
        panel.plot(*zip(*points, strict=True), label=name, **_look(report, name))
    panel.set(xscale="log", yscale="log", xlabel=swept, ylabel="ms per batch")
    ticks = sorted({getattr(line.timing.work, swept) for line in lines})
    panel.xaxis.minorticks_off()
    panel.set_xticks(ticks, map(str, ticks))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter("{x:g}")
    panel.grid(axis="y", alpha=0.3)
    if lines:
        panel.legend()


def console() -> Console:
    """Return a console for stdout: as wide as the terminal, or 80 columns without colour."""
    from rich.console import Console

    found = Console(highlight=False, markup=False, emoji=False)
    if not found.is_terminal:
        found.width = max(WIDTH, found.width)
    return found


def _line(timing: Timing, call: str) -> Line:
    processes = timing.times.get(call, [])
    turns = sorted(seconds for process in processes for seconds in process)
    low = high = None
    if len(turns) > 1:
        low, _, high = statistics.quantiles(turns, n=4, method="inclusive")
    medians = tuple(map(statistics.median, processes))
    return Line(timing.implementation, timing.seconds(call) or 0.0, low, high, medians, len(turns), timing, call)


def _spread_text(line: Line, spread: Spread | None) -> str:
    known: Interval | None = uncertainty.interval(line, spread) if line.samples else None
    return percent_text((known.high - known.low) / 2 / line.value) if known else ""


def _of_floor(line: Line, facts: Mapping[str, str]) -> float | None:
    least = floor_of(line.timing.work, line.call, line.variant, facts)
    return least and least.seconds / line.value


def _error_text(timing: Timing, call: str) -> str:
    error = timing.errors.get("gradients" if call == "train" else "outputs")
    return "" if error is None else f"{error:.0e}"


def _sweep_table(report: Report, call: str, swept: str) -> Table:
    names = list(dict.fromkeys(timing.implementation for timing in report.timings))
    drawing = _drawing([swept, *names])
    for work in networks(report.timings):
        lines = {line.variant: line for line in report.of_network(work).lines(call)}
        fastest = next((name for name, line in lines.items() if not line.timing.wrong), None)
        cells = [_words(str(getattr(work, swept)))]
        for name in names:
            text = number(1e3 * lines[name].value) if name in lines else ""
            cells.append(_words(text, "bold green" if name == fastest else ""))
        drawing.add_row(*cells)
    return drawing


def _notes(report: Report, spread: Spread | None, left_out: Mapping[str, str]) -> list[str]:
    processes = max((len(line.medians) for call in CALLS for line in report.lines(call)), default=0)
    notes = []
    if spread:
        notes.append(f"±: half of the 95% interval, from {processes} processes of each implementation.")
    elif processes:
        notes.append("±: half of the middle half of the turns in one process. Another process may differ by 5%.")
    shares = [_of_floor(line, report.facts) or 0 for call in CALLS for line in report.lines(call)]
    if max(shares, default=0) > 1:
        notes.append("of floor is over 100% where the peak rates were measured too low, for example on a busy machine.")
    notes += precision_notes(line.variant for call in CALLS for line in report.lines(call))
    notes += [f"doubtful: {doubt}" for doubt in report.doubts]
    for timing in report.timings:
        if timing.problem:
            reason = timing.problem.removeprefix(f"{timing.implementation}: ")
            notes.append(f"{timing.implementation} failed at {title(timing.network)}: {reason}")
        if wrong := timing.wrong:
            notes.append(f"{wrong} ({title(timing.network)}). rnnbench verify says where.")
    smaller = {
        timing.network: timing.checked_at
        for timing in report.timings
        if timing.checked_at and timing.errors and timing.checked_at != timing.work
    }
    for work, checked in smaller.items():
        where = f" of {shape_text(work)}" if len(networks(report.timings)) > 1 else ""
        notes.append(
            f"The errors{where} are those of the smaller {shape_text(checked)}, because the reference is slow."
        )
    for name, reason in left_out.items():
        notes.append(f"left out: {name} ({reason})")
    return notes


def _step(timing: Timing) -> str:
    known = [f"{call} {number(1e3 * (timing.seconds(call) or 0))} ms" for call in CALLS if timing.seconds(call)]
    text = ": ".join([f"{timing.implementation} at {shape_text(timing.work)}", timing.stage])
    return f"{text}, {', '.join(known)}" if known else text


def _drawing(headings: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    drawing = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    for heading in headings:
        is_text = heading in ("implementation", "call")
        drawing.add_column(_words(heading), justify="left" if is_text else "right", no_wrap=True, overflow="fold")
    return drawing


def _words(words: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(words, style=style)
