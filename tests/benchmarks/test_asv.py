"""asv end to end, in a clone: asv builds an environment, times a shape, publishes, and compares commits."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from asv.config import Config
from asv.environment import get_environments
from helpers import ROOT
from helpers.clone import Clone
from helpers.reports import unwrapped

import rnnbench.asv_plugin  # noqa: F401 - it gives asv the peers' environment
from rnnbench.history import interleave
from rnnbench.measure.state import MARKS, judge
from rnnbench.network.shapes import GRIDS

# Far above this machine's noise, and far below the slow commit's slowdown.
FACTOR = "1.5"


@pytest.fixture(scope="module")
def clone(tmp_path_factory, environment):
    return Clone(tmp_path_factory.mktemp("asv"), environment)


@pytest.fixture(scope="module")
def timed(clone):
    """Time the head's commit, and return its hash."""
    benchmarks = "ScanLSTM.time_forward|CudnnLSTM.time_forward|ScanAccuracy.track_outputs|ScanMemory.track_train"
    clone.log = clone.run(benchmarks, "HEAD^!", "--show-stderr")
    return clone.git("rev-parse", "HEAD")


def test_a_run_stores_times_with_samples(clone, timed):
    stored = clone.result(timed, "lstm.ScanLSTM.time_forward")
    assert 1e-4 < stored["result"] < 1
    assert len(stored["samples"]) >= 14
    assert min(stored["samples"]) <= stored["result"] <= max(stored["samples"])


def test_a_run_stores_accuracy_and_memory(clone, timed):
    assert 0 < clone.result(timed, "accuracy.ScanAccuracy.track_outputs")["result"] < 1e-5
    assert 2**20 < clone.result(timed, "memory.ScanMemory.track_train")["result"] < 2**30


def test_the_machine_is_described(clone, timed):
    described = json.loads((clone.path / "results" / "test" / "machine.json").read_text())
    assert described["machine"] == "test"
    assert described["num_cpu"] == str(os.cpu_count())
    assert all(described[fact] for fact in ("arch", "cpu", "os", "ram"))


def test_each_process_stores_the_state_of_the_machine(clone, timed):
    states = clone.states(timed)
    # A variant that can't run has no state, nor has a benchmark that isn't a time.
    assert {name: list(shapes) for name, shapes in states.items()} == {"lstm.ScanLSTM.time_forward": ["32, 30, 128, 1"]}
    stored = states["lstm.ScanLSTM.time_forward"]["32, 30, 128, 1"]
    assert len(stored) == 2
    # The processes observed the machine from before their first sample to after their last.
    assert sum(state["seconds"] for state in stored) > sum(clone.result(timed, "lstm.ScanLSTM.time_forward")["samples"])
    for state in stored:
        assert (state["threads"], state["cpus"], state["gpu"]) == (1, len(os.sched_getaffinity(0)), None)
        assert 0 < state["used"] < 1.1
        assert list(judge(state)) == state["marks"]


def test_a_variant_that_cannot_run_is_na_and_says_why(clone, timed):
    assert str(clone.result(timed, "lstm.CudnnLSTM.time_forward").get("result")) == "nan"
    assert re.search(r"cudnn can't run on cpu: .+", clone.log)


def test_a_run_shows_only_the_measured_shapes(clone, timed):
    assert re.search(r"lstm\.ScanLSTM\.time_forward +[\d.]+±[\d.]+[mμ]?s\*?\n", clone.log)
    assert re.search(r"lstm\.CudnnLSTM\.time_forward +n/a\n", clone.log)
    assert set(re.findall(r"\d+, \d+, \d+, \d+", clone.log)) == {"32, 30, 128, 1"}


def test_the_dashboard_shows_what_was_measured(clone, timed):
    clone.asv("publish")
    html = clone.path / "html"
    assert "lstm.ScanLSTM.time_forward" in json.loads((html / "index.json").read_text())["benchmarks"]
    measured = clone.result(timed, "lstm.ScanLSTM.time_forward")["result"]
    shown = [file.read_text() for file in html.glob("graphs/**/lstm.ScanLSTM.time_forward.json")]
    assert any(measured == pytest.approx(float(number)) for text in shown for number in re.findall(r"[\d.e+-]+", text))


