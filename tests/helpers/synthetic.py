"""A made-up history as asv writes it: `python tests/helpers/synthetic.py FOLDER COMMITS` for one to time by hand."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from pathlib import Path

from rnnbench.network.shapes import PARAMS

COLUMNS = [
    "result",
    "params",
    "version",
    "started_at",
    "duration",
    "stats_ci_99_a",
    "stats_ci_99_b",
    "stats_q_25",
    "stats_q_75",
    "stats_number",
    "stats_repeat",
    "samples",
    "profile",
]
SHAPES = list(itertools.product(*PARAMS))
PREFIXES = ("Scan", "Cudnn", "CudnnTF32", "Torch", "TorchTF32")
MACHINES = ("north", "south", "west")


def sampled(values, repeat=20):
    """Return a timed benchmark's row; a value may be None (failed) or NaN (n/a)."""
    measured = [value is not None and value == value for value in values]

    def of_each(function):
        return [function(value) if there else None for value, there in zip(values, measured, strict=True)]

    return [
        values,
        [[str(size) for size in sizes] for sizes in PARAMS],
        "1",
        1795355173550,
        26.9,
        of_each(lambda value: value * 0.8),
        of_each(lambda value: value * 1.3),
        of_each(lambda value: value * 0.9),
        of_each(lambda value: value * 1.1),
        of_each(lambda value: 1),
        of_each(lambda value: repeat),
        of_each(lambda value: [value * (1 + 0.001 * n) for n in range(repeat)]),
    ]


def tracked(values):
    """Return a row of a benchmark that tracks a number."""
    return sampled(values)[:5]


def seconds(batch, seq, hidden, depth):
    return 1e-9 * batch**0.5 * seq * hidden * depth


def full_grid():
    """Return the results of every benchmark and shape."""
    times = [seconds(*shape) for shape in SHAPES]
    results = {}
    for number, prefix in enumerate(PREFIXES, start=1):
        own = [time / number for time in times]
        for method in ("forward", "train"):
            results[f"lstm.{prefix}LSTM.time_{method}"] = sampled(own)
            results[f"compile.{prefix}WarmBuild.timeraw_{method}"] = sampled(own, repeat=3)
            results[f"compile.{prefix}ColdBuild.timeraw_{method}"] = sampled([20 * time for time in own], repeat=3)
        results[f"memory.{prefix}Memory.track_train"] = tracked([10**6 * hidden for _, _, hidden, _ in SHAPES])
        for kind in ("outputs", "gradients"):
            results[f"accuracy.{prefix}Accuracy.track_{kind}"] = tracked([2e-7] * len(SHAPES))
    return results


def write_machine(results, machine, **facts):
    folder = results / machine
    folder.mkdir(parents=True, exist_ok=True)
    described = {"arch": "x86_64", "cpu": "A CPU", "machine": machine, "num_cpu": "2", "os": "Linux", "ram": "1"}
    (folder / "machine.json").write_text(json.dumps({**described, **facts, "version": 1}))


def write_run(results, machine, commit, content, date=1795354531000, environment="virtualenv-py3.11", state=None):
    """Write a results file of asv's layout, in the folder of a machine, with the states in it; return its path."""
    path = results / machine / f"{commit[:8]}-{environment}.json"
    document = {
        "commit_hash": commit,
        "env_name": environment,
        "date": date,
        "params": {"machine": machine, "python": "3.11"},
        "python": "3.11",
        "requirements": {},
        "env_vars": {},
        "result_columns": COLUMNS,
        "results": content,
        "durations": {},
        "state": state or {},
        "version": 2,
    }
    path.write_text(json.dumps(document))
    return path


def commit_hash(number):
    return hashlib.sha1(str(number).encode()).hexdigest()


def write(results, commits, machines=MACHINES):
    """Write a history of the full grid; the last commit is the newest. Return the commits' hashes."""
    content = full_grid()
    hashes = [commit_hash(number) for number in range(commits)]
    for machine in machines:
        write_machine(results, machine)
        for number, commit in enumerate(hashes):
            write_run(results, machine, commit, content, date=1700000000000 + number * 86400000)
    names = {name: {"name": name, "params": [[str(size) for size in sizes] for sizes in PARAMS]} for name in content}
    (results / "benchmarks.json").write_text(json.dumps({**names, "version": 2}))
    return hashes


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
