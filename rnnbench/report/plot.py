"""Draw how the time of a call grows with each size, on log axes, and fit the slopes; needs matplotlib."""

from __future__ import annotations

import io
import statistics
from collections import defaultdict
from collections.abc import Iterable
from math import log
from pathlib import Path
from typing import Any

from rnnbench.history import files
from rnnbench.network.precision import of_variant
from rnnbench.network.shapes import PARAM_NAMES, Shape
from rnnbench.report.tables import CALLS, Report, Row, heading
from rnnbench.variants import VARIANTS

AXES = ("seq", "hidden", "batch", "depth")
# With these settings and no date, the same plot always gives the same bytes.
SVG = {"svg.hashsalt": "rnnbench", "svg.fonttype": "path"}

# Each implementation has its own marker and colour, which its twins share, whatever else a plot shows.
_MARKERS = "osD^v<>pPX*hd8H"
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#b58900", "#56b4e9", "#7b3294", "#8c510a", "#666666")
_TWINS = [twin.name for row in VARIANTS.values() for twin in row.twins()]
_NAMES = [name for name in VARIANTS if name not in _TWINS]
_STYLES = {"tf32": "--", "float16": ":", "bfloat16": "-."}  # the lines of twins
_LINE_HEIGHT = 0.085  # of the list of implementations, as a share of a panel


