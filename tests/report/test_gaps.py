"""Tests of rnnbench history: the list of runs, the missing figures, and the command that measures them."""

import json
import re
import shlex

import pytest
from helpers import synthetic
from helpers.recorded import RESULTS
from helpers.reports import NAN, SHAPE, train_times

from rnnbench import history
from rnnbench.history.benchmark_names import asv_filter, parameters
from rnnbench.network.models import subjects
from rnnbench.network.shapes import GRIDS
from rnnbench.report import gaps


def benchmark_names(results):
    names = json.loads((results / "benchmarks.json").read_text())
    return [name for name in names if name != "version"]


def find_gap(results, machine, grid):
    (gap,) = gaps.find(results, history.runs(results, machine), grid)
    return gap


@pytest.mark.parametrize("grid", GRIDS)
def test_what_is_missing_is_what_the_grid_has_and_the_results_lack(grid):
    gap = find_gap(RESULTS, "epyc-2core", grid)
    measured = {
        named(figure.benchmark, figure.subject)
        for run in history.runs(RESULTS, "epyc-2core")
        for figure in history.read(run)
    }
    # Only scan can run on this machine.
    possible = {named(name, one) for name in benchmark_names(RESULTS) if ".Scan" in name for one in subjects("lstm")}
    wanted = {name for name in possible if re.search(asv_filter(grid), name)}
    missing = {named(name, one) for name, ones in gap.missing.items() for one in ones}
    assert missing == wanted - measured
    assert gap.expected == len(wanted)
    assert bool(gap.command) == bool(missing) == (grid != "quick")


def named(benchmark, subject):
    return f"{benchmark}({parameters(subject)})"


@pytest.mark.parametrize(
    ("measured", "target"),
    [(("Scan", "Cudnn"), "bench"), (("Scan", "Torch"), "bench-peers"), (("Torch",), "bench-peers")],
)
def test_the_command_times_the_peers_if_they_lack_figures(measured, target, two_machines):
    synthetic.write_machine(two_machines, "north", gpu="A GPU")
    (two_machines / "benchmarks.json").write_text("{}")
    commit = synthetic.commit_hash(0)
    synthetic.write_run(two_machines, "north", commit, train_times(**dict.fromkeys(measured, 1e-3)))
    assert find_gap(two_machines, "north", "quick").command == (
        f"git checkout {commit[:8]} && RNNBENCH_DEVICE=cuda make {target} GRID=quick MACHINE=north"
    )


def test_the_command_names_the_interpreters_that_the_machine_used(two_machines):
    commit = synthetic.commit_hash(0)
    for environment, python in (("existing-a", "/opt/a/python"), ("existing-b", "/opt/b c/python")):
        path = synthetic.write_run(two_machines, "south", commit, train_times(Scan=1.0), environment=environment)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"python": python}))
    (two_machines / "benchmarks.json").write_text("{}")
    words = shlex.split(find_gap(two_machines, "south", "quick").command)
    assert words[-1] == "ENVIRONMENTS=existing:/opt/a/python existing:/opt/b c/python"
    assert "bench-peers" in words


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
    first = ("lstm", SHAPE)
    rest = [("lstm", shape) for shape in GRIDS["quick"] if shape != SHAPE]
    assert gap.missing == {
        "lstm.ScanLSTM.time_train": rest,
        "lstm.TorchLSTM.time_train": rest,
        "lstm.CudnnLSTM.time_train": [first, *rest],
    }
    assert gap.failed == {"lstm.TorchLSTM.time_train": [first]}


def test_history_lists_machines_and_commits_with_results(full_history, run):
    folder, commits = full_history
    status, output, errors = run(["history", "--results", str(folder), "--grid", "full"])
    assert (status, errors) == (0, "")
    for machine in synthetic.MACHINES:
        for commit in commits:
            assert re.search(rf"^{commit[:8]} +2023-11-1\d +{machine} +virtualenv-py3.11$", output, re.MULTILINE)
        assert f"{machine} at {commits[-1][:8]} can't run any shape of the full grid." in output  # with 1 byte
    _, output, _ = run(["history", "--results", str(folder), "--machine", "west", "--commit", commits[0]])
    assert len(output.splitlines()) == 3


def test_history_shows_the_command_for_missing_figures(run):
    _, output, _ = run(["history", "--results", str(RESULTS), "--grid", "seed"])
    assert find_gap(RESULTS, "h100", "seed").command in output
    assert f"lacks 34 of {find_gap(RESULTS, 'epyc-2core', 'seed').expected} figures of the seed grid:" in output
    _, output, _ = run(["history", "--results", str(RESULTS), "--grid", "quick", "--machine", "epyc-2core"])
    assert f"epyc-2core at fcae1cdc has all {3 * 5 + 2} figures of the quick grid." in output
    listed = [line for line in output.splitlines() if "git checkout" not in line]
    assert max(map(len, listed)) <= 80


@pytest.mark.parametrize("text", ["[{}]", "null", "7", '"lstm"', "[" * 10**5, "{"])
def test_a_broken_list_of_benchmarks_is_left_out(text, two_machines, run):
    (two_machines / "benchmarks.json").write_text(text)
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), train_times(Scan=1.0))
    status, output, errors = run(["history", "--results", str(two_machines), "--grid", "quick"])
    assert status == 0
    assert "north at " in output
    assert errors.startswith(f"rnnbench: leaving out {two_machines}/benchmarks.json: it isn't ")
