"""How the implementations compare over all shapes at once: the ratios, a table and a sentence.

At each shape an implementation's time is divided by the fastest one's. Its summary is the geometric mean of
these ratios, with the smallest and the largest. Each precision has its own summary.
"""

from __future__ import annotations

import contextlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rnnbench import history
from rnnbench.history import NotFound
from rnnbench.network.models import GROUPS
from rnnbench.network.precision import PRECISIONS, THREE_TF32
from rnnbench.report.formats import ratio_text
from rnnbench.report.tables import BASELINE, CALLS, Contenders, Report, contenders, is_tie, make, noun
from rnnbench.variants import VARIANTS


class Summary(NamedTuple):
    """An implementation's time over the fastest one's, in one of the calls."""

    variant: str
    ratios: tuple[float, ...]  # one a shape; 1 where it is the fastest
    wins: int  # the number of shapes at which it is faster than all others
    ties: int  # the number of shapes at which no other one is faster, as far as the machine can tell

    @property
    def mean(self) -> float:
        """The geometric mean of the ratios."""
        return statistics.geometric_mean(self.ratios)


def summaries(
    report: Report, quantity: str, precision: str = "float32", competing: Contenders | None = None
) -> list[Summary]:
    """Return the summaries of a call, "train" or "forward", in one of the precisions: the lowest mean first.

    Shapes where a single implementation was timed are left out. `competing` are the report's contenders, or those at
    some of its shapes; the default is all of them.
    """
    ratios: dict[str, list[float]] = defaultdict(list)
    wins: Counter[str] = Counter()
    ties: Counter[str] = Counter()
    for (_, call, computed_in), rows in (contenders(report.rows) if competing is None else competing).items():
        if (call, computed_in) == (quantity, precision) and len(rows) > 1:
            times = {variant: row.figure.value or 0 for variant, row in rows.items()}
            fastest = min(times, key=lambda variant: times[variant])
            for variant, time in times.items():
                ratios[variant].append(time / times[fastest])
            leaders = [name for name in rows if is_tie(rows[fastest], rows[name], report.detectable)]
            for name in leaders:
                (ties if len(leaders) > 1 else wins)[name] += 1
    return sorted(
        (Summary(variant, tuple(found), wins[variant], ties[variant]) for variant, found in ratios.items()),
        key=lambda summary: summary.mean,
    )


def table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Return the headings and rows of the summaries: a row an implementation, in the order of the train step."""
    found = {call: {summary.variant: summary for summary in summaries(report, call)} for call in CALLS}
    names = dict.fromkeys(variant for call in CALLS for variant in found[call])
    of_calls = (heading for call in CALLS for heading in (f"{call}, × the fastest", "fastest in"))
    rows = [
        [f"`{name}`", _described(name), *(text for call in CALLS for text in _cells(found[call].get(name)))]
        for name in names
    ]
    return ["implementation", "what it is", *of_calls], rows


def answer(report: Report, precision: str = "float32", competing: Contenders | None = None) -> str:
    """Return the train step's result in a sentence; raises NotFound where no shape has two implementations.

    See `summaries` for the arguments.
    """
    ranked = summaries(report, "train", precision, competing)
    if not ranked:
        what = f"no {noun(report)} with two implementations"
        raise NotFound(f"{report.facts['machine']} at {report.commit[:8]} has {what}")
    start = "On" if report.group == "lstm" else f"{GROUPS[report.group]}: on"
    return f"{start} the {hardware(report)}, in {PRECISIONS[precision]}, {_result(ranked, noun(report))}."


def answers(report: Report) -> str:
    """Return the sentence of strict float32 and, if 3xTF32 was timed, that of both. Raises NotFound as `answer`."""
    ranked = summaries(report, "train", THREE_TF32)
    both = f" In {PRECISIONS[THREE_TF32]}, {_result(ranked, noun(report))}." if ranked else ""
    return f"{answer(report)}{both}"


def hardware(report: Report) -> str:
    """Return the name of the GPU, or else of the processor, that was timed."""
    return hardware_of(report.facts)


def hardware_of(facts: Mapping[str, str]) -> str:
    """Return the name of a machine's GPU, or else of its processor, or else of the machine."""
    return facts.get("gpu") or facts.get("cpu") or facts["machine"]


def spread_text(summary: Summary) -> str:
    """Return the geometric mean of the ratios, with the smallest and the largest in brackets."""
    low, mean, high = map(ratio_text, (min(summary.ratios), summary.mean, max(summary.ratios)))
    return f"{mean} ({low}–{high})"


def counted(count: int, noun: str) -> str:
    """Return a number of things: "1 shape", "3 shapes"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def fullest_with_gpu(results: Path, group: str = "lstm") -> Report | None:
    """Return the group's report of a GPU in which the most figures compete, the newest of equals, or None."""
    machines = history.machines(results)
    runs = [run for run in history.runs(results) if "gpu" in machines[run.machine]]
    reports = []
    for machine, commit in dict.fromkeys((run.machine, run.commit) for run in runs):
        with contextlib.suppress(NotFound):  # nothing could be measured there
            reports.append(make(results, machine, commit, group=group))
    return max(reports, key=lambda report: sum(map(len, contenders(report.rows).values())), default=None)


def _result(ranked: Sequence[Summary], noun: str) -> str:
    """Return what the train step's summaries of two or more implementations say."""
    best, *others = ranked
    if len(others) == 1:
        ratios = [other / own for own, other in zip(best.ratios, others[0].ratios, strict=True)]
        low, mean, high = map(ratio_text, (min(ratios), statistics.geometric_mean(ratios), max(ratios)))
        tied = f", a tie at {best.ties}" if best.ties else ""
        over = counted(len(best.ratios), noun)
        who = f"{_named(best.variant)} trains {mean} times as fast as {_named(others[0].variant)}"
        return f"{who} ({low} to {high} over {over}{tied})"
    named = dict.fromkeys([others[0], *(one for one in others if one.variant == BASELINE), others[-1]])
    first, *rest = (f"{_named(one.variant)}{{}} {ratio_text(one.mean)} times" for one in named)
    times = ", ".join([f"{first.format(' takes')} as long as the fastest", *(one.format("") for one in rest)])
    mean_of = f"by the geometric mean over the {noun}s"
    return f"{_named(best.variant)} {_fastest(best, noun)}; {mean_of}, {times}"


def _cells(summary: Summary | None) -> tuple[str, str]:
    if summary is None:
        return "n/a", "n/a"
    return spread_text(summary), _wins(summary)


def _wins(summary: Summary) -> str:
    ties = f", {counted(summary.ties, 'tie')}" if summary.ties else ""
    return f"{summary.wins} of {len(summary.ratios)}{ties}"


def _fastest(best: Summary, noun: str) -> str:
    shapes = counted(len(best.ratios), noun)
    if not best.ties:
        return f"trains fastest in {best.wins} of {shapes}"
    if not best.wins:
        return f"shares the lead in the train step with others, in {best.ties} of {shapes}"
    return f"trains fastest in {best.wins} of {shapes} and shares the lead in {best.ties}"


def _described(variant: str) -> str:
    return VARIANTS[variant].description if variant in VARIANTS else ""


def _named(variant: str) -> str:
    label = f" ({VARIANTS[variant].label})" if variant in VARIANTS else ""
    return f"`{variant}`{label}"
