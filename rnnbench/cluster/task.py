"""Run a task of a sweep on a node: time all implementations of one shape in turn, and write the figures to one file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
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
from rnnbench.history import asv_commands, files, interleave, machine, work_tree
from rnnbench.measure import gpu, state
from rnnbench.measure.state import Doubtful
from rnnbench.network.contract import Unavailable

# What became of a task. An unfit node leaves it to the others.
DONE, FAILED, ELSEWHERE, UNFIT = "done", "failed", "elsewhere", "unfit"
_ATTEMPTS = 2
_BENCHMARKS = "benchmarks.json"
_SIGNAL_SECONDS = 0.5
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
        failed, unfit = f"failed/{task.name}.json", f"unfit/{node()}.json"
        (sweep.folder / failed).unlink(missing_ok=True)  # it is tried anew
        try:
            with _sigterm_raises():
                sweep.write(f"done/{task.name}.json", _measured_twice(sweep, task))
        except _Unfit as reason:
            sweep.write(unfit, {"sentence": str(reason)})
            print(f"rnnbench: this node is left out: {reason}", flush=True)
            _queue_elsewhere(sweep)
            return UNFIT
        except (Exception, asv_commands.Ended) as reason:
            sweep.write(failed, {"node": node(), "sentence": _sentence(reason)})
            if isinstance(reason, asv_commands.Ended):
                _queue_again_in_grace_time()
            raise
        (sweep.folder / unfit).unlink(missing_ok=True)
        return DONE


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Raise asv_commands.Ended at SIGTERM in this block. Elsewhere submitit ignores it, and Slurm waits a while."""

    def end(number: int, frame: object) -> None:
        raise asv_commands.Ended(number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _measured_twice(sweep: Sweep, task: Task) -> dict[str, Any]:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _measured(sweep, task)
        except Exception as reason:
            # A signal that ends the job may reach a process that it waits for a moment earlier.
            time.sleep(_SIGNAL_SECONDS)
            if isinstance(reason, _Unfit):
                raise
            _check_gpu(sweep.device)
            if attempt == _ATTEMPTS or not isinstance(reason, (asv_commands.Failed, OSError)):
                raise
            print(f"rnnbench: {reason}. It is tried once more", flush=True)
    raise AssertionError


def _measured(sweep: Sweep, task: Task) -> dict[str, Any]:
    """Return the content of the task's file."""
    start = time.time()
    with tempfile.TemporaryDirectory(prefix="rnnbench-") as folder, _discovered_once(sweep), work_tree.unchanging():
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
        runs = [
            rows.compact(json.loads(path.read_bytes()), task.parameters)
            for path in sorted((private / "results" / sweep.machine).glob("*.json"))
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
def _discovered_once(sweep: Sweep) -> Iterator[None]:
    """Let asv run the sweep's benchmarks in this block. The first task of a sweep looks for them, for half a second.

    asv is given only those that a run selects, because it writes a description of all that it is given.
    """
    from asv.benchmarks import Benchmarks

    def known(config: Any, repository: Any, environments: Any, commits: Any, regex: Any) -> Any:
        if (described := sweep.read(_BENCHMARKS)) is None:
            found = Benchmarks._disc_benchmarks(config, repository, environments, commits, check=False)
            described = {one["name"]: one for one in found} | {"version": Benchmarks.api_version}
            sweep.write_first(_BENCHMARKS, described)
        every = [one for name, one in described.items() if name != "version"]
        return Benchmarks(config, list(Benchmarks(config, every, regex).values()), regex)

    discover = Benchmarks.discover
    Benchmarks.discover = known
    try:
        yield
    finally:
        Benchmarks.discover = discover


def _time(private: Path, arguments: Sequence[str]) -> dict[str, str]:
    """Call `asv run` with these arguments; return a sentence for each benchmark that failed."""
    asv_commands.run(arguments, private=private)
    return {name: _last_line(text) for name, text in asv_commands.failures.items()}


def _describe(sweep: Sweep, *folders: Path) -> None:
    """Write the facts of the machine class into folders for asv_commands.run; the first node of a class measures them.

    Raises _Unfit if this is another kind of machine, or if it has no GPU.
    """
    name = f"{sweep.machine}/machine.json"
    try:
        if sweep.device == "cuda":
            gpu.name()  # a driver without a GPU says so, in a millisecond
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
            _check_gpu(sweep.device)  # the sweep must not take a broken GPU's word
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


def _queue_elsewhere(sweep: Sweep) -> None:
    """Let Slurm give this job to a node that isn't unfit. Without Slurm, the caller does."""
    if (job := _job()) and int(os.environ.get("SLURM_RESTART_COUNT", 0)) < _MOST_REQUEUES:
        subprocess.run(["scontrol", "requeue", job], check=True)
        # A running job's nodes can't be changed. Slurm refuses this if no node is left: then any may try again.
        subprocess.run(["scontrol", "update", f"JobId={job}", f"ExcNodeList={','.join(sweep.names('unfit'))}"])


def _queue_again_in_grace_time() -> None:
    """Queue this job again if it has been told to end while Slurm still has it as running.

    So it is preempted in a partition with a GraceTime, or its node shuts down. Slurm itself queues a preempted job
    again only if it hasn't ended in that time. At any other end Slurm has already decided what becomes of the job.
    """
    if job := _job():
        state = subprocess.run(["squeue", "--noheader", "--format=%T", f"--jobs={job}"], capture_output=True, text=True)
        if state.stdout.strip() == "RUNNING":
            subprocess.run(["scontrol", "requeue", job], check=True)


def _job() -> str | None:
    """Return Slurm's name of this job; None if submitit runs it without Slurm.

    The last job of an array has the array's number as SLURM_JOB_ID, which names all jobs of the array.
    """
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return None
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


def _only(benchmarks: Iterable[str], parameters: str) -> str:
    return rf"^({'|'.join(benchmarks)})\({parameters}\)$"


def _sentence(reason: BaseException) -> str:
    if isinstance(reason, asv_commands.Ended):
        return f"the job was told to end ({reason.signal.name}): it was cancelled, preempted, or at its time limit"
    # submitit raises this in its handler of the signal that comes before the end of a job's time.
    if "timed-out" in str(reason):
        return "the job reached its time limit: allow more with --minutes"
    return _last_line(str(reason)) or type(reason).__name__


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it ended without a word"
