"""The result of a machine and a commit in one picture; needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnnbench.network.models import GROUPS
from rnnbench.network.precision import PRECISIONS
from rnnbench.report import summary
from rnnbench.report.formats import ratio_text
from rnnbench.report.plot import SVG
from rnnbench.report.summary import Summary
from rnnbench.report.tables import CALLS, Report, noun
from rnnbench.variants import VARIANTS

_TITLES = {"train": "Train step", "forward": "Forward pass"}
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_DOT, _BAR = "#2b6cb0", "#9c3a00"


def save(report: Report, path: Path) -> None:
    """Draw the summaries as SVG: a row for each implementation, a dot for each shape, a bar at the geometric mean."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Page

    found = {call: {one.variant: one for one in summary.summaries(report, call)} for call in CALLS}
    names = list(dict.fromkeys(variant for call in CALLS for variant in found[call]))
    with matplotlib.rc_context(SVG):
        page = Page(figsize=(11, 1.4 + 0.38 * len(names)))
        FigureCanvasAgg(page)
        margins = {"left": 0.17, "right": 0.985, "bottom": 0.16, "top": 0.84, "wspace": 0.05}
        panels = page.subplots(1, len(CALLS), sharey=True, squeeze=False, gridspec_kw=margins)[0]
        for panel, call in zip(panels, CALLS, strict=True):
            panel.set_title(_TITLES[call])
            _draw(panel, [found[call].get(name) for name in names])
        panels[0].set_yticks(range(len(names)), [_label(name) for name in names])
        panels[0].set_ylim(len(names) - 0.4, -0.9)
        title = f"{GROUPS[report.group]} on {summary.hardware(report)}, {PRECISIONS['float32']}: "
        title += f"a dot a {noun(report)}, a bar at the geometric mean"
        # Matplotlib would draw the text between dollar signs as a formula.
        page.suptitle(title.replace("$", r"\$"), fontsize=12)
        page.savefig(path, format="svg", metadata={"Date": None})


def _draw(panel: Any, rows: list[Summary | None]) -> None:
    largest = max(ratio for row in rows if row for ratio in row.ratios)
    ticks = [tick for tick in _TICKS if tick < 1.1 * largest]
    panel.set(xscale="log", xlabel="time, as a multiple of the fastest at the same shape")
    panel.minorticks_off()
    panel.set_xticks(ticks, [f"{tick}×" for tick in ticks])
    # Nothing lies outside. The name of a clipping path would differ between NumPy's versions.
    panel.grid(axis="x", color="#dddddd", clip_on=False)
    panel.set_axisbelow(True)
    for place, row in enumerate(rows):
        if row:
            panel.plot(row.ratios, [place] * len(row.ratios), "o", color=_DOT, alpha=0.5, clip_on=False)
            panel.plot([row.mean] * 2, [place - 0.33, place + 0.33], color=_BAR, linewidth=3.5, clip_on=False)
            text = f"{ratio_text(row.mean)}×"
            panel.annotate(text, (row.mean, place - 0.3), (5, 3), textcoords="offset points", color=_BAR)


def _label(variant: str) -> str:
    return VARIANTS[variant].label if variant in VARIANTS else variant
