"""flashrnn: the LSTM with the kernels of FlashRNN, by Pöppel et al. (2024).

FlashRNN computes only the time steps of one layer. This module adds the input product of the whole
sequence, in PyTorch, and calls FlashRNN once for each layer. In strict float32 FlashRNN's kernels alternate
with cuBLAS. The option `tf32` selects its fused kernels, which keep U on chip and multiply in TF32.
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

from rnnbench.network.contract import Unavailable
from rnnbench.network.workload import GATES
from rnnbench.variants import torch_loop

# The messages of cuda_init_parametric.py, FlashRNN 1.0.8.
_NO_KERNEL = re.compile("solution of constraints for CUDA module|Failed using Kernel")


def unavailable(device: str) -> str | None:
    """Return None if FlashRNN can compile its kernels here, or one line that says why not."""
    toolkit = os.environ.get("CUDA_HOME") or shutil.which("nvcc") or Path("/usr/local/cuda/bin/nvcc").exists()
    if not toolkit:
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
    """An LSTM in FlashRNN's kernels. It follows the contract of network.contract.Network."""

    def _make_step(self) -> Any:
        if self._tf32 and int(self._torch.version.cuda.partition(".")[0]) >= 13:
            raise Unavailable(
                "FlashRNN's fused kernels don't compile with CUDA 13, which dropped cudaDeviceProp.clockRate: "
                "install a PyTorch that is built for CUDA 12"
            )
        self._flashrnn = importlib.import_module("flashrnn")
        _, batch, hidden = self._inputs.shape
        # FlashRNN's axes: T time, B batch, G gates, H heads (one here), D hidden size, P hidden size of the step
        # before, S states and cells.
        return self._flashrnn.FlashRNNConfig(
            backend="cuda_fused" if self._tf32 else "cuda",
            function="lstm",
            dtype="float32",
            batch_size=batch,
            num_heads=1,
            head_dim=hidden,
            input_shape="TBGHD",
            recurrent_shape="HPGD",
            bias_shape="GHD",
            output_shape="STBHD",
        )

    def _layer(self, weights: dict[str, Any], inputs: Any) -> Any:
        seq, batch, hidden = inputs.shape
        products = inputs.flatten(0, 1) @ weights["W"]
        with sizes_checked():
            states, _ = self._flashrnn.flashrnn(
                products.view(seq, batch, GATES, 1, hidden),
                weights["U"].view(1, hidden, GATES, hidden),
                weights["b"].view(GATES, 1, hidden),
                config=self._step,
            )
        return states[0].squeeze(2)  # the hidden states, without the cells and the axis of heads
