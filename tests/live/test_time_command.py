"""rnnbench time checks and times implementations at any network, in live processes that take turns."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import ROOT

from rnnbench import Workload
from rnnbench.cli import timing as command
from rnnbench.history import machine
from rnnbench.live import timing
from rnnbench.live.process import Code
from rnnbench.live.timing import Timing
from rnnbench.report import timed

# The reference, after a wait of a known time in each call.
WAITING = """
import time
from rnnbench import reference

def supports(work):
    return None

class Network:
    def __init__(self, work, device):
        self._outputs, self._gradients = reference.outputs(work), reference.gradients(work)
        {start}

    def forward(self):
        end = time.perf_counter() + {seconds}
        while time.perf_counter() < end:
            pass

    train = forward

    def synchronize(self):
        pass

    def outputs(self):
        return self._outputs.astype("float32") * {factor}

    def gradients(self):
        return self._gradients
"""
FACTS = {"float32_flops": "1e12", "memory_bandwidth": "1e11"}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes an implementation into the current folder, and returns its path."""
    monkeypatch.chdir(tmp_path)

    def write(name, seconds=0.0005, factor=1, start="pass"):
        (tmp_path / name).write_text(WAITING.format(seconds=seconds, factor=factor, start=start))
        return f"./{name}"

    return write


@pytest.fixture
def once(monkeypatch):
    """Time each implementation in one process, for a short time, and measure no peak rates."""
    monkeypatch.setattr(timing, "_SECONDS", 0)
    monkeypatch.setattr(timing, "_FUNCTION_SECONDS", 0.05)
    monkeypatch.setattr(machine, "peaks", lambda device: FACTS)


@pytest.fixture
def rows(run):
    """Return a function that runs `rnnbench time ... --json`, and returns its status and its rows."""

    def rows(*arguments):
        status, output, _ = run(["time", *arguments, "--json"])
        return status, {(row["implementation"], row["call"]): row for row in json.loads(output)["rows"]}

    return rows


@pytest.mark.alone
def test_times_errors_and_answers_are_right(write, run, once):
    slow, quick = write("slow.py", 0.005), write("quick.py", 0.001)
    arguments = ["time", "2x3x4x2", slow, quick, "--kind", "gru", "--inputs", "5", "--bidirectional", "--lengths", "2"]
    status, output, _ = run([*arguments, "--json"])
    assert status == 0
    found = json.loads(output)
    rows = {(row["implementation"], row["call"]): row for row in found["rows"]}
    work = Workload(2, 3, 4, 2, kind="gru", input_size=5, bidirectional=True, least_length=2)
    for (name, call), row in rows.items():
        expected = 0.005 if name == slow else 0.001
        assert expected <= row["seconds"] < 3 * expected
        assert row["microseconds_per_example"] == pytest.approx(1e6 * row["seconds"] / 2)
        assert 0 < row["error_outputs"] < 1e-7
        assert row["error_gradients"] == 0
        assert (row["kind"], row["input_size"], row["bidirectional"], row["least_length"]) == ("gru", 5, True, 2)
        flops, moved = (getattr(work, f"{call}_{what}") for what in ("flops", "bytes"))
        assert row["of_floor"] == pytest.approx(max(flops / 1e12, moved / 1e11) / row["seconds"])
    assert len(rows) == 4
    (train, forward) = found["answers"]
    assert re.match(r"\./quick\.py trains fastest: \d+\.\d+ times as fast as \./slow\.py \(", train["answer"])
    assert forward["network"] == "gru 2×3×4×2, 5 inputs, bidirectional, 2 to 3 steps"


@pytest.mark.alone
def test_the_table_has_the_fastest_first_and_fits_80_columns(write, run, once):
    slow, quick = write("slow.py", 0.003), write("quick.py", 0.001)
    status, output, errors = run(["time", "2x3x4", slow, "--kind", "gru", quick])
    assert status == 0
    assert max(map(len, output.splitlines())) <= 80
    names = re.findall(r"^(\./\w+\.py) +train +\d", output, re.MULTILINE)
    assert names == [quick, slow]
    assert "gru 2×3×4×1 on cpu" in output
    assert "trains fastest" in output
    # Progress goes to stderr.
    assert f"{slow} at 2×3×4×1: built, train " in errors


