"""flashrnn: the network with the kernels of FlashRNN, by Pöppel et al. (2024).

FlashRNN computes only the time steps of one direction of a layer. This module adds the input product of the whole
sequence, in PyTorch, and calls FlashRNN once for each direction of each layer. In strict float32 FlashRNN's kernels
alternate with cuBLAS. The option `tf32` and the type bfloat16 select its fused kernels, which keep U on chip and
multiply on tensor cores. For gru FlashRNN has no fused kernels.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rnnbench.network.contract import Unavailable, unsupported
from rnnbench.network.workload import KINDS, Workload
from rnnbench.variants import torch_loop

# The messages of cuda_init_parametric.py, FlashRNN 1.0.8.
_NO_KERNEL = re.compile("solution of constraints for CUDA module|Failed using Kernel")
# FlashRNN's name for each kind that it computes.
_FUNCTIONS = {"lstm": "lstm", "gru": "gru", "rnn_tanh": "elman"}


def supports(work: Workload) -> str | None:
    """Return None if FlashRNN can compute a workload, or the reason in one line."""
    return unsupported(
        work, tuple(_FUNCTIONS), other_inputs=True, bidirectional=True, precisions=("float32", "bfloat16")
    )


def unavailable(device: str) -> str | None:
    """Return None if FlashRNN can compile its kernels here, or one line that says why not."""
    toolkit = os.environ.get("CUDA_HOME") or "/usr/local/cuda"
    if not (Path(toolkit, "bin", "nvcc").exists() or shutil.which("nvcc")):
        return "FlashRNN compiles its kernels with nvcc, which was not found: install CUDA's toolkit, or set CUDA_HOME"
    return None


@contextlib.contextmanager
def sizes_checked() -> Iterator[None]:
    """Raise Unavailable instead of FlashRNN's error if none of its kernels fits the sizes."""
    try:
        yield
    except (ValueError, RuntimeError) as problem:
        if not _NO_KERNEL.search(str(problem)):
            raise
        raise Unavailable(f"FlashRNN has no kernel for this batch and hidden size ({problem})") from problem


class Network(torch_loop.Network):
    """A network in FlashRNN's kernels. It follows the contract of network.contract.Network."""

    def _make_step(self) -> Any:
        work = self._work
        if self._tf32 and work.kind == "gru":
            raise Unavailable("FlashRNN's kernels for gru don't multiply in TF32: use flashrnn")
        fused = self._tf32 or (work.precision == "bfloat16" and work.kind != "gru")
        if fused and int(self._torch.version.cuda.partition(".")[0]) >= 13:
            raise Unavailable(
                "FlashRNN's fused kernels don't compile with CUDA 13, which dropped cudaDeviceProp.clockRate: "
                "install a PyTorch that is built for CUDA 12"
            )
        self._flashrnn = importlib.import_module("flashrnn")
        # FlashRNN's axes: T time, B batch, G gates, H heads (one here), D hidden size, P hidden size of the step
        # before, S states and cells.
        return self._flashrnn.FlashRNNConfig(
            backend="cuda_fused" if fused else "cuda",
            function=_FUNCTIONS[work.kind],
            dtype=work.precision,
            batch_size=work.batch,
            num_heads=1,
            head_dim=work.hidden,
            input_shape="TBGHD",
            recurrent_shape="HPGD",
            bias_shape="GHD",
            output_shape="STBHD",
        )

    def _layer(self, weights: dict[str, Any], inputs: Any, is_backward: bool) -> Any:
        work = self._work
        gates = len(KINDS[work.kind])
        products = inputs.flatten(0, 1) @ weights["W"]
        products = products.view(work.seq, work.batch, gates, 1, work.hidden)
        recurrent = weights["U"].view(1, work.hidden, gates, work.hidden)
        biases = weights["b"].view(gates, 1, work.hidden)
        if work.kind == "gru":
            # FlashRNN's order is n, r, z in U, and c before b's r, z, n in the biases.
            recurrent = recurrent.roll(1, 2)
            biases = self._torch.cat([weights["c"].view(1, 1, work.hidden), biases])
        if is_backward:
            products = products.flip(0)
        with sizes_checked():
            states, _ = self._flashrnn.flashrnn(products, recurrent, biases, config=self._step)
        states = states[0].squeeze(2)  # the hidden states, without the cells and the axis of heads
        return states.flip(0) if is_backward else states
