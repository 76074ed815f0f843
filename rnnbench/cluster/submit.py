"""Submit a sweep's tasks with submitit: as job arrays of Slurm, or as processes of this machine."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rnnbench.cluster import task as tasks
from rnnbench.cluster.plan import Task
from rnnbench.cluster.sweep import CODE, Sweep, node
from rnnbench.history import NotFound
from rnnbench.measure import gpu, threads

EXECUTORS = ("slurm", "local")
# A job that ends within this time can still say why.
_SIGNAL_SECONDS = 30
# The beginning of what a process of `local` claims.
_HERE = "local-"
# Slurm's own default.
_MAX_ARRAY_SIZE = 1001
# Slurm's words for a job that it won't start again, in squeue's manual.
_ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}


@dataclass(frozen=True)
class Settings:
    """How tasks are submitted."""

    executor: str = "slurm"
    partition: str | None = None
    account: str | None = None
    minutes: int = 60  # that one task may take
    running: int | None = None  # the most tasks at once; None for submitit's limit, or one for each GPU here
    sbatch: Mapping[str, Any] = field(default_factory=dict)  # further options of sbatch


_WORD = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 1}
_SCHEMA = {
    "type": "object",
    "properties": {
        "executor": {"enum": list(EXECUTORS)},
        **{"partition": _WORD, "account": _WORD, "minutes": _COUNT, "running": _COUNT},
        "sbatch": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
    },
}


def check_settings(content: Mapping[str, Any]) -> None:
    """Raise ValueError if one of the settings in a file has a value that can't be used; the message says which."""
    import fastjsonschema

    try:
        fastjsonschema.validate(_SCHEMA, content)
    except fastjsonschema.JsonSchemaValueException as error:
        raise ValueError(error.message.removeprefix("data.")) from error


def slurm(sweep: Sweep, missing: Sequence[Task], settings: Settings) -> None:
    """Submit tasks to Slurm, each as a job of an array, and store their jobs in the sweep.

    Slurm limits the size of an array, so there may be several: each begins when the one before has ended. Raises
    NotFound if Slurm isn't there or refuses them.
    """
    import submitit

    try:
        size = _array_size()
        executor = submitit.AutoExecutor(sweep.folder / "jobs", cluster="slurm", slurm_python=_python(sweep))
        executor.update_parameters(**parameters(sweep, settings))
        before = None
        for start in range(0, len(missing), size):
            if before:
                executor.update_parameters(slurm_dependency=f"afterany:{before}")
            part = missing[start : start + size]
            jobs = executor.map_array(tasks.run, part)
            before = jobs[0].job_id.partition("_")[0]
            sweep.note_submission({task.name: job.job_id for task, job in zip(part, jobs, strict=True)})
    except (RuntimeError, OSError) as reason:
        raise NotFound(f"Slurm can't take the jobs: {reason}") from reason


def parameters(sweep: Sweep, settings: Settings) -> dict[str, Any]:
    """Return submitit's parameters of a sweep's jobs in Slurm."""
    # The step gets all processors of its job. Since Slurm 22.05 it doesn't inherit their number.
    step = ["--cpu-bind=none"]
    if processors := settings.sbatch.get("cpus-per-task"):
        step.append(f"--cpus-per-task={processors}")
    chosen: dict[str, Any] = {
        "name": job_name(sweep),
        "timeout_min": settings.minutes,
        "stderr_to_stdout": True,
        "slurm_partition": settings.partition,
        "slurm_account": settings.account,
        "slurm_array_parallelism": settings.running,
        "slurm_signal_delay_s": _SIGNAL_SECONDS,
        "slurm_srun_args": step,
        "slurm_additional_parameters": {"requeue": True, **settings.sbatch},
    }
    if sweep.device == "cuda":
        chosen["gpus_per_node"] = 1  # Slurm gives a GPU to one job at a time
    else:
        chosen["slurm_exclusive"] = True
    return {name: value for name, value in chosen.items() if value is not None}


class InSlurm(NamedTuple):
    """What Slurm says of a job."""

    state: str  # Slurm's word, such as PENDING or TIMEOUT
    reason: str  # why it waits, or why it ended

    @property
    def has_ended(self) -> bool:
        """Whether Slurm won't start it again."""
        return self.state in _ENDED