@contextlib.contextmanager
def busy():
    """Start one program per processor that keeps it busy until the end of the block."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def test_a_figure_of_a_busy_machine_is_marked_and_refused_if_strict(clone, timed):
    with busy():
        log = clone.run("ScanLSTM.time_forward", f"{timed}^!", "--append-samples", "--show-stderr")
        assert MARKS["busy"] in clone.call("rnnbench", "machine", "test", "--strict", status=1)
    assert f"doubtful: {MARKS['busy']} (" in log
    states = clone.states(timed)["lstm.ScanLSTM.time_forward"]["32, 30, 128, 1"]
    # The first two states belong to the earlier run.
    assert [state["marks"] for state in states[2:]] == [["busy"], ["busy"]]

    report = ("report", "--machine", "test", "--commit", timed)
    text = clone.call("rnnbench", *report)
    assert re.search(r"scan .*\d \(\S+–\S+\)\*", text)
    assert f"doubtful (busy), 1 of 1 figures: {MARKS['busy']}" in unwrapped(text)
    figures = json.loads(clone.call("rnnbench", *report, "--format", "json"))["figures"]
    marks = {figure["quantity"]: figure["marks"] for figure in figures}
    assert marks == {"forward": "busy", "error_outputs": None, "memory": None}
    refused = clone.call("rnnbench", *report, "--strict", status=1)
    assert refused.startswith("rnnbench: test at")
    assert MARKS["busy"] in refused


@pytest.mark.alone
def test_compare_flags_a_slower_scan_and_nothing_else(clone, timed, monkeypatch):
    # The environment has all that the build of another commit needs, so asv times it without a network.
    monkeypatch.setitem(clone.environment, "PIP_NO_INDEX", "1")
    for words in ("Other words.\n", "Other words again.\n"):
        (clone.path / "CHANGELOG.md").write_text(words)
        clone.commit("Change nothing that is timed")
    before, unchanged = clone.git("rev-parse", "HEAD~1", "HEAD").split()
    source = clone.path / "rnnbench" / "variants" / "scan.py"
    fast = "tensor.dot(recurrent, results[-1])"
    slow = "sum(tensor.dot(recurrent, results[-1]**power) for power in range(1, 7))"
    assert source.read_text().count(fast) == 1
    source.write_text(source.read_text().replace(fast, slow))
    slower = clone.commit("Multiply six times a step")

    # Interleaved rounds: if the machine slows down, it slows all commits equally.
    clone.run("ScanLSTM.time_forward", f"{timed}..{slower}", "--interleave-rounds")

    def changed(one, other):
        options = ["--machine", "test", "--factor", FACTOR, "--only-changed"]
        return "ScanLSTM.time_forward" in clone.asv("compare", *options, one, other)

    assert not changed(before, unchanged)
    assert changed(unchanged, slower)
    assert changed(before, slower)


def test_the_other_environments_have_all_frameworks_but_theano():
    configuration = Config.load(str(ROOT / "asv.conf.json"))
    (theano,) = get_environments(configuration, None)
    peers, pymc = (next(get_environments(configuration, [kind])) for kind in ("peers", "theano-pymc"))
    # Without a list in asv.conf.json asv takes the version of the Python that runs it.
    version = "{}.{}".format(*sys.version_info)
    names = [environment.name for environment in (theano, peers, pymc)]
    assert names == [f"virtualenv-py{version}", f"peers-py{version}", f"theano-pymc-py{version}"]
    *before, installed, theano_itself = theano._install_command
    assert installed.endswith("{build_dir}[theano]")
    assert peers._install_command == [*before, installed.replace("[theano]", "[peers]")]
    assert pymc._install_command == [*before, installed.replace("[theano]", "[theano-pymc]")]
    *_, script = theano_itself.split()
    assert (ROOT / script).is_file()
    assert Path(theano._path, "../../..").resolve() == ROOT  # where the second command runs


def test_environments_take_their_samples_in_turn(clone, timed):
    environments = {"virtualenv:{}.{}".format(*sys.version_info): ["scan"], f"existing:{sys.executable}": ["scan"]}
    commands = list(interleave.commands("quick", "test", environments))
    of_shape = [command[command.index("--environment") + 1] for command in commands[:4]]
    assert of_shape == [*environments, *reversed(environments)]
    assert len(commands) == 4 * len(GRIDS["quick"])

    counts = []
    for command in commands[:4]:
        position = command.index("--bench") + 1
        command[position] = rf"(?=.*ScanLSTM.time_forward)(?:{command[position]})"
        done = subprocess.run(command, cwd=clone.path, env=clone.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        counts.append(
            [
                len(clone.stored(file, "lstm.ScanLSTM.time_forward")["samples"])
                for file in clone.files(clone.git("rev-parse", "HEAD"))
            ]
        )
    assert [len(files) for files in counts] == [1, 2, 2, 2]
    assert all(7 <= before < after for before, after in zip(sorted(counts[1]), sorted(counts[3]), strict=True))
