"""flashrnn: the LSTM as FlashRNN's kernels, which compute the steps alone, by Pöppel et al. (2024).

Added here: the input product of the whole sequence, in PyTorch, and a call for each layer. Strict
float32 takes FlashRNN's kernels that alternate with cuBLAS; the fused ones, which keep U on chip,
multiply float32 in TF32: `tf32`.
"""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from typing import Any

from rnnbench.network.contract import Unavailable
from rnnbench.network.workload import GATES
from rnnbench.variants import torch_loop


def unavailable(device: str) -> str | None:
    """Return None, or why FlashRNN can't compile its kernels here, in one line."""
    toolkit = os.environ.get("CUDA_HOME") or shutil.which("nvcc") or Path("/usr/local/cuda/bin/nvcc").exists()
    if not toolkit:
        return "FlashRNN compiles its kernels, and there is no nvcc: install CUDA's toolkit, or set CUDA_HOME"
    return None


class Network(torch_loop.Network):
    """FlashRNN's kernels; the contract is network.contract.Network's."""

    def _make_step(self) -> Any:
        if self._tf32 and int(self._torch.version.cuda.partition(".")[0]) >= 13:
            raise Unavailable(
                "FlashRNN's fused kernels don't compile with CUDA 13, which dropped cudaDeviceProp.clockRate: "
                "install a PyTorch that is built for CUDA 12"
            )
        self._flashrnn = importlib.import_module("flashrnn")
        _, batch, hidden = self._inputs.shape
        # Its axes: T time, B batch, G gates, H heads, which is one, D hidden, P hidden a step before, S states.
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
        states, _ = self._flashrnn.flashrnn(
            products.view(seq, batch, GATES, 1, hidden),
            weights["U"].view(1, hidden, GATES, hidden),
            weights["b"].view(GATES, 1, hidden),
            config=self._step,
        )
        return states[0].squeeze(2)  # of the states and the cells