def test_a_terminal_shows_the_table_so_far(write, run, once, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any stream for a terminal
    status, output, errors = run(["time", "2x3x4", write("mine.py")])
    assert status == 0
    for words in ("./mine.py: building", "./mine.py: timed", "of floor", "\x1b[2K"):  # the last one erases a line
        assert words in errors
    assert "\x1b[1mlstm 2×3×4×1 on cpu\x1b[0m" in output
    assert "\x1b[2K" not in output


@pytest.mark.alone
def test_equally_fast_implementations_tie(write, run, once):
    one, two, slow = write("one.py", 0.001), write("two.py", 0.001), write("slow.py", 0.004)
    answers = json.loads(run(["time", "2x3x4", one, two, slow, "--json"])[1])["answers"]
    for answer in answers:
        assert (
            f"tie as the fastest in {answer['call']}: this run can't tell them apart. ./slow.py follows"
            in answer["answer"]
        )


def test_a_wrong_implementation_is_timed_but_does_not_win(write, run, once):
    right, wrong = write("right.py", 0.003), write("wrong.py", 0.001, factor=1.001)
    status, output, _ = run(["time", "2x3x4", right, wrong])
    assert status == 1
    assert "./wrong.py is wrong: its outputs have the error 1.00e-03, over 1e-05" in " ".join(output.split())
    assert "fastest" not in output


def test_a_failure_is_told_and_the_others_go_on(write, rows, once):
    good, bad = write("good.py"), write("bad.py", start="raise MemoryError('no room')")
    status, found = rows("2x3x4", bad, good)
    assert status == 1
    assert "MemoryError: no room" in found[bad, "train"]["problem"]
    assert found[bad, "train"]["seconds"] is None
    assert found[good, "train"]["seconds"] > 0


def test_outputs_that_are_no_numbers_are_a_failure_of_their_own(write, rows, once):
    good, bad = write("good.py"), write("bad.py", start="self._outputs = reference.np.full((3, 2, 4), None)", factor="")
    text = Path(bad).read_text().replace('.astype("float32") * ', "")
    Path(bad).write_text(text)
    status, found = rows("2x3x4", bad, good)
    assert status == 1
    assert "aren't arrays of numbers" in found[bad, "train"]["problem"]
    assert found[good, "train"]["seconds"] > 0


def test_a_failure_in_a_later_process_keeps_the_times(write, rows, once, monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "_SECONDS", 100)
    monkeypatch.setattr(timing, "_MOST_PROCESSES", 2)
    once_only = "import os; os.mkdir('built')"  # it fails the second time
    good, bad = write("good.py"), write("bad.py", start=once_only)
    status, found = rows("2x3x4", bad, good)
    assert status == 1
    assert "FileExistsError" in found[bad, "train"]["problem"]
    assert (found[bad, "train"]["processes"], found[good, "train"]["processes"]) == (1, 2)


def test_more_processes_are_timed_while_there_is_time(write, rows, once, monkeypatch):
    monkeypatch.setattr(timing, "_SECONDS", 100)
    monkeypatch.setattr(timing, "_MOST_PROCESSES", 3)
    _, found = rows("2x3x4", write("mine.py"))
    for row in found.values():
        assert row["processes"] == 3
        assert row["covers_processes"]
        assert row["low"] < row["seconds"] < row["high"]


@pytest.mark.alone
def test_nothing_builds_while_another_is_timed(write, once, monkeypatch, tmp_path):
    """An implementation that builds for long writes the time again and again: the look at the other makes a gap."""
    beat = "while time.time() < end: print(time.time(), file=open('beats', 'a')); time.sleep(0.01)"
    slow = write("slow.py", start=f"end = time.time() + 3\n        {beat}")
    quick = write("quick.py", start="time.sleep(1)")
    monkeypatch.setattr(timing.threads, "processors", lambda: 2)
    timings = [Timing(name, Workload(2, 3, 4, 1)) for name in (slow, quick)]
    looked = []
    stages = {}

    def tell(each):
        if each.implementation == quick and each.stage == "built" != stages.get(quick):
            looked.append(time.time())
        stages[each.implementation] = each.stage

    timing.measure(timings, {name: Code(name, ROOT) for name in (slow, quick)}, "cpu", tell)
    beats = list(map(float, (tmp_path / "beats").read_text().split()))
    before, after = max(beat for beat in beats if beat < looked[0]), min(beat for beat in beats if beat > looked[0])
    assert after - before > 2 * 0.2  # a warm-up lasts 0.2 s, and there is one for each call
    assert looked[0] - before > 2 * 0.2


def test_a_sweep_doubles_a_size(write, run, once, tmp_path):
    mine, other = write("mine.py"), write("other.py", 0.002)
    arguments = ["time", "2x3x4", mine, other, "--sweep", "hidden=4:10", "--plot", str(tmp_path / "hidden.svg")]
    status, output, _ = run(arguments)
    assert status == 0
    assert re.findall(r"^ +([48]) +\d", output, re.MULTILINE) == ["4", "8"] * 2
    assert "hidden 8: ./mine.py trains fastest" in output
    assert "<svg" in (tmp_path / "hidden.svg").read_text()


def test_csv_has_a_row_for_each_network_and_call_and_a_plot_its_bars(write, run, once, tmp_path):
    mine = write("mine.py")
    status, output, _ = run(["time", "2x3x4", "rnnt-prediction", mine, "--csv", "--plot", str(tmp_path / "bars.png")])
    assert status == 0
    found = list(csv.DictReader(io.StringIO(output)))
    assert [(row["batch"], row["hidden"], row["call"]) for row in found] == [
        *(("2", "4", call) for call in ("forward", "train")),
        *(("1", "320", call) for call in ("forward", "train")),
    ]
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")


def test_a_name_of_both_is_a_model_only_at_first():
    parser = command.argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    options = parser.parse_args(["time", "flashrnn", "flashrnn", "serving"])
    assert (options.network.hidden, options.what[0]) == (768, "flashrnn")
    assert options.what[1] == Workload(1, 50, 512, 1)


def test_another_interpreter_runs_what_this_one_cannot(write, tmp_path):
    (tmp_path / "modules").mkdir()
    for module in ("keras", "tensorflow"):
        (tmp_path / "modules" / f"{module}.py").write_text("")
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nPYTHONPATH='{tmp_path}/modules' exec {sys.executable} \"$@\"\n")
    python.chmod(0o755)
    mine = write("mine.py")
    codes, left_out = command._codes(["keras", "cudnn", mine], [str(python)], "cpu")
    assert {name: code.python for name, code in codes.items()} == {"keras": str(python), mine: sys.executable}
    assert left_out == {"cudnn": "it is made for cuda"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["2x3"], "2x3: it must be a shape such as 32x30x128, or one of deepbench-lstm"),
        (["2x3x4", "nothing"], "'nothing': it must be one of scan"),
        (["2x3x4", "--sweep", "width=1:2"], "the sizes are batch, seq, hidden, depth, inputs"),
        (["2x3x4", "--sweep", "hidden=4:2"], "hidden=4:2"),
        (["2x3x4", "--inputs", "0"], "0: it must be an integer from 1"),
        (["2x3x4", "--kind", "gru", "nothing"], "'nothing': it must be one of scan"),
        (["2x3x4", "--devise", "cpu"], "unrecognized arguments: --devise"),
        (["2x3x4", "--plot", "x.pdf"], "must end with .png or .svg"),
    ],
)
def test_wrong_arguments(arguments, words, run):
    status, output, errors = run(["time", *arguments])
    assert (status, output) == (2, "")
    assert words in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["2x3x4", "--lengths", "4"], "least_length=4: it must be an integer from 1 to 3"),
        (["2x3x4", "2x3x5", "--sweep", "hidden=4:8"], "--sweep takes one network"),
        (["2x3x4", "cudnn"], "cudnn: it is made for cuda"),
        (["2x3x4", "scan", "--python", "/nowhere/python", "cudnn"], "/nowhere/python can't be started"),
    ],
)
def test_what_cannot_be_timed_fails_with_a_sentence(arguments, words, run):
    if "--python" in arguments:
        arguments = [arguments[0], "cudnn", *arguments[2:4]]
    status, output, errors = run(["time", *arguments])
    assert (status, output) == (1, "")
    assert words in errors


