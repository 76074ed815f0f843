"""keras: the network as Keras 3's LSTM, GRU or SimpleRNN layers on TensorFlow, in a tf.function.

Arrays are batch-major, as Keras requires. Keras' Bidirectional layer holds the layers of both directions. If the
sequences have unequal lengths, the layers get a mask.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from rnnbench.network.contract import Unavailable, unsupported
from rnnbench.network.workload import FLOAT, KINDS, Weights, Workload

_BACKEND = "tensorflow"
# Keras' name for each of our parameters.
_NAMES = {"W": "kernel", "U": "recurrent_kernel", "b": "bias"}


def supports(work: Workload) -> str | None:
    """Return None if Keras' layers can compute a workload, or the reason in one line."""
    return unsupported(work, tuple(KINDS), other_inputs=True, bidirectional=True, unequal_lengths=True)


class Network:
    """A network of Keras' layers. It follows the contract of network.contract.Network."""

    def __init__(self, work: Workload, device: str) -> None:
        os.environ.setdefault("KERAS_BACKEND", _BACKEND)
        keras = importlib.import_module("keras")
        if keras.backend.backend() != _BACKEND:
            raise Unavailable(f"Keras runs on {keras.backend.backend()} in this process: set KERAS_BACKEND={_BACKEND}")
        # Keras reads it from keras.json in the user's home folder too.
        if keras.config.floatx() != FLOAT.__name__:
            raise Unavailable(f"Keras' floatx is {keras.config.floatx()}: set it to {FLOAT.__name__} in keras.json")
        self._tensorflow = importlib.import_module(_BACKEND)
        if self._tensorflow.config.list_physical_devices("GPU"):
            raise Unavailable("TensorFlow would run on the GPU: hide it with CUDA_VISIBLE_DEVICES=-1")
        self._inputs = self._tensorflow.constant(work.inputs.swapaxes(0, 1))
        self._targets = self._tensorflow.constant(work.targets.swapaxes(0, 1))
        self._work = work
        self._mask = None
        if work.least_length is not None:
            self._mask = self._tensorflow.constant(work.mask[:, :, 0].T.astype(bool))
        self._layers = [_layer(keras.layers, work) for _ in range(work.depth)]
        shape = self._inputs.shape
        for layer in self._layers:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        for cell, weights in zip(self._cells(), work.weights, strict=True):
            for name, array in _to_keras(weights).items():
                getattr(cell, _NAMES[name]).assign(array)

    @cached_property
    def forward(self) -> Callable[[], Any]:
        return self._compiled(self._states)

    @cached_property
    def train(self) -> Callable[[], Any]:
        parameters = [
            {name: getattr(cell, keras_name).value for name, keras_name in _NAMES.items()} for cell in self._cells()
        ]

        def gradients() -> Any:
            with self._tensorflow.GradientTape() as tape:
                loss = self._mean((self._states() - self._targets) ** 2)
            return tape.gradient(loss, parameters)

        return self._compiled(gradients)

    def synchronize(self) -> None:
        """Do nothing: on the CPU TensorFlow's calls return when their work is done."""

    def outputs(self) -> np.ndarray:
        return np.ascontiguousarray(self.forward().numpy().swapaxes(0, 1))

    def gradients(self) -> Weights:
        return [_from_keras(gradients, self._work) for gradients in self.train()]

    def _cells(self) -> list[Any]:
        """Return the cell, which holds the weights, of each direction of each layer."""
        if not self._work.bidirectional:
            return [layer.cell for layer in self._layers]
        return [one.cell for layer in self._layers for one in (layer.forward_layer, layer.backward_layer)]

    def _mean(self, errors: Any) -> Any:
        """Return the mean of the squared errors of all steps that the sequences have."""
        if self._mask is None:
            return self._tensorflow.reduce_mean(errors)
        return self._tensorflow.reduce_sum(errors) / self._work.loss_size

    def _states(self) -> Any:
        states = self._inputs
        for layer in self._layers:
            states = layer(states, mask=self._mask)
        return states

    def _compiled(self, function: Callable[[], Any]) -> Callable[[], Any]:
        return self._tensorflow.function(function).get_concrete_function()


def _layer(layers: Any, work: Workload) -> Any:
    """Return a layer, with both directions if the workload has them. Its outputs after a sequence's end are zero."""
    options = {"return_sequences": True, "zero_output_for_mask": True}
    if work.kind == "lstm":
        layer = layers.LSTM(work.hidden, **options)
    elif work.kind == "gru":
        layer = layers.GRU(work.hidden, reset_after=True, **options)
    else:
        layer = layers.SimpleRNN(work.hidden, activation=work.kind.removeprefix("rnn_"), **options)
    return layers.Bidirectional(layer) if work.bidirectional else layer


def _to_keras(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a direction's weights as Keras has them.

    Keras' order of gru's gates is z, r, n. Its bias has two rows: what is added to the inputs' products, and what is
    added to the states' products.
    """
    if "c" not in weights:
        return weights
    zeros = np.zeros(weights["b"].size - weights["c"].size, FLOAT)
    bias = np.stack([weights["b"], np.concatenate([zeros, weights["c"]])])
    return {name: _swapped(array) for name, array in {"W": weights["W"], "U": weights["U"], "b": bias}.items()}


def _from_keras(gradients: dict[str, Any], work: Workload) -> dict[str, np.ndarray]:
    """Return the gradients of a direction as the workload has its weights."""
    arrays = {name: tensor.numpy() for name, tensor in gradients.items()}
    if work.kind != "gru":
        return arrays
    arrays = {name: _swapped(array) for name, array in arrays.items()}
    bias, recurrent_bias = arrays["b"]
    return {**arrays, "b": bias, "c": recurrent_bias[-work.hidden :]}


def _swapped(array: np.ndarray) -> np.ndarray:
    """Return an array with the first two of gru's three gates swapped."""
    first, second, third = np.split(array, 3, axis=-1)
    return np.concatenate([second, first, third], axis=-1)
