"""Describe this machine for asv, which makes each fact an axis of the dashboard."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

from rnnbench import theano_runtime
from rnnbench.history import asv_files, figures, files
from rnnbench.measure import gpu, hardware, threads
from rnnbench.measure.state import Doubtful
from rnnbench.network.contract import Unavailable

_CPU_PEAKS = ("float32_flops", "memory_bandwidth")
# A new series of figures in asv isn't worth a smaller gain of a peak rate.
_GAIN = 1.05
# The facts that the peak rates follow from. A kernel update changes other facts, and the memory a little.
_CPU_FACTS, _GPU_FACTS = ("arch", "cpu", "num_cpu"), ("gpu",)
_NOTHING = "unknown"


def describe(name: str, device: str, results: Path = Path("results")) -> dict[str, str]:
    """Return this machine's facts under the name that the user chose; needs asv.

    The facts include the device's peak rates, in FLOP/s and bytes/s. For a GPU these follow from its properties. For
    a CPU they are measured. Those that `results` has of this machine are kept unless the new ones are clearly higher:
    other programs lower a rate, and nothing raises it. On cuda the facts also name the GPU, its driver, and the
    versions of CUDA and cuDNN.

    Raises Doubtful if `results` has figures of another computer or device under this name: they would be shown with
    this one's peak rates.
    """
    from asv.machine import Machine

    facts: dict[str, str] = {**Machine.get_defaults(), "machine": name}
    earlier = _earlier(results / name / "machine.json")
    if device == "cuda":
        facts["gpu"] = gpu.name()
    _check_hardware(facts, earlier, name)
    if device == "cuda":
        versions = {piece.name: piece.version or "" for piece in theano_runtime.find(device)}
        facts |= {key: f"{rate:.3g}" for key, rate in peaks(device).items()}
        facts["driver"] = versions["driver"].partition(",")[0]
        facts["cuda"] = versions["nvrtc"]
        facts["cudnn"] = versions["cudnn"]
    else:
        facts |= {key: _peak(rate, earlier.get(key)) for key, rate in peaks(device).items()}
    return facts


def peaks(device: str) -> dict[str, float]:
    """Return a device's peak rates, in FLOP/s and bytes/s, under the names of their facts.

    A GPU's follow from its properties. A CPU's are measured, which takes 3 s.
    """
    if device == "cuda":
        return {
            "float32_flops": gpu.peak_flops(),
            "tf32_flops": gpu.peak_flops("tf32"),
            "float16_flops": gpu.peak_flops("float16"),
            "memory_bandwidth": gpu.peak_bandwidth(),
        }
    return dict(zip(_CPU_PEAKS, (_product_rate(), hardware.copy_rate()), strict=True))


def _check_hardware(facts: dict[str, str], earlier: dict[str, str], name: str) -> None:
    """Raise Doubtful if these facts and earlier ones, if any, are of different computers or devices."""
    if differences := _differences(facts, earlier) if earlier else "":
        raise Doubtful(
            f"results/{name} has figures of another computer or device ({differences}): choose another name "
            "for this one, with MACHINE=NAME or --machine NAME"
        )


def check(described: dict[str, str], device: str) -> None:
    """Raise Doubtful if a machine's facts from ~/.asv-machine.json describe another computer or device than this one.

    Several computers may share a home folder.
    """
    from asv.machine import Machine

    facts: dict[str, str] = Machine.get_defaults()
    if device == "cuda":
        try:
            facts["gpu"] = gpu.name()
        except Unavailable as reason:
            if "gpu" in described:
                raise Doubtful(f"the {described['gpu']} of {described['machine']} can't be used: {reason}") from reason
    if differences := _differences(facts, described):
        name = described["machine"]
        raise Doubtful(
            f"~/.asv-machine.json describes another computer or device as {name} ({differences}): describe this one "
            f"with rnnbench machine NAME{' --device cuda' if device == 'cuda' else ''}"
        )


def _differences(facts: dict[str, str], earlier: dict[str, str]) -> str:
    """Return which facts of the hardware differ, as text."""
    keys = _GPU_FACTS if "gpu" in facts | earlier else _CPU_FACTS
    pairs = {key: (earlier.get(key, _NOTHING), facts.get(key, _NOTHING)) for key in keys}
    return ", ".join(f"its {key} is {then}, not {now}" for key, (then, now) in pairs.items() if then != now)


def save(name: str, device: str) -> None:
    """Store this machine's facts in the user's ~/.asv-machine.json, where `asv run --machine` looks for them.

    If the existing file is invalid, this renames it and prints its new name. Raises OSError if the file can't be
    written.
    """
    from asv.machine import MachineCollection

    facts = describe(name, device)
    path = Path(MachineCollection.get_machine_file_path())
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as reason:
        raise _unwritable(path, reason) from reason
    try:
        # Another process may be writing to the same file.
        fcntl.flock(folder, fcntl.LOCK_EX)
        known: dict[str, object] = {}
        if path.exists():
            try:
                known = asv_files.load(path)
            except ValueError as reason:
                aside = path.replace(path.with_name(f"{path.name}.broken"))
                print(f"rnnbench: {path} can't be used: {reason}. It was renamed to {aside}", file=sys.stderr)
        machines = {**known, name: facts, "version": MachineCollection.api_version}
        files.write(path, json.dumps(machines, indent=4, sort_keys=True).encode())
    except OSError as reason:
        raise _unwritable(path, reason) from reason
    finally:
        os.close(folder)


def _unwritable(path: Path, reason: OSError) -> OSError:
    return OSError(f"{path} can't be written ({reason.strerror}): set HOME to a folder that can be written")


def _earlier(path: Path) -> dict[str, str]:
    """Return the facts that the results have of a machine, or an empty dict."""
    try:
        return {key: str(fact) for key, fact in figures.parse(path).items()}
    except (ValueError, AttributeError):
        return {}


def _peak(rate: float, earlier: str | None) -> str:
    """Return a measured rate as a fact, or the earlier fact if the rate isn't clearly higher."""
    try:
        is_known = earlier is not None and rate < _GAIN * float(earlier)
    except ValueError:
        is_known = False
    return earlier if earlier is not None and is_known else f"{rate:.3g}"


def _product_rate() -> float:
    """Return the rate of all processors, measured in a process where nothing limits NumPy's threads."""
    command = [sys.executable, "-c", "from rnnbench.measure import hardware; print(hardware.product_rate())"]
    unlimited = {name: value for name, value in os.environ.items() if name not in threads.VARIABLES}
    return float(subprocess.run(command, env=unlimited, capture_output=True, text=True, check=True).stdout)