def test_an_interrupted_run_prints_what_is_known_and_leaves_nothing(write, tmp_path):
    quick, stuck = write("quick.py"), write("stuck.py", start="time.sleep(100)")
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "temporary")}
    arguments = [sys.executable, "-m", "rnnbench", "time", "2x3x4", quick, stuck]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, env=environment, stdout=pipe, stderr=pipe, text=True) as started:
        while "quick.py at 2×3×4×1: built" not in (line := started.stderr.readline()):
            assert line, "it ended too early"
        children = [*map(int, Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split())]
        started.send_signal(signal.SIGINT)
        output, errors = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "interrupted: these are the times so far" in errors
    assert "Traceback" not in errors
    assert re.search(r"^\./quick\.py +train +\d", output, re.MULTILINE)
    assert len(children) == 2
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not list((tmp_path / "temporary").iterdir())


def test_the_network_that_is_checked_is_smaller_only_if_the_reference_is_slow():
    small = Workload(32, 30, 128, 1)
    assert timing.smaller(small) == small
    large = Workload(128, 200, 1024, 3, kind="gru", input_size=80, bidirectional=True, least_length=150)
    checked = timing.smaller(large)
    assert timing._reference_seconds(checked) <= timing._REFERENCE_SECONDS < timing._reference_seconds(large)
    assert (checked.kind, checked.depth, checked.hidden, checked.input_size) == ("gru", 3, 1024, 80)
    assert checked.batch < 128
    assert checked.least_length <= checked.seq
    square = timing.resized(Workload(4, 8, 64, 1), hidden=32)
    assert square.input_size == 32


