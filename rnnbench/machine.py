"""What machine this is, as asv stores it beside the results: what is written here becomes an axis of the dashboard."""

from __future__ import annotations

import subprocess

from rnnbench import gpu, theano_runtime


def describe(name: str, device: str) -> dict[str, str]:
    """Return the machine's facts under a name of the user's choice; needs asv.

    On cuda they include the GPU, its peak rates (FLOP/s and bytes/s), its driver, and the CUDA and
    cuDNN that are used. A CPU's peaks aren't there: they would have to be measured, and asv starts a
    new series whenever a fact changes.
    """
    from asv.machine import Machine

    facts: dict[str, str] = {**Machine.get_defaults(), "machine": name}
    if device == "cuda":
        versions = {piece.name: piece.version or "" for piece in theano_runtime.find(device)}
        facts["gpu"] = _gpu()
        facts["float32_flops"] = f"{gpu.peak_flops():.3g}"
        facts["tf32_flops"] = f"{gpu.peak_flops(tf32=True):.3g}"
        facts["memory_bandwidth"] = f"{gpu.peak_bandwidth():.3g}"
        facts["driver"] = versions["driver"].partition(",")[0]
        facts["cuda"] = versions["nvrtc"]
        facts["cudnn"] = versions["cudnn"]
    return facts


def save(name: str, device: str) -> None:
    """Store the machine's facts where `asv run --machine` looks for them."""
    from asv.machine import MachineCollection

    MachineCollection.save(name, describe(name, device))


def _gpu() -> str:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
