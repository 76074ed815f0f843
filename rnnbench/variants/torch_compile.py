"""torch_compile: the loop of torch_loop, its step compiled by torch.compile.

Not the whole loop, which torch.compile unrolls: that would compile for minutes, and anew for each length.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from functools import cached_property
from typing import Any

from rnnbench.variants import torch_loop


def unavailable(device: str) -> str | None:
    """Return None, or why torch.compile can't run here, in one line."""
    if not shutil.which("g++"):
        return "torch.compile needs the C++ compiler g++: install it (on Debian and Ubuntu: apt-get install g++)"
    return None


class Network(torch_loop.Network):
    """A loop over compiled steps; the contract is network.contract.Network's.

    A sequence of two steps compiles all that there is: a step from states without gradients, and from others.
    """

    @cached_property
    def forward(self) -> Callable[[], Any]:
        self._choose_precision()
        with self._torch.no_grad():
            self._states(self._inputs[:2])
        return super().forward

    @cached_property
    def train(self) -> Callable[[], Any]:
        self._choose_precision()
        self._states(self._inputs[:2]).sum().backward()
        return super().train

    def _make_step(self) -> Any:
        # A step is soon compiled: a pool of processes takes longer to start, and would do so while others are timed.
        settings: Any = importlib.import_module("torch._inductor.config")
        settings.compile_threads = 1
        # By default eight versions of a function may be compiled, here of all of a process's networks.
        self._torch._dynamo.config.recompile_limit = 1000
        return self._torch.compile(super()._make_step(), fullgraph=True, dynamic=False)
