"""Run a task of a sweep on a node: time all implementations of one shape in turn, and write the figures to one file."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rnnbench.cluster import canary, plan, rows
from rnnbench.cluster.plan import Task
from rnnbench.cluster.sweep import CODE, Sweep, node
from rnnbench.history import asv_commands, files, interleave, machine
from rnnbench.measure import state
from rnnbench.measure.state import Doubtful
from rnnbench.network.contract import Unavailable

# What became of a task. An unfit node leaves it to the others.
DONE, FAILED, ELSEWHERE, UNFIT = "done", "failed", "elsewhere", "unfit"
_ATTEMPTS = 2
_MOST_REQUEUES = 20  # of a job that came to unfit nodes
# A process of its own, because a driver that has failed once fails in its process for good.
_TRY_GPU = "from rnnbench.measure import gpu; gpu.used_memory()"


class _Unfit(Exception):
    """This node can't time anything; the message says why."""


def run(task: Task, processors: Sequence[int] = ()) -> str:
    """Run a task on this node, and return what became of it: DONE, FAILED, ELSEWHERE or UNFIT.

    `processors` are those that the task may use, or empty for all that the process may use. A failed figure is tried
    twice, and so is the whole task. A job of Slurm that comes to a node whose GPU doesn't work queues again.
    """
    sweep = Sweep.load(task.folder)
    if processors:
        os.sched_setaffinity(0, processors)
    os.environ |= {"RNNBENCH_DEVICE": sweep.device, state.NODE: node()}
    os.chdir(sweep.folder / CODE)
    with sweep.claim(task.name) as claimed:
        if not claimed:
            return ELSEWHERE
        if (done := sweep.read(f"done/{task.name}.json")) and plan.covers(done, task):
            return DONE
        try:
            sweep.write(f"done/{task.name}.json", _measured_twice(sweep, task))
        except _Unfit as reason:
            sweep.write(f"unfit/{node()}.json", {"sentence": str(reason)})
            print(f"rnnbench: this node is left out: {reason}", flush=True)
        except Exception as reason:
            sweep.write(f"failed/{task.name}.json", {"node": node(), "sentence": _sentence(reason)})
            raise
        else:
            for earlier in (f"failed/{task.name}.json", f"unfit/{node()}.json"):
                (sweep.folder / earlier).unlink(missing_ok=True)
            return DONE
    _queue_again()
    return UNFIT


def _measured_twice(sweep: Sweep, task: Task) -> dict[str, Any]:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _measured(sweep, task)
        except _Unfit:
            raise
        except Exception as reason:
            _check_gpu(sweep.device)
            if attempt == _ATTEMPTS or not isinstance(reason, (asv_commands.Failed, OSError)):
                raise
            print(f"rnnbench: {reason}. It is tried once more", flush=True)
    raise AssertionError


def _measured(sweep: Sweep, task: Task) -> dict[str, Any]:
    """Return the content of the task's file."""
    start = time.time()
    with tempfile.TemporaryDirectory(prefix="rnnbench-") as folder, _discovered_once():
        private, for_canary = Path(folder, "task"), Path(folder, "canary")
        _describe(sweep, private, for_canary)
        patterns = {
            environment: task.pattern(names, sweep.device)
            for environment, names in _split(sweep, task).items()
            if names
        }
        if not patterns:
            raise asv_commands.Failed(f"no environment has any of {', '.join(task.implementations)}")
        canary.measure(sweep, for_canary)
        failures: dict[str, str] = {}
        for arguments in interleave.in_turn(patterns, sweep.machine):
            environment = arguments[arguments.index("--environment") + 1]
            failed = _time(private, arguments)
            if failed:
                _check_gpu(sweep.device)
                failed = _time(private, [*arguments[:-1], _only(failed, task.parameters)])
            failures |= {f"{name} in {environment}": sentence for name, sentence in failed.items()}
        results = private / "results"
        sweep.write_first("benchmarks.json", json.loads((results / "benchmarks.json").read_bytes()))
        runs = [
            rows.compact(json.loads(path.read_bytes()), task.parameters)
            for path in sorted((results / sweep.machine).glob("*.json"))
            if path.name != "machine.json"
        ]
    return {
        "node": node(),
        "implementations": task.implementations,
        "grids": task.grids,
        "seconds": round(time.time() - start, 1),
        "failures": failures,
        "runs": runs,
    }


@contextlib.contextmanager
def _discovered_once() -> Iterator[None]:
    """Let asv look for benchmarks once in this block, and not in each run, where that takes half a second."""
    from asv.benchmarks import Benchmarks

    discover = Benchmarks._disc_benchmarks
    found: list[Any] = []

    def once(*arguments: Any) -> Any:
        if not found:
            found.append(discover(*arguments))
        return copy.deepcopy(found[0])

    Benchmarks._disc_benchmarks = once
    try:
        yield
    finally:
        Benchmarks._disc_benchmarks = discover


def _time(private: Path, arguments: Sequence[str]) -> dict[str, str]:
    """Call `asv run` with these arguments; return a sentence for each benchmark that failed."""
    asv_commands.run(arguments, private=private)
    return {name: _last_line(text) for name, text in asv_commands.failures.items()}


def _describe(sweep: Sweep, *folders: Path) -> None:
    """Write the facts of the machine class into folders for asv_commands.run; the first node of a class measures them.

    Raises _Unfit if this is another kind of machine, or if its GPU doesn't work.
    """
    _check_gpu(sweep.device)
    name = f"{sweep.machine}/machine.json"
    try:
        if sweep.read(name) is None:
            facts = machine.describe(sweep.machine, sweep.device, sweep.folder)
            sweep.write_first(name, {**facts, "version": 1})
        of_class = {key: fact for key, fact in sweep.read(name).items() if key != "version"}
        machine.check(of_class, sweep.device)
    except (Doubtful, Unavailable) as reason:
        raise _Unfit(str(reason)) from reason
    for folder in folders:
        files.write(folder / ".asv-machine.json", json.dumps({sweep.machine: of_class, "version": 1}).encode())


def _split(sweep: Sweep, task: Task) -> dict[str, list[str]]:
    """Return the implementations to time in each environment: in the first one that has them."""
    left = list(task.implementations)
    names = {}
    for environment in task.environments:
        known = plan.available(sweep, environment)
        if known is None:
            known = interleave.available(environment, sweep.device)
            plan.note_available(sweep, environment, known)
        names[environment] = [name for name in left if name in known]
        left = [name for name in left if name not in known]
    return names


def _check_gpu(device: str) -> None:
    """Raise _Unfit if the GPU doesn't work."""
    if device == "cuda":
        done = subprocess.run([sys.executable, "-c", _TRY_GPU], capture_output=True, text=True)
        if done.returncode != 0:
            raise _Unfit(f"the GPU doesn't work: {_last_line(done.stderr)}")


def _queue_again() -> None:
    """Let Slurm give this job to another node. Without Slurm, the caller does."""
    job = os.environ.get("SLURM_JOB_ID")
    if job and int(os.environ.get("SLURM_RESTART_COUNT", 0)) < _MOST_REQUEUES:
        subprocess.run(["scontrol", "requeue", job], check=True)
        time.sleep(60)  # Slurm ends this process


def _only(benchmarks: Iterable[str], parameters: str) -> str:
    return rf"^({'|'.join(benchmarks)})\({parameters}\)$"


def _sentence(reason: Exception) -> str:
    # submitit raises this in its handler of the signal that comes before the end of a job's time.
    if "timed-out" in str(reason):
        return "the job reached its time limit: allow more with --minutes"
    return _last_line(str(reason)) or type(reason).__name__


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it ended without a word"
