"""A sweep: one machine class at one commit, timed by many processes on many nodes. They share a folder.

    sweep.json          the machine's name, the commit, the device, the canary
    code/               a clone of the checkout at the commit; all tasks run this code
    NAME/machine.json   the facts of the machine class: those in the results, or the first node's
    benchmarks.json     what asv found in benchmarks/
    available/          for each environment: the implementations that can run there
    submitted/          for each submission: the job of each task
    running/            for each task: the node that runs it, which locks the file meanwhile
    done/               for each task: its figures
    failed/             for each task that failed: why
    canary/             for each GPU, or each node without one: its time of the canary
    unfit/              for each node that can't time anything: why
    jobs/               submitit's files; the output of each task

A task is named after its shape or model, such as 32x30x128x1. Each file is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rnnbench.cluster import contents
from rnnbench.history import NotFound, asv_commands, files

HOME = asv_commands.HOME / "sweeps"
CODE = "code"

# struct flock of fcntl(2): type, whence, start, length, process.
_LOCK = "hhqqi4x"


class Canary(NamedTuple):
    """What every node times, so that nodes can be compared."""

    grid: str
    group: str  # of networks; the grid's first shape or model is timed
    implementations: tuple[str, ...]  # the first that can run
    environments: tuple[str, ...]  # in the first that has it


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder, and what doesn't change in it."""

    folder: Path
    machine: str
    commit: str
    device: str
    canary: Canary

    @classmethod
    def load(cls, folder: Path) -> Sweep:
        """Return the sweep in a folder. Raises NotFound if there is none, or if its file can't be used."""
        content = contents.load(folder / "sweep.json")
        return cls(**{**content, "folder": folder, "canary": Canary(*map(_tuples, content["canary"]))})

    def create(self, repository: Path, results: Path) -> Sweep:
        """Make the folder, with a clone of the repository at the commit; return the sweep that the folder had, if any.

        The facts of the machine class are those that the results have, if any.

        Raises NotFound if git can't clone the repository.
        """
        if (self.folder / "sweep.json").exists():
            return self.load(self.folder)
        code = self.folder / CODE
        if not code.exists():
            partial = self.folder / f"{CODE}{files.PARTIAL}.{os.getpid()}"
            _git("clone", "--quiet", str(repository), str(partial))
            _git("-C", str(partial), "checkout", "--quiet", "--detach", self.commit)
            try:
                partial.rename(code)
            except OSError:  # another process was faster
                shutil.rmtree(partial)
        described = Path(self.machine, "machine.json")
        if (results / described).exists():
            files.write(self.folder / described, (results / described).read_bytes())
        content = asdict(self)
        del content["folder"]
        self.write("sweep.json", {**content, "canary": list(self.canary)})
        return self

    def write(self, name: str, content: Any) -> None:
        """Write a JSON file of the sweep. Raises OSError if that can't be done."""
        files.write(self.folder / name, json.dumps(content).encode())

    def write_first(self, name: str, content: Any) -> None:
        """Write a JSON file of the sweep, unless another process has written it."""
        if (self.folder / name).exists():
            return
        own = f"{name}.{node()}.{os.getpid()}"
        self.write(own, content)
        with contextlib.suppress(FileExistsError):
            os.link(self.folder / own, self.folder / name)
        (self.folder / own).unlink()

    def read(self, name: str) -> Any:
        """Return the content of a JSON file of the sweep, or None if there is no such file; needs jiter.

        Raises NotFound if the file can't be used.
        """
        path = self.folder / name
        return contents.load(path) if path.exists() else None

    def names(self, kind: str) -> list[str]:
        """Return the names of the tasks, or nodes, that have a file in one of the sweep's folders."""
        return sorted(path.stem for path in (self.folder / kind).glob("*.json"))

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Claim a task or a canary until the end of the block; yield whether no other process has claimed it.

        The claim is a lock on a file. It ends with the process, also if the node dies.
        """
        path = self.folder / "running" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        with path.open("a+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            file.truncate(0)
            file.write(json.dumps({"node": node(), "since": time.time()}))
            file.flush()
            yield True

    def running(self) -> dict[str, dict[str, Any]]:
        """Return who runs each claimed task: the node, and since when in seconds since 1970."""
        claimed = {}
        for name in self.names("running"):
            with (self.folder / "running" / f"{name}.json").open() as file:
                answer = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(_LOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
                if struct.unpack(_LOCK, answer)[0] != fcntl.F_UNLCK:
                    with contextlib.suppress(ValueError):  # it is being written
                        claimed[name] = json.loads(file.read())
        return claimed

    def submitted(self) -> dict[str, str]:
        """Return the job of each task in its last submission; it is empty for a job of this machine."""
        jobs: dict[str, str] = {}
        for name in sorted(self.names("submitted"), key=int):
            jobs |= self.read(f"submitted/{name}.json")
        return jobs

    def note_submission(self, jobs: dict[str, str]) -> None:
        """Store the job of each submitted task."""
        self.write(f"submitted/{time.time_ns()}.json", jobs)


def node() -> str:
    """Return this node's name: Slurm's, or else the host's."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def find(machine: str | None = None, home: Path = HOME) -> list[Sweep]:
    """Return the sweeps of this checkout, the newest last; only those of a machine if one is given.

    Raises NotFound if there is none.
    """
    paths = sorted(home.resolve().glob("*/sweep.json"), key=lambda path: path.stat().st_mtime)
    found = [sweep for sweep in (Sweep.load(path.parent) for path in paths) if machine in (None, sweep.machine)]
    if not found:
        whose = f" of {machine}" if machine else ""
        raise NotFound(f"{home} has no sweep{whose}: start one with rnnbench sweep GRID --machine NAME")
    return found


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise NotFound(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def head(repository: Path = Path()) -> str:
    """Return the hash of a repository's commit HEAD. Raises NotFound if there is none."""
    return _git("-C", str(repository), "rev-parse", "HEAD")
