"""The machine's state around the timed calls: observed, judged, and stored with the figures.

A process that times calls observes the machine once before them and once after them. It does nothing in between.
The numbers come from Linux's /proc and NVIDIA's NVML. A number that a container or another system hides is None.
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

from rnnbench.measure import container, cudnn_log, gpu, threads

# For each mark of a doubtful figure: what happened, and what to do.
MARKS = {
    "busy": "other programs used the processors: end them, and time it again",
    "governor": "the processors' clock follows their load: fix it (cpupower frequency-set -g performance), "
    "and time it again",
    "quota": "the container's quota of processor time stopped the program: raise it (docker run --cpus), or set "
    "OMP_NUM_THREADS lower, and time it again",
    "threads": "more threads computed than were asked for: give the process no more processors than threads (taskset), "
    "and time it again",
    "throttled": "power or heat held the GPU's clock back: cool it or raise its power limit, and time it again",
    "uncommitted": "the code that was timed isn't the commit's: commit your changes, and time it again",
    "shared": "another program computed on the GPU: end it, and time it again",
}

# One waiting thread makes a call longer by its wait, and 5% is the least change worth finding. docs/method.md has the
# figures.
_WAITED = 0.05
# Processor time that a host takes away isn't a wait but costs as much, so `others` has the same limit.
_OTHERS = 0.05
# Linux counts processor time in steps of 10 ms: two steps may be no load at all.
_STEPS = 0.02
# Processors that idle threads use while they look for work.
_IDLE_THREADS = 0.1
# A clock that is held back for a smaller share of the time doesn't change a median.
_HELD_BACK = 0.01

# The environment variable with the folder in which timing processes leave notes for the process that started them.
NOTES = "RNNBENCH_NOTES"

# The environment variable with the name of a cluster's node. Results of a single machine don't name it.
NODE = "RNNBENCH_NODE"

_STAT = Path("/proc/stat")
_TASKS = Path("/proc/self/task")
_GOVERNOR = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"


class Doubtful(Exception):
    """Figures or a machine can't be relied on. The message says why and what to do."""


class Observation(NamedTuple):
    """The machine's counters at one moment, in seconds."""

    time: float
    busy: float | None  # processor time worked, or taken away by a host, on the processors that this process may use
    own: float  # processor time of this process and of its children that have ended
    waited: dict[str, float] | None  # for each thread of this process: how long it was ready but had no processor
    stopped: float  # for how long a container's quota stopped its programs
    gpu: gpu.State | None


