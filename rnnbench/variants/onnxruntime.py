"""onnxruntime: the LSTM as ONNX's LSTM operator in ONNX Runtime, which computes no gradients."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnbench.measure import threads
from rnnbench.network.contract import Unavailable
from rnnbench.network.workload import GATES, Weights, Workload

# ONNX orders the gates i, o, f, g.
_GATE_ORDER = [0, 3, 1, 2]
_OPSET = 14


class Network:
    """An LSTM in an ONNX model. It follows the contract of network.contract.Network, but can't train."""

    def __init__(self, work: Workload, device: str) -> None:
        onnxruntime = importlib.import_module("onnxruntime")
        model = _model(work).SerializeToString()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads.number()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._feed = {"x": work.inputs}

    def forward(self) -> Any:
        return self._session.run(["y"], self._feed)[0]

    @property
    def train(self) -> Callable[[], Any]:
        raise Unavailable("ONNX Runtime can't train: it only runs networks that were trained elsewhere")

    def synchronize(self) -> None:
        """Do nothing: ONNX Runtime's calls return when their work is done."""

    def outputs(self) -> np.ndarray:
        return self.forward()

    def gradients(self) -> Weights:
        return self.train()


def _model(work: Workload) -> Any:
    """Return the ONNX model. Its input x and its output y, the last layer's states, are (seq, batch, hidden)."""
    onnx = importlib.import_module("onnx")
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    nodes, constants = [], [array(np.array([1]), "direction")]
    states = "x"
    for number, weights in enumerate(work.weights):
        names = [f"{name}{number}" for name in ("W", "U", "b")]
        arrays = [_reordered(weights[name]) for name in ("W", "U", "b")]
        arrays[2] = np.concatenate([arrays[2], np.zeros_like(arrays[2])])  # ONNX has two bias vectors
        constants += [array(values[np.newaxis], name) for values, name in zip(arrays, names, strict=True)]
        # ONNX's states are (seq, directions, batch, hidden). Squeeze removes the directions.
        output = "y" if number == work.depth - 1 else f"y{number}"
        nodes.append(helper.make_node("LSTM", [states, *names], [f"Y{number}"], hidden_size=work.hidden))
        nodes.append(helper.make_node("Squeeze", [f"Y{number}", "direction"], [output]))
        states = output
    shape = work.inputs.shape
    graph = helper.make_graph(
        nodes,
        "LSTM",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


def _reordered(array: np.ndarray) -> np.ndarray:
    """Return W, U or b as (4·hidden, …), with the gates in ONNX's order."""
    gates = array.T.reshape(GATES, -1, *array.shape[:-1])
    return np.concatenate(list(gates[_GATE_ORDER]))
