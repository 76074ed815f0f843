"""The machine's state: what other programs do is seen, what this one does isn't taken for it."""

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
from rnnbench.measure.state import between, judge, look
from rnnbench.network.shapes import PARAMS, Shape

SHAPE = Shape(32, 30, 128, 1)
COMMIT = "c" * 40

# What was seen around 20 calls of scan's forward pass, on two cores of an AMD EPYC while nothing else ran: others,
# waited, used, seconds. So short a time holds few of the steps in which Linux counts what others do.
SEEN_QUIET = [
    (0.0, 0.0003, 2.0055, 0.0655),
    (0.0576, 0.0008, 1.9732, 0.0689),
    (0.0618, 0.0004, 2.0067, 0.0725),
    (0.1658, 0.0452, 1.914, 0.1058),
    (0.1032, 0.0, 1.9856, 0.091),
    (0.0886, 0.0, 1.9644, 0.0925),
    (0.1756, 0.0, 1.9521, 0.0752),
    (0.0, 0.0, 1.9501, 0.0669),
]
# And beside a program that worked for 10 ms of every 20.
SEEN_DISTURBED = [
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
# Numbers of the size that an H100 gives.
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
# A process that is watched while it works, on the processors that it is given.
WATCHED = """
import os, sys, time
from rnnbench.measure import state
os.sched_setaffinity(0, map(int, sys.argv[1].split(",")))
state.watch("cpu", (32, 30, 128, 1))
end = time.perf_counter() + 1
while time.perf_counter() < end:
    pass
"""


@pytest.fixture
def working():
    """Return a function that starts programs which compute on a processor until the test ends."""
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


def test_a_thread_that_waits_for_other_programs_is_seen(working, processor, python, tmp_path):
    working(processor, 2)
    run = python("-c", WATCHED, str(processor), **{state.NOTES: str(tmp_path)})
    assert run.returncode == 0
    assert run.stderr.startswith(f"doubtful: {state.MARKS['busy']} (")
    ((shape, seen),) = state.collect(tmp_path)
    assert shape == SHAPE
    assert seen["marks"] == ["busy"]
    # A third of the processor each; other programs may have worked there too.
    assert seen["waited"] > 0.5
    assert seen["others"] > 0.5
    assert seen["used"] < 0.5
    assert not list(state.collect(tmp_path))


def test_nothing_is_noted_unless_it_is_asked_for(python, processor):
    run = python("-c", WATCHED, str(processor), **{state.NOTES: ""})
    assert (run.returncode, run.stderr) == (0, "")


def test_what_this_process_and_its_children_do_is_their_own():
    first = look("cpu")
    subprocess.run([sys.executable, "-c", WORK, "0.3"], check=True)
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    last = look("cpu")
    seen = between(first, last)
    assert seen["used"] * seen["seconds"] >= 0.59
    # All of it together fits into the processors' time, but for the steps in which that is counted.
    assert (seen["used"] + seen["others"]) * seen["seconds"] <= seen["cpus"] * (seen["seconds"] + 6 * state._STEPS)


def test_a_working_program_is_seen_by_one_that_sleeps(working, processor):
    working(processor, 1)
    seen = state.now("cpu")
    assert seen["others"] > 0.8
    assert "busy" in seen["marks"]


def test_a_busy_machine_is_told_of_and_refused_if_strict(working, processor, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    # Described already: its peaks aren't measured anew.
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


def test_threads_that_contradict_each_other_are_a_sentence(monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "two")
    assert main(["machine", "here"]) == 1
    assert capsys.readouterr().err.startswith("rnnbench: OMP_NUM_THREADS is 'two'")


@pytest.mark.parametrize("file", ["_STAT", "_TASKS"])
def test_a_system_that_does_not_count_is_no_quiet_one(file, tmp_path, monkeypatch):
    monkeypatch.setattr(state, file, tmp_path)
    first = look("cpu")
    seen = between(first, look("cpu"))
    assert seen[{"_STAT": "others", "_TASKS": "waited"}[file]] is None


def test_a_system_that_counts_nothing_is_not_believed(tmp_path, monkeypatch):
    counts = [f"cpu{number} 0 0 0 0 0 0 0 0 0 0" for number in os.sched_getaffinity(0)]
    (tmp_path / "stat").write_text("\n".join(["cpu 0 0 0 0 0 0 0 0 0 0", *counts]))
    monkeypatch.setattr(state, "_STAT", tmp_path / "stat")
    first = look("cpu")
    sum(range(10**6))
    assert between(first, look("cpu"))["others"] is None


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
        ({"others": 0.11}, []),  # less than the steps in which it is counted
        ({"waited": 0.06}, ["busy"]),
        ({"waited": 0.06, "others": None}, ["busy"]),
        # JAX on two processors, alone: its own threads take turns.
        ({"waited": 0.1578, "others": 0.0, "used": 1.5242, "seconds": 0.3681}, []),
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
def test_what_makes_a_figure_doubtful(changes, marks):
    found = judge(QUIET | changes)
    assert list(found) == (["busy", "throttled", "shared"] if marks is None else marks)
    for mark, sentence in found.items():
        assert sentence.startswith(state.MARKS[mark])
        assert "\n" not in sentence


@pytest.mark.parametrize(("observed", "marks"), [(SEEN_QUIET, []), (SEEN_DISTURBED, ["busy"])])
def test_what_was_seen_is_judged_as_it_was(observed, marks):
    for numbers in observed:
        seen = dict(zip(("others", "waited", "used", "seconds"), numbers, strict=True))
        assert list(judge(QUIET | seen)) == marks


BENCHMARK = {
    "name": "lstm.ScanLSTM.time_train",
    "version": "1",
    "params": [[str(size) for size in sizes] for sizes in PARAMS],
}
OTHER = Shape(32, 30, 128, 3)  # the second of the parameters' combinations


class Measuring:
    """A folder of results, and asv's part in filling it."""

    def __init__(self, folder, monkeypatch):
        self.results = folder
        monkeypatch.setattr(os, "environ", dict(os.environ))
        (folder / "here").mkdir()
        (folder / "here" / "machine.json").write_text('{"machine": "here", "version": 1}')

    def run(self, rounds, append=False, kind=StatefulResults):
        """Store what processes measured, a dict of shapes and of the marks they left for each round."""
        results = kind({"machine": "here", "python": "3.11"}, {}, COMMIT, 1, "3.11", "an-environment", {})
        results.load_data(str(self.results))
        for number, left in enumerate(rounds):
            for shape, marks in left.items():
                note = {"shape": shape, "state": QUIET | {"marks": marks}}
                if kind is StatefulResults:
                    with open(f"{os.environ[state.NOTES]}/{number}-{'-'.join(map(str, shape))}.json", "w") as file:
                        json.dump(note, file)
            measured = [1.0 if shape in left else float("nan") for shape in (SHAPE, OTHER)] + [float("nan")] * 34
            samples = [[1.0] * 7 if value == 1 else None for value in measured]
            result = BenchmarkResult(measured, samples, [sample and 1 for sample in samples], 0, "", None)
            chosen = [position for position, shape in enumerate((SHAPE, OTHER)) if shape in left]
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


def test_figures_measured_again_lose_their_marks_and_the_others_keep_them(measuring):
    measuring.run([{SHAPE: ["busy"], OTHER: ["shared", "busy"]}])
    measuring.run([{SHAPE: []}])
    assert measuring.marks() == {SHAPE: ((), 7), OTHER: (("busy", "shared"), 7)}


def test_samples_that_are_added_to_doubtful_ones_do_not_clear_them(measuring):
    measuring.run([{SHAPE: ["busy"]}])
    measuring.run([{SHAPE: []}], append=True)
    assert measuring.marks() == {SHAPE: (("busy",), 14)}


def test_nothing_is_known_of_what_asv_measured_without_the_plugin(measuring):
    measuring.run([{SHAPE: ["busy"]}])
    measuring.run([{SHAPE: []}], kind=Results)
    assert measuring.marks() == {SHAPE: (None, 7)}


def test_asv_reads_the_file_as_its_own(measuring):
    measuring.run([{SHAPE: ["busy"]}])
    (path,) = measuring.results.rglob(f"{COMMIT[:8]}-*.json")
    read = Results.load(str(path))
    assert read.get_result_samples(BENCHMARK["name"], BENCHMARK["params"])[0] == [1.0] * 7


@pytest.mark.parametrize("broken", [7, ["busy"], {"32, 30, 128, 1": 7}, {"32, 30, 128, 1": [{"marks": ["\x1b[2J"]}]}])
def test_a_state_that_the_plugin_never_wrote_is_left_out_with_its_figures(broken, measuring):
    measuring.run([{SHAPE: []}])
    (path,) = measuring.results.rglob(f"{COMMIT[:8]}-*.json")
    content = json.loads(path.read_text())
    content["state"][BENCHMARK["name"]] = broken
    path.write_text(json.dumps(content))
    with pytest.warns(history.ResultsWarning, match="leaving out of") as warned:
        assert [figure for run in history.runs(measuring.results) for figure in history.read(run)] == []
    assert str(warned[0].message).isprintable()
