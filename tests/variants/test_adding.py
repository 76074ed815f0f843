"""Adding an implementation takes one file and one row: the example of the docs, added to a copy of the project."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT

GUIDE = (ROOT / "docs" / "adding-an-implementation.md").read_text()
FILE, ROW = re.findall("```python\n(.*?)```", GUIDE, re.DOTALL)
REGISTRY = "rnnbench/variants/__init__.py"
DISCOVER = """
import json, re, sys
from asv_runner.discovery import disc_benchmarks
from benchmarks import lstm
names = [benchmark.name for benchmark in disc_benchmarks("benchmarks") if ".NumpyLoop" in benchmark.name]
timed = lstm.NumpyLoopLSTM()
timed.setup(2, 3, 4, 1)
timed.time_train(2, 3, 4, 1)
print(json.dumps(names))
"""


@pytest.fixture
def copy(tmp_path):
    """A git repository with a copy of the project."""
    for name in ("rnnbench", "benchmarks", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "add", "."], check=True)
    return tmp_path


def called(copy, *arguments):
    done = subprocess.run([sys.executable, *arguments], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_guides_example_is_one_file_and_one_row(copy):
    (copy / "rnnbench/variants/numpy_loop.py").write_text(FILE)
    registry = (copy / REGISTRY).read_text()
    assert registry.count("\n)\nVARIANTS = ") == 1
    (copy / REGISTRY).write_text(registry.replace("\n)\nVARIANTS = ", f"\n    {ROW.rstrip()},\n)\nVARIANTS = "))
    changed = subprocess.run(["git", "status", "--short"], cwd=copy, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in changed.splitlines() if line[1] != " "} == {
        REGISTRY,
        "rnnbench/variants/numpy_loop.py",
    }

    assert re.search(r"^numpy_loop: .*\n +runs on cpu$", called(copy, "-m", "rnnbench", "variants"), re.MULTILINE)
    checked = called(copy, "-m", "rnnbench", "verify", "numpy_loop", "--shapes", "2")
    assert checked.count("numpy_loop") == 3 + 2  # the quick grid and two odd shapes
    names = set(json.loads(called(copy, "-c", DISCOVER)))
    kinds = {"lstm.NumpyLoopLSTM.time_train", "accuracy.NumpyLoopAccuracy.track_outputs"}
    assert kinds <= names
    pattern = called(copy, "-m", "rnnbench", "filter", "quick", "numpy_loop").strip()
    assert re.search(pattern, "lstm.NumpyLoopLSTM.time_train(32, 30, 128, 1)")
    called(copy, "-m", "rnnbench", "readme", "docs/peers.md")
    assert re.search(r"^\| `numpy_loop` +\| A loop over NumPy's operations", (copy / "docs/peers.md").read_text(), re.M)
