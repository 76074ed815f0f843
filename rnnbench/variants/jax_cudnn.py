"""jax_cudnn: the LSTM as jax.experimental.rnn, cuDNN's fused network through JAX.

Batch-major, as it wants its sequences. Products in strict float32, or with `tf32` in TF32.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from rnnbench.network.workload import Weights, Workload
from rnnbench.variants import cudnn_parameters, jax_scan


class Network(jax_scan.Network):
    """An LSTM in cuDNN; the contract is network.contract.Network's."""

    def outputs(self) -> np.ndarray:
        return np.ascontiguousarray(super().outputs().swapaxes(0, 1))

    def gradients(self) -> Weights:
        return cudnn_parameters.unflatten(np.array(self.train()[1]), self._sizes)

    def _prepare(self, work: Workload) -> tuple[Any, np.ndarray, np.ndarray]:
        return cudnn_parameters.flatten(work.weights), work.inputs.swapaxes(0, 1), work.targets.swapaxes(0, 1)

    def _states(self, parameters: Any, inputs: Any) -> Any:
        rnn = importlib.import_module("jax.experimental.rnn")
        numpy = self._jax.numpy
        batch, seq, hidden = inputs.shape
        depth = len(self._sizes) - 1
        zeros = numpy.zeros((depth, batch, hidden), inputs.dtype)
        lengths = numpy.full(batch, seq, numpy.int32)
        return rnn.lstm(
            inputs,
            zeros,
            zeros,
            parameters,
            lengths,
            input_size=hidden,
            hidden_size=hidden,
            num_layers=depth,
            dropout=0.0,
            bidirectional=False,
            precision=self._precision,
        )[0]
