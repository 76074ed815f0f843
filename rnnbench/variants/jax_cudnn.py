"""jax_cudnn: the LSTM as cuDNN's fused network, called through jax.experimental.rnn.

Arrays are batch-major, as jax.experimental.rnn requires. Products are in strict float32, or in TF32 with the
option `tf32`.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from rnnbench.network.contract import unsupported
from rnnbench.network.workload import Weights, Workload
from rnnbench.variants import cudnn_parameters, jax_scan


def supports(work: Workload) -> str | None:
    """Return None if jax.experimental.rnn can compute a workload, or the reason in one line."""
    return unsupported(work, other_inputs=True, bidirectional=True, unequal_lengths=True)


class Network(jax_scan.Network):
    """An LSTM in cuDNN. It follows the contract of network.contract.Network."""

    def outputs(self) -> np.ndarray:
        return np.ascontiguousarray(super().outputs().swapaxes(0, 1))

    def gradients(self) -> Weights:
        inputs, recurrent, biases, _ = self._rnn.unpack_lstm_weights(np.array(self.train()[1]), *self._sizes.values())
        return [
            {
                "W": np.array(inputs[number].T, order="C"),
                "U": np.array(recurrent[number].T, order="C"),
                "b": np.array(biases[number]),
            }
            for number in range(len(self._work.weights))
        ]

    @property
    def _rnn(self) -> Any:
        return importlib.import_module("jax.experimental.rnn")

    @property
    def _sizes(self) -> dict[str, int]:
        """The sizes of the network, in the order and with the names that jax.experimental.rnn gives them."""
        work = self._work
        return {
            "input_size": work.input_size,
            "hidden_size": work.hidden,
            "num_layers": work.depth,
            "bidirectional": work.bidirectional,
        }

    def _prepare(self, work: Workload) -> tuple[Any, np.ndarray, np.ndarray]:
        return cudnn_parameters.flatten(work.weights), work.inputs.swapaxes(0, 1), work.targets.swapaxes(0, 1)

    def _states(self, parameters: Any, inputs: Any) -> Any:
        work, numpy = self._work, self._jax.numpy
        zeros = numpy.zeros((work.depth * work.directions, work.batch, work.hidden), inputs.dtype)
        if work.least_length is None:
            lengths = numpy.full(work.batch, work.seq, numpy.int32)
        else:
            lengths = numpy.asarray(work.lengths, numpy.int32)
        return self._rnn.lstm(
            inputs, zeros, zeros, parameters, lengths, **self._sizes, dropout=0.0, precision=self._precision
        )[0]
