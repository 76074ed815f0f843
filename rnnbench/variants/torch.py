"""torch: the LSTM as PyTorch's nn.LSTM, which is cuDNN's fused network on a GPU.

Products in strict float32, or with `tf32` in TF32.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np

from rnnbench import gpu
from rnnbench.variants.network import Unavailable
from rnnbench.workload import Weights, Workload

# PyTorch's names of the parameters, which it keeps transposed, for ours.
_NAMES = {"W": "weight_ih_l", "U": "weight_hh_l", "b": "bias_ih_l"}
_SECOND_BIAS = "bias_hh_l"


def unavailable(device: str) -> str | None:
    """Return None, or why PyTorch can't run on this device here, in one line; imports nothing."""
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is missing: python -m pip install 'rnnbench[torch]'"
    if device == "cuda" and gpu.driver() is None:
        return f"no NVIDIA driver: {gpu.DRIVER_NAMES[0]} was not found"
    return None


class Network:
    """An nn.LSTM; the contract is variants.Network's."""

    def __init__(self, work: Workload, device: str, tf32: bool = False) -> None:
        self._torch = torch = importlib.import_module("torch")
        if device == "cuda" and not torch.cuda.is_available():
            raise Unavailable(f"PyTorch {torch.__version__} can't use the GPU: install one that is built for CUDA")
        self._device = device
        self._tf32 = tf32
        self._depth = work.depth
        self._inputs = torch.tensor(work.inputs, device=device)
        self._targets = torch.tensor(work.targets, device=device)
        self._module = torch.nn.LSTM(work.hidden, work.hidden, work.depth).to(device)
        with torch.no_grad():
            for layer, weights in enumerate(work.weights):
                for name, theirs in _NAMES.items():
                    self._parameter(theirs, layer).copy_(torch.tensor(weights[name].T))
                self._parameter(_SECOND_BIAS, layer).zero_()

    def forward(self) -> Any:
        self._choose_precision()
        with self._torch.no_grad():
            return self._module(self._inputs)[0]

    def train(self) -> Any:
        self._choose_precision()
        self._module.zero_grad(set_to_none=True)
        states = self._module(self._inputs)[0]
        self._torch.nn.functional.mse_loss(states, self._targets).backward()
        return [parameter.grad for parameter in self._module.parameters()]

    def synchronize(self) -> None:
        """Wait for the GPU; on the CPU PyTorch's calls return when their work is done."""
        if self._device == "cuda":
            self._torch.cuda.synchronize()

    def outputs(self) -> np.ndarray:
        return self.forward().cpu().numpy()

    def gradients(self) -> Weights:
        self.train()
        return [
            {name: self._gradient(theirs, layer) for name, theirs in _NAMES.items()} for layer in range(self._depth)
        ]

    def _gradient(self, name: str, layer: int) -> np.ndarray:
        return np.array(self._parameter(name, layer).grad.cpu().numpy().T, order="C")

    def _parameter(self, name: str, layer: int) -> Any:
        return getattr(self._module, f"{name}{layer}")

    def _choose_precision(self) -> None:
        # PyTorch has one setting for the whole process, which it reads at each call.
        self._torch.backends.cudnn.allow_tf32 = self._tf32
