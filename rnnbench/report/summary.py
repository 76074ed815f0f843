"""How the implementations compare over all shapes at once: the ratios, a table and a sentence.

At each shape an implementation's time is divided by the fastest one's. Its summary is the geometric mean of
these ratios, with the smallest and the largest. TF32 is left out: it is another precision.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from rnnbench import history
from rnnbench.history import NotFound
from rnnbench.report.formats import doubts
from rnnbench.report.tables import BASELINE, CALLS, Report, contenders, make
from rnnbench.variants import VARIANTS

PRECISION = "strict float32"


class Summary(NamedTuple):
    """An implementation's time over the fastest one's, in one of the calls."""

    variant: str
    ratios: tuple[float, ...]  # one a shape; 1 where it is the fastest

    @property
    def mean(self) -> float:
        """The geometric mean of the ratios."""
        return statistics.geometric_mean(self.ratios)


def summaries(report: Report, quantity: str) -> list[Summary]:
    """Return the summaries of a call in strict float32, "train" or "forward": the lowest mean first.

    Shapes where a single implementation was timed are left out.
    """
    ratios: dict[str, list[float]] = defaultdict(list)
    for (_, call, tf32), rows in contenders(report.rows).items():
        if call == quantity and not tf32 and len(rows) > 1:
            times = {variant: row.figure.value or 0 for variant, row in rows.items()}
            fastest = min(times.values())
            for variant, time in times.items():
                ratios[variant].append(time / fastest)
    return sorted(
        (Summary(variant, tuple(found)) for variant, found in ratios.items()), key=lambda summary: summary.mean
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


def answer(report: Report) -> str:
    """Return the train step's result in a sentence; raises NotFound where no shape has two implementations."""
    ranked = summaries(report, "train")
    if not ranked:
        raise NotFound(f"{report.facts['machine']} at {report.commit[:8]} has no shape with two implementations")
    best, *others = ranked
    if len(others) == 1:
        ratios = [other / own for own, other in zip(best.ratios, others[0].ratios, strict=True)]
        low, mean, high = min(ratios), statistics.geometric_mean(ratios), max(ratios)
        other = f"{short(mean)} times as fast as {_named(others[0].variant)}"
        return (
            f"On the {hardware(report)}, in {PRECISION}, {_named(best.variant)} trains {other} "
            f"({short(low)} to {short(high)} over {len(best.ratios)} shapes)."
        )
    named = dict.fromkeys([others[0], *(one for one in others if one.variant == BASELINE), others[-1]])
    first, *rest = (f"{_named(one.variant)}{{}} {short(one.mean)} times" for one in named)
    times = ", ".join([f"{first.format(' takes')} as long as the fastest", *(one.format("") for one in rest)])
    return (
        f"On the {hardware(report)}, in {PRECISION}, {_named(best.variant)} trains fastest in {_wins(best)} shapes; "
        f"by the geometric mean over the shapes, {times}."
    )


def text(report: Report, results: Path) -> str:
    """Return the answer and the table for a terminal; needs tabulate.

    Below a CPU's stands the table of the GPU machine with the newest results, if `results` has one. The last lines
    say which of the machine's figures are doubtful.
    """
    if not summaries(report, "train"):
        return "One implementation was timed, so there is nothing to compare it with.\n"
    parts = [answer(report).replace("`", ""), _drawn(report)]
    if "gpu" not in report.facts and (with_gpu := _newest_with_gpu(results)):
        parts += [f"On a GPU, as recorded ({hardware(with_gpu)}, {with_gpu.commit[:8]}):", _drawn(with_gpu)]
    parts += doubts(report._replace(rows=[row for row in report.rows if row.figure.quantity in CALLS]))
    return "\n\n".join(parts) + "\n"


def hardware(report: Report) -> str:
    """Return the name of the GPU, or else of the processor, that was timed."""
    return report.facts.get("gpu") or report.facts.get("cpu") or report.facts["machine"]


def short(ratio: float) -> str:
    """Return a ratio as text: two decimals below 2, so that 1.03 isn't 1.0."""
    return f"{ratio:.2f}" if ratio < 1.995 else f"{ratio:.1f}"


def _drawn(report: Report) -> str:
    from tabulate import tabulate

    headings, rows = table(report)
    plain = [[cell.replace("`", "") for cell in (row[0], *row[2:])] for row in rows]
    return tabulate(plain, [headings[0], *headings[2:]], "simple", disable_numparse=True)


def _newest_with_gpu(results: Path) -> Report | None:
    machines = history.machines(results)
    newest = next((run.machine for run in history.runs(results) if "gpu" in machines[run.machine]), None)
    return make(results, newest) if newest else None


def _cells(summary: Summary | None) -> tuple[str, str]:
    if summary is None:
        return "n/a", "n/a"
    low, high = min(summary.ratios), max(summary.ratios)
    return f"{short(summary.mean)} ({short(low)}–{short(high)})", _wins(summary)


def _wins(summary: Summary) -> str:
    return f"{summary.ratios.count(1)} of {len(summary.ratios)}"


def _described(variant: str) -> str:
    return VARIANTS[variant].description if variant in VARIANTS else ""


def _named(variant: str) -> str:
    label = f" ({VARIANTS[variant].label})" if variant in VARIANTS else ""
    return f"`{variant}`{label}"
