"""In what state the machine is while it times: observed around the timed calls, and judged here.

A process that times looks once before its calls and once after them: nothing is done in between. The
figures need Linux's /proc and NVIDIA's NVML; what a container or another system hides is None.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rnnbench.measure import cudnn_log, gpu, threads
from rnnbench.network.shapes import Shape

# What makes a figure doubtful, and what to do about it.
MARKS = {
    "busy": "other programs used the processors: end them, and time it again",
    "governor": "the processors' clock follows their load: fix it (cpupower frequency-set -g performance), "
    "and time it again",
    "threads": "more threads computed than were asked for: give the process no more processors than threads (taskset), "
    "and time it again",
    "throttled": "power or heat held the GPU's clock back: cool it or raise its power limit, and time it again",
    "shared": "another program computed on the GPU: end it, and time it again",
}

# The threads of a call wait for each other: one that waits for 5% of the time makes it that much longer, which is
# the least change worth finding. On a quiet machine a thread waits for 0.03%.
_WAITED = 0.05
# What a host takes away is no wait, and costs as much.
_OTHERS = 0.05
# Linux counts a processor's time in steps of 10 ms: two of them may be no load at all.
_STEPS = 0.02
# What a thread that has nothing to do takes, looking for work.
_IDLE_THREADS = 0.1
# A clock that is held back for less doesn't show in a median.
_HELD_BACK = 0.01

# The variable with the folder where processes leave what they have seen, for the one that started them.
NOTES = "RNNBENCH_NOTES"

_STAT = Path("/proc/stat")
_TASKS = Path("/proc/self/task")
_GOVERNOR = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"


class Doubtful(Exception):
    """Figures, or a machine, that can't be relied on; the message says why and what to do."""


class Look(NamedTuple):
    """What the machine has counted so far, in seconds."""

    time: float
    busy: float | None  # of the processors that this process may use: what they worked, or were taken away by a host
    own: float  # what this process worked, and those that it has started and that have ended
    waited: dict[str, float] | None  # how long each thread of this process was ready and had no processor
    gpu: gpu.State | None


