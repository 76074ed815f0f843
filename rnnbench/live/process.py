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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnnbench.measure import failures
from rnnbench.network.contract import Unavailable
from rnnbench.network.shapes import Shape

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
    """A process with the network of one implementation at one shape. Use it as a context manager.

    The process runs only while it answers. Otherwise it is stopped, so that threads which wait for work don't take
    processor time from the other side. Its memory layout is drawn anew: an environment variable of random length moves
    its stack, and Python's hashes and Linux's addresses are random too.
    """

    def __init__(self, code: Code, implementation: str, shape: Shape, device: str, functions: Sequence[str]) -> None:
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
            )
        except OSError as problem:
            self._stderr.close()
            raise Failed(f"{code.name}: {code.python} can't be started: {problem.strerror}") from problem
        self._send(implementation=implementation, shape=shape, device=device, functions=functions)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        self._process.wait()
        self._stderr.close()

    def wait_until_built(self) -> None:
        """Wait until the network is built and its functions are compiled, and stop the process.

        Raises Unavailable if it can't be built here, and Failed if the process fails or imports other code.
        """
        folder = Path(self._receive()["folder"])
        if folder != self._code.folder.resolve():
            raise Failed(f"{self._code.name}: rnnbench was imported from {folder}, not from {self._code.folder}")
        self._process.send_signal(signal.SIGSTOP)

    def warm(self, function: str) -> None:
        """Call the network's "forward" or "train" until its times have settled."""
        self._ask(warm=function)

    def time(self, function: str, calls: int) -> list[float]:
        """Return the seconds of each of some calls, made one after the other."""
        return self._ask(time=function, calls=calls)["seconds"]

    def _ask(self, **request: Any) -> dict[str, Any]:
        self._process.send_signal(signal.SIGCONT)
        self._send(**request)
        answer = self._receive()
        self._process.send_signal(signal.SIGSTOP)
        return answer

    def _send(self, **request: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # the process has ended: _receive says why
            print(json.dumps(request), file=self._process.stdin, flush=True)

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout
        # A lost GPU can hold a process forever.
        if not select.select([self._process.stdout], [], [], _MOST_SECONDS)[0]:
            raise Failed(f"{self._code.name}: a process gave no answer within {_MOST_SECONDS} s")
        line = self._process.stdout.readline()
        answer = json.loads(line) if line.endswith("\n") else {"failed": self._last_words()}
        if "unavailable" in answer:
            raise Unavailable(f"{self._code.name}: {answer['unavailable']}")
        if "failed" in answer:
            raise Failed(f"{self._code.name}: {failures.explain(answer['failed']) or answer['failed']}")
        return answer

    def _last_words(self) -> str:
        status = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().strip().splitlines()[-_SHOWN_LINES:]
        return "\n".join([f"a process ended with status {status}. The end of its output:", *lines])
