"""torch: the network as PyTorch's nn.LSTM, nn.GRU or nn.RNN, which call cuDNN's fused networks on a GPU.

Products are in strict float32, in TF32 with the option `tf32`, or in the workload's 16-bit type. Sequences of unequal
lengths are packed, as PyTorch's modules require: their steps stand one after the other, without those after the end of
a sequence.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from rnnbench.measure import gpu
from rnnbench.network.contract import Unavailable, unsupported
from rnnbench.network.workload import KINDS, PRECISIONS, Weights, Workload

# The beginning of PyTorch's name for each of our parameters. PyTorch stores them transposed.
_NAMES = {"W": "weight_ih_l", "U": "weight_hh_l", "b": "bias_ih_l"}
_SECOND_BIAS = "bias_hh_l"


def supports(work: Workload) -> str | None:
    """Return None: PyTorch computes every workload."""
    return unsupported(
        work, tuple(KINDS), other_inputs=True, bidirectional=True, unequal_lengths=True, precisions=tuple(PRECISIONS)
    )


class Network:
    """A network of PyTorch's modules. It follows the contract of network.contract.Network.

    PyTorch's other variants inherit from it and replace its private methods.
    """

    def __init__(self, work: Workload, device: str, tf32: bool = False) -> None:
        self._torch = torch = importlib.import_module("torch")
        if device == "cuda" and torch.version.cuda is None:
            raise Unavailable(
                f"PyTorch {torch.__version__} can't use the GPU: install a PyTorch that is built for CUDA"
            )
        if device == "cuda" and not torch.cuda.is_available():
            raise Unavailable(f"PyTorch {torch.__version__} finds no GPU that it can use{gpu.hidden()}")
        self._device = device
        self._tf32 = tf32
        self._work = work
        self._is_packed = work.least_length is not None
        self._type = getattr(torch, work.precision)
        self._inputs = self._arranged(torch.tensor(work.inputs, device=device, dtype=self._type))
        # The loss is computed in float32, as PyTorch's automatic mixed precision does.
        self._targets = self._data(self._arranged(torch.tensor(work.targets, device=device)))
        self._loss_scale = None if work.loss_scale == 1 else torch.tensor(work.loss_scale, device=device)
        self._make(work)

    def forward(self) -> Any:
        self._choose_precision()
        with self._torch.no_grad():
            return self._states(self._inputs)

    def train(self) -> Any:
        self._choose_precision()
        for parameter in self._parameters():
            parameter.grad = None
        states = self._states(self._inputs)
        self._torch.nn.functional.mse_loss(states.float(), self._targets).backward(self._loss_scale)
        return [parameter.grad for parameter in self._parameters()]

    def synchronize(self) -> None:
        """Wait for all work on the GPU. On the CPU PyTorch's calls return when their work is done."""
        if self._device == "cuda":
            self._torch.cuda.synchronize()

    def outputs(self) -> np.ndarray:
        states = self.forward()
        if self._is_packed:
            rnn = self._torch.nn.utils.rnn
            states, _ = rnn.pad_packed_sequence(rnn.PackedSequence(states, self._inputs.batch_sizes))
        return states.float().cpu().numpy()

    def gradients(self) -> Weights:
        self.train()
        return [
            {name: self._gradient(name, number).float().cpu().numpy() / self._work.loss_scale for name in weights}
            for number, weights in enumerate(self._work.weights)
        ]

    def _arranged(self, sequences: Any) -> Any:
        """Return a tensor (seq, batch, features), or a PackedSequence if the sequences have unequal lengths."""
        if not self._is_packed:
            return sequences
        lengths = self._torch.tensor(self._work.lengths)  # sorted, the longest first, as PyTorch expects
        return self._torch.nn.utils.rnn.pack_padded_sequence(sequences, lengths)

    def _data(self, sequences: Any) -> Any:
        return sequences.data if self._is_packed else sequences

    def _make(self, work: Workload) -> None:
        self._module = _module(self._torch, work).to(self._device, self._type)
        with self._torch.no_grad():
            for number, weights in enumerate(work.weights):
                for name, torch_name in _NAMES.items():
                    self._parameter(torch_name, number).copy_(self._torch.tensor(weights[name].T))
                second = self._parameter(_SECOND_BIAS, number).zero_()
                if "c" in weights:
                    second[-work.hidden :].copy_(self._torch.tensor(weights["c"]))

    def _states(self, inputs: Any) -> Any:
        """Return the last layer's hidden states: (seq, batch, features), or (steps of all sequences, features)."""
        return self._data(self._module(inputs)[0])

    def _parameters(self) -> list[Any]:
        return list(self._module.parameters())

    def _gradient(self, name: str, number: int) -> Any:
        if name == "c":
            return self._parameter(_SECOND_BIAS, number).grad[-self._work.hidden :]
        gradient = self._parameter(_NAMES[name], number).grad
        return gradient.T.contiguous() if gradient.ndim > 1 else gradient

    def _parameter(self, name: str, number: int) -> Any:
        layer, is_backward = divmod(number, self._work.directions)
        return getattr(self._module, f"{name}{layer}{'_reverse' if is_backward else ''}")

    def _choose_precision(self) -> None:
        # PyTorch reads these settings of the whole process at each call, and other variants change them. Without the
        # first cuDNN wouldn't use tensor cores for bfloat16 either.
        self._torch.backends.cudnn.allow_tf32 = self._tf32 or self._type is not self._torch.float32
        self._torch.backends.cuda.matmul.allow_tf32 = self._tf32


def _module(torch: Any, work: Workload) -> Any:
    sizes = work.input_size, work.hidden, work.depth
    if work.kind.startswith("rnn"):
        nonlinearity = work.kind.removeprefix("rnn_")
        return torch.nn.RNN(*sizes, nonlinearity=nonlinearity, bidirectional=work.bidirectional)
    return {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[work.kind](*sizes, bidirectional=work.bidirectional)