def look(device: str) -> Look:
    """Return what the machine has counted so far; takes well under a millisecond, on a GPU a few."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return Look(time.perf_counter(), _busy(), own, _waited(), gpu.state() if device == "cuda" else None)


def between(first: Look, last: Look) -> dict[str, Any]:
    """Return the machine's state between two looks of a process, as it is stored with the results.

    seconds    from the first look to the last
    cpus       how many processors this process may use
    threads    how many threads the variants were told to use
    used       processors that this process kept busy, on average
    others     processors that were busy otherwise, on average
    waited     the part of the time that a thread of this process waited for a processor: that of the one
               that waited longest
    governor   what sets the processors' clock: Linux's names, sorted, with a comma between them
    gpu        gpu.State at the last look, `held_back` since the first; None on the CPU
    marks      those of MARKS that apply
    """
    seconds, own = last.time - first.time, last.own - first.own
    others = waited = None
    busy = _difference(first.busy, last.busy)
    # Where it is less than this process's own it isn't counted, or is that of other processors.
    if busy is not None and busy >= own / 2:
        others = max(0.0, busy - own) / seconds
    if first.waited is not None and last.waited is not None:
        began = first.waited
        waited = max(total - began.get(thread, 0) for thread, total in last.waited.items()) / seconds
    state: dict[str, Any] = {
        "seconds": _rounded(seconds),
        "cpus": len(os.sched_getaffinity(0)),
        "threads": threads.number(),
        "used": _rounded(own / seconds),
        "others": _rounded(others),
        "waited": _rounded(waited),
        "governor": _governor(),
        "gpu": None,
    }
    if first.gpu is not None and last.gpu is not None:
        held_back = _difference(first.gpu.held_back, last.gpu.held_back)
        state["gpu"] = last.gpu._replace(held_back=_rounded(held_back))._asdict()
    return state | {"marks": list(judge(state))}


def judge(state: Mapping[str, Any]) -> dict[str, str]:
    """Return what makes a figure of this state doubtful: a name of MARKS, and a sentence with the numbers."""
    found = {}
    seconds, cpus, others, waited = state["seconds"], state["cpus"], state["others"], state["waited"]
    # A thread waits for others no longer than they work: what is beyond that, it waited for its own process's threads.
    for_others = waited if others is None else min(waited or 0, others)
    if (others or 0) > max(_OTHERS, _STEPS / seconds) * cpus or (for_others or 0) > _WAITED:
        of = f"{_shown(others, '.2f')} of {cpus} busy with them"
        found["busy"] = f"{of}; waited for one for {_shown(waited, '.0%')} of the time"
    # Under any other the clock follows the load, and a short call may end before it has risen.
    if state["governor"] not in (None, "performance"):
        found["governor"] = f"governor {state['governor']}"
    if not state["gpu"] and state["used"] > state["threads"] + _IDLE_THREADS:
        found["threads"] = f"{state['used']} processors used, {state['threads']} threads asked for"
    if on_gpu := state["gpu"]:
        if on_gpu["reasons"] or (on_gpu["held_back"] or 0) > _HELD_BACK * seconds:
            by = " and ".join(on_gpu["reasons"] or ["power or heat"])
            found["throttled"] = f"{on_gpu['sm_mhz']} of {on_gpu['sm_mhz_most']} MHz, held back by {by}"
        if on_gpu["programs"]:
            found["shared"] = f"other programs on the GPU: {on_gpu['programs']}"
    return {mark: f"{MARKS[mark]} ({numbers})" for mark, numbers in found.items()}


def now(device: str) -> dict[str, Any]:
    """Return the state of a second in which this process does nothing, as between does."""
    first = look(device)
    time.sleep(1)
    return between(first, look(device))


def watch(
    device: str, shape: Shape, libraries: Mapping[str, str] | None = None, cudnn: cudnn_log.Choice | None = None
) -> None:
    """At the end of this process, leave in the folder that NOTES names in what state the machine was since now.

    With it go the versions of the libraries that computed, and how cuDNN did, under these names.
    """
    if folder := os.environ.get(NOTES):
        computed = {"libraries": libraries or {}, "cudnn": cudnn._asdict() if cudnn else None}
        first = look(device)
        atexit.register(lambda: _leave(Path(folder), shape, between(first, look(device)) | computed))


def collect(folder: Path) -> Iterator[tuple[Shape, dict[str, Any]]]:
    """Yield what has been left in a folder, and remove it."""
    for path in sorted(folder.glob("*.json")):
        note = json.loads(path.read_bytes())
        yield Shape(*note["shape"]), note["state"]
        path.unlink()


def _leave(folder: Path, shape: Shape, state: dict[str, Any]) -> None:
    (folder / f"{os.getpid()}.json").write_text(json.dumps({"shape": shape, "state": state}))
    for sentence in judge(state).values():
        print(f"doubtful: {sentence}", file=sys.stderr)


def _busy() -> float | None:
    wanted = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    steps = 0
    try:
        for line in _STAT.read_text().splitlines():
            name, *counts = line.split()
            if name in wanted:
                user, nice, system, _idle, _iowait, interrupts, soft_interrupts, stolen = map(int, counts[:8])
                steps += user + nice + system + interrupts + soft_interrupts + stolen
                wanted.remove(name)
    except (OSError, ValueError):
        return None
    # A container may show other numbers than those of the affinity.
    return None if wanted else steps / os.sysconf("SC_CLK_TCK")


def _waited() -> dict[str, float] | None:
    waited = {}
    for thread in os.listdir(_TASKS):
        with contextlib.suppress(OSError, IndexError, ValueError):  # it has ended; or Linux doesn't keep this
            waited[thread] = int((_TASKS / thread / "schedstat").read_text().split()[1]) / 1e9
    return waited or None


def _governor() -> str | None:
    found = set()
    for number in os.sched_getaffinity(0):
        try:
            found.add(Path(_GOVERNOR.format(number)).read_text().strip())
        except OSError:
            return None
    return ", ".join(sorted(found))


def _difference(first: float | None, last: float | None) -> float | None:
    return None if first is None or last is None else last - first


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)


def _shown(number: float | None, form: str) -> str:
    return "an unknown part" if number is None else format(number, form)
