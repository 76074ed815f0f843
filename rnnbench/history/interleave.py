"""Time the variants of several environments in turn, shape by shape, so that machine drift favours none of them."""

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


def run(grid: str, machine: str, environments: Sequence[str], device: str, network: str = "lstm") -> int:
    """Time a grid at HEAD with asv in several environments, and return 0 or the exit status of the last failed run.

    `network` is the family whose grid it is. The grid "models" has all models instead. The environments have the names
    that `asv run --environment` takes. "existing:PYTHON" times all variants that run with this interpreter. Any other
    environment times the variants that pip can install there.

    Raises Unavailable if a PYTHON can't be started or has no rnnbench.
    """
    status = 0
    for command in commands(grid, machine, {name: available(name, device) for name in environments}, device, network):
        status = subprocess.run(command, env={**os.environ, "RNNBENCH_DEVICE": device}).returncode or status
    return status


def commands(
    grid: str, machine: str, environments: dict[str, Sequence[str]], device: str = "cpu", network: str = "lstm"
) -> Iterator[list[str]]:
    """Yield the `rnnbench run` commands that time a grid shape by shape, or model by model.

    `environments` gives the variants of each environment.
    """
    filters = {name: asv_filters(grid, names, device, network) for name, names in environments.items() if names}
    for patterns in zip(*filters.values(), strict=True):
        for arguments in in_turn(dict(zip(filters, patterns, strict=True)), machine):
            yield [sys.executable, "-m", "rnnbench", "run", *arguments]


def in_turn(patterns: dict[str, str], machine: str) -> Iterator[list[str]]:
    """Yield the arguments of `rnnbench run` that time one shape in several environments.

    `patterns` gives the benchmarks of each environment. The environments take half of their samples in this order, and
    the other half in reverse order. So a machine that slows down at a constant rate slows all of them equally. Only the
    times of calls are taken twice. Everything else is measured once.
    """
    for environment, pattern in patterns.items():
        yield [*_asv_run(machine, environment), "--record-samples", "--bench", pattern]
    for environment, pattern in reversed(patterns.items()):
        yield [*_asv_run(machine, environment), "--append-samples", "--bench", rf"^(?=.*\.time_)(?:{pattern})"]


def _asv_run(machine: str, environment: str) -> list[str]:
    options = ["--machine", machine, "--environment", environment, "--attribute", "rounds=1", "--show-stderr"]
    commit = ["--set-commit-hash", "HEAD"] if environment.startswith("existing:") else ["HEAD^!"]
    return [*commit, *options]


def available(environment: str, device: str) -> list[str]:
    """Return the variants to time in an environment: for "existing:PYTHON", those that can run there.

    Raises Unavailable if the PYTHON can't be started or has no rnnbench.
    """
    kind, _, python = environment.partition(":")
    if kind != "existing":
        return variants.installable(kind, device)
    try:
        answer = subprocess.run([python, "-c", _AVAILABLE.format(device=device)], capture_output=True, text=True)
        return json.loads(answer.stdout)
    except (OSError, ValueError) as problem:
        raise Unavailable(
            f"{python} isn't a Python with rnnbench. Install it there: {python} -m pip install -e ."
        ) from problem
