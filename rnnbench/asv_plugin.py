"""What asv loads of this repository (asv.conf.json, "plugins"): the tab that `asv publish` adds to the dashboard,
and the environment of the peers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from asv.console import log
from asv.graph import Graph
from asv.plugins.virtualenv import Virtualenv
from asv.publishing import OutputPublisher

from rnnbench.history import ResultsWarning
from rnnbench.report import libraries, page


class RecurrentNetworks(OutputPublisher):  # type: ignore[misc]  # asv has no types
    """The tab, and the libraries of all of asv's pages."""

    name = page.NAME
    button_label = page.TITLE
    description = "Fused recurrent networks against a framework's loop"

    @classmethod
    def publish(cls, conf: Any, repo: Any, benchmarks: Any, graphs: Any, revisions: Any) -> None:
        """Add to what asv has written so far."""
        html = Path(conf.html_dir)
        _fill_summaries(html, benchmarks)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default", ResultsWarning)
            page.write(Path(conf.results_dir), html)
        for warning in caught:
            log.warning(str(warning.message))
        try:
            libraries.carry(html)
        except libraries.LibrariesMissing as reason:
            log.warning(
                f"The dashboard will load its libraries from public servers, since {reason}; "
                "to carry them in it, publish again with npm and a network."
            )


class Peers(Virtualenv):  # type: ignore[misc]
    """An environment of all frameworks but Theano: `asv run --environment peers:3.11`."""

    tool_name = "peers"

    def __init__(self, conf: Any, *arguments: Any) -> None:
        super().__init__(conf, *arguments)
        self._install_command = [command.replace("[theano]", "[peers]") for command in conf.install_command]
        self._install_timeout = 3600  # seconds, for some GB


def _fill_summaries(html: Path, benchmarks: Iterable[str]) -> None:
    """Give each benchmark without results an empty graph: asv's grid asks for one, and a browser logs its absence."""
    for name in benchmarks:
        path = html / (Graph.get_file_path({"summary": ""}, name) + ".json")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("[]")
