"""The dashboard's own tab: its data, a file for each machine and commit, and its place in asv's page."""

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

NAME = "recurrent-networks"  # in the page's address, and the name of its files and its folder
TITLE = "Recurrent networks"

SHAPES = GRIDS["full"]
_POSITIONS = {shape: position for position, shape in enumerate(SHAPES)}

_PARTS = Path(__file__).parent / "page"

# Where the tab's parts go in asv's index.html: each before a text that stands there once.
_PLACES = {
    "</head>": (
        f'  <link href="{NAME}.css" rel="stylesheet" type="text/css"/>\n'
        f'    <script src="{NAME}.js"></script>\n'
        # asv's own pages are laid out for a wide window: the tab's script sets this while it is shown.
        '    <meta name="viewport" content="width=980">\n  '
    ),
    '<li id="nav-li-graphdisplay">': f'<li id="nav-li-{NAME}"><a href="#/{NAME}">{TITLE}</a></li>\n        ',
    "<!-- A modal dialog box": (_PARTS / f"{NAME}.html").read_text(encoding="utf-8"),
}


def write(results: Path, html: Path) -> None:
    """Add the tab to a dashboard that asv has written.

    Results that can't be used are named in a history.ResultsWarning and left out. Raises ValueError
    where asv's page isn't as it is in asv 0.6.6.
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
    # The page opens on the first: the one with the newest results.
    machines = {machine: known[machine] for machine in dict.fromkeys([*(machine for machine, _ in runs), *known])}
    numbers = {machine: number for number, machine in enumerate(machines)}
    commits: dict[str, list[list[Any]]] = {machine: [] for machine in machines}
    variants: dict[str, set[str]] = {machine: set() for machine in machines}
    folders: dict[str, Path] = {}
    for (machine, commit), of_commit in runs.items():
        folders[machine] = of_commit[0].path.parent
        content = _content(of_commit, machines[machine])
        # A machine's name may hold what a file's can't.
        _save(folder / f"{numbers[machine]}-{commit}.json", content)
        commits[machine].append([commit, of_commit[0].date])
        variants[machine].update(one["variant"] for one in content["series"])
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
    """Return what a machine's file of a commit has: its figures, and two of the report's tables."""
    figures = [figure for run in runs for figure in history.read(run, unavailable=True)]
    # The few that the tables need.
    rows = compare([one for one in figures if one.value and (one.quantity in CALLS or is_wrong(one))], (), facts)
    return {
        "series": _series(figures),
        "ranking": formats.ranking(standings(rows)),
        "software": formats.software(rows),
    }


def _series(figures: Iterable[history.Figure]) -> list[dict[str, Any]]:
    """Return the figures of a machine and commit: a series for each variant and environment.

    A figure is its shape's position, its value, its quartiles, the number of samples, and its marks if it
    has any. What is n/a isn't listed; a variant that is n/a throughout has a series without figures.
    """
    series: dict[tuple[str, str], dict[str, list[list[Any]]]] = {}
    for figure in figures:
        quantities = series.setdefault((figure.variant, figure.environment), {})
        # The parameters may have been others once: the tab shows the grid of today.
        position = _POSITIONS.get(figure.shape)
        if figure.state != "n/a" and position is not None:
            row = [position, figure.value, figure.low, figure.high, figure.samples]
            quantities.setdefault(figure.quantity, []).append([*row, figure.marks] if figure.marks else row)
    measured = {variant for (variant, _), quantities in series.items() if quantities}
    return [
        {"variant": variant, "environment": environment, "figures": quantities}
        for (variant, environment), quantities in sorted(series.items())
        # An environment that can't run a variant says nothing where another can.
        if quantities or variant not in measured
    ]


def _precision(folder: Path | None) -> dict[str, str]:
    """Return what a selftest found of a machine, as a fact; nothing where it had none."""
    verdicts = selftest.read(folder) if folder else []
    return {"selftest": selftest.sentence(verdicts)} if verdicts else {}


def _floors(variant: str, facts: Mapping[str, str]) -> dict[str, list[Floor | None]]:
    """Return the floor of each time, in the order of the shapes."""
    return {quantity: [floor(shape, quantity, variant, facts) for shape in SHAPES] for quantity in CALLS}


def _published() -> list[dict[str, Any]]:
    """Return each source of 2016: how it measured, and its times in seconds a batch, with our nearest variant."""
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
            raise ValueError(f"{index} has no place for the tab, before {place!r}: install asv 0.6.6")
        text = text.replace(place, f"{addition}{place}")
    index.write_text(text, encoding="utf-8")


def _save(path: Path, content: Any) -> None:
    # Our tuples with names are lists to it.
    path.write_bytes(orjson.dumps(content, default=list))
