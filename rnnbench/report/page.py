"""Write the results page: the site's first page, in front of asv's own pages."""

from __future__ import annotations

import gc
import multiprocessing
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from rnnbench import history
from rnnbench.history import live_selftest, selftest
from rnnbench.report import page_data, page_documents

TITLE = "Results"
ASV_PAGE = "asv.html"  # the page with asv's own views, which asv writes as index.html
DATA = "data"  # the folder of the page's data

_PARTS = Path(__file__).parent / "page"

# Each part is inserted before a text that occurs once in asv's page.
_ADDED_TO_ASV = {
    # A browser doesn't let a page from disk read other files, as asv's does.
    "<title>airspeed velocity</title>": """<script>
      if (location.protocol === 'file:') { location.replace('index.html#from-disk'); }
    </script>
    """,
    # asv's own pages need a wide window. The legend lies on the graph, and the list has a row for each figure that
    # another interpreter may have.
    "</head>": """  <meta name="viewport" content="width=980">
    <style>
      @media (max-width: 1150px) { .navbar-text { display: none; } }
      #main-graph .legend > div { display: none; }
      #main-graph .legend { opacity: .6; pointer-events: none; }
      #summarylist-body tbody tr:has(td.value[data-sort-value="-1e+99"]) { display: none; }
    </style>
  """,
    '<li id="nav-li-" class="active">': f'<li><a href="index.html">{TITLE}</a></li>\n        ',
}


def write(results: Path, html: Path, repository: Path, project_url: str = "", commit_url: str = "") -> None:
    """Put the results page in front of the site that asv has written.

    The repository's documents come with it. The page links to `project_url`, and to `commit_url` followed by a
    commit's hash, if they are addresses on the web. A history.ResultsWarning names each broken results file, which is
    left out. Raises ValueError if asv's page isn't that of asv 0.6.6.
    """
    _move_asvs_page(html)
    for part in _PARTS.iterdir():
        if part.suffix != ".html":
            shutil.copy(part, html)
    # A browser keeps what it has loaded. The time makes it load the data of this publication.
    version = str(int(time.time()))
    text = (_PARTS / "index.html").read_text(encoding="utf-8")
    (html / "index.html").write_text(text.replace("VERSION", version), encoding="utf-8")
    template = (_PARTS / "document.html").read_text(encoding="utf-8")
    project = {
        "address": _web(project_url),
        "commit": _web(commit_url),
        "documents": page_documents.write(repository, html, template, _web(project_url)),
        "version": version,
    }

    (html / DATA).mkdir()
    runs: dict[tuple[str, str], list[history.Run]] = {}
    for run in history.runs(results):
        runs.setdefault((run.machine, run.commit), []).append(run)
    machines = history.machines(results)
    folders = {machine: same_commit[0].path.parent for (machine, _), same_commit in runs.items()}
    verdicts = {machine: selftest.read(folders[machine]) if machine in folders else [] for machine in machines}
    records = _write_records(html, runs, machines, verdicts)
    findings = {machine: live_selftest.findings(folder) for machine, folder in folders.items()}
    _save(html, "index", page_data.index(machines, verdicts, findings, records, project))


def _write_records(
    html: Path,
    runs: Mapping[tuple[str, str], Sequence[history.Run]],
    machines: Mapping[str, Mapping[str, str]],
    verdicts: Mapping[str, Sequence[selftest.Verdict]],
) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """Write a file for each machine, commit and group of networks; return their summaries by machine and group."""
    numbers = {machine: number for number, machine in enumerate(machines)}
    tasks = [
        # The number stands for the machine, because its name can have characters that a file's name can't.
        (html, f"{numbers[machine]}-{commit}", same_commit, machines[machine], verdicts[machine])
        for (machine, commit), same_commit in runs.items()
    ]
    # All processors work, as they do for asv. Looking for cycles, which no record has, would take a tenth of the time.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork"), initializer=gc.disable) as pool:
        written = list(pool.map(_write_record, *zip(*tasks, strict=True), chunksize=4)) if tasks else []
    records: dict[str, dict[str, list[Mapping[str, Any]]]] = {machine: {} for machine in machines}
    for (machine, _), (described, messages) in zip(runs, written, strict=True):
        for group, summary in described.items():
            records[machine].setdefault(group, []).append(summary)
        for message in messages:
            warnings.warn(message, history.ResultsWarning, stacklevel=3)
    return records


def _write_record(
    html: Path,
    name: str,
    runs: Sequence[history.Run],
    facts: Mapping[str, str],
    verdicts: Sequence[selftest.Verdict],
) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """Write a record's files; return its summaries for the index by group, and what was left out of the record."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", history.ResultsWarning)
        records = page_data.record(runs, facts, verdicts)
    for group, (_, content) in records.items():
        _save(html, f"{name}-{group}", content)
    return {group: described for group, (described, _) in records.items()}, [str(warning.message) for warning in caught]


def _move_asvs_page(html: Path) -> None:
    """Rename asv's page, and add to it a link to ours."""
    text = (html / "index.html").read_text(encoding="utf-8").replace("<html>", '<html lang="en">')
    for place, addition in _ADDED_TO_ASV.items():
        if text.count(place) != 1:
            raise ValueError(f"can't add to {html}/index.html: it must have {place!r} once. Install asv 0.6.6")
        text = text.replace(place, f"{addition}{place}")
    (html / ASV_PAGE).write_text(text, encoding="utf-8")


def _web(address: str) -> str:
    return address if address.startswith(("http://", "https://")) else ""


def _save(html: Path, name: str, content: Any) -> None:
    """Write data as a script that hands it to the page, because a page from disk can load scripts but no data."""
    # orjson doesn't know named tuples. `default` makes lists of them.
    text = orjson.dumps(content, default=list, option=orjson.OPT_NON_STR_KEYS)
    # As text within quotes, a name such as __proto__ is data. In a literal it would be syntax.
    quoted = text.replace(b"\\", b"\\\\").replace(b"'", b"\\'")
    (html / DATA / f"{name}.js").write_bytes(b"receive('%b','%b')\n" % (name.encode(), quoted))
