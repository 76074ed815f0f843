"""jax_scan: the network as a loop in JAX's lax.scan, compiled by XLA.

One matrix product outside the loop multiplies the inputs of the whole sequence by W. In the loop, one
product a step multiplies the hidden states by U, for all gates. Products are in strict float32, in TF32 with the
option `tf32`, or in the workload's 16-bit type. If the sequences have unequal lengths, a mask makes the states zero
outside of each.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from rnnbench.measure import failures
from rnnbench.network.contract import Unavailable, unsupported
from rnnbench.network.workload import FLOAT, GATES, KINDS, PRECISIONS, Weights, Workload


def supports(work: Workload) -> str | None:
    """Return None: this loop computes every workload."""
    return unsupported(
        work, tuple(KINDS), other_inputs=True, bidirectional=True, unequal_lengths=True, precisions=tuple(PRECISIONS)
    )


class Network:
    """A network in lax.scan. It follows the contract of network.contract.Network.

    jax_cudnn inherits from it and replaces its private methods.
    """

    def __init__(self, work: Workload, device: str, tf32: bool = False) -> None:
        # By default JAX reserves most of the GPU's memory at once, which hides how much a network needs.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        self._jax = jax = importlib.import_module("jax")
        try:
            self._device = jax.devices(device)[0]
        except RuntimeError as problem:
            if failures.is_passing(problem):
                raise
            line = str(problem).partition("\n")[0]
            raise Unavailable(f"JAX {jax.__version__} can't use the {device}: {line}") from problem
        self._precision = "high" if tf32 else "highest"
        self._work = work
        self._type = jax.numpy.dtype(work.precision)
        self._pending: list[Any] = []
        parameters, inputs, targets = self._prepare(work)
        # The targets stay in float32: the loss is computed in it, as in mixed precision.
        parameters, inputs = jax.tree.map(lambda array: array.astype(self._type, copy=False), (parameters, inputs))
        self._arguments = jax.device_put((parameters, inputs, targets), self._device)

    @cached_property
    def forward(self) -> Callable[[], Any]:
        return self._compiled(lambda parameters, inputs, targets: self._states(parameters, inputs))

    @cached_property
    def train(self) -> Callable[[], Any]:
        def loss(parameters: Any, inputs: Any, targets: Any) -> Any:
            return self._mean((self._states(parameters, inputs).astype(targets.dtype) - targets) ** 2)

        return self._compiled(self._jax.value_and_grad(loss))

    def synchronize(self) -> None:
        """Wait for the results of all calls so far. JAX's calls return early, also on the CPU."""
        self._jax.block_until_ready(self._pending)
        self._pending.clear()

    def outputs(self) -> np.ndarray:
        return np.array(self.forward(), FLOAT)

    def gradients(self) -> Weights:
        _, gradients = self.train()
        return [
            {name: np.array(array, FLOAT) / FLOAT(self._work.loss_scale) for name, array in weights.items()}
            for weights in gradients
        ]

    def _prepare(self, work: Workload) -> tuple[Any, np.ndarray, np.ndarray]:
        """Return the parameters, inputs and targets in the layout that `_states` uses."""
        return work.weights, work.inputs, work.targets

    def _mean(self, errors: Any) -> Any:
        """Return the mean of the squared errors of all steps that the sequences have, scaled by the loss's scale."""
        work = self._work
        mean = errors.mean() if work.least_length is None else errors.sum() / work.loss_size
        return mean if work.loss_scale == 1 else mean * work.loss_scale

    def _states(self, parameters: Any, inputs: Any) -> Any:
        """Return the last layer's hidden states in the layout of the targets."""
        directions = self._work.directions
        for number in range(0, len(parameters), directions):
            outputs = [
                self._layer(weights, inputs, is_backward=bool(direction))
                for direction, weights in enumerate(parameters[number : number + directions])
            ]
            inputs = outputs[0] if directions == 1 else self._jax.numpy.concatenate(outputs, axis=2)
        return inputs

    def _layer(self, weights: dict[str, Any], inputs: Any, is_backward: bool) -> Any:
        """Return the hidden states of one direction of a layer, (seq, batch, hidden)."""
        numpy, work = self._jax.numpy, self._work
        cell = getattr(self, f"_{work.kind}")

        def step(carried: tuple[Any, ...], given: Any) -> tuple[tuple[Any, ...], Any]:
            product, mask = given if is_masked else (given, None)
            carried = cell(weights, product, *carried)
            if is_masked:
                carried = tuple(numpy.where(mask, array, 0) for array in carried)
            return carried, carried[0]

        is_masked = work.least_length is not None
        products = self._matmul(inputs, weights["W"]) + weights["b"]
        zeros = numpy.zeros((work.batch, work.hidden), inputs.dtype)
        carried = (zeros, zeros) if work.kind == "lstm" else (zeros,)
        given = (products, numpy.asarray(work.mask, bool)) if is_masked else products
        return self._jax.lax.scan(step, carried, given, reverse=is_backward)[1]

    def _lstm(self, weights: dict[str, Any], product: Any, state: Any, cell: Any) -> tuple[Any, Any]:
        jax, numpy = self._jax, self._jax.numpy
        gates = product + self._matmul(state, weights["U"])
        i, f, g, o = numpy.split(gates, GATES, axis=1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * numpy.tanh(g)
        return jax.nn.sigmoid(o) * numpy.tanh(cell), cell

    def _gru(self, weights: dict[str, Any], product: Any, state: Any) -> tuple[Any]:
        jax, numpy = self._jax, self._jax.numpy
        r, z, n = numpy.split(product, 3, axis=1)
        r_recurrent, z_recurrent, n_recurrent = numpy.split(self._matmul(state, weights["U"]), 3, axis=1)
        r, z = jax.nn.sigmoid(r + r_recurrent), jax.nn.sigmoid(z + z_recurrent)
        n = numpy.tanh(n + r * (n_recurrent + weights["c"]))
        return ((1 - z) * n + z * state,)

    def _rnn_tanh(self, weights: dict[str, Any], product: Any, state: Any) -> tuple[Any]:
        return (self._jax.numpy.tanh(product + self._matmul(state, weights["U"])),)

    def _rnn_relu(self, weights: dict[str, Any], product: Any, state: Any) -> tuple[Any]:
        return (self._jax.nn.relu(product + self._matmul(state, weights["U"])),)

    def _matmul(self, left: Any, right: Any) -> Any:
        return self._jax.numpy.matmul(left, right, precision=self._precision)

    def _compiled(self, function: Callable[..., Any]) -> Callable[[], Any]:
        compiled = self._jax.jit(function).lower(*self._arguments).compile()

        def call() -> Any:
            result = compiled(*self._arguments)
            self._pending.append(result)
            return result

        return call
