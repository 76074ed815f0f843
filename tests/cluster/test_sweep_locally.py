"""Sweeps as processes of this machine, and what the command line refuses."""

import json
import subprocess
import sys

import pytest

from rnnbench.measure import gpu

# Runs a job as submitit does in Slurm, and prints its seconds and its processor time, each without those of asv's
# timed processes.
JOB = """
import json, os, resource, sys, time
from pathlib import Path

def spent():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.monotonic(), sum(usage.ru_utime + usage.ru_stime for usage in usages)

started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")

from submitit.core.submission import process_job
from asv import runner

run, timed = runner.run_benchmark, [0, 0]

def clocked(*arguments, **options):
    before = spent()
    result = run(*arguments, **options)
    timed[:] = (total + last - first for total, first, last in zip(timed, before, spent()))
    return result

runner.run_benchmark = clocked
process_job(sys.argv[1])
ended, processor = spent()
print()
print(json.dumps([ended - started - timed[0], processor - timed[1], timed[0]]))
"""


def sweep(clone, *arguments, status=0):
    options = ("--machine", "class", "--executor", "local", *arguments)
    return clone.call("rnnbench", "sweep", *options, status=status)


@pytest.mark.slurm
def test_a_machine_times_one_shape_after_the_other(tiny):
    # The jobs run the commit's code, whatever becomes of the work tree's.
    task = tiny.path / "rnnbench" / "cluster" / "task.py"
    start = "    sweep = Sweep.load(task.folder)\n"
    task.write_text(task.read_text().replace(start, "    raise RuntimeError\n"))
    shown = sweep(tiny, "quick", "scan")
    assert "2x4x5x1: done" in shown
    assert "2 of 2 shapes done" in shown
    assert "2 figures were new, of 2 shapes" in tiny.call("rnnbench", "gather")
    assert "Nothing is missing" in sweep(tiny, "quick", "scan")


@pytest.mark.slurm
def test_a_task_costs_less_than_two_seconds_beyond_its_timed_processes(tiny):
    sweep(tiny, "quick", "scan")
    (folder,) = (tiny.path / ".asv" / "sweeps").iterdir()
    (folder / "done" / "3x4x6x1.json").unlink()
    last = max((folder / "jobs").glob("*_submitted.pkl"), key=lambda path: path.stat().st_mtime)
    done = subprocess.run(
        [sys.executable, "-c", JOB, str(folder / "jobs")],
        cwd=folder / "code",
        env={**tiny.environment, "SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": last.name.partition("_")[0]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "done" / "3x4x6x1.json").exists()
    seconds, processor, timed = json.loads(done.stdout.splitlines()[-1])
    print(f"a task: {seconds:.2f} s, of the processor {processor:.2f} s, beyond {timed:.2f} s of timed processes")
    # Other programs lengthen the seconds, and the processor's time little.
    assert processor < 2


def test_a_machine_of_another_kind_times_nothing(tiny):
    path = tiny.path / "results" / "class" / "machine.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "cpu": "Another CPU"}))
    shown = sweep(tiny, "quick", "scan", status=1)
    assert "2x4x5x1: unfit" in shown
    assert "can time none of the 2 shapes that are left" in shown
    shown = tiny.call("rnnbench", "sweep", "--watch", status=1)
    assert "2 lost" in shown
    assert "is left out: " in shown
    assert "its cpu is Another CPU, not " in shown


@pytest.mark.skipif(gpu.driver() is not None, reason="needs a machine without a GPU")
def test_each_gpu_has_jobs_of_its_own_and_none_more_once_it_fails(tiny):
    (tiny.path / "results" / "class" / "machine.json").unlink()
    tiny.environment["CUDA_VISIBLE_DEVICES"] = "1,0"
    shown = sweep(tiny, "quick", "scan", "--device", "cuda", status=1)
    for number in (0, 1):
        assert shown.count(f": unfit on GPU {number}") == 1
    assert "can time none of the 2 shapes that are left" in shown


def test_settings_come_from_a_file_and_the_command_line_counts_more(tiny):
    file = tiny.path / "cluster.toml"
    file.write_text('partition = "gpu"\nminutes = 7\nrunning = 3\n[sbatch]\nconstraint = "h100"\ncpus-per-task = 8\n')
    options = (
        "quick",
        "--machine",
        "new",
        "--device",
        "cuda",
        "--settings",
        "cluster.toml",
        "--minutes",
        "9",
        "--dry-run",
    )
    shown = tiny.call("rnnbench", "sweep", *options)
    for line in ("slurm_partition: gpu", "timeout_min: 9", "slurm_array_parallelism: 3", "gpus_per_node: 1"):
        assert f"  {line}\n" in shown
    assert "'requeue': True, 'constraint': 'h100', 'cpus-per-task': 8" in shown
    assert "slurm_srun_args: ['--cpu-bind=none', '--cpus-per-task=8']" in shown
    file.write_text("partitions = 1\n")
    assert "cluster.toml has partitions: it may have account," in tiny.call("rnnbench", "sweep", *options, status=1)
    file.write_text("partition =\n")
    assert "cluster.toml isn't TOML: " in tiny.call("rnnbench", "sweep", *options, status=1)
    assert not (tiny.path / ".asv" / "sweeps").exists()


def test_what_is_missing_is_asked_for(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["sweep"])[2].startswith("rnnbench: name a grid to time")
    assert run(["sweep", "quick"])[2].startswith("rnnbench: name the class of machines with --machine NAME")
    assert run(["gather"])[2].startswith("rnnbench: .asv/sweeps has no sweep: start one")
    assert "it must be existing:/path/to/python" in run(["sweep", "quick", "--environment", "virtualenv:3.11"])[2]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("minutes = 0", "minutes must be bigger than or equal to 1"),
        ('minutes = "5"', "minutes must be integer"),
        ("executor = 3", "executor must be one of"),
        ("partition = []", "partition must be string"),
        ("sbatch = 1", "sbatch must be object"),
        ("sbatch = {a = 2026-11-26}", "sbatch.a must be"),
    ],
)
def test_a_setting_of_the_wrong_type_is_named(line, words, run, tmp_path):
    file = tmp_path / "cluster.toml"
    file.write_text(line)
    said = run(["sweep", "quick", "--machine", "new", "--settings", str(file), "--dry-run"])[2]
    assert said.startswith(f"rnnbench: {file} can't be used: {words}")
