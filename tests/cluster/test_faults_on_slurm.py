"""What a sweep loses when jobs, nodes, Slurm or the disk fail: no figure but those of the shapes that were running.

`make test-slurm` runs these: each times networks on a cluster of its own.
"""

import os
import signal
import subprocess

import pytest

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
