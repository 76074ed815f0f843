"""Extend asv; asv.conf.json names asv_plugin.py, which loads this module.

With this plugin `asv publish` puts the results page in front of asv's pages. `asv run` stores the machine's state with
the results, and prints one line for each benchmark. The peers get their own kind of environment.
"""

from __future__ import annotations

import functools
import gc
import importlib.util
import itertools
import json
import math
import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from asv import results as asv_results
from asv import runner, util
from asv.commands import run
from asv.console import log
from asv.graph import Graph
from asv.plugins.virtualenv import Virtualenv
from asv.publishing import OutputPublisher
from asv.results import Results, get_err

from rnnbench.history import ResultsWarning, asv_commands, files, work_tree
from rnnbench.history.benchmark_names import method
from rnnbench.measure import state, variables
from rnnbench.report import libraries, page
from rnnbench.variants import THEANO_PYMC

_SHOWN_VALUES = 3  # the quick grid's
_WRITTEN_ATOMICALLY = {"machine.json", "benchmarks.json", ".asv-machine.json"}
_asvs_write_json = util.write_json


def setup() -> None:
    """Make asv store StatefulResults and `asv run` print one line for each benchmark; asv calls this at load."""
    variables.forget()
    util.write_json = _write_json
    run.Results = asv_results.Results = StatefulResults
    runner.format_benchmark_result = _format


class StatefulResults(Results):  # type: ignore[misc]  # asv has no types
    """asv's results of a commit and environment, with the machine's state during each measurement.

    The results file holds them as "state": a dict from benchmark to parameters to a list of states, one for each
    process that took samples. asv ignores this key. An asv without this plugin drops it when it rewrites the file.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._states: dict[str, dict[str, list[Any]]] = {}
        self._timed: dict[str, list[str]] = {}  # the shapes of each benchmark that this process timed
        self._loaded_from: Path | None = None

    @classmethod
    def load(cls, path: str, machine_name: str | None = None) -> StatefulResults:
        """Load a file's results. Its states are read only if it is written again, because most commands only read."""
        loaded: StatefulResults = super().load(path, machine_name)
        loaded._loaded_from = Path(path)
        return loaded

    @property
    def benchmark_version(self) -> dict[str, str]:
        """The versions of the benchmarks' methods: `asv compare` marks figures of different ones with an x."""
        return {name: method(name, version, self.date) for name, version in self._benchmark_version.items()}

    def load_data(self, result_dir: str) -> None:
        """Load the results and states of an earlier run, if any; asv calls this before each run that it stores."""
        super().load_data(result_dir)
        path = Path(result_dir, self._filename)
        if path.exists():
            self._states = json.loads(path.read_bytes()).get("state", {})
        # The processes that asv starts write their states to this folder.
        os.environ[state.NOTES] = _notes().name

    def add_result(
        self,
        benchmark: Mapping[str, Any],
        *arguments: Any,
        append_samples: bool = False,
        selected_idx: Iterable[int] | None = None,
        **options: Any,
    ) -> None:
        """Add the results and the states of the processes that have just ended, with the samples that each took."""
        before = self._sample_counts(benchmark) if append_samples else itertools.repeat(0)
        super().add_result(benchmark, *arguments, append_samples=append_samples, selected_idx=selected_idx, **options)
        states = self._states.pop(benchmark["name"], {})
        shapes = [", ".join(sizes) for sizes in itertools.product(*benchmark["params"])]
        taken = {
            shape: total - earlier
            for shape, total, earlier in zip(shapes, self._sample_counts(benchmark), before, strict=False)
        }
        selected = shapes if selected_idx is None else [shapes[position] for position in selected_idx]
        self._timed[benchmark["name"]] = selected
        values = dict(zip(shapes, self.get_result_value(benchmark["name"], benchmark["params"]), strict=True))
        if any(values[shape] is None for shape in selected):
            asv_commands.failures[benchmark["name"]] = self.stderr.get(benchmark["name"]) or ""
        if not append_samples:
            for shape in selected:
                states.pop(shape, None)
        notes = list(state.collect(Path(_notes().name)))
        if work_tree.changed(self.commit_hash, self.env_name):
            lacking = {*selected} - {shape for shape, _ in notes}
            notes += [(shape, {"marks": []}) for shape in lacking]
            notes = [(shape, {**note, "marks": [*note["marks"], "uncommitted"]}) for shape, note in notes]
        for shape, note in notes:
            # asv starts one process for each shape and call of this method.
            states.setdefault(shape, []).append({**note, "samples": taken.get(shape, 0)})
        if states:
            self._states[benchmark["name"]] = states

    def _sample_counts(self, benchmark: Mapping[str, Any]) -> list[int]:
        """Return the number of samples at each shape, in the order of asv's results."""
        name, params = benchmark["name"], benchmark["params"]
        if name not in self.get_all_result_keys():
            return [0] * math.prod(map(len, params))
        return [len(samples or ()) for samples in self.get_result_samples(name, params)]

    def save(self, result_dir: str) -> None:
        """Write asv's file with the states too, atomically."""
        if self._loaded_from is not None:  # `asv rm` removes benchmarks from it
            states = json.loads(self._loaded_from.read_bytes()).get("state", {})
            self._states = {name: states[name] for name in states if name in self._results}
        if any(self._profiles.values()):
            # Such a file is large, and viewing a stranger's profile isn't safe.
            log.warning("profiles aren't stored with the results: asv profile BENCHMARK shows one")
            self._profiles.clear()
        path = Path(result_dir, self._filename)
        with tempfile.TemporaryDirectory(prefix="rnnbench-") as folder:
            super().save(folder)
            content = json.loads(Path(folder, self._filename).read_bytes())
        version = content.pop("version")
        files.write(path, json.dumps({**content, "state": self._states, "version": version}).encode())


