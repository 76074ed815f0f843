"""The machine's state: it shows the load of other programs, and doesn't mistake this process's load for theirs."""

import json
import os
import subprocess
import sys
import time

import pytest
from asv.machine import Machine
from asv.results import Results
from asv.runner import BenchmarkResult

from rnnbench import history
from rnnbench.asv_plugin import StatefulResults
from rnnbench.cli import main
from rnnbench.measure import state
from rnnbench.measure.state import between, judge, observe
from rnnbench.network.shapes import PARAMS, Shape

SHAPE = Shape(32, 30, 128, 1)
COMMIT = "c" * 40

# The state around 20 calls of scan's forward pass, on two cores of an AMD EPYC while no other program ran: others,
# waited, used, seconds. Linux counts `others` in steps of 10 ms, and so short a time has only a few of them.
OBSERVED_QUIET = [
    (0.0, 0.0003, 2.0055, 0.0655),
    (0.0576, 0.0008, 1.9732, 0.0689),
    (0.0618, 0.0004, 2.0067, 0.0725),
    (0.1658, 0.0452, 1.914, 0.1058),
    (0.1032, 0.0, 1.9856, 0.091),
    (0.0886, 0.0, 1.9644, 0.0925),
    (0.1756, 0.0, 1.9521, 0.0752),
    (0.0, 0.0, 1.9501, 0.0669),
]
# The same beside a program that worked for 10 ms of every 20 ms.
OBSERVED_DISTURBED = [
    (0.2962, 0.269, 1.7024, 0.1101),
    (0.2747, 0.2639, 1.7158, 0.1356),
    (0.1798, 0.2644, 1.7322, 0.0837),
    (0.3296, 0.2663, 1.7257, 0.1265),
    (0.3213, 0.2621, 1.7088, 0.0837),
]
QUIET = {
    "seconds": 0.0925,
    "cpus": 2,
    "threads": 2,
    "used": 1.9644,
    "others": 0.0886,
    "waited": 0.0,
    "governor": None,
    "gpu": None,
    "marks": [],
}
# Typical numbers of an H100.
GPU = {
    "sm_mhz": 1980,
    "sm_mhz_most": 1980,
    "memory_mhz": 2619,
    "memory_mhz_most": 2619,
    "watts": 312.5,
    "watts_limit": 700.0,
    "celsius": 46,
    "reasons": [],
    "held_back": 0.0,
    "programs": 0,
}
HIDDEN = dict.fromkeys(GPU)

WORK = """
import sys, time
end = time.process_time() + float(sys.argv[1])
while time.process_time() < end:
    pass
"""
# A watched process, which works for one second on the given processors.
WATCHED = """
import os, sys, time
from rnnbench.measure import state
os.sched_setaffinity(0, map(int, sys.argv[1].split(",")))
state.watch("cpu", "32, 30, 128, 1")
end = time.perf_counter() + 1
while time.perf_counter() < end:
    pass
"""


@pytest.fixture
def working():
    """Return a function that starts `count` programs on one processor. They compute until the test ends."""
    started = []

    def start(processor, count):
        for _ in range(count):
            program = subprocess.Popen([sys.executable, "-c", WORK, "600"])
            started.append(program)
            os.sched_setaffinity(program.pid, {processor})

    yield start
    for program in started:
        program.kill()
        program.wait()


@pytest.fixture
def processor():
    return min(os.sched_getaffinity(0))


def test_a_thread_that_waits_for_other_programs_is_marked(working, processor, python, tmp_path):
    working(processor, 2)
    run = python("-c", WATCHED, str(processor), **{state.NOTES: str(tmp_path)})
    assert run.returncode == 0
    assert run.stderr.startswith(f"doubtful: {state.MARKS['busy']} (")
    ((parameters, note),) = state.collect(tmp_path)
    assert parameters == "32, 30, 128, 1"
    assert note["marks"] == ["busy"]
    # Each of the three programs has a third of the processor, or less if other programs run there too.
    assert note["waited"] > 0.5
    assert note["others"] > 0.5
    assert note["used"] < 0.5
    assert not list(state.collect(tmp_path))


def test_without_a_notes_folder_nothing_is_reported(python, processor):
    run = python("-c", WATCHED, str(processor), **{state.NOTES: ""})
    assert (run.returncode, run.stderr) == (0, "")


def test_the_load_of_this_process_and_its_children_is_not_counted_as_others():
    first = observe("cpu")
    subprocess.run([sys.executable, "-c", WORK, "0.3"], check=True)
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    last = observe("cpu")
    observed = between(first, last)
    assert observed["used"] * observed["seconds"] >= 0.59
    # Together both loads fit into the processors' time, except for the steps in which Linux counts it.
    total = (observed["used"] + observed["others"]) * observed["seconds"]
    assert total <= observed["cpus"] * (observed["seconds"] + 6 * state._STEPS)


