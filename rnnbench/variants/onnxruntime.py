"""onnxruntime: the network as ONNX's LSTM, GRU or RNN operator in ONNX Runtime, which computes no gradients."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnbench.measure import threads
from rnnbench.network.contract import Unavailable, unsupported
from rnnbench.network.workload import KINDS, Weights, Workload

# ONNX's order of the gates: i, o, f, g for lstm; z, r, n for gru.
_GATE_ORDERS = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "rnn_tanh": [0], "rnn_relu": [0]}
_OPSET = 14


def supports(work: Workload) -> str | None:
    """Return None if ONNX Runtime can compute a workload, or the reason in one line."""
    return unsupported(work, tuple(KINDS), other_inputs=True, bidirectional=True, unequal_lengths=True)


class Network:
    """A network in an ONNX model. It follows the contract of network.contract.Network, but can't train."""

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
    """Return the ONNX model. Its input is x, (seq, batch, input_size), and its output y: the last layer's states."""
    onnx = importlib.import_module("onnx")
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    operator, settings = _operator(work)
    # ONNX's states are (seq, directions, batch, hidden). Squeeze removes the axis of one direction. Reshape joins both.
    constants = [array(np.array([0, 0, -1] if work.bidirectional else [1]), "axes")]
    lengths = []
    if work.least_length is not None:
        lengths = ["lengths"]
        constants.append(array(work.lengths.astype(np.int32), *lengths))
    nodes = []
    states = "x"
    for number in range(work.depth):
        directions = [_parameters(work, weights) for weights in work.weights[number * work.directions :]]
        names = [f"{name}{number}" for name in ("W", "U", "b")]
        stacks = [np.stack(arrays) for arrays in zip(*directions[: work.directions], strict=True)]
        constants += [array(values, name) for values, name in zip(stacks, names, strict=True)]
        output = "y" if number == work.depth - 1 else f"y{number}"
        operands = [states, *names, *lengths]
        nodes.append(helper.make_node(operator, operands, [f"Y{number}"], hidden_size=work.hidden, **settings))
        if work.bidirectional:
            nodes.append(helper.make_node("Transpose", [f"Y{number}"], [f"T{number}"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"T{number}", "axes"], [output]))
        else:
            nodes.append(helper.make_node("Squeeze", [f"Y{number}", "axes"], [output]))
        states = output
    graph = helper.make_graph(
        nodes,
        "RNN",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, work.inputs.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, work.targets.shape)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


def _operator(work: Workload) -> tuple[str, dict[str, Any]]:
    """Return the name of a workload's operator, and its settings."""
    settings: dict[str, Any] = {"direction": "bidirectional"} if work.bidirectional else {}
    if work.kind == "lstm":
        return "LSTM", settings
    if work.kind == "gru":
        return "GRU", {**settings, "linear_before_reset": 1}  # the reset gate is applied after the product
    return "RNN", {**settings, "activations": [work.kind.removeprefix("rnn_").capitalize()] * work.directions}


def _parameters(work: Workload, weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return a direction's W, U and both biases as ONNX has them: (gates·hidden, …), with the gates in its order."""
    second_bias = np.zeros_like(weights["b"])
    if "c" in weights:
        second_bias[-work.hidden :] = weights["c"]
    w, u, *biases = (
        np.concatenate([np.split(array.T, len(KINDS[work.kind]))[gate] for gate in _GATE_ORDERS[work.kind]])
        for array in (weights["W"], weights["U"], weights["b"], second_bias)
    )
    return [w, u, np.concatenate(biases)]
