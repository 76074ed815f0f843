"""What a sweep loses when jobs, nodes, Slurm or the disk fail: no figure but those of the shapes that were running.

`make test-slurm` runs these: each times networks on a cluster of its own.
"""

import os
import signal
import subprocess

import pytest
from helpers.slurm import NODES

pytestmark = pytest.mark.slurm

QUICK = ["2x4x5x1", "3x4x6x1"]
SEED = ["2x4x5x1", "2x4x6x1", "3x4x5x1", "3x4x6x1"]


def fill(path):
    """Write a file until the disk is full."""
    with path.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()


def check_figures(swept, names):
    """Merge twice, and check that there are the figures of these shapes, each with the samples of two processes."""
    swept.gather()
    assert "0 figures were new" in swept.gather()
    samples, _ = swept.figures()
    assert sorted(samples) == names
    assert all(14 <= len(taken) <= 40 for taken in samples.values())


def test_a_killed_task_costs_its_own_shape_only(swept):
    swept.sweep("seed", "scan")
    swept.wait_for_running(2)
    victim = next(name for name, node in swept.running().items() if node == "one")
    for process in swept.cluster.processes_of("one"):
        os.kill(process, signal.SIGKILL)
    shown = swept.watch(status=1)
    assert "3 of 4 shapes done, 1 lost" in shown
    assert f"lost: {victim}: its job {swept.job(victim)} ended without figures" in shown
    check_figures(swept, sorted({*SEED} - {victim}))

    assert "Submitted 1 shapes" in swept.sweep("seed", "scan")
    assert "4 of 4 shapes done" in swept.watch()
    check_figures(swept, SEED)


def test_cancelled_jobs_are_listed_with_what_slurm_says(swept):
    swept.sweep("seed", "scan")
    swept.wait_for_running(2)
    victim = next(iter(swept.running()))
    waiting = next(name for name in SEED if name not in swept.running())
    swept.cluster.call("scancel", swept.job(victim), swept.job(waiting))
    shown = swept.watch(status=1)
    assert "2 of 4 shapes done, 1 failed, 1 lost" in shown
    assert f"failed: {victim}: the job was told to end (SIGTERM): it was cancelled, preempted" in shown
    job = swept.job(waiting)
    assert f"lost: {waiting}: its job {job} ended without figures; Slurm says CANCELLED" in shown
    check_figures(swept, sorted({*SEED} - {victim, waiting}))

    assert "Submitted 2 shapes" in swept.sweep("seed", "scan")
    assert "4 of 4 shapes done" in swept.watch()
    check_figures(swept, SEED)


def test_a_shape_that_hangs_ends_at_its_time_limit_and_no_other_does(swept):
    common = swept.clone.path / "benchmarks" / "common.py"
    start = "    def setup(self, *parameters):\n"
    hang = "        if parameters[0] == 3:\n            __import__('time').sleep(3600)\n"
    common.write_text(common.read_text().replace(start, start + hang, 1))
    swept.clone.commit("Hang")
    swept.sweep("quick", "scan", "--minutes", "1")
    shown = swept.watch(status=1)
    assert "1 of 2 shapes done, 1 failed" in shown
    assert "failed: 3x4x6x1: the job reached its time limit: allow more with --minutes" in shown
    assert not any(swept.cluster.processes_of(node) for node in NODES)
    check_figures(swept, QUICK[:1])


@pytest.mark.parametrize("grace", [0, 20])
def test_a_preempted_job_runs_again(swept, grace):
    swept.cluster.call("scontrol", "update", "PartitionName=main", f"GraceTime={grace}")
    swept.sweep("quick", "scan")
    swept.wait_for_running(2)
    on = {node: name for name, node in swept.running().items()}
    urgent = ("--partition=urgent", "--nodelist=one", "--exclusive", "--output=/dev/null", "--wrap=sleep 5")
    swept.cluster.call("sbatch", *urgent)
    swept.cluster.wait(lambda: on["one"] not in swept.running(), "the preemption")
    shown = swept.watch()
    assert "waiting: 1, Slurm says " in shown
    assert "2 of 2 shapes done" in shown
    check_figures(swept, QUICK)


def test_a_node_whose_gpu_does_not_work_leaves_its_shapes_to_others(swept):
    (swept.results / "machine.json").unlink()
    swept.sweep("quick", "scan", "--device", "cuda")

    def excluded():
        return swept.cluster.call("squeue", "--array", "--noheader", "--format=%x").split()

    swept.cluster.wait(lambda: len(excluded()) == 2, "the jobs that keep away from a node")
    assert "Nothing is missing" in swept.sweep("quick", "scan", "--device", "cuda")
    swept.cluster.call("scancel", "--user=root")
    shown = swept.watch(status=1)
    assert "0 of 2 shapes done, 2 lost" in shown
    for node in NODES:
        assert f"{node} is left out: " in shown


def test_a_drained_node_gets_no_further_task(swept):
    swept.sweep("seed", "scan")
    swept.wait_for_running(2)
    swept.cluster.call("scontrol", "update", "NodeName=two", "State=DRAIN", "Reason=test")
    assert "4 of 4 shapes done" in swept.watch()
    check_figures(swept, SEED)
    assert swept.nodes_of_done().count("two") == 1


def test_jobs_of_two_arrays_outlive_a_restart_of_the_controller(swept):
    swept.sweep("seed", "scan")
    # The cluster's arrays have three jobs at most.
    assert len({swept.job(name).partition("_")[0] for name in SEED}) == 2
    swept.wait_for_running(2)
    swept.cluster.stop_controller()
    swept.cluster.start_controller()
    swept.cluster.wait(lambda: swept.cluster.call("squeue"), "the controller")
    assert "4 of 4 shapes done" in swept.watch()
    check_figures(swept, SEED)


def test_a_requeued_job_and_that_of_a_dead_node_run_again(swept):
    swept.sweep("quick", "scan")
    swept.wait_for_running(2)
    on = {node: name for name, node in swept.running().items()}
    swept.cluster.kill_node("two")
    swept.cluster.call("scontrol", "requeue", swept.job(on["one"]))
    # Slurm notices the dead node after SlurmdTimeout. A job that it queues again begins two minutes later.
    swept.cluster.wait(lambda: "down" in swept.cluster.call("sinfo", "--noheader", "--format=%T"), "the dead node")
    swept.cluster.start_node("two")
    assert "2 of 2 shapes done" in swept.watch()
    check_figures(swept, QUICK)


def test_a_full_disk_loses_nothing(swept):
    home = swept.clone.path / ".asv"
    home.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64M", "tmpfs", home], check=True)
    try:
        swept.sweep("seed", "scan")
        swept.wait_for("done", 1)
        swept.gather()
        ballast = home / "ballast"
        with pytest.raises(OSError, match="No space"):
            fill(ballast)
        shown = swept.watch(status=1)
        done = swept.names("done")
        assert 1 <= len(done) < 4, shown
        assert f"{len(done)} of 4 shapes done" in shown
        ballast.unlink()
        check_figures(swept, done)
        swept.sweep("seed", "scan")
        assert "4 of 4 shapes done" in swept.watch()
        check_figures(swept, SEED)
    finally:
        swept.cluster.call("scancel", "--user=root")
        swept.cluster.wait(lambda: not swept.cluster.call("squeue", "--noheader"), "the jobs' end")
        subprocess.run(["umount", home], check=True)
