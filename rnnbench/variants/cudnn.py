"""cudnn: cuDNN's fused networks, called through Theano's RNNBlock.

It uses cuDNN's STANDARD algorithm and linear input, as the published benchmark does. Products are in
strict float32, or in TF32 with the option `tf32`. Theano calls cuDNN through
theano_runtime/include/cuda/cudnn.h, which launches repeated calls as CUDA graphs.

Theano passes no lengths to cuDNN. So sequences of unequal lengths are computed to the end of the longest, and the
outputs after their own ends are set to 0. If there are two directions, each layer is a network of its own, and one of
its inputs is the mask: see cudnn_parameters.with_mask.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from rnnbench import theano_runtime
from rnnbench.network.contract import unsupported
from rnnbench.network.workload import FLOAT, KINDS, Weights, Workload
from rnnbench.theano_runtime import cuda
from rnnbench.variants import cudnn_parameters


def unavailable(device: str) -> str | None:
    """Return None if cuDNN can run on this device here, or one line that says why not."""
    return theano_runtime.unavailable(device)


def supports(work: Workload) -> str | None:
    """Return None if cuDNN can compute a workload through Theano, or one line that says why not."""
    return unsupported(work, tuple(KINDS), other_inputs=True, bidirectional=True, unequal_lengths=True)


class Network:
    """A network in cuDNN. It follows the contract of network.contract.Network."""

    def __init__(self, work: Workload, device: str, tf32: bool = False) -> None:
        self._theano = theano_runtime.prepare(device)
        self._function = importlib.import_module("rnnbench.theano_runtime.function")  # imports Theano
        rnn = importlib.import_module("rnnbench.theano_runtime.rnn")
        # Theano would copy the divisor of mean(), or a scalar, to the GPU at each call. This vector stays there.
        self._size = self._theano.shared(np.array([work.loss_size], FLOAT), broadcastable=(True,))
        self._targets = self._theano.shared(work.targets)
        self._input_sizes = [layer["W"].shape[0] for layer in work.weights]
        # Only a backward direction must know where a sequence ends.
        self._has_mask_inputs = work.bidirectional and work.least_length is not None
        self._parts = [work.weights]  # the weights of each network in cuDNN
        if self._has_mask_inputs:
            weights = [cudnn_parameters.with_mask(layer) for layer in work.weights]
            self._parts = [weights[layer : layer + 2] for layer in range(0, len(weights), 2)]
        block = rnn.Block(
            "float32",
            work.hidden,
            work.depth // len(self._parts),
            work.kind,
            direction_mode="bidirectional" if work.bidirectional else "unidirectional",
            math_type=rnn.TF32 if tf32 else rnn.STRICT,
        )
        vectors = [cudnn_parameters.flatten(part) for part in self._parts]
        for part, vector in zip(self._parts, vectors, strict=True):
            expected = block.get_param_size([work.batch, part[0]["W"].shape[0]])
            if expected != vector.size:
                raise RuntimeError(f"cuDNN expects {expected} parameters, but the network has {vector.size}")
        self._vectors = [self._theano.shared(vector) for vector in vectors]
        self._states = self._graph(work, block)

    def _graph(self, work: Workload, block: Any) -> Any:
        """Return the graph of the last layer's states: (seq, batch, output_size)."""
        shared = self._theano.shared
        zeros = shared(np.zeros((work.directions * work.depth // len(self._parts), work.batch, work.hidden), FLOAT))
        initial = [zeros, zeros] if work.kind == "lstm" else [zeros]
        *lower, last = self._vectors
        if work.least_length is None:
            return block.apply(last, shared(work.inputs), *initial)[0]
        mask = shared(work.mask, broadcastable=(False, False, True))
        if not self._has_mask_inputs:
            return block.apply(last, shared(work.inputs), *initial)[0] * mask
        more = cudnn_parameters.mask_inputs(work)
        inputs, more = shared(np.concatenate([work.inputs * work.mask, more], axis=2)), shared(more)
        for vector in lower:
            states = block.apply(vector, inputs, *initial)[0] * mask
            inputs = self._theano.tensor.concatenate([states, more], axis=2)
        return block.apply(last, inputs, *initial)[0] * mask

    @cached_property
    def forward(self) -> Callable[[], Any]:
        return self._function.compiled(self._states, "cuda")

    @cached_property
    def train(self) -> Callable[[], Any]:
        loss = (((self._states - self._targets) ** 2).sum() / self._size).sum()
        return self._function.compiled(self._theano.grad(loss, self._vectors), "cuda")

    def synchronize(self) -> None:
        """Wait for all work on the GPU."""
        cuda.synchronize()

    def outputs(self) -> np.ndarray:
        return np.array(self.forward())

    def gradients(self) -> Weights:
        found: Weights = []
        for part, vector in zip(self._parts, self.train(), strict=True):
            shapes = [{name: array.shape for name, array in layer.items()} for layer in part]
            found += cudnn_parameters.unflatten(np.array(vector), shapes)
        if self._has_mask_inputs:
            found = [
                cudnn_parameters.without_mask(layer, inputs)
                for layer, inputs in zip(found, self._input_sizes, strict=True)
            ]
        return found
