"""torch_loop: the LSTM as a Python loop over PyTorch's operations, with autograd's backward pass.

One matrix product outside the loop multiplies the inputs of the whole sequence by W. In the loop, one
product a step multiplies the hidden states by U, for all four gates. Products are in strict float32,
or in TF32 with the option `tf32`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnbench.network.workload import GATES, Weights
from rnnbench.variants import torch


class Network(torch.Network):
    """A loop over the time steps. It follows the contract of network.contract.Network."""

    def _make(self, weights: Weights) -> None:
        self._weights = [
            {name: self._torch.tensor(array, device=self._device, requires_grad=True) for name, array in layer.items()}
            for layer in weights
        ]
        self._step = self._make_step()

    def _make_step(self) -> Any:
        torch = self._torch

        def step(product: Any, state: Any, cell: Any, recurrent: Any) -> tuple[Any, Any]:
            """Return the next states and cells, (batch, hidden)."""
            i, f, g, o = torch.addmm(product, state, recurrent).chunk(GATES, 1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            return o.sigmoid() * cell.tanh(), cell

        return step

    def _states(self, inputs: Any) -> Any:
        states = inputs
        for layer in self._weights:
            states = self._layer(layer, states)
        return states

    def _layer(self, weights: dict[str, Any], inputs: Any) -> Any:
        """Return a layer's hidden states, (seq, batch, hidden)."""
        products = self._torch.addmm(weights["b"], inputs.flatten(0, 1), weights["W"])
        state, cell = self._torch.zeros_like(inputs[0]), self._torch.zeros_like(inputs[0])
        states = []
        for product in products.unflatten(0, inputs.shape[:2]).unbind():
            state, cell = self._step(product, state, cell, weights["U"])
            states.append(state)
        return self._torch.stack(states)

    def _parameters(self) -> list[Any]:
        return [parameter for layer in self._weights for parameter in layer.values()]

    def _gradient(self, name: str, layer: int) -> np.ndarray:
        return self._weights[layer][name].grad.cpu().numpy()