def observe(device: str) -> Observation:
    """Return the machine's counters now. This takes well under a millisecond, and a few milliseconds on a GPU."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return Observation(
        time.perf_counter(), _busy(), own, _waited(), container.stopped(), gpu.state() if device == "cuda" else None
    )


def between(first: Observation, last: Observation) -> dict[str, Any]:
    """Return the machine's state between two observations by one process, as it is stored with the results.

    seconds    the time from the first observation to the last
    cpus       the number of processors that this process may use
    threads    the number of threads that the variants were told to use
    used       the average number of processors that this process kept busy
    others     the average number of processors that other programs or a host kept busy
    waited     the share of the time for which a thread waited for a processor: the thread that waited longest
    stopped    the share of the time for which a container's quota stopped this process or others beside it
    governor   Linux's name of the policy that sets the processors' clock; several are sorted and joined by commas
    gpu        gpu.State at the last observation, with `held_back` counted from the first; None on the CPU
    node       the cluster's node; only if NODE names it
    marks      the names in MARKS that apply
    """
    seconds, own = last.time - first.time, last.own - first.own
    others = waited = None
    busy = _difference(first.busy, last.busy)
    # If the count is far below this process's own time, Linux doesn't keep it or counts other processors.
    if busy is not None and busy >= own / 2:
        others = max(0.0, busy - own) / seconds
    if first.waited is not None and last.waited is not None:
        earlier = first.waited
        waited = max(total - earlier.get(thread, 0) for thread, total in last.waited.items()) / seconds
    state: dict[str, Any] = {
        "seconds": _rounded(seconds),
        "cpus": len(os.sched_getaffinity(0)),
        "threads": threads.number(),
        "used": _rounded(own / seconds),
        "others": _rounded(others),
        "waited": _rounded(waited),
        "stopped": _rounded((last.stopped - first.stopped) / seconds),
        "governor": _governor(),
        "gpu": None,
    }
    if first.gpu is not None and last.gpu is not None:
        held_back = _difference(first.gpu.held_back, last.gpu.held_back)
        state["gpu"] = last.gpu._replace(held_back=_rounded(held_back))._asdict()
    if node := os.environ.get(NODE):
        state["node"] = node
    return state | {"marks": list(judge(state))}


def judge(state: Mapping[str, Any]) -> dict[str, str]:
    """Return why a figure measured in this state is doubtful: for each mark, a sentence with the numbers."""
    numbers = {}
    seconds, cpus, others, waited = state["seconds"], state["cpus"], state["others"], state["waited"]
    # Other programs delay a thread for at most as long as they work. The rest of its wait is for its own process.
    for_others = waited if others is None else min(waited or 0, others)
    if (others or 0) > max(_OTHERS, _STEPS / seconds) * cpus or (for_others or 0) > _WAITED:
        busy = f"they kept {_shown(others, '.2f')} of {cpus} processors busy"
        numbers["busy"] = f"{busy}; a thread waited for a processor for {_shown(waited, '.0%')} of the time"
    if state.get("stopped", 0) > _WAITED:
        numbers["quota"] = f"stopped for {state['stopped']:.0%} of the time"
    # With any other governor the clock follows the load, and a short call may end before the clock has risen.
    if state["governor"] not in (None, "performance"):
        numbers["governor"] = f"governor {state['governor']}"
    if not state["gpu"] and state["used"] > state["threads"] + _IDLE_THREADS:
        numbers["threads"] = f"{state['used']} processors used, {state['threads']} threads asked for"
    if gpu_state := state["gpu"]:
        if gpu_state["reasons"] or (gpu_state["held_back"] or 0) > _HELD_BACK * seconds:
            reasons = " and ".join(gpu_state["reasons"] or ["power or heat"])
            numbers["throttled"] = f"{gpu_state['sm_mhz']} of {gpu_state['sm_mhz_most']} MHz, held back by {reasons}"
        if gpu_state["programs"]:
            numbers["shared"] = f"other programs on the GPU: {gpu_state['programs']}"
    return {mark: f"{MARKS[mark]} ({details})" for mark, details in numbers.items()}


def now(device: str) -> dict[str, Any]:
    """Return the machine's state, as `between` does, during one second in which this process does nothing."""
    first = observe(device)
    time.sleep(1)
    return between(first, observe(device))


def watch(
    device: str, parameters: str, libraries: Mapping[str, str] | None = None, cudnn: cudnn_log.Choice | None = None
) -> None:
    """Observe the machine from now to the end of this process, and write its state to the folder that NOTES names.

    `parameters` are the benchmark's, as asv writes them: "32, 30, 128, 1". The note also holds the versions of the
    libraries that compute, and how cuDNN computes. Does nothing if NOTES isn't set.
    """
    if folder := os.environ.get(NOTES):
        computed = {"libraries": libraries or {}, "cudnn": cudnn._asdict() if cudnn else None}
        first = observe(device)
        atexit.register(lambda: _write_note(Path(folder), parameters, between(first, observe(device)) | computed))


def collect(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the parameters and the state of each note in a folder, and remove the notes."""
    for path in sorted(folder.glob("*.json")):
        note = json.loads(path.read_bytes())
        yield note["parameters"], note["state"]
        path.unlink()


def _write_note(folder: Path, parameters: str, state: dict[str, Any]) -> None:
    (folder / f"{os.getpid()}.json").write_text(json.dumps({"parameters": parameters, "state": state}))
    for sentence in judge(state).values():
        print(f"doubtful: {sentence}", file=sys.stderr)


def _busy() -> float | None:
    """Return for how many seconds the processors of this process have been busy since the machine booted."""
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
    # A container may list other processors than this process may use.
    return None if wanted else steps / os.sysconf("SC_CLK_TCK")


def _waited() -> dict[str, float] | None:
    """Return for how many seconds each thread of this process has been ready but had no processor."""
    waited = {}
    try:
        running = os.listdir(_TASKS)
    except OSError:  # there is no /proc
        return None
    for thread in running:
        with contextlib.suppress(OSError, IndexError, ValueError):  # the thread has ended, or Linux doesn't keep this
            waited[thread] = int((_TASKS / thread / "schedstat").read_text().split()[1]) / 1e9
    return waited or None


def _governor() -> str | None:
    names = set()
    for number in os.sched_getaffinity(0):
        try:
            names.add(Path(_GOVERNOR.format(number)).read_text().strip())
        except OSError:
            return None
    return ", ".join(sorted(names))


def _difference(first: float | None, last: float | None) -> float | None:
    return None if first is None or last is None else last - first


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)


def _shown(number: float | None, form: str) -> str:
    return "an unknown part" if number is None else format(number, form)
