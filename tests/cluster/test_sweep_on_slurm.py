"""Sweeps on a real cluster of Slurm, which the tests start on this machine. Its jobs time real networks."""

from helpers.slurm import NODES

QUICK = ["2x4x5x1", "3x4x6x1"]


def test_an_array_times_what_is_missing_on_two_nodes_and_gather_merges_it_once(swept):
    preview = swept.sweep("quick", "scan", "--dry-run")
    assert "lacks figures at 2 shapes" in preview
    assert "requeue" in preview
    shown = swept.sweep("quick", "scan", "--watch")
    assert "2 of 2 shapes done" in shown
    assert "canary, a train step of scan at 2, 4, 5, 1" in shown
    assert swept.names("done") == QUICK

    # Before the figures are merged they aren't missing either.
    assert "Nothing is missing" in swept.sweep("quick", "scan")
    assert "2 figures were new, of 2 shapes" in swept.gather()
    samples, nodes = swept.figures()
    assert sorted(samples) == QUICK
    assert all(len(taken) >= 14 for taken in samples.values())
    assert nodes == set(NODES)
    (path,) = swept.results.glob("*-existing*.json")
    before = path.read_bytes()
    assert "0 figures were new" in swept.gather()
    assert path.read_bytes() == before
    assert "class at" in swept.clone.call("rnnbench", "history", "--grid", "quick", "--machine", "class")