def test_a_smaller_check_is_told_and_the_large_network_is_timed(write, run, once, monkeypatch):
    monkeypatch.setattr(timing, "_REFERENCE_SECONDS", timing._reference_seconds(Workload(4, 8, 16, 1)))
    status, output, _ = run(["time", "16x8x16", write("mine.py")])
    assert status == 0
    assert "lstm 16×8×16×1 on cpu" in output
    assert "The errors are those of the smaller 4×8×16×1" in output


def test_a_first_look_is_shown_until_there_are_turns():
    each = Timing("scan", Workload(2, 3, 4, 1), first_look={"forward": 0.5})
    assert each.seconds("forward") == 0.5
    each.times["forward"] = [[0.1, 0.2, 0.3]]
    assert each.seconds("forward") == 0.2
    assert each.seconds("train") is None
    report = timed.Report([each, replace(each, implementation="fused", times={})], "cpu")
    assert timed.sentences(report, "forward", None) == []  # a first look doesn't compete


def test_one_process_of_each_is_compared_round_by_round():
    """The machine slows down by half in the midst of the turns: the ratio of each round stays the same."""
    turns = [1.0] * 8 + [1.5] * 8

    def lead(ratio, count=16):
        pair = [Timing(name, Workload(2, 3, 4, 1)) for name in ("scan", "fused")]
        for each, factor in zip(pair, (1, ratio), strict=True):
            each.times["forward"] = [[factor * seconds for seconds in turns[:count]]]
        (sentence,) = timed.sentences(timed.Report(pair, "cpu"), "forward", None)
        return sentence

    assert lead(1.1) == "scan computes the forward pass fastest: 1.10 times as fast as fused (1.10 to 1.10)."
    assert lead(1.04).startswith("scan and fused tie as the fastest in forward")
    assert lead(1.1, count=4) == lead(1.1)  # too few rounds for an interval of pairs, but their quartiles are clear


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["torch", "torch_tf32"], ["torch computes the forward pass fastest: 2.0 times as fast as torch_tf32"]),
        (["scan", "fused", "torch_tf32"], ["In float32, scan computes the forward pass fastest: 2.0 times as fast"]),
        (["torch_tf32", "scan", "cudnn_tf32", "fused"], ["In tf32, torch_tf32 computes", "In float32, scan computes"]),
    ],
)
def test_each_precision_has_a_race_of_its_own(names, expected):
    timings = [Timing(name, Workload(2, 3, 4, 1)) for name in names]
    for number, each in enumerate(timings):
        each.times["forward"] = [[2.0**number] * 16]
    found = timed.sentences(timed.Report(timings, "cuda"), "forward", None)
    assert [answer[: len(start)] for answer, start in zip(found, expected, strict=True)] == expected
