"""torch_loop: the network as a Python loop over PyTorch's operations, with autograd's backward pass.

One matrix product outside the loop multiplies the inputs of the whole sequence by W. In the loop, one
product a step multiplies the hidden states by U, for all gates. Products are in strict float32, in TF32 with the
option `tf32`, or in the workload's 16-bit type. Sequences of unequal lengths are packed. Each step then computes only
the sequences that have this step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnbench.network.workload import GATES, Workload
from rnnbench.variants import torch

supports = torch.supports


class Network(torch.Network):
    """A loop over the time steps. It follows the contract of network.contract.Network."""

    def _make(self, work: Workload) -> None:
        self._weights = [
            {
                name: self._torch.tensor(array, device=self._device, dtype=self._type, requires_grad=True)
                for name, array in weights.items()
            }
            for weights in work.weights
        ]
        self._step = self._make_step()

    def _make_step(self) -> Callable[..., Any]:
        return _step(self._torch, self._work.kind)

    def _states(self, inputs: Any) -> Any:
        states, directions = self._data(inputs), self._work.directions
        for number in range(0, len(self._weights), directions):
            outputs = [
                self._layer(weights, states, is_backward=bool(direction))
                for direction, weights in enumerate(self._weights[number : number + directions])
            ]
            states = outputs[0] if directions == 1 else self._torch.cat(outputs, -1)
        return states

    def _layer(self, weights: dict[str, Any], inputs: Any, is_backward: bool) -> Any:
        """Return the hidden states of one direction of a layer. Inputs and states are laid out as in `_states`."""
        torch = self._torch
        if self._is_packed:
            products = torch.addmm(weights["b"], inputs, weights["W"]).split(self._inputs.batch_sizes.tolist())
        else:
            products = torch.addmm(weights["b"], inputs.flatten(0, 1), weights["W"])
            products = products.unflatten(0, inputs.shape[:2]).unbind()
        order = slice(None, None, -1) if is_backward else slice(None)
        products = products[order]
        zeros = inputs.new_zeros(len(products[0]), self._work.hidden)
        carried = (zeros, torch.zeros_like(zeros)) if self._work.kind == "lstm" else (zeros,)
        constants = [weights[name] for name in ("U", "c") if name in weights]
        states = []
        for product in products:
            if self._is_packed:
                carried = tuple(_resized(torch, each, len(product)) for each in carried)
            carried = self._step(product, *carried, *constants)
            states.append(carried[0])
        return torch.cat(states[order]) if self._is_packed else torch.stack(states[order])

    def _parameters(self) -> list[Any]:
        return [parameter for weights in self._weights for parameter in weights.values()]

    def _gradient(self, name: str, number: int) -> Any:
        return self._weights[number][name].grad


def _step(torch: Any, kind: str) -> Callable[..., Any]:
    """Return a kind's step: a function of a product of inputs, what is carried, U, and gru's c.

    It returns what is carried to the next step: the states, (batch, hidden), and the cells of lstm.
    """

    def lstm(product: Any, state: Any, cell: Any, recurrent: Any) -> tuple[Any, Any]:
        i, f, g, o = torch.addmm(product, state, recurrent).chunk(GATES, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        return o.sigmoid() * cell.tanh(), cell

    def gru(product: Any, state: Any, recurrent: Any, bias: Any) -> tuple[Any]:
        sizes = [2 * len(bias), len(bias)]
        gates, candidate = product.split(sizes, 1)
        gates_recurrent, candidate_recurrent = (state @ recurrent).split(sizes, 1)
        r, z = (gates + gates_recurrent).sigmoid().chunk(2, 1)
        candidate = (candidate + r * (candidate_recurrent + bias)).tanh()
        return (torch.lerp(candidate, state, z),)

    def rnn_tanh(product: Any, state: Any, recurrent: Any) -> tuple[Any]:
        return (torch.addmm(product, state, recurrent).tanh(),)

    def rnn_relu(product: Any, state: Any, recurrent: Any) -> tuple[Any]:
        return (torch.addmm(product, state, recurrent).relu(),)

    steps: dict[str, Callable[..., Any]] = {"lstm": lstm, "gru": gru, "rnn_tanh": rnn_tanh, "rnn_relu": rnn_relu}
    return steps[kind]


def _resized(torch: Any, array: Any, rows: int) -> Any:
    """Return an array without its last rows, or with rows of zeros added: sequences end, or start from their end."""
    if rows <= len(array):
        return array[:rows]
    return torch.nn.functional.pad(array, (0, 0, 0, rows - len(array)))
