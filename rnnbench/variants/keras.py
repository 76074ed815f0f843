"""keras: the LSTM as Keras 3's LSTM layer on TensorFlow, in a tf.function.

Arrays are batch-major, as Keras requires.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from rnnbench.network.contract import Unavailable
from rnnbench.network.workload import FLOAT, Weights, Workload

_BACKEND = "tensorflow"
# Keras' name for each of our parameters.
_NAMES = {"W": "kernel", "U": "recurrent_kernel", "b": "bias"}


class Network:
    """An LSTM of keras.layers.LSTM layers. It follows the contract of network.contract.Network."""

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
        self._layers = [keras.layers.LSTM(work.hidden, return_sequences=True) for _ in work.weights]
        for layer, weights in zip(self._layers, work.weights, strict=True):
            layer.build(self._inputs.shape)
            for name, keras_name in _NAMES.items():
                getattr(layer.cell, keras_name).assign(weights[name])

    @cached_property
    def forward(self) -> Callable[[], Any]:
        return self._compiled(self._states)

    @cached_property
    def train(self) -> Callable[[], Any]:
        parameters = [
            {name: getattr(layer.cell, keras_name).value for name, keras_name in _NAMES.items()}
            for layer in self._layers
        ]

        def gradients() -> Any:
            with self._tensorflow.GradientTape() as tape:
                loss = self._tensorflow.reduce_mean((self._states() - self._targets) ** 2)
            return tape.gradient(loss, parameters)

        return self._compiled(gradients)

    def synchronize(self) -> None:
        """Do nothing: on the CPU TensorFlow's calls return when their work is done."""

    def outputs(self) -> np.ndarray:
        return np.ascontiguousarray(self.forward().numpy().swapaxes(0, 1))

    def gradients(self) -> Weights:
        return [{name: array.numpy() for name, array in layer.items()} for layer in self.train()]

    def _states(self) -> Any:
        states = self._inputs
        for layer in self._layers:
            states = layer(states)
        return states

    def _compiled(self, function: Callable[[], Any]) -> Callable[[], Any]:
        return self._tensorflow.function(function).get_concrete_function()