def test_a_sleeping_process_observes_a_working_program(working, processor):
    working(processor, 1)
    observed = state.now("cpu")
    assert observed["others"] > 0.8
    assert "busy" in observed["marks"]


def test_a_busy_machine_is_reported_and_refused_if_strict(working, processor, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    # The machine is described already, so its peak rates aren't measured again.
    peaks = {"float32_flops": "1e9", "memory_bandwidth": "1e9"}
    described = json.dumps(Machine.get_defaults() | {"machine": "here"} | peaks)
    (tmp_path / "results" / "here").mkdir(parents=True)
    (tmp_path / "results" / "here" / "machine.json").write_text(described)
    working(processor, 1)
    assert main(["machine", "here", "--strict"]) == 1
    assert state.MARKS["busy"] in capsys.readouterr().err
    assert not (tmp_path / ".asv-machine.json").exists()
    assert main(["machine", "here"]) == 0
    assert state.MARKS["busy"] in capsys.readouterr().err
    assert "here" in json.loads((tmp_path / ".asv-machine.json").read_text())


def test_an_invalid_number_of_threads_is_reported_in_a_sentence(monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "two")
    assert main(["machine", "here"]) == 1
    assert capsys.readouterr().err.startswith("rnnbench: OMP_NUM_THREADS is 'two'")


@pytest.mark.parametrize("file", ["_STAT", "_TASKS"])
@pytest.mark.parametrize("hidden", [False, True])
def test_without_linuxs_counts_the_load_is_unknown_and_not_zero(file, hidden, tmp_path, monkeypatch):
    monkeypatch.setattr(state, file, tmp_path / "absent" if hidden else tmp_path)
    first = observe("cpu")
    observed = between(first, observe("cpu"))
    assert observed[{"_STAT": "others", "_TASKS": "waited"}[file]] is None


def test_a_system_with_all_counts_at_zero_is_not_believed(tmp_path, monkeypatch):
    counts = [f"cpu{number} 0 0 0 0 0 0 0 0 0 0" for number in os.sched_getaffinity(0)]
    (tmp_path / "stat").write_text("\n".join(["cpu 0 0 0 0 0 0 0 0 0 0", *counts]))
    monkeypatch.setattr(state, "_STAT", tmp_path / "stat")
    first = observe("cpu")
    sum(range(10**6))
    assert between(first, observe("cpu"))["others"] is None


def test_the_governor_of_each_processor_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3})
    monkeypatch.setattr(state, "_GOVERNOR", str(tmp_path / "{}"))
    assert state._governor() is None
    (tmp_path / "0").write_text("performance\n")
    (tmp_path / "3").write_text("performance\n")
    assert state._governor() == "performance"
    (tmp_path / "3").write_text("powersave\n")
    assert state._governor() == "performance, powersave"


@pytest.mark.parametrize(
    ("changes", "marks"),
    [
        ({}, []),
        ({"others": None, "waited": None}, []),
        ({"others": 0.11, "seconds": 1.0}, ["busy"]),
        ({"others": 0.09, "seconds": 1.0}, []),
        ({"others": 0.11}, []),  # less than two of the steps in which Linux counts
        ({"waited": 0.06}, ["busy"]),
        ({"waited": 0.06, "others": None}, ["busy"]),
        # JAX ran alone on two processors: its own threads wait for each other.
        ({"waited": 0.1578, "others": 0.0, "used": 1.5242, "seconds": 0.3681}, []),
        ({"stopped": 0.06}, ["quota"]),
        ({"stopped": 0.04}, []),
        ({"governor": "performance"}, []),
        ({"governor": "performance, powersave"}, ["governor"]),
        ({"threads": 1}, ["threads"]),
        ({"gpu": GPU}, []),
        ({"gpu": HIDDEN}, []),
        ({"gpu": GPU, "threads": 1}, []),
        ({"gpu": GPU | {"reasons": ["its power limit"]}}, ["throttled"]),
        ({"gpu": GPU | {"held_back": 0.001}}, ["throttled"]),
        ({"gpu": GPU | {"held_back": 0.0009}}, []),
        ({"gpu": GPU | {"programs": 2}}, ["shared"]),
        ({"waited": 0.4, "gpu": HIDDEN | {"programs": 1, "reasons": ["its temperature"]}}, None),
    ],
)
def test_which_states_make_a_figure_doubtful(changes, marks):
    sentences = judge(QUIET | changes)
    assert list(sentences) == (["busy", "throttled", "shared"] if marks is None else marks)
    for mark, sentence in sentences.items():
        assert sentence.startswith(state.MARKS[mark])
        assert "\n" not in sentence