def queue(sweep: Sweep) -> dict[str, InSlurm]:
    """Return the jobs of a sweep that Slurm has: those that wait or run, and those that ended some minutes ago.

    Raises NotFound if Slurm doesn't answer.
    """
    options = ["--noheader", "--array", "--me", "--states=all", f"--name={job_name(sweep)}", "--format=%i|%T|%r"]
    done = subprocess.run(["squeue", *options], capture_output=True, text=True)
    if done.returncode != 0:
        raise NotFound(f"squeue failed: {done.stderr.strip()}")
    lines = (line.split("|") for line in done.stdout.splitlines())
    return {job: InSlurm(state, reason) for job, state, reason in lines}


def job_name(sweep: Sweep) -> str:
    """Return the name of a sweep's jobs."""
    return f"rnnbench-{sweep.folder.name}"


def local(sweep: Sweep, missing: Sequence[Task], settings: Settings, tell: Callable[[str], object]) -> None:
    """Run tasks on this machine, one on each GPU at a time, or one at a time on the CPU; return when all have ended.

    Each GPU's task has an equal share of the processors. A task that fails doesn't stop the others. A GPU that
    doesn't work gets no further task.
    """
    with sweep.claim(f"{_HERE}{node()}-{os.getpid()}"):
        sweep.note_submission({task.name: "" for task in missing})
        asyncio.run(_local(sweep, deque(missing), settings, tell))


def is_here(sweep: Sweep) -> bool:
    """Return whether a process of `local` works on the sweep, on any machine."""
    return any(name.startswith(_HERE) for name in sweep.running())


async def _local(sweep: Sweep, left: deque[Task], settings: Settings, tell: Callable[[str], object]) -> None:
    slots = _gpus() if sweep.device == "cuda" else [None]
    slots = slots[: settings.running]
    # Two processors of a core slow each other down, so they belong to the same GPU.
    processors = threads.by_core()
    share = max(1, len(processors) // len(slots))
    await asyncio.gather(
        *(
            _work(sweep, left, settings, tell, slot, processors[place * share :][:share] if len(slots) > 1 else [])
            for place, slot in enumerate(slots)
        )
    )
    if left:
        raise NotFound(
            f"this machine can time none of the {len(left)} shapes that are left: rnnbench sweep --watch says why"
        )


async def _work(
    sweep: Sweep,
    left: deque[Task],
    settings: Settings,
    tell: Callable[[str], object],
    slot: int | None,
    processors: Sequence[int],
) -> None:
    """Run tasks on one GPU until none is left, or the GPU doesn't work."""
    import submitit

    # AutoExecutor can't say which GPU a job gets.
    executor = submitit.LocalExecutor(sweep.folder / "jobs", python=_python(sweep))
    executor.update_parameters(timeout_min=settings.minutes, stderr_to_stdout=True)
    if slot is not None:
        executor.update_parameters(gpus_per_node=1, visible_gpus=(slot,))
    where = "" if slot is None else f" on GPU {slot}"
    while left:
        task = left.popleft()
        job = executor.submit(tasks.run, task, processors)
        await job.awaitable().wait(0.1)
        outcome = tasks.FAILED if job.exception() else job.result()
        tell(f"{task.name}: {outcome}{where}")
        if outcome == tasks.UNFIT:
            left.append(task)
            return


def _gpus() -> list[int]:
    """Return the numbers of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return list(range(gpu.count()))
    if not re.fullmatch(r"\d+(,\d+)*", chosen):
        raise NotFound(f"CUDA_VISIBLE_DEVICES={chosen}: it must have numbers of GPUs here, such as 0,1")
    return [int(number) for number in chosen.split(",")]


def _python(sweep: Sweep) -> str:
    """Return the command that starts Python with the sweep's own code. Python prefers that of the current folder."""
    code = shlex.quote(str(sweep.folder / CODE))
    return f"env --chdir={code} PYTHONPATH={code} {shlex.quote(sys.executable)}"


def _array_size() -> int:
    """Return how many jobs an array may have."""
    done = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True)
    if done.returncode != 0:
        raise NotFound(f"scontrol failed: {done.stderr.strip()}")
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", done.stdout, re.MULTILINE)
    return max(1, int(found[1]) if found else _MAX_ARRAY_SIZE)
