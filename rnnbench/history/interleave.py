"""Times variants of several environments in turn, shape by shape, so that a machine that drifts favours none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

from rnnbench import variants
from rnnbench.history.benchmark_names import asv_filters
from rnnbench.network.contract import Unavailable

_AVAILABLE = """
import json, rnnbench
print(json.dumps([name for name, reason in rnnbench.variants.available({device!r}).items() if reason is None]))
"""


def run(grid: str, machine: str, environments: Sequence[str], device: str) -> int:
    """Time a grid at HEAD with asv, in its environments as `asv run --environment` names them.

    In "existing:PYTHON" all variants that run there are timed, in the others those that pip can
    install there. Return 0, or the exit status of a run that failed.

    Raises Unavailable for a PYTHON that can't be asked.
    """
    status = 0
    for command in commands(grid, machine, {name: _variants(name, device) for name in environments}):
        status = subprocess.run(command, env={**os.environ, "RNNBENCH_DEVICE": device}).returncode or status
    return status


def commands(grid: str, machine: str, environments: dict[str, Sequence[str]]) -> Iterator[list[str]]:
    """Yield the runs of asv that time a grid's shapes one after the other, given each environment's variants.

    A shape's environments take half of their samples there and the other half on the way back: what
    gets slower at a constant rate slows them all alike. What isn't sampled is measured once.
    """
    patterns = {name: asv_filters(grid, found) for name, found in environments.items() if found}
    for of_shape in zip(*patterns.values(), strict=True):
        there = list(zip(patterns, of_shape, strict=True))
        for environment, pattern in there:
            yield [*_asv_run(machine, environment), "--record-samples", "--bench", pattern]
        for environment, pattern in reversed(there):
            yield [*_asv_run(machine, environment), "--append-samples", "--bench", f"^(?=lstm)(?:{pattern})"]


def _asv_run(machine: str, environment: str) -> list[str]:
    options = ["--machine", machine, "--environment", environment, "--attribute", "rounds=1", "--show-stderr"]
    commit = ["--set-commit-hash", "HEAD"] if environment.startswith("existing:") else ["HEAD^!"]
    return [sys.executable, "-m", "rnnbench", "run", *commit, *options]


def _variants(environment: str, device: str) -> list[str]:
    kind, _, python = environment.partition(":")
    if kind != "existing":
        return [name for name, row in variants.VARIANTS.items() if row.environment == kind and device in row.devices]
    try:
        asked = subprocess.run([python, "-c", _AVAILABLE.format(device=device)], capture_output=True, text=True)
        return json.loads(asked.stdout)
    except (OSError, ValueError) as problem:
        raise Unavailable(f"{python} isn't a Python with rnnbench: {python} -m pip install -e .") from problem
