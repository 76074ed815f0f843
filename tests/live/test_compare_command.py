"""rnnbench compare times commits, the work tree, implementations and environments in live processes."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import ROOT

from rnnbench.live import comparison
from rnnbench.live.process import Code, Failed, Process
from rnnbench.network.contract import Unavailable
from rnnbench.network.shapes import Shape
from rnnbench.network.workload import Workload

SHAPE = Shape(2, 3, 4, 1)

# An implementation whose call takes a known time, and that has no gradients.
SPINNING = """
import time

class Network:
    def __init__(self, work, device):
        pass

    def forward(self):
        end = time.perf_counter() + {seconds}
        while time.perf_counter() < end:
            pass

    def synchronize(self):
        pass
"""


def write_spinning(checkout, seconds):
    (checkout / "rnnbench/variants/keras.py").write_text(SPINNING.format(seconds=seconds))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of this code in which the implementation keras spins for 1 ms. It is the current folder."""
    folder = tmp_path / "a folder"
    shutil.copytree(ROOT / "rnnbench", folder / "rnnbench", ignore=shutil.ignore_patterns("__pycache__"))
    registry = folder / "rnnbench/variants/__init__.py"
    row = 'VARIANTS["keras"] = replace(VARIANTS["keras"], extra=None, modules=(), trains=False)'
    registry.write_text(f"{registry.read_text()}\n{row}\n")
    write_spinning(folder, 0.001)
    for command in (
        ["init", "--quiet"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "1"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def compare(python, checkout, monkeypatch):
    """Return a function that runs the checkout's `rnnbench compare` in another process."""

    def run(*arguments, **environment):
        environment = {"PYTHONPATH": str(checkout), "PYTHONWARNINGS": "ignore", **environment}
        return python("-m", "rnnbench", "compare", *arguments, **environment)

    return run


@pytest.mark.alone
def test_a_slower_work_tree_fails(compare, checkout):
    write_spinning(checkout, 0.0015)
    done = compare("HEAD", ".", "2x3x4", "keras", "--json")
    assert done.returncode == 1, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert (result["verdict"], result["function"], result["pairs"]) == ("slower", "forward", 9)
    assert result["ratio"] == pytest.approx(1.5, abs=0.05)
    assert 1 < result["low"] <= result["ratio"] <= result["high"]
    assert "9 pairs: slower" in done.stderr
    assert not list((checkout / "rnnbench").rglob("rnnbench-compare-*"))


def test_two_implementations_of_theano_are_compared(python, tmp_path):
    """One pair of processes is too few for a verdict; both build real networks and time them."""
    done = python("-m", "rnnbench", "compare", "scan", "fused", "2x3x4", "--seconds", "0.1", PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "scan, ms" in lines[0]
    assert "fused, ms" in lines[0]
    for line, function in zip(lines[2:], ("forward", "train"), strict=True):
        assert line.startswith("scan and fused")
        assert function in line
        assert line.endswith("not sure yet")


@pytest.mark.alone
def test_an_environment_variable_reaches_one_side_only(compare):
    done = compare(".", "RNNBENCH_SLOWDOWN=1", "2x3x4", "keras", "--seconds", "0.1", "--json")
    (result,) = json.loads(done.stdout)["results"]
    first, second = result["seconds"]
    assert 1.5 < second / first < 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing", "."], "nothing is no commit, branch or tag of this checkout"),
        (["--", "-x", "."], "-x is no commit"),
        (["scan", "."], "name two implementations or none"),
        ([".", "/bin/false", "2x3x4", "keras"], "/bin/false: a process ended with status 1"),
        ([".", "OMP_NUM_THREADS=x", "2x3x4", "keras"], "OMP_NUM_THREADS is 'x'"),
    ],
    ids=str,
)
def test_what_cannot_be_compared_fails_with_a_sentence(arguments, words, compare):
    done = compare(*arguments)
    assert done.returncode == 1
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_checkout_of_another_owner_is_named_as_such(compare):
    done = compare("HEAD", ".", GIT_TEST_ASSUME_DIFFERENT_OWNER="1", GIT_CONFIG_GLOBAL=os.devnull)
    assert done.returncode == 1
    assert "dubious ownership" in done.stderr


@pytest.mark.parametrize("argument", ["32x30", "32x30x128x1x1", "0x1x1", "huge", "--least=0", "--seconds=nan"])
def test_wrong_arguments(argument, run):
    status, output, errors = run(["compare", ".", ".", argument])
    assert (status, output) == (2, "")
    assert argument.partition("=")[2] in errors


def test_a_missing_package_is_named_before_anything_is_timed(compare, tmp_path):
    (tmp_path / "tabulate.py").write_text("raise ModuleNotFoundError(name='tabulate')")
    done = compare(".", ".", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"rnnbench: the package tabulate is missing: {sys.executable} -m pip install ")
    assert line.endswith("report]'")


def test_a_folder_that_is_no_checkout(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, errors = run(["compare", ".", "."])
    assert status == 1
    assert "isn't a checkout of rnnbench" in errors


def children_of(parent):
    return list(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))


def is_stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_process_runs_only_in_its_turns_and_ends_with_the_comparison(checkout):
    with Process(Code("here", checkout)) as process:
        process.build("keras", Workload(*SHAPE), "cpu", ["forward"])
        process.wait()
        process.warm("forward")
        assert all(seconds >= 0.001 for seconds in process.time("forward", 5))
        time.sleep(0.05)
        (pid,) = filter(is_stopped, children_of(os.getpid()))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("end_it", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_do_not_outlive_an_ended_comparison(end_it, checkout, tmp_path):
    command = [sys.executable, "-m", "rnnbench", "compare", ".", ".", "2x3x4", "keras"]
    temporary = tmp_path / "a:b"  # a name that would break a list of folders
    temporary.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(checkout), "TMPDIR": str(temporary)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as started:
        end = time.monotonic() + 60
        while len(children := children_of(started.pid)) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(1)  # they have begun to work
        started.send_signal(end_it)
    assert len(children) == 2
    assert end_it == signal.SIGKILL or not list(temporary.glob("rnnbench-compare-*"))
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_only_the_code_in_the_folder_is_used(checkout, tmp_path):
    (tmp_path / "empty").mkdir()
    with Process(Code("empty", tmp_path / "empty", environment={"PYTHONPATH": str(checkout)})) as process:
        process.build("keras", Workload(*SHAPE), "cpu", ["forward"])
        with pytest.raises(Failed, match="FileNotFoundError"):
            process.wait()


def test_an_implementation_that_cannot_run_says_why(checkout):
    with Process(Code("here", checkout)) as process:
        process.build("flashrnn", Workload(*SHAPE), "cpu", ["forward"])
        with pytest.raises(Unavailable, match=r"here: .*flashrnn"):
            process.wait()


def test_a_time_that_is_too_short_is_refused():
    with pytest.raises(Failed, match="before its work was done"):
        comparison.check_possible(1e-9, "forward", ("scan", "scan"), Workload(32, 30, 128, 1), "cpu")


def test_infinite_bounds_become_null_in_json():
    judge = comparison.Judge(0.03)
    result = comparison.Result(("scan", "scan"), SHAPE, "train", judge.verdict, judge.bounds)
    (row,) = comparison.as_json([result])
    assert (row["low"], row["high"], row["ratio"]) == (0.0, None, None)
    assert math.isinf(judge.bounds.high)
    json.dumps(row, allow_nan=False)
