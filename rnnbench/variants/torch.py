"""torch: the LSTM as PyTorch's nn.LSTM, which calls cuDNN's fused network on a GPU.

Products are in strict float32, or in TF32 with the option `tf32`.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from rnnbench.network.contract import Unavailable
from rnnbench.network.workload import Weights, Workload

# The beginning of PyTorch's name for each of our parameters. PyTorch stores them transposed.
_NAMES = {"W": "weight_ih_l", "U": "weight_hh_l", "b": "bias_ih_l"}
_SECOND_BIAS = "bias_hh_l"


class Network:
    """An LSTM in nn.LSTM. It follows the contract of network.contract.Network.

    PyTorch's other variants inherit from it and replace its private methods.
    """

    def __init__(self, work: Workload, device: str, tf32: bool = False) -> None:
        self._torch = torch = importlib.import_module("torch")
        if device == "cuda" and not torch.cuda.is_available():
            raise Unavailable(
                f"PyTorch {torch.__version__} can't use the GPU: install a PyTorch that is built for CUDA"
            )
        self._device = device
        self._tf32 = tf32
        self._depth = work.depth
        self._inputs = torch.tensor(work.inputs, device=device)
        self._targets = torch.tensor(work.targets, device=device)
        self._make(work.weights)

    def forward(self) -> Any:
        self._choose_precision()
        with self._torch.no_grad():
            return self._states(self._inputs)

    def train(self) -> Any:
        self._choose_precision()
        for parameter in self._parameters():
            parameter.grad = None
        states = self._states(self._inputs)
        self._torch.nn.functional.mse_loss(states, self._targets).backward()
        return [parameter.grad for parameter in self._parameters()]

    def synchronize(self) -> None:
        """Wait for all work on the GPU. On the CPU PyTorch's calls return when their work is done."""
        if self._device == "cuda":
            self._torch.cuda.synchronize()

    def outputs(self) -> np.ndarray:
        return self.forward().cpu().numpy()

    def gradients(self) -> Weights:
        self.train()
        return [{name: self._gradient(name, layer) for name in _NAMES} for layer in range(self._depth)]

    def _make(self, weights: Weights) -> None:
        hidden = len(weights[0]["U"])
        self._module = self._torch.nn.LSTM(hidden, hidden, len(weights)).to(self._device)
        with self._torch.no_grad():
            for number, layer in enumerate(weights):
                for name, torch_name in _NAMES.items():
                    self._parameter(torch_name, number).copy_(self._torch.tensor(layer[name].T))
                self._parameter(_SECOND_BIAS, number).zero_()

    def _states(self, inputs: Any) -> Any:
        return self._module(inputs)[0]

    def _parameters(self) -> list[Any]:
        return list(self._module.parameters())

    def _gradient(self, name: str, layer: int) -> np.ndarray:
        return np.array(self._parameter(_NAMES[name], layer).grad.cpu().numpy().T, order="C")

    def _parameter(self, name: str, layer: int) -> Any:
        return getattr(self._module, f"{name}{layer}")

    def _choose_precision(self) -> None:
        # PyTorch reads these settings of the whole process at each call, and other variants change them.
        self._torch.backends.cudnn.allow_tf32 = self._tf32
        self._torch.backends.cuda.matmul.allow_tf32 = self._tf32
