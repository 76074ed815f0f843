"""torch_compile: the loop of torch_loop, with its step compiled by torch.compile.

torch.compile would unroll the whole loop. Compiling that takes minutes, and again for each sequence length.
If the sequences have unequal lengths, the step is compiled once for all numbers of sequences.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from functools import cached_property
from typing import Any

from rnnbench.variants import torch_loop

supports = torch_loop.supports


def unavailable(device: str) -> str | None:
    """Return None if torch.compile can run here, or one line that says why not."""
    if not shutil.which("g++"):
        return "torch.compile needs the C++ compiler g++: install it (on Debian and Ubuntu: apt-get install g++)"
    return None


class Network(torch_loop.Network):
    """A loop over compiled steps. It follows the contract of network.contract.Network.

    Looking up `forward` or `train` runs two time steps, or all if the sequences have unequal lengths. This compiles
    all versions of the step: for the initial states, which need no gradients, and for later states.
    """

    @cached_property
    def forward(self) -> Callable[[], Any]:
        self._choose_precision()
        with self._torch.no_grad():
            self._states(self._first_inputs())
        return super().forward

    @cached_property
    def train(self) -> Callable[[], Any]:
        self._choose_precision()
        self._states(self._first_inputs()).sum().backward()
        return super().train

    def _first_inputs(self) -> Any:
        return self._inputs if self._is_packed else self._inputs[:2]

    def _make_step(self) -> Callable[..., Any]:
        # A step compiles fast. torch's pool of compiling processes would take longer to start, and could still be
        # starting during a timing.
        settings: Any = importlib.import_module("torch._inductor.config")
        settings.compile_threads = 1
        # By default torch compiles at most eight versions of a function. All networks of a process share this limit.
        self._torch._dynamo.config.recompile_limit = 1000
        return self._torch.compile(super()._make_step(), fullgraph=True, dynamic=self._is_packed)
