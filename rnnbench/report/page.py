"""The dashboard's own tab: its data, a file for each machine and commit, and its place in asv's page."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rnnbench import history
from rnnbench.floor import Floor, floor
from rnnbench.grids import GRIDS, Cell
from rnnbench.report import published
from rnnbench.report.tables import BASELINE, CALLS

NAME = "recurrent-networks"  # in the page's address, and the name of its files and its folder
TITLE = "Recurrent networks"

_PARTS = Path(__file__).parent / "page"

# The published tables, how they were measured otherwise than ours, and which of their names is a variant of ours.
_SOURCES: tuple[tuple[str, tuple[str, ...], dict[str, str]], ...] = (
    ("cudnn-rnn-benchmarks", published.DIFFERENCES, {}),
    (
        "rnn-benchmarks",
        (
            "These figures are rnn-benchmarks', of 2016: CUDA 7.5, cuDNN 5, a Xeon E5-2630L v3, Theano's first GPU "
            "back end.",
            "Their network gave its last hidden state alone; ours gives every step's.",
            "Their Train included an SGD update; ours has none.",
            "Torch and TensorFlow, which they timed too, have no counterpart here.",
        ),
        {"Theano": "scan"},
    ),
)

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
    machines = history.machines(results)
    numbers = {machine: number for number, machine in enumerate(machines)}
    commits: dict[str, list[list[Any]]] = {machine: [] for machine in machines}
    runs: dict[tuple[str, str], list[history.Run]] = {}
    for run in history.runs(results):
        runs.setdefault((run.machine, run.commit), []).append(run)
    # The same for every commit.
    floors = {machine: functools.cache(functools.partial(floor, facts=facts)) for machine, facts in machines.items()}
    for (machine, commit), of_commit in runs.items():
        series = _series(of_commit, floors[machine])
        # A machine's name may hold what a file's can't.
        _save(folder / f"{numbers[machine]}-{commit}.json", series)
        commits[machine].append([commit, of_commit[0].date])
    _save(
        folder / "index.json",
        {
            "machines": [{"name": name, "facts": machines[name], "commits": commits[name]} for name in machines],
            "grids": GRIDS,
            "published": _published(),
            "baseline": BASELINE,
        },
    )


def _series(runs: Iterable[history.Run], floor: Callable[[Cell, str, str], Floor | None]) -> list[dict[str, Any]]:
    """Return the figures of a machine and commit: a series for each variant and environment.

    What is n/a isn't listed; a variant that is n/a throughout has a series without figures.
    """
    series: dict[tuple[str, str], dict[str, list[list[Any]]]] = {}
    for run in runs:
        for figure in history.read(run, unavailable=True):
            quantities = series.setdefault((figure.variant, figure.environment), {})
            if figure.state == "n/a":
                continue
            row: list[Any] = [figure.cell, figure.value, figure.low, figure.high, figure.samples]
            if figure.quantity in CALLS:
                row += floor(figure.cell, figure.quantity, figure.variant) or ()
            quantities.setdefault(figure.quantity, []).append(row)
    measured = {variant for (variant, _), quantities in series.items() if quantities}
    return [
        {"variant": variant, "environment": environment, "figures": quantities}
        for (variant, environment), quantities in sorted(series.items())
        # An environment that can't run a variant says nothing where another can.
        if quantities or variant not in measured
    ]


def _published() -> list[dict[str, Any]]:
    """Return each source of 2016: how it measured, and its times in seconds a batch, with our nearest variant."""
    return [
        {
            "name": source,
            "differences": differences,
            "figures": [
                [figure.cell, figure.quantity, nearest.get(figure.variant, figure.variant), figure.value]
                for figure in published.figures(source)
            ],
        }
        for source, differences, nearest in _SOURCES
    ]


def _insert(index: Path) -> None:
    text = index.read_text(encoding="utf-8").replace("<html>", '<html lang="en">')
    for place, addition in _PLACES.items():
        if text.count(place) != 1:
            raise ValueError(f"{index} has no place for the tab, before {place!r}: install asv 0.6.6")
        text = text.replace(place, f"{addition}{place}")
    index.write_text(text, encoding="utf-8")


def _save(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, separators=(",", ":"), allow_nan=False), encoding="utf-8")