def _format(results: Results, benchmark: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return one line of progress about a benchmark, and its failures' messages.

    The line has the values at the shapes that aren't n/a, a doubtful one with a *. Of many shapes it has the range.
    It leaves out the shapes that only an earlier run timed.
    """
    name, params = benchmark["name"], benchmark["params"]
    shapes = [", ".join(sizes) for sizes in itertools.product(*params)]
    rows = zip(shapes, results.get_result_value(name, params), results.get_result_stats(name, params), strict=True)
    states = getattr(results, "_states", {}).get(name, {})
    timed = getattr(results, "_timed", {}).get(name, shapes)
    measured, failed = [], 0
    for shape, value, stats in rows:
        if shape not in timed:
            continue
        if value is None:
            failed += 1
        elif value == value:  # n/a is NaN
            error = get_err(value, stats) if stats else None
            doubtful = any(state["marks"] for state in states.get(shape, []))
            rounded = value if stats else float(f"{value:.3g}")
            text = util.human_value(rounded, benchmark["unit"], err=error)
            measured.append((value, f"{text}*" if doubtful else text))
    values = [text for _, text in measured]
    if len(values) > _SHOWN_VALUES:
        values = [f"{min(measured)[1]} to {max(measured)[1]} at {len(values)} shapes"]
    if failed:
        values.append(f"{failed} failed")
    return ", ".join(values) or "n/a", results.stderr.get(name) if failed else None


def _write_json(path: str, *arguments: Any, **options: Any) -> None:
    """Write asv's files beside the results atomically. asv would truncate them first. The dashboard's are too many."""
    if os.path.basename(path) not in _WRITTEN_ATOMICALLY:
        return _asvs_write_json(path, *arguments, **options)
    with tempfile.TemporaryDirectory(prefix="rnnbench-") as folder:
        fresh = Path(folder, "file.json")
        _asvs_write_json(str(fresh), *arguments, **options)
        files.write(Path(path), fresh.read_bytes())


@functools.cache
def _notes() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="rnnbench-")


class ResultsPage(OutputPublisher):  # type: ignore[misc]  # asv has no types
    """The results page in front of asv's pages, and local copies of the libraries that these load."""

    name = "results"
    button_label = page.TITLE
    description = "How fast each implementation is"

    @classmethod
    def publish(cls, conf: Any, repo: Any, benchmarks: Any, graphs: Any, revisions: Any) -> None:
        """Add the page and the libraries to the pages that asv has written."""
        if importlib.util.find_spec("markdown") is None:  # a machine that only times needn't have it
            return log.warning("markdown is missing, so there is no results page: pip install '.[bench]'")
        html = Path(conf.html_dir)
        _fill_summaries(html, benchmarks)
        # Millions of short-lived figures would make the garbage collector scan all of asv's objects again and again.
        gc.disable()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default", ResultsWarning)
            page.write(Path(conf.results_dir), html, Path(conf.repo), conf.project_url, conf.show_commit_url)
        gc.enable()
        for warning in caught:
            log.warning(str(warning.message))
        try:
            libraries.carry(html / page.ASV_PAGE)
        except libraries.LibrariesMissing as reason:
            log.warning(
                f"asv's pages will load their libraries from public servers, since {reason}. "
                "To copy them beside the pages, publish again with npm and a network."
            )


class Peers(Virtualenv):  # type: ignore[misc]
    """An environment with all frameworks except Theano: `asv run --environment peers`."""

    tool_name = "peers"

    def __init__(self, conf: Any, *arguments: Any) -> None:
        super().__init__(conf, *arguments)
        # The last command is for Theano alone.
        extra = f"[{self.tool_name}]"
        self._install_command = [command.replace("[theano]", extra) for command in conf.install_command[:-1]]
        self._install_timeout = 3600  # seconds; pip downloads several GB


class TheanoPyMC(Peers):
    """An environment with Theano-PyMC instead of Theano: `asv run --environment theano-pymc`."""

    tool_name = THEANO_PYMC


def _fill_summaries(html: Path, benchmarks: Iterable[str]) -> None:
    """Write an empty graph for each benchmark without results: asv's grid loads it, and browsers log missing files."""
    for name in benchmarks:
        path = html / (Graph.get_file_path({"summary": ""}, name) + ".json")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("[]")
