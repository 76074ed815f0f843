"""Merge the figures of a sweep's tasks into the results."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from rnnbench.cluster import canary, rows
from rnnbench.cluster.sweep import Sweep
from rnnbench.history import asv_commands, asv_files, files, nodes

# The tasks whose figures have been merged, and when each was done.
_LEDGER = "gathered.json"


class Gathered(NamedTuple):
    """What a call of `gather` did."""

    figures: int  # that were put into the results
    tasks: int  # that have figures
    left_out: list[str]  # a sentence for each file that can't be used


def gather(sweep: Sweep, results: Path) -> Gathered:
    """Put the figures of all tasks that are done into the results; a second call changes nothing.

    A task's figures replace those of its shape, when they are merged first. Later they are put only where a figure is
    absent: so a newer figure stays, and one that was lost comes back. All figures of the sweep's nodes belong to one
    machine, with the facts of the first node.

    Raises OSError if a file can't be written. Then all earlier results are whole, and another call goes on.
    """
    with asv_commands.exclusive_folder("run"):
        return _gather(sweep, results)


def _gather(sweep: Sweep, results: Path) -> Gathered:
    ledger: dict[str, float] = sweep.read(_LEDGER) or {}
    benchmarks = sweep.read("benchmarks.json") or {}
    documents: dict[str, dict[str, Any]] = {}
    changed: dict[str, int] = defaultdict(int)
    merged, left_out = {}, []
    names = sweep.names("done")
    for name in names:
        path = sweep.folder / "done" / f"{name}.json"
        try:
            runs = sweep.read(f"done/{name}.json")["runs"]
            for run in runs:
                asv_files.check("results", run)
        except (OSError, ValueError, KeyError, TypeError) as reason:
            left_out.append(f"{path} can't be used: {reason}")
            continue
        merged[name] = path.stat().st_mtime
        for run in runs:
            file = f"{run['commit_hash'][:8]}-{run['env_name']}.json"
            if file not in documents:
                documents[file] = _document(results / sweep.machine / file, run)
            changed[file] += _merge(documents[file], run, benchmarks, replace=ledger.get(name) != merged[name])
    facts = sweep.read(f"{sweep.machine}/machine.json")
    if facts is not None:
        _write_if_absent(results / sweep.machine / "machine.json", facts)
        facts = json.loads((results / sweep.machine / "machine.json").read_bytes())
    if benchmarks:
        _add_benchmarks(results / "benchmarks.json", benchmarks)
    for file, document in documents.items():
        if changed[file]:
            of_class = {key: fact for key, fact in facts.items() if key != "version"}
            document["params"] = {**of_class, **document["requirements"], "python": document["python"]}
            version = document.pop("version")
            files.write(results / sweep.machine / file, json.dumps({**document, "version": version}).encode())
    if times := canary.times(sweep):
        nodes.save(times, results / sweep.machine)
    sweep.write(_LEDGER, merged)
    return Gathered(sum(changed.values()), len(names), left_out)


def _document(path: Path, run: dict[str, Any]) -> dict[str, Any]:
    """Return the results file's content, or a new one for the environment of a task's run."""
    if path.exists():
        found: dict[str, Any] = asv_files.load(path)
        return found
    return {**run, "results": {}, "durations": {}, "state": {}}


def _merge(document: dict[str, Any], run: dict[str, Any], benchmarks: dict[str, Any], replace: bool) -> int:
    """Put a task's figures into a results file's content, and return how many."""
    count = 0
    states = document.setdefault("state", {})
    for name, one in run["results"].items():
        params = benchmarks[name]["params"] if name in benchmarks else one[1]
        row, is_put = rows.put(document["results"].get(name), one, params, replace)
        document["results"][name] = row
        if is_put:
            count += 1
            shape = ", ".join(values[0] for values in one[1])
            own = run.get("state", {}).get(name, {}).get(shape)
            if own:
                states.setdefault(name, {})[shape] = own
            else:
                states.get(name, {}).pop(shape, None)
    return count


def _write_if_absent(path: Path, content: Any) -> None:
    if not path.exists():
        files.write(path, json.dumps(content, indent=4, sort_keys=True).encode())


def _add_benchmarks(path: Path, benchmarks: dict[str, Any]) -> None:
    """Describe the sweep's benchmarks in asv's benchmarks.json, beside those that it has."""
    known = asv_files.load(path) if path.exists() else {}
    together = {**known, **benchmarks}
    if together != known:
        files.write(path, json.dumps(together, indent=4, sort_keys=True).encode())
