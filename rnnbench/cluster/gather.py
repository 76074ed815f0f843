"""Merge the figures of a sweep's tasks into the results."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from rnnbench.cluster import canary, rows
from rnnbench.cluster.sweep import Sweep
from rnnbench.history import NotFound, asv_commands, asv_files, files, nodes

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

    A results file that can't be used stays as it is, and what belongs into it isn't merged.

    Raises NotFound if a file of the sweep or of the results can't be used, and OSError if one can't be written. Then
    all earlier results are whole, and another call goes on.
    """
    with asv_commands.exclusive_folder("run"):
        return _gather(sweep, results)


def _gather(sweep: Sweep, results: Path) -> Gathered:
    ledger: dict[str, float] = sweep.read(_LEDGER) or {}
    benchmarks = sweep.read("benchmarks.json") or {}
    facts = sweep.read(f"{sweep.machine}/machine.json")
    described = results / sweep.machine / "machine.json"
    of_class = {key: fact for key, fact in (_load(described) or facts or {}).items() if key != "version"}
    known = _load(results / "benchmarks.json") or {}
    times = canary.times(sweep)
    documents: dict[Path, dict[str, Any]] = {}
    changed: dict[Path, int] = defaultdict(int)
    merged = {}
    left_out: dict[str, None] = {}
    names = sweep.names("done")
    for name in names:
        try:
            runs = [
                (described.with_name(f"{run['commit_hash'][:8]}-{run['env_name']}.json"), run)
                for run in _runs(sweep, name)
            ]
            for file, run in runs:
                if file not in documents:
                    documents[file] = _load(file) or {**run, "results": {}, "durations": {}, "state": {}}
        except NotFound as reason:
            left_out[str(reason)] = None
            continue
        merged[name] = (sweep.folder / "done" / f"{name}.json").stat().st_mtime
        for file, run in runs:
            changed[file] += _merge(documents[file], run, benchmarks, replace=ledger.get(name) != merged[name])
    if facts and not described.exists():
        files.write(described, json.dumps(facts, indent=4, sort_keys=True).encode())
    if (together := {**known, **benchmarks}) != known:
        files.write(results / "benchmarks.json", json.dumps(together, indent=4, sort_keys=True).encode())
    for file, document in documents.items():
        if changed[file]:
            facts_of_run = {**document["requirements"], "python": document["python"]}
            document["params"] = {"machine": sweep.machine, **of_class, **facts_of_run}
            version = document.pop("version")
            files.write(file, json.dumps({**document, "version": version}).encode())
    if times:
        nodes.save(times, results / sweep.machine)
    sweep.write(_LEDGER, merged)
    return Gathered(sum(changed.values()), len(names), list(left_out))


def _runs(sweep: Sweep, name: str) -> list[dict[str, Any]]:
    """Return what a task measured in each environment. Raises NotFound if its file can't be used."""
    runs: list[dict[str, Any]] = sweep.read(f"done/{name}.json")["runs"]
    try:
        for run in runs:
            asv_files.check("results", run)
            _check_rows(run)
            if any(len(values) != 1 for row in run["results"].values() for values in row[1]):
                raise ValueError("its results aren't those of one shape")
    except ValueError as reason:
        raise NotFound(f"{sweep.folder}/done/{name}.json can't be used: {reason}") from reason
    return runs


def _load(path: Path) -> dict[str, Any] | None:
    """Return the content of a file of the results, or None if there is none. Raises NotFound if it can't be used."""
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = asv_files.load(path)
        _check_rows(content)
    except ValueError as reason:
        raise NotFound(f"{path} can't be used: {reason}. Move it away, and gather again") from reason
    return content


def _check_rows(content: dict[str, Any]) -> None:
    for name, row in content.get("results", {}).items():
        if not rows.is_whole(row):
            raise ValueError(f"its {name} isn't as asv writes it")


def _merge(document: dict[str, Any], run: dict[str, Any], benchmarks: dict[str, Any], replace: bool) -> int:
    """Put a task's figures into a results file's content, and return how many."""
    count = 0
    states = document.setdefault("state", {})
    for name, one in run["results"].items():
        params = benchmarks[name]["params"] if name in benchmarks else []
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
