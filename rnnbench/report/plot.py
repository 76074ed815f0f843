"""Draw how the time of a call grows with each size, on log axes, and fit the slopes; needs matplotlib."""

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
# matplotlib has 10 default colors. After each 10 lines the next marker is used.
_COLORS, _MARKERS = 10, "os^D"
# With these settings and no date, the same plot always gives the same bytes.
SVG = {"svg.hashsalt": "rnnbench", "svg.fonttype": "path"}


def save(report: Report, path: Path) -> None:
    """Draw the times of train and forward against each size; the name of the file ends with .png or .svg."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Page

    with matplotlib.rc_context(SVG):
        page = Page(figsize=(16, 8))
        FigureCanvasAgg(page)
        # Fixed margins, because matplotlib's automatic layouts take longer than all the rest.
        margins = {"left": 0.05, "right": 0.99, "bottom": 0.07, "top": 0.89, "wspace": 0.05, "hspace": 0.3}
        panels = page.subplots(len(CALLS), len(AXES), sharey="row", squeeze=False, gridspec_kw=margins)
        for across, quantity in zip(panels, CALLS, strict=True):
            for panel, axis in zip(across, AXES, strict=True):
                _draw(panel, report, quantity, axis)
            across[0].set_ylabel(f"{quantity}, ms a batch")
        # matplotlib would draw the text between dollar signs as a formula.
        name = report.facts["machine"].replace("$", r"\$")
        page.suptitle(f"{name} at {report.commit[:8]} of {report.date}")
        page.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def lines(rows: Iterable[Row], axis: str) -> tuple[Shape | None, dict[str, list[Figure]]]:
    """Return the fixed sizes of the lines along an axis, and each implementation's line of figures.

    `axis` is one of AXES. The figures of a line differ in that size only. The fixed sizes are those with the most
    figures, or the largest ones if several have as many. They are a shape in which the axis is 0. Return None and no
    lines if no implementation was timed at two sizes along the axis.
    """
    grouped: dict[Shape, dict[str, list[Figure]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.figure.value:
            grouped[row.figure.shape._replace(**{axis: 0})][row.implementation].append(row.figure)
    candidates = {
        base: {name: line for name, line in by_implementation.items() if len(line) > 1}
        for base, by_implementation in grouped.items()
    }
    base = max(candidates, key=lambda base: (sum(map(len, candidates[base].values())), base), default=None)
    if base is None or not candidates[base]:
        return None, {}
    return base, {name: sorted(line, key=lambda figure: figure.shape) for name, line in candidates[base].items()}


def slope(line: Iterable[Figure], axis: str) -> float:
    """Return the exponent x in time ~ size^x: the slope of the least-squares line through the logarithms."""
    points = [(log(getattr(figure.shape, axis)), log(figure.value)) for figure in line if figure.value]
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def _draw(panel: Any, report: Report, quantity: str, axis: str) -> None:
    base, drawn = lines((row for row in report.rows if row.figure.quantity == quantity), axis)
    panel.set(xlabel=axis, xscale="log", yscale="log")
    panel.xaxis.minorticks_off()
    panel.yaxis.set_major_formatter("{x:g}")
    panel.grid(axis="y", alpha=0.3)
    if base is None:
        panel.set_title(f"only one {axis} was timed")
        panel.set_xticks([])
        return
    panel.set_title(", ".join(f"{name} {getattr(base, name)}" for name in PARAM_NAMES if name != axis))
    # An implementation has the same color and marker in each panel.
    implementations = list(dict.fromkeys(row.implementation for row in report.rows))
    for name, line in drawn.items():
        turn, number = divmod(implementations.index(name), _COLORS)
        sizes = [getattr(figure.shape, axis) for figure in line]
        value, low, high = ([1e3 * seconds for seconds in column] for column in zip(*map(_spread, line), strict=True))
        label = f"{name}: {axis}$^{{{slope(line, axis):z.2f}}}$"
        panel.plot(sizes, value, marker=_MARKERS[turn % len(_MARKERS)], color=f"C{number}", label=label)
        panel.plot([sizes, sizes], [low, high], color=f"C{number}", linewidth=5, alpha=0.4)
    ticks = sorted({getattr(figure.shape, axis) for line in drawn.values() for figure in line})
    panel.set_xticks(ticks, map(str, ticks))
    panel.legend(fontsize="x-small" if len(drawn) > _COLORS else None)


def _spread(figure: Figure) -> tuple[float, float, float]:
    """Return a figure's value and its lower and upper quartile, or the value for a missing quartile."""
    value = figure.value or 0
    return value, figure.low or value, figure.high or value
