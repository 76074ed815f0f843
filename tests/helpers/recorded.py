"""The results of one commit, as recorded, for tests that hold however the history grows."""

import json
import re
import shutil
import tempfile
from pathlib import Path

from helpers import ROOT

HISTORY = ROOT / "results"
COMMIT = "fcae1cdc"
# The rest is the newest commit's: these benchmarks and facts came later.
LATER = re.compile(
    r"\.(Torch|Jax|Flashrnn|Pytensor|Keras|Onnxruntime|CudnnTF32(Memory|WarmBuild|ColdBuild))|_flops$|_bandwidth$"
)

_folder = tempfile.TemporaryDirectory(prefix="rnnbench-")
RESULTS = Path(_folder.name) / "results"
for _path in HISTORY.rglob("*.json"):
    _copy = RESULTS / _path.relative_to(HISTORY)
    _copy.parent.mkdir(parents=True, exist_ok=True)
    if _path.name in ("machine.json", "benchmarks.json"):
        _content = json.loads(_path.read_text())
        _copy.write_text(json.dumps({key: value for key, value in _content.items() if not LATER.search(key)}))
    elif _path.name.startswith(COMMIT):
        shutil.copy(_path, _copy)
