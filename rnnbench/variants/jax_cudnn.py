"""jax_cudnn: the LSTM as cuDNN's fused network, called through jax.experimental.rnn.

Arrays are batch-major, as jax.experimental.rnn requires. Products are in strict float32, or in TF32 with the
option `tf32`.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from rnnbench.network.workload import Weights, Workload
from rnnbench.variants import cudnn_parameters, jax_scan


class Network(jax_scan.Network):
    """An LSTM in cuDNN. It follows the contract of network.contract.Network."""

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
