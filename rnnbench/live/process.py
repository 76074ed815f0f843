"""A live process that builds a network and times its calls on request, and is stopped between its turns."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from rnnbench.measure import failures
from rnnbench.network.contract import Unavailable
from rnnbench.network.shapes import PARAM_NAMES
from rnnbench.network.workload import Workload

_WORKER = Path(__file__).parents[1] / "worker.py"
_MOST_PADDING = 4096  # bytes
_SHOWN_LINES = 20
_MOST_SECONDS = 1200  # to answer; a first compilation on a slow machine takes minutes


class Failed(Exception):
    """A process that was compared failed; the message says what it printed."""


class Code(NamedTuple):
    """The code of one side of a comparison, and how it is run."""

    name: str  # for the messages
    folder: Path  # the folder that holds the package rnnbench
    python: str = sys.executable
    environment: Mapping[str, str] = {}  # variables that are set for it


class Process:
    """A process that builds networks and times their calls. Use it as a context manager.

    The process runs only while it answers. Otherwise it is stopped, so that threads which wait for work don't take
    processor time from other processes. The programs that it starts, such as compilers, are stopped with it. Its memory
    layout is drawn anew: an environment variable of random length moves its stack, and Python's hashes and Linux's
    addresses are random too.
    """

    def __init__(self, code: Code) -> None:
        self._code = code
        self._stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115, __exit__ closes it
        environment = {**os.environ, **code.environment, "RNNBENCH_PADDING": "x" * random.randrange(_MOST_PADDING)}
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                [code.python, str(_WORKER), str(code.folder)],
                env=environment,
                stdin=pipe,
                stdout=pipe,
                stderr=self._stderr,
                text=True,
                start_new_session=True,  # a group of its own, which `_signal` reaches and Ctrl-C doesn't
            )
        except OSError as problem:
            self._stderr.close()
            raise Failed(f"{code.name}: {code.python} can't be started: {problem.strerror}") from problem

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        self._signal(signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        self._process.wait()
        self._stderr.close()

    def build(self, implementation: str, work: Workload, device: str, functions: Sequence[str]) -> None:
        """Start to build a network and to compile its functions. `wait` returns when this is done."""
        shape = [getattr(work, name) for name in PARAM_NAMES]
        # Worker processes of earlier commits know no other arguments than the shape.
        plain = Workload(*shape)
        names = [field.name for field in fields(work)]
        network = {name: getattr(work, name) for name in names if getattr(work, name) != getattr(plain, name)}
        arguments = {"network": network} if network else {}
        self._start(implementation=implementation, shape=shape, device=device, functions=functions, **arguments)

    def wait(self) -> dict[str, Any]:
        """Return the answer to what was started, and stop the process.

        Raises Unavailable if the network can't be built here, and Failed if the process fails.
        """
        # A lost GPU can hold a process forever.
        if not select.select([self], [], [], _MOST_SECONDS)[0]:
            raise Failed(f"{self._code.name}: a process gave no answer within {_MOST_SECONDS} s")
        line = self._stdout.readline()
        answer = json.loads(line) if line.endswith("\n") else {"failed": self._last_words()}
        if "unavailable" in answer:
            raise Unavailable(f"{self._code.name}: {answer['unavailable']}")
        if "failed" in answer:
            raise Failed(f"{self._code.name}: {failures.explain(answer['failed']) or answer['failed']}")
        self.stop()
        return answer

    def stop(self) -> None:
        """Stop the process, also in the midst of an answer."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a stopped process run."""
        self._signal(signal.SIGCONT)

    def available(self, device: str, names: Sequence[str]) -> dict[str, str | None]:
        """Return a dict from each implementation to None, or to the reason why it can't run with this interpreter."""
        return self._ask(available=device, names=names)["reasons"]

    def save(self, path: Path) -> None:
        """Write the network's outputs, and its gradients if it was built to train, to a .npz file."""
        self._ask(save=str(path))

    def device_time(self, function: str) -> float | None:
        """Return the GPU's own time of a call in seconds; None if it can't be told."""
        return self._ask(device_time=function)["seconds"]

    def warm(self, function: str) -> None:
        """Call the network's "forward" or "train" until its times have settled."""
        self._ask(warm=function)

    def time(self, function: str, calls: int, slowdown: float = 0) -> list[float]:
        """Return the seconds of each of some calls, made one after the other.

        A selftest slows each call by a share of its time, `slowdown`.
        """
        arguments = {"slowdown": slowdown} if slowdown else {}
        return self._ask(time=function, calls=calls, **arguments)["seconds"]

    def _ask(self, **request: Any) -> dict[str, Any]:
        self._start(**request)
        return self.wait()

    def _start(self, **request: Any) -> None:
        self.go_on()
        with contextlib.suppress(BrokenPipeError):  # the process has ended: `wait` says why
            print(json.dumps(request), file=self._process.stdin, flush=True)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.killpg(self._process.pid, number)

    @property
    def _stdout(self) -> TextIO:
        return self._process.stdout  # type: ignore[return-value]

    def fileno(self) -> int:
        """Return the number of the file that `wait` reads, for `first_ready`."""
        return self._stdout.fileno()

    def _last_words(self) -> str:
        status = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().strip().splitlines()[-_SHOWN_LINES:]
        return "\n".join([f"a process ended with status {status}. The end of its output:", *lines])


def first_ready(processes: Iterable[Process]) -> Process:
    """Return one of the processes whose answer is there, as soon as there is one, or any if none comes for long."""
    waiting = list(processes)
    ready, _, _ = select.select(waiting, [], [], _MOST_SECONDS)
    return (ready or waiting)[0]
