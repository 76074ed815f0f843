"""jax_scan: the LSTM as a loop in JAX's lax.scan, compiled by XLA.

One matrix product outside the loop multiplies the inputs of the whole sequence by W. In the loop, one
product a step multiplies the hidden states by U, for all four gates. Products are in strict float32,
or in TF32 with the option `tf32`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from rnnbench.network.contract import Unavailable
from rnnbench.network.workload import GATES, Weights, Workload


class Network:
    """An LSTM in lax.scan. It follows the contract of network.contract.Network.

    jax_cudnn inherits from it and replaces its private methods.
    """

    def __init__(self, work: Workload, device: str, tf32: bool = False) -> None:
        # By default JAX reserves most of the GPU's memory at once, which hides how much a network needs.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        self._jax = jax = importlib.import_module("jax")
        try:
            self._device = jax.devices(device)[0]
        except RuntimeError as problem:
            line = str(problem).partition("\n")[0]
            raise Unavailable(f"JAX {jax.__version__} can't use the {device}: {line}") from problem
        self._precision = "high" if tf32 else "highest"
        self._sizes = [work.hidden] * (work.depth + 1)
        self._pending: list[Any] = []
        self._arguments = jax.device_put(self._prepare(work), self._device)

    @cached_property
    def forward(self) -> Callable[[], Any]:
        return self._compiled(lambda parameters, inputs, targets: self._states(parameters, inputs))

    @cached_property
    def train(self) -> Callable[[], Any]:
        def loss(parameters: Any, inputs: Any, targets: Any) -> Any:
            return ((self._states(parameters, inputs) - targets) ** 2).mean()

        return self._compiled(self._jax.value_and_grad(loss))

    def synchronize(self) -> None:
        """Wait for the results of all calls so far. JAX's calls return early, also on the CPU."""
        self._jax.block_until_ready(self._pending)
        self._pending.clear()

    def outputs(self) -> np.ndarray:
        return np.array(self.forward())

    def gradients(self) -> Weights:
        _, gradients = self.train()
        return [{name: np.array(array) for name, array in layer.items()} for layer in gradients]

    def _prepare(self, work: Workload) -> tuple[Any, np.ndarray, np.ndarray]:
        """Return the parameters, inputs and targets in the layout that `_states` uses."""
        return work.weights, work.inputs, work.targets

    def _states(self, parameters: Any, inputs: Any) -> Any:
        """Return the last layer's hidden states in the layout of the targets."""
        for layer in parameters:
            inputs = self._layer(layer, inputs)
        return inputs

    def _layer(self, weights: dict[str, Any], inputs: Any) -> Any:
        jax, numpy = self._jax, self._jax.numpy

        def step(carried: tuple[Any, Any], product: Any) -> tuple[tuple[Any, Any], Any]:
            state, cell = carried
            gates = product + numpy.matmul(state, weights["U"], precision=self._precision)
            i, f, g, o = numpy.split(gates, GATES, axis=1)
            cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * numpy.tanh(g)
            state = jax.nn.sigmoid(o) * numpy.tanh(cell)
            return (state, cell), state

        products = numpy.matmul(inputs, weights["W"], precision=self._precision) + weights["b"]
        zeros = numpy.zeros_like(inputs[0])
        return jax.lax.scan(step, (zeros, zeros), products)[1]

    def _compiled(self, function: Callable[..., Any]) -> Callable[[], Any]:
        compiled = self._jax.jit(function).lower(*self._arguments).compile()

        def call() -> Any:
            result = compiled(*self._arguments)
            self._pending.append(result)
            return result

        return call
