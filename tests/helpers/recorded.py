"""The recorded results of one commit, so that later results don't change what the tests expect."""

import json
import re
import shutil
import tempfile
from pathlib import Path

from helpers import ROOT
from rnnbench import history
from rnnbench.network import models

HISTORY = ROOT / "results"
COMMIT = "fcae1cdc"
# machine.json and benchmarks.json are the newest commit's. These benchmarks and facts didn't exist at COMMIT.
ADDED_LATER = re.compile(
    r"^device\.|\.(Torch|Jax|Flashrnn|Pytensor|Keras|Onnxruntime|Fused|CudnnTF32(Memory|WarmBuild|ColdBuild))"
    r"|_flops$|_bandwidth$"
)

_folder = tempfile.TemporaryDirectory(prefix="rnnbench-")
RESULTS = Path(_folder.name) / "results"
_machines = {path.parent for path in HISTORY.glob(f"*/{COMMIT}*.json")}
for _path in [HISTORY / "benchmarks.json", *(path for folder in _machines for path in folder.glob("*.json"))]:
    _copy = RESULTS / _path.relative_to(HISTORY)
    _copy.parent.mkdir(parents=True, exist_ok=True)
    if _path.name in ("machine.json", "benchmarks.json"):
        _content = json.loads(_path.read_text())
        _copy.write_text(json.dumps({key: value for key, value in _content.items() if not ADDED_LATER.search(key)}))
    elif _path.name.startswith(COMMIT):
        shutil.copy(_path, _copy)


def commits_with(group: str, machine: str | None = None) -> list[tuple[str, str]]:
    """Return the machines and commits, of all recorded results, that have figures of a group of networks."""
    return list(
        dict.fromkeys(
            (run.machine, run.commit)
            for run in history.runs(HISTORY, machine)
            if any(models.group(figure.network) == group for figure in history.read(run))
        )
    )
