"""Say how far a sweep is: what is done, running and waiting, what failed and why, and the time left."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from typing import Any, NamedTuple

from rnnbench.cluster import canary, submit
from rnnbench.cluster.sweep import Sweep
from rnnbench.history import nodes

# Slurm's words for a job that has a node, but no claim of its task yet or any more.
_STARTING = ("CONFIGURING", "RUNNING", "COMPLETING")


class Progress(NamedTuple):
    """The state of each submitted task of a sweep."""

    done: dict[str, dict[str, Any]]  # the tasks' files
    running: dict[str, dict[str, Any]]  # the node, and since when in seconds since 1970
    waiting: dict[str, str]  # Slurm's reason; empty for a task of this machine
    failed: dict[str, str]  # why
    lost: dict[str, str]  # what is known of a task that ended without a word

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of tasks in each state."""
        return tuple(len(tasks) for tasks in (self.done, self.running, self.waiting, self.failed, self.lost))

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return not self.running and not self.waiting

    @property
    def seconds_left(self) -> float | None:
        """The time until all tasks are done, at the pace of those that are; None if nobody knows."""
        if not self.done or not self.running:
            return None
        mean = statistics.fmean(task["seconds"] for task in self.done.values())
        begun = sum(min(mean, time.time() - task["since"]) for task in self.running.values())
        return (mean * (len(self.running) + len(self.waiting)) - begun) / len(self.running)


def look(sweep: Sweep) -> Progress:
    """Return the state of a sweep's tasks now. Raises NotFound if Slurm doesn't answer."""
    submitted = sweep.submitted()
    # Slurm is asked first: a task that ends after that is found among the done ones.
    queued = submit.queue(sweep) if any(submitted.values()) else {}
    running, here = sweep.running(), submit.is_here(sweep)
    done, failed = set(sweep.names("done")), set(sweep.names("failed"))
    found = Progress({}, {}, {}, {}, {})
    for name, job in submitted.items():
        if name in running:
            found.running[name] = running[name]
        elif job in queued and not queued[job].has_ended:
            found.waiting[name] = "" if queued[job].state in _STARTING else queued[job].reason
        elif name in done:
            found.done[name] = sweep.read(f"done/{name}.json")
        elif name in failed:
            found.failed[name] = "{sentence} (on {node})".format(**sweep.read(f"failed/{name}.json"))
        elif here and not job:
            found.waiting[name] = ""
        elif job in queued:
            found.lost[name] = f"its job {job} ended without figures; Slurm says {queued[job].state}"
        elif job:
            found.lost[name] = f"its job {job} ended without figures, killed or with its node"
        else:
            found.lost[name] = "its process ended without figures, killed or with its node"
    return found


def lines(sweep: Sweep, found: Progress) -> list[str]:
    """Return the progress of a sweep as text: counts, reasons, the time left and the canary."""
    total = sum(found.counts)
    counts = [f"{len(found.done)} of {total} shapes done"]
    for count, word in (
        (len(found.running), "running"),
        (len(found.waiting), "waiting"),
        (len(found.failed), "failed"),
        (len(found.lost), "lost"),
    ):
        if count:
            counts.append(f"{count} {word}")
    left = found.seconds_left
    ending = f"; about {duration(left)} left" if left is not None else ""
    text = [f"{sweep.machine} at {sweep.commit[:8]}: {', '.join(counts)}{ending}"]
    for name, task in sorted(found.running.items(), key=lambda item: item[1]["since"]):
        text.append(f"  running: {name} on {task['node']}, for {duration(time.time() - task['since'])}")
    for reason, count in Counter(filter(None, found.waiting.values())).most_common():
        text.append(f"  waiting: {count}, Slurm says {reason}")
    text += [f"  failed: {name}: {sentence}" for name, sentence in found.failed.items()]
    for name, task in found.done.items():
        text += [f"  failed twice: {name}: {where}: {sentence}" for where, sentence in task["failures"].items()]
    text += [f"  lost: {name}: {sentence}; see {sweep.folder}/jobs" for name, sentence in found.lost.items()]
    text += [f"  {node} is left out: {sweep.read(f'unfit/{node}.json')['sentence']}" for node in sweep.names("unfit")]
    text += [f"  {line}" for line in nodes.sentences(canary.times(sweep))]
    if found.is_over and (found.failed or found.lost):
        text.append("To try the failed and lost ones again, call the same rnnbench sweep again.")
    if found.is_over and found.done:
        text.append(f"To merge the figures into the results: rnnbench gather --machine {sweep.machine}")
    return text


def duration(seconds: float) -> str:
    """Return a time in words, such as "45 s", "12 min" or "3 h 20 min"."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes >= 10 else f"{minutes * 60 + seconds} s"
