"""How time grows with each size: a call's time on log axes, with the slope that fits it; needs matplotlib."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from math import log
from pathlib import Path
from typing import Any

from rnnbench.history import Figure
from rnnbench.network.shapes import PARAM_NAMES, Shape
from rnnbench.report.tables import CALLS, Report, Row

AXES = ("seq", "hidden", "batch", "depth")
_COLORS, _MARKERS = 10, "os^D"  # of matplotlib's default colors; where they begin again, so does the next marker
# Another tool's own numbers and dates would make the same plot another file.
_SVG = {"svg.hashsalt": "rnnbench", "svg.fonttype": "path"}


def save(report: Report, path: Path) -> None:
    """Draw train and forward against each size into a file whose name ends with .png or .svg."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Page

    with matplotlib.rc_context(_SVG):
        page = Page(figsize=(16, 8))
        FigureCanvasAgg(page)
        # Margins by hand: matplotlib's own layouts take longer than all the rest.
        margins = {"left": 0.05, "right": 0.99, "bottom": 0.07, "top": 0.89, "wspace": 0.05, "hspace": 0.3}
        panels = page.subplots(len(CALLS), len(AXES), sharey="row", squeeze=False, gridspec_kw=margins)
        for across, quantity in zip(panels, CALLS, strict=True):
            for panel, axis in zip(across, AXES, strict=True):
                _draw(panel, report, quantity, axis)
            across[0].set_ylabel(f"{quantity}, ms a batch")
        # What a dollar sign encloses would be drawn as a formula.
        name = report.facts["machine"].replace("$", r"\$")
        page.suptitle(f"{name} at {report.commit[:8]} of {report.date}")
        page.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def lines(rows: Iterable[Row], axis: str) -> tuple[Shape | None, dict[str, list[Figure]]]:
    """Return the shape whose other sizes have the most figures along an axis, and those figures by implementation.

    None and nothing where no size but one was timed. Of equally many, the largest sizes are taken.
    """
    along: dict[Shape, dict[str, list[Figure]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.figure.value:
            along[row.figure.shape._replace(**{axis: 0})][row.implementation].append(row.figure)
    found = {shape: {name: line for name, line in by.items() if len(line) > 1} for shape, by in along.items()}
    base = max(found, key=lambda shape: (sum(map(len, found[shape].values())), shape), default=None)
    if base is None or not found[base]:
        return None, {}
    return base, {name: sorted(line, key=lambda one: one.shape) for name, line in found[base].items()}


def slope(line: Iterable[Figure], axis: str) -> float:
    """Return the power of a size that times grow with: the slope of a straight line through their logarithms."""
    points = [(log(getattr(figure.shape, axis)), log(figure.value)) for figure in line if figure.value]
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def _draw(panel: Any, report: Report, quantity: str, axis: str) -> None:
    base, drawn = lines((row for row in report.rows if row.figure.quantity == quantity), axis)
    panel.set(xlabel=axis, xscale="log", yscale="log")
    panel.xaxis.minorticks_off()
    panel.yaxis.set_major_formatter("{x:g}")
    panel.grid(axis="y", alpha=0.3)
    if base is None:
        panel.set_title(f"one {axis} was timed")
        panel.set_xticks([])
        return
    panel.set_title(", ".join(f"{name} {getattr(base, name)}" for name in PARAM_NAMES if name != axis))
    # The same in each panel.
    implementations = list(dict.fromkeys(row.implementation for row in report.rows))
    for name, line in drawn.items():
        turn, number = divmod(implementations.index(name), _COLORS)
        sizes = [getattr(figure.shape, axis) for figure in line]
        value, low, high = ([1e3 * one for one in spread] for spread in zip(*map(_spread, line), strict=True))
        label = f"{name}: {axis}$^{{{slope(line, axis):z.2f}}}$"
        panel.plot(sizes, value, marker=_MARKERS[turn % len(_MARKERS)], color=f"C{number}", label=label)
        panel.plot([sizes, sizes], [low, high], color=f"C{number}", linewidth=5, alpha=0.4)
    ticks = sorted({getattr(figure.shape, axis) for line in drawn.values() for figure in line})
    panel.set_xticks(ticks, map(str, ticks))
    panel.legend(fontsize="x-small" if len(drawn) > _COLORS else None)


def _spread(figure: Figure) -> tuple[float, float, float]:
    """Return a figure's value and quartiles, which are the value itself where it has none."""
    value = figure.value or 0
    return value, figure.low or value, figure.high or value
