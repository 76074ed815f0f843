"""Adding an implementation takes one file: the example of the docs, where it lies, and in a copy of the project."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT

from rnnbench import Workload, cli, variants
from rnnbench.history import machine
from rnnbench.live import timing
from rnnbench.network.shapes import Shape

GUIDE = (ROOT / "docs" / "adding-an-implementation.md").read_text()
FILE, NAMED_ROW = re.findall("```python\n(.*?)```", GUIDE, re.DOTALL)
ROW = NAMED_ROW.partition("VARIANT = ")[2]
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


def commands():
    """Return the commands of the guide that take the file, as lists of arguments."""
    lines = re.findall(r"^    rnnbench (.*\./my_lstm\.py.*)$", GUIDE, re.MULTILINE)
    return [line.split() for line in lines]


def test_the_guides_file_is_checked_and_timed_where_it_lies(tmp_path, monkeypatch, run):
    """The guide's own commands, with a copy of the file for torch, smaller, and ended early."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(timing, "_SECONDS", 0)
    monkeypatch.setattr(timing, "_FUNCTION_SECONDS", 0.05)
    monkeypatch.setattr(machine, "peaks", lambda device: {})
    for name in ("my_lstm.py", "copy.py"):
        (tmp_path / name).write_text(FILE)
    verified, timed, compared = commands()

    status, output, errors = run([*verified, "--shapes", "0"])
    assert (status, errors) == (0, "")
    assert output.count("./my_lstm.py") == 3  # the quick grid

    small = {"torch": "./copy.py", "32x30x512x1": "3x4x9x2", "32x30x512": "3x4x9"}
    status, output, _ = run([*(small.get(word, word) for word in timed), "--json"])
    assert status == 0
    rows = json.loads(output)["rows"]
    assert {(row["implementation"], row["call"]) for row in rows} == {
        (name, call) for name in ("./copy.py", "./my_lstm.py") for call in ("forward", "train")
    }
    assert all(row["error_outputs"] < 1e-6 and row["error_gradients"] < 1e-5 for row in rows)

    command = cli._parser().parse_args(compared)
    assert (command.a, command.b, command.what) == ("torch", "./my_lstm.py", [Shape(32, 30, 512, 1)])


def test_the_guides_row_belongs_to_its_file(tmp_path):
    (tmp_path / "my_lstm.py").write_text(NAMED_ROW + FILE)
    row = variants.find(str(tmp_path / "my_lstm.py"))
    assert (row.fault, row.label, row.devices) == (None, "NumPy, loop", ("cpu",))
    assert variants.supports(str(tmp_path / "my_lstm.py"), Workload(2, 3, 4, 1, input_size=5)) is None
    assert "gru" in variants.supports(str(tmp_path / "my_lstm.py"), Workload(2, 3, 4, 1, kind="gru"))


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
    checked = called(copy, "-m", "rnnbench", "verify", "numpy_loop", "--shapes", "0")
    assert checked.count("numpy_loop") == 3  # the quick grid
    names = set(json.loads(called(copy, "-c", DISCOVER)))
    kinds = {"lstm.NumpyLoopLSTM.time_train", "accuracy.NumpyLoopAccuracy.track_outputs"}
    assert kinds <= names
    pattern = called(copy, "-m", "rnnbench", "filter", "quick", "numpy_loop").strip()
    assert re.search(pattern, "lstm.NumpyLoopLSTM.time_train(32, 30, 128, 1)")
    called(copy, "-m", "rnnbench", "readme", "docs/peers.md")
    assert re.search(r"^\| `numpy_loop` +\| A loop over NumPy's operations", (copy / "docs/peers.md").read_text(), re.M)
