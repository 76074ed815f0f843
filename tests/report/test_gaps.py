"""Tests of rnnbench history: the list of runs, the missing figures, and the command that measures them."""

import itertools
import json
import re
import shlex
from types import SimpleNamespace

import pytest
from asv.benchmarks import Benchmarks
from helpers import synthetic
from helpers.recorded import RESULTS
from helpers.reports import NAN, SHAPE, train_times

from rnnbench import history
from rnnbench.history.benchmark_names import asv_filter
from rnnbench.network.shapes import GRIDS
from rnnbench.report import gaps


def benchmark_names(results):
    names = json.loads((results / "benchmarks.json").read_text())
    return [name for name in names if name != "version"]


def find_gap(results, machine, grid):
    (gap,) = gaps.find(results, history.runs(results, machine), grid)
    return gap


def parse_command(command):
    """Return the machine, the pattern and the commits of a run command."""
    words = shlex.split(command)
    start = words.index("rnnbench")
    assert words[start : start + 2] == ["rnnbench", "run"]
    assert "--record-samples" in words
    return words[words.index("--machine") + 1], words[words.index("--bench") + 1], words[-1]


@pytest.mark.parametrize("grid", GRIDS)
def test_the_command_selects_the_missing_figures_only(grid):
    gap = find_gap(RESULTS, "epyc-2core", grid)
    measured = {
        f"{figure.benchmark}({', '.join(map(str, figure.shape))})"
        for run in history.runs(RESULTS, "epyc-2core")
        for figure in history.read(run)
    }
    # Only scan can run on this machine.
    possible = [
        f"{name}({', '.join(map(str, shape))})"
        for name in benchmark_names(RESULTS)
        if ".Scan" in name
        for shape in GRIDS["full"]
    ]
    wanted = {name for name in possible if re.search(asv_filter(grid), name)}
    if grid == "quick":
        assert (gap.missing, gap.command) == ({}, "")
        return
    machine, pattern, commits = parse_command(gap.command)
    assert (machine, commits) == ("epyc-2core", "fcae1cdc1bfe53ad49d2f36acf112118f4954898^!")
    described = json.loads((RESULTS / "benchmarks.json").read_text())
    described.pop("version")
    selected = Benchmarks(SimpleNamespace(benchmark_dir=None), described.values(), pattern).benchmark_selection
    names = {
        f"{name}({', '.join(map(str, synthetic.SHAPES[index]))})"
        for name, indices in selected.items()
        for index in indices
    }
    assert names == wanted - measured


@pytest.mark.parametrize(
    ("measured", "environments"),
    [
        (("Scan", "Cudnn"), ["virtualenv:3.11"]),
        (("Scan", "Torch"), ["peers:3.11", "virtualenv:3.11"]),
        (("Torch",), ["peers:3.11"]),
    ],
)
def test_the_command_names_the_environments_of_the_missing_figures(measured, environments, two_machines):
    synthetic.write_machine(two_machines, "north", gpu="A GPU")
    (two_machines / "benchmarks.json").write_text("{}")
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), train_times(**dict.fromkeys(measured, 1e-3)))
    words = shlex.split(find_gap(two_machines, "north", "quick").command)
    named = [after for word, after in itertools.pairwise(words) if word == "--environment"]
    assert (named or ["virtualenv:3.11"]) == environments  # without the option, asv uses Theano's environment


def test_a_gpus_command_names_its_device():
    assert find_gap(RESULTS, "h100", "seed").command.startswith("RNNBENCH_DEVICE=cuda rnnbench run")
    assert find_gap(RESULTS, "epyc-2core", "seed").command.startswith("rnnbench run")


def test_figures_that_failed_or_were_measured_in_any_environment_are_not_missing(two_machines):
    commit = synthetic.commit_hash(0)
    synthetic.write_machine(two_machines, "north", gpu="A GPU")
    # On this machine memory and TF32 are n/a, cudnn was never tried, and keras isn't made for GPUs.
    memory = {"memory.ScanMemory.track_train": synthetic.tracked([NAN] * 36)}
    synthetic.write_run(
        two_machines, "north", commit, {**train_times(Scan=1, Torch=NAN, CudnnTF32=NAN), **memory}, environment="one"
    )
    synthetic.write_run(two_machines, "north", commit, train_times(Scan=None, Torch=None), environment="three")
    synthetic.write_run(two_machines, "north", commit, train_times(Scan=NAN, Torch=NAN), environment="two")
    tried = train_times(Scan=1, Torch=1, Cudnn=1, CudnnTF32=1, Keras=1)
    benchmarks = [*tried, *memory, "lstm.CudnnTF32LSTM.time_forward", "version"]
    (two_machines / "benchmarks.json").write_text(json.dumps(dict.fromkeys(benchmarks)))
    gap = find_gap(two_machines, "north", "quick")
    rest = [shape for shape in GRIDS["full"] if shape in GRIDS["quick"] and shape != SHAPE]
    assert gap.missing == {
        "lstm.ScanLSTM.time_train": rest,
        "lstm.TorchLSTM.time_train": rest,
        "lstm.CudnnLSTM.time_train": [SHAPE, *rest],
    }
    assert gap.failed == {"lstm.TorchLSTM.time_train": [SHAPE]}


def test_history_lists_machines_and_commits_with_results(full_history, run):
    folder, commits = full_history
    status, output, errors = run(["history", "--results", str(folder), "--grid", "full"])
    assert (status, errors) == (0, "")
    for machine in synthetic.MACHINES:
        for commit in commits:
            assert re.search(rf"^{commit[:8]} +2023-11-1\d +{machine} +virtualenv-py3.11$", output, re.MULTILINE)
        assert f"{machine} at {commits[-1][:8]} has all of the full grid's figures." in output
    _, output, _ = run(["history", "--results", str(folder), "--machine", "west", "--commit", commits[0]])
    assert len(output.splitlines()) == 3


def test_history_shows_the_command_for_missing_figures(run):
    _, output, _ = run(["history", "--results", str(RESULTS), "--grid", "seed"])
    assert find_gap(RESULTS, "h100", "seed").command in output
    assert "lacks 34 of the seed grid's figures:" in output
