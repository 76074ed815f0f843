"""The program of a live process that rnnbench.live starts: it builds a network, and times its calls when asked to.

It also runs with the code of other commits. So the first three requests use only public names of rnnbench. Its
argument is the folder to import rnnbench from. It reads a line of JSON for each request, and answers with a line of
JSON. "functions" and "function" are "forward" and "train":

    {"implementation": ..., "shape": ..., "device": ..., "functions": [...]}
        builds the network and compiles its functions → {}
        "network" may hold the workload's other arguments. A second such request replaces the network.
    {"warm": function}
        calls the function until its times have settled → {}
    {"time": function, "calls": number}
        → {"seconds": [one number for each call]}
        "slowdown" may hold the share of its time by which each call is slowed.
    {"available": device, "names": [implementations]}
        → {"reasons": {implementation: null, or why it can't run}}
    {"save": path}
        writes the outputs and gradients to a .npz file, in this order → {}
    {"device_time": function}
        → {"seconds": the GPU's own time of a call, or null}

If a request fails, the answer is {"unavailable": reason} or {"failed": what happened}, and the process ends.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
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
        self._slowdown = float(os.environ.get("RNNBENCH_SLOWDOWN") or 0)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "implementation" in request:
            return self._build(**request)
        if "warm" in request:
            return self._warm(request["warm"])
        if "available" in request:
            return self._available(request["available"], request["names"])
        if "save" in request:
            return self._save(request["save"])
        if "device_time" in request:
            return self._device_time(request["device_time"])
        call = getattr(self._network, request["time"])
        slowdown = request.get("slowdown", self._slowdown)
        return {"seconds": [self._timed(call, slowdown) for _ in range(request["calls"])]}

    def _build(
        self,
        implementation: str,
        shape: list[int],
        device: str,
        functions: list[str],
        network: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        import rnnbench

        if self._network is not None:
            # Theano's graphs are reference cycles, which it froze. They would keep the memory of the last network.
            self._network = None
            gc.unfreeze()
            gc.collect()
        self._functions = functions
        self._network = rnnbench.build(implementation, rnnbench.Workload(*shape, **(network or {})), device=device)
        for function in functions:
            getattr(self._network, function)()
            self._network.synchronize()
        return {}

    def _available(self, device: str, names: list[str]) -> dict[str, Any]:
        import rnnbench

        return {"reasons": rnnbench.variants.available(device, names)}

    def _save(self, path: str) -> dict[str, Any]:
        import numpy as np

        gradients = self._network.gradients() if "train" in self._functions else []
        arrays = {f"{number}.{name}": array for number, layer in enumerate(gradients) for name, array in layer.items()}
        np.savez(path, outputs=self._network.outputs(), **arrays)
        return {}

    def _device_time(self, function: str) -> dict[str, Any]:
        from rnnbench.measure import device_time
        from rnnbench.network.contract import Unavailable

        try:
            return {"seconds": device_time.seconds(self._network, function)}
        except Unavailable:  # the call's own time is known all the same
            return {"seconds": None}

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

    def _timed(self, call: Any, slowdown: float) -> float:
        self._network.synchronize()
        start = time.perf_counter()
        call()
        self._network.synchronize()
        seconds = time.perf_counter() - start
        if slowdown:
            end = start + (1 + slowdown) * seconds
            while time.perf_counter() < end:
                pass
            seconds = time.perf_counter() - start
        return seconds


def _import_package(folder: Path) -> None:
    """Import rnnbench from a folder, but nothing else: the folder may also hold the packages of another interpreter."""
    spec = importlib.util.spec_from_file_location("rnnbench", folder / "rnnbench" / "__init__.py")
    package = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules["rnnbench"] = package
    spec.loader.exec_module(package)  # type: ignore[union-attr]


def main() -> int:
    """Answer the requests on stdin until it is closed, or until one fails."""
    # The process must not outlive the one that started it, which may have stopped it with SIGSTOP.
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    del sys.path[0]  # this file's folder
    # Frameworks print to stdout too, so the answers get a pipe of their own.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        requests = _Requests()
        for line in sys.stdin:
            problem = None
            try:
                if "rnnbench" not in sys.modules:
                    _import_package(Path(sys.argv[1]))
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
