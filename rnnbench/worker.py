"""The program of a live process that rnnbench.live starts: it builds a network, and times its calls when asked to.

It also runs with the code of other commits, so it uses only public names of rnnbench. Its argument is the folder to
import rnnbench from. It reads a line of JSON for each
request, and answers with a line of JSON. "functions" and "function" are "forward" and "train":

    {"implementation": ..., "shape": ..., "device": ..., "functions": [...]}
        compiles the network's functions → {"folder": the folder that rnnbench was imported from}
    {"warm": function}
        calls the function until its times have settled → {}
    {"time": function, "calls": number}
        → {"seconds": [one number for each call]}

If a request fails, the answer is {"unavailable": reason} or {"failed": what happened}, and the process ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
# The seconds and calls of a warm-up. docs/method.md has the figures.
_LEAST_SECONDS, _MOST_SECONDS = 0.2, 1.0
_LEAST_CALLS = 8


class _Requests:
    """The requests that this process answers."""

    def __init__(self) -> None:
        self._network: Any = None
        # `rnnbench selftest` slows a process by this share of each call's time.
        self._slowdown = float(os.environ.get("RNNBENCH_SLOWDOWN") or 0)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "implementation" in request:
            return self._build(**request)
        if "warm" in request:
            return self._warm(request["warm"])
        call = getattr(self._network, request["time"])
        return {"seconds": [self._timed(call) for _ in range(request["calls"])]}

    def _build(self, implementation: str, shape: list[int], device: str, functions: list[str]) -> dict[str, Any]:
        import rnnbench

        self._network = rnnbench.build(implementation, rnnbench.Workload(*shape), device=device)
        for function in functions:
            getattr(self._network, function)()
            self._network.synchronize()
        return {"folder": str(Path(rnnbench.__file__).resolve().parents[1])}

    def _warm(self, function: str) -> dict[str, Any]:
        call = getattr(self._network, function)
        start, calls = time.perf_counter(), 0
        while True:
            call()
            self._network.synchronize()
            calls += 1
            seconds = time.perf_counter() - start
            if seconds > _LEAST_SECONDS and (calls >= _LEAST_CALLS or seconds > _MOST_SECONDS):
                return {}

    def _timed(self, call: Any) -> float:
        self._network.synchronize()
        start = time.perf_counter()
        call()
        self._network.synchronize()
        seconds = time.perf_counter() - start
        if self._slowdown:
            end = start + (1 + self._slowdown) * seconds
            while time.perf_counter() < end:
                pass
            seconds = time.perf_counter() - start
        return seconds


def main() -> int:
    """Answer the requests on stdin until it is closed, or until one fails."""
    # The process must not outlive the one that started it, which may have stopped it with SIGSTOP.
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    sys.path[0] = sys.argv[1]  # instead of this file's folder
    # Frameworks print to stdout too, so the answers get a pipe of their own.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        requests = _Requests()
        for line in sys.stdin:
            problem = None
            try:
                answer = requests.answer(json.loads(line))
            except Exception as failure:
                problem = failure
                traceback.print_exc()
                kind = "unavailable" if type(failure).__name__ == "Unavailable" else "failed"
                first_line = str(failure).partition("\n")[0]
                answer = {kind: first_line if kind == "unavailable" else f"{type(failure).__name__}: {first_line}"}
            print(json.dumps(answer), file=answers, flush=True)
            if problem:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