@pytest.mark.parametrize(("observations", "marks"), [(OBSERVED_QUIET, []), (OBSERVED_DISTURBED, ["busy"])])
def test_recorded_states_are_judged_correctly(observations, marks):
    for numbers in observations:
        observed = dict(zip(("others", "waited", "used", "seconds"), numbers, strict=True))
        assert list(judge(QUIET | observed)) == marks


BENCHMARK = {
    "name": "lstm.ScanLSTM.time_train",
    "version": "1",
    "params": [[str(size) for size in sizes] for sizes in PARAMS],
}
OTHER = Shape(32, 30, 128, 3)  # the second of the parameters' combinations


class Measuring:
    """A results folder, which is filled as asv fills it."""

    def __init__(self, folder, monkeypatch):
        self.results = folder
        monkeypatch.setattr(os, "environ", dict(os.environ))
        (folder / "here").mkdir()
        (folder / "here" / "machine.json").write_text('{"machine": "here", "version": 1}')

    def run(self, rounds, append=False, kind=StatefulResults):
        """Store measurements. Each round is a dict from the measured shapes to the marks that the processes left."""
        results = kind({"machine": "here", "python": "3.11"}, {}, COMMIT, 1, "3.11", "an-environment", {})
        results.load_data(str(self.results))
        for number, marks_by_shape in enumerate(rounds):
            for shape, marks in marks_by_shape.items():
                note = {"parameters": ", ".join(map(str, shape)), "state": QUIET | {"marks": marks}}
                if kind is StatefulResults:
                    with open(f"{os.environ[state.NOTES]}/{number}-{'-'.join(map(str, shape))}.json", "w") as file:
                        json.dump(note, file)
            nan = float("nan")
            measured = [1.0 if shape in marks_by_shape else nan for shape in (SHAPE, OTHER)] + [nan] * 34
            samples = [[1.0] * 7 if value == 1 else None for value in measured]
            result = BenchmarkResult(measured, samples, [sample and 1 for sample in samples], 0, "", None)
            chosen = [position for position, shape in enumerate((SHAPE, OTHER)) if shape in marks_by_shape]
            results.add_result(
                BENCHMARK,
                result,
                record_samples=True,
                append_samples=append or number > 0,
                selected_idx=chosen,
            )
        results.save(str(self.results))

    def marks(self):
        return {
            figure.shape: (figure.marks, figure.samples)
            for run in history.runs(self.results)
            for figure in history.read(run)
        }


@pytest.fixture
def measuring(tmp_path, monkeypatch):
    return Measuring(tmp_path, monkeypatch)


def test_a_figure_is_marked_if_one_of_its_processes_was_disturbed(measuring):
    measuring.run([{SHAPE: [], OTHER: []}, {SHAPE: ["busy"], OTHER: []}])
    assert measuring.marks() == {SHAPE: (("busy",), 14), OTHER: ((), 14)}


def test_figures_measured_again_lose_their_marks_and_other_figures_keep_theirs(measuring):
    measuring.run([{SHAPE: ["busy"], OTHER: ["shared", "busy"]}])
    measuring.run([{SHAPE: []}])
    assert measuring.marks() == {SHAPE: ((), 7), OTHER: (("busy", "shared"), 7)}


def test_added_samples_do_not_clear_the_marks_of_earlier_samples(measuring):
    measuring.run([{SHAPE: ["busy"]}])
    measuring.run([{SHAPE: []}], append=True)
    assert measuring.marks() == {SHAPE: (("busy",), 14)}


def test_marks_are_unknown_for_figures_that_asv_measured_without_the_plugin(measuring):
    measuring.run([{SHAPE: ["busy"]}])
    measuring.run([{SHAPE: []}], kind=Results)
    assert measuring.marks() == {SHAPE: (None, 7)}


def test_asv_can_read_the_file(measuring):
    measuring.run([{SHAPE: ["busy"]}])
    (path,) = measuring.results.rglob(f"{COMMIT[:8]}-*.json")
    read = Results.load(str(path))
    assert read.get_result_samples(BENCHMARK["name"], BENCHMARK["params"])[0] == [1.0] * 7


@pytest.mark.parametrize("broken", [7, ["busy"], {"32, 30, 128, 1": 7}, {"32, 30, 128, 1": [{"marks": ["\x1b[2J"]}]}])
def test_an_invalid_state_is_left_out_with_its_figures(broken, measuring):
    measuring.run([{SHAPE: []}])
    (path,) = measuring.results.rglob(f"{COMMIT[:8]}-*.json")
    content = json.loads(path.read_text())
    content["state"][BENCHMARK["name"]] = broken
    path.write_text(json.dumps(content))
    with pytest.warns(history.ResultsWarning, match="leaving out of") as warned:
        assert [figure for run in history.runs(measuring.results) for figure in history.read(run)] == []
    assert str(warned[0].message).isprintable()
