"""A made-up history of results, in asv's format.

`python tests/helpers/synthetic.py FOLDER COMMITS` writes one, so that you can time a command on many results.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from pathlib import Path

from rnnbench.network.models import MODELS
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
    """Return the row of a timed benchmark. A value may be None (the shape failed) or NaN (n/a)."""

    def column(function):
        return [None if value is None or value != value else function(value) for value in values]

    return [
        values,
        [[str(size) for size in sizes] for sizes in PARAMS],
        "1",
        1795355173550,
        26.9,
        column(lambda value: value * 0.8),
        column(lambda value: value * 1.3),
        column(lambda value: value * 0.9),
        column(lambda value: value * 1.1),
        column(lambda value: 1),
        column(lambda value: repeat),
        column(lambda value: [value * (1 + 0.001 * n) for n in range(repeat)]),
    ]


def of_models(row, **values):
    """Return the row of a timed or tracked benchmark of models, with these values by name, and n/a for all others.

    `row` is `sampled` or `tracked`. A name has _ for -.
    """
    given = {name.replace("_", "-"): value for name, value in values.items()}
    names = list(MODELS)
    assert given.keys() <= set(names)
    made = row([given.get(name, float("nan")) for name in names])
    made[COLUMNS.index("params")] = [[repr(name) for name in names]]
    return made


def tracked(values):
    """Return the row of a benchmark that tracks a number. It has no statistics and no samples."""
    return sampled(values)[:5]


def seconds(batch, seq, hidden, depth):
    return 1e-9 * batch**0.5 * seq * hidden * depth


def full_grid():
    """Return made-up results of every benchmark in every shape."""
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
    """Write a results file in asv's format, with the machine's states, into the machine's folder. Return its path."""
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
    """Write a history of the full grid. Return the commits' hashes, the newest last."""
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