def save(report: Report, path: Path) -> None:
    """Draw the times of train and forward against each size; the name of the file ends with .png or .svg.

    The list at the right of each row of panels is its legend, and has the exponents.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Page

    with matplotlib.rc_context(SVG):
        page = Page(figsize=(16, 9))
        FigureCanvasAgg(page)
        # Fixed margins, because matplotlib's automatic layouts take longer than all the rest.
        margins = {"left": 0.05, "right": 0.995, "bottom": 0.07, "top": 0.88, "wspace": 0.06, "hspace": 0.32}
        panels = page.subplots(
            len(CALLS), len(AXES) + 1, squeeze=False, gridspec_kw={**margins, "width_ratios": [1] * len(AXES) + [1.8]}
        )
        for (*across, legend), quantity in zip(panels, CALLS, strict=True):
            for panel in across[1:]:
                panel.sharey(across[0])
                panel.tick_params(labelleft=False)
            found = {axis: _draw(panel, report, quantity, axis) for panel, axis in zip(across, AXES, strict=True)}
            across[0].set_ylabel(f"{quantity}, ms per batch", fontsize=13)
            _list(legend, found)
        # matplotlib would draw the text between dollar signs as a formula.
        title = f"How time grows with each size: {heading(report)}".replace("$", r"\$")
        page.suptitle(title, fontsize=16)
        write(page, path)


def write(page: Any, path: Path) -> None:
    """Write a matplotlib figure to a .png or .svg file, whole or not at all."""
    image = io.BytesIO()
    kind = path.suffix.removeprefix(".")
    page.savefig(image, format=kind, metadata={"Date": None} if kind == "svg" else None)
    files.write(path, image.getvalue())


def look(variant: str) -> dict[str, Any]:
    """Return matplotlib's settings of a variant's line: its colour, its marker, and dashes for another precision."""
    name = variant.rpartition("_")[0] if variant in _TWINS else variant
    place = _NAMES.index(name) if name in _NAMES else len(_NAMES)
    settings = {"color": _COLORS[place % len(_COLORS)], "marker": _MARKERS[place % len(_MARKERS)]}
    return settings | (
        {"linestyle": _STYLES[of_variant(variant)], "markerfacecolor": "white"} if name != variant else {}
    )


def lines(rows: Iterable[Row], axis: str) -> tuple[Shape | None, dict[str, list[Row]]]:
    """Return the fixed sizes of the lines along an axis, and each implementation's line of rows.

    `axis` is one of AXES. The rows of a line differ in that size only, so models have no lines. The fixed sizes are
    those with the most figures, or the largest ones if several have as many. They are a shape in which the axis is 0.
    Return None and no lines if no implementation was timed at two sizes along the axis.
    """
    grouped: dict[tuple, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    place = PARAM_NAMES.index(axis)
    for row in rows:
        if row.figure.value:
            shape = row.figure.shape
            others = (row.figure.network, *shape[:place], 0, *shape[place + 1 :])
            grouped[others][row.implementation].append(row)
    candidates = {
        base: {
            name: line for name, line in by_implementation.items() if len({row.figure.shape[place] for row in line}) > 1
        }
        for base, by_implementation in grouped.items()
    }
    base = max(candidates, key=lambda base: (sum(map(len, candidates[base].values())), base), default=None)
    if base is None or not candidates[base]:
        return None, {}
    return Shape(*base[1:]), {
        name: sorted(line, key=lambda row: row.figure.shape) for name, line in candidates[base].items()
    }


def slope(line: Iterable[Row], axis: str) -> float:
    """Return the exponent x in time ~ size^x: the slope of the least-squares line through the logarithms."""
    points = [(log(getattr(row.figure.shape, axis)), log(row.figure.value)) for row in line if row.figure.value]
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def slope_text(slope: float) -> str:
    """Return a slope with two decimals, and never -0.00."""
    return f"{round(slope, 2) + 0.0:.2f}"


def _draw(panel: Any, report: Report, quantity: str, axis: str) -> dict[str, list[Row]]:
    """Draw the lines along an axis, and return them."""
    from matplotlib.ticker import LogLocator

    base, drawn = lines((row for row in report.rows if row.figure.quantity == quantity), axis)
    panel.set_xlabel(axis, fontsize=13)
    panel.set(xscale="log", yscale="log")
    panel.xaxis.minorticks_off()
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter("")
    panel.grid(axis="y", alpha=0.3)
    if base is None:
        panel.set_title(f"only one {axis} was timed")
        panel.set_xticks([])
        return {}
    fixed = ", ".join(f"{name} {getattr(base, name)}" for name in PARAM_NAMES if name != axis)
    panel.set_title(fixed, fontsize=11)
    for name, line in drawn.items():
        sizes = [getattr(row.figure.shape, axis) for row in line]
        value, low, high = ([1e3 * seconds for seconds in column] for column in zip(*map(_spread, line), strict=True))
        settings = look(line[0].figure.variant)
        panel.plot(sizes, value, label=name, **settings)
        panel.plot([sizes, sizes], [low, high], color=settings["color"], linewidth=5, alpha=0.3)
    ticks = sorted({getattr(row.figure.shape, axis) for line in drawn.values() for row in line})
    panel.set_xticks(ticks, map(str, ticks))
    return drawn


def _list(panel: Any, found: dict[str, dict[str, list[Row]]]) -> None:
    """Draw the list of implementations with their marks and exponents, in a panel of its own."""
    panel.axis("off")
    panel.set(xlim=(0, 1), ylim=(0, 1))
    variants = {name: line[0].figure.variant for drawn in found.values() for name, line in drawn.items()}
    if not variants:
        return
    height = min(_LINE_HEIGHT, 1 / (len(variants) + 1))
    columns = {axis: 0.61 + 0.13 * place for place, axis in enumerate(AXES)}
    size = 12 if height == _LINE_HEIGHT else 9
    panel.text(1, 1 + _LINE_HEIGHT, "time grows with the size to the power of", fontsize=size, ha="right", va="center")
    for axis, place in columns.items():
        panel.text(place, 1, axis, fontsize=size - 1, ha="right", va="center")
    for number, (name, variant) in enumerate(variants.items(), 1):
        top = 1 - number * height
        panel.plot([0.04, 0.1], [top, top], markevery=[1], clip_on=False, **look(variant))
        panel.text(0.13, top, name.replace("$", r"\$"), fontsize=size, va="center")
        for axis, place in columns.items():
            text = slope_text(slope(found[axis][name], axis)) if name in found[axis] else "–"
            panel.text(place, top, text, fontsize=size, ha="right", va="center")


def _spread(row: Row) -> tuple[float, float, float]:
    """Return a time and its interval, or the time for an end that isn't known."""
    value = row.figure.value or 0
    return (value, row.interval.low, row.interval.high) if row.interval else (value, value, value)
