"""Add our own tab to asv's dashboard: write its data, and insert its HTML into asv's page."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from rnnbench import history
from rnnbench.history import selftest
from rnnbench.measure import state
from rnnbench.measure.floor import Floor, floor
from rnnbench.network.shapes import GRIDS
from rnnbench.report import absence, formats, published
from rnnbench.report.tables import BASELINE, CALLS, compare, is_wrong, standings

NAME = "recurrent-networks"  # names the tab's address, its files and its folder
TITLE = "Recurrent networks"

SHAPES = GRIDS["full"]
_POSITIONS = {shape: position for position, shape in enumerate(SHAPES)}

_PARTS = Path(__file__).parent / "page"

# Each part of the tab is inserted before a text that occurs once in asv's index.html.
_PLACES = {
    "</head>": (
        f'  <link href="{NAME}.css" rel="stylesheet" type="text/css"/>\n'
        f'    <script src="{NAME}.js"></script>\n'
        # asv's own pages need a wide window. The tab's script changes this value while the tab is open.
        '    <meta name="viewport" content="width=980">\n  '
    ),
    '<li id="nav-li-graphdisplay">': f'<li id="nav-li-{NAME}"><a href="#/{NAME}">{TITLE}</a></li>\n        ',
    "<!-- A modal dialog box": (_PARTS / f"{NAME}.html").read_text(encoding="utf-8"),
}


def write(results: Path, html: Path) -> None:
    """Add the tab to a dashboard that asv has written.

    A history.ResultsWarning names each broken results file, which is left out. Raises ValueError if asv's page
    isn't that of asv 0.6.6.
    """
    for script in (f"{NAME}.js", f"{NAME}.css"):
        shutil.copy(_PARTS / script, html)
    _insert(html / "index.html")

    folder = html / NAME
    folder.mkdir()
    runs: dict[tuple[str, str], list[history.Run]] = {}
    for run in history.runs(results):
        runs.setdefault((run.machine, run.commit), []).append(run)
    known = history.machines(results)
    # The machine with the newest results comes first, because the page opens on the first one.
    machines = {machine: known[machine] for machine in dict.fromkeys([*(machine for machine, _ in runs), *known])}
    numbers = {machine: number for number, machine in enumerate(machines)}
    commits: dict[str, list[list[Any]]] = {machine: [] for machine in machines}
    variants: dict[str, set[str]] = {machine: set() for machine in machines}
    folders: dict[str, Path] = {}
    for (machine, commit), same_commit in runs.items():
        folders[machine] = same_commit[0].path.parent
        content = _content(same_commit, machines[machine])
        # The number stands for the machine, because its name can have characters that a file's name can't.
        _save(folder / f"{numbers[machine]}-{commit}.json", content)
        commits[machine].append([commit, same_commit[0].date])
        variants[machine].update(series["variant"] for series in content["series"])
    _save(
        folder / "index.json",
        {
            "machines": [
                {
                    "name": machine,
                    "facts": facts | _precision(folders.get(machine)),
                    "commits": commits[machine],
                    "floors": {variant: _floors(variant, facts) for variant in sorted(variants[machine])},
                    "reasons": {
                        variant: [absence.reason(variant, shape, facts) for shape in SHAPES]
                        for variant in sorted(variants[machine])
                    },
                }
                for machine, facts in machines.items()
            ],
            "shapes": SHAPES,
            "grids": GRIDS,
            "published": _published(),
            "baseline": BASELINE,
            "failed": absence.FAILED,
            "marks": state.MARKS,
        },
    )


def _content(runs: Iterable[history.Run], facts: Mapping[str, str]) -> dict[str, Any]:
    """Return the data of a machine and a commit: its figures, and two of the report's tables."""
    figures = [figure for run in runs for figure in history.read(run, unavailable=True)]
    # Only these figures affect the two tables.
    ranked = [figure for figure in figures if figure.value and (figure.quantity in CALLS or is_wrong(figure))]
    rows = compare(ranked, (), facts)
    return {
        "series": _series(figures),
        "ranking": formats.ranking(standings(rows)),
        "software": formats.software(rows),
    }


def _series(figures: Iterable[history.Figure]) -> list[dict[str, Any]]:
    """Return a series of figures for each variant and environment.

    A figure is a list: the position of its shape, its value, its lower and upper quartile, the number of samples, and
    its marks if it has any. Figures that are n/a are left out. A variant that is n/a at every shape has a series
    without figures.
    """
    series: dict[tuple[str, str], dict[str, list[list[Any]]]] = {}
    for figure in figures:
        quantities = series.setdefault((figure.variant, figure.environment), {})
        # Older results can have shapes that the full grid has no more. The tab leaves these out.
        position = _POSITIONS.get(figure.shape)
        if figure.state != "n/a" and position is not None:
            row = [position, figure.value, figure.low, figure.high, figure.samples]
            quantities.setdefault(figure.quantity, []).append([*row, figure.marks] if figure.marks else row)
    measured = {variant for (variant, _), quantities in series.items() if quantities}
    return [
        {"variant": variant, "environment": environment, "figures": quantities}
        for (variant, environment), quantities in sorted(series.items())
        # Leave out an environment that can't run the variant, if another one can.
        if quantities or variant not in measured
    ]


def _precision(folder: Path | None) -> dict[str, str]:
    """Return the result of the machine's selftest as a fact; no fact if there was no selftest."""
    verdicts = selftest.read(folder) if folder else []
    return {"selftest": selftest.sentence(verdicts)} if verdicts else {}


def _floors(variant: str, facts: Mapping[str, str]) -> dict[str, list[Floor | None]]:
    """Return the floors of a variant by call, one for each shape of SHAPES."""
    return {quantity: [floor(shape, quantity, variant, facts) for shape in SHAPES] for quantity in CALLS}


def _published() -> list[dict[str, Any]]:
    """Return the sources of published figures; times are in seconds per batch, variants our nearest ones."""
    return [
        {
            "name": name,
            "differences": source.differences,
            "figures": [
                [figure.shape, figure.quantity, figure.variant, figure.value] for figure in published.figures(name)
            ],
        }
        for name, source in published.SOURCES.items()
    ]


def _insert(index: Path) -> None:
    text = index.read_text(encoding="utf-8").replace("<html>", '<html lang="en">')
    for place, addition in _PLACES.items():
        if text.count(place) != 1:
            raise ValueError(f"can't add the tab to {index}: the page must have {place!r} once. Install asv 0.6.6")
        text = text.replace(place, f"{addition}{place}")
    index.write_text(text, encoding="utf-8")


def _save(path: Path, content: Any) -> None:
    # orjson doesn't know named tuples. `default` makes lists of them.
    path.write_bytes(orjson.dumps(content, default=list))
