"""Sweeps as processes of this machine, and what the command line refuses."""

import json

import pytest


def sweep(clone, *arguments, status=0):
    options = ("--machine", "class", "--executor", "local", *arguments)
    return clone.call("rnnbench", "sweep", *options, status=status)


@pytest.mark.slurm
def test_a_machine_times_one_shape_after_the_other(tiny):
    shown = sweep(tiny, "quick", "scan")
    assert "2x4x5x1: done" in shown
    assert "2 of 2 shapes done" in shown
    assert "2 figures were new, of 2 shapes" in tiny.call("rnnbench", "gather")
    assert "Nothing is missing" in sweep(tiny, "quick", "scan")


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
