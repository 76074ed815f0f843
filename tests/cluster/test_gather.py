"""How the figures of tasks are merged into the results, and how tasks are claimed, without a cluster."""

import json
import os
import subprocess
import sys

import pytest
from helpers import synthetic

from rnnbench.cluster import gather, plan, rows
from rnnbench.cluster.sweep import Canary, Sweep
from rnnbench.history import NotFound, live_selftest, nodes, read, runs

COMMIT = "a" * 40
PARAMS = [["2", "3"], ["4"], ["5", "6"], ["1"]]
NAME = "lstm.ScanLSTM.time_train"
NAN = float("nan")


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = Sweep(tmp_path / "sweep", "class", COMMIT, "cpu", Canary("quick", "lstm", ("scan",), ("existing:p",)))
    found.write("class/machine.json", {"machine": "class", "cpu": "A CPU", "version": 1})
    described = {"name": NAME, "code": "", "param_names": ["b", "s", "h", "d"], "params": PARAMS, "type": "time"}
    found.write("benchmarks.json", {NAME: {**described, "unit": "seconds", "version": "1"}, "version": 2})
    return found


def document(values, params=PARAMS, state=None, version="1"):
    row = synthetic.sampled(values)
    row[1:3] = [params, version]
    states = {NAME: state} if state else {}
    return {
        "commit_hash": COMMIT,
        "env_name": "existing-p",
        "date": 1795354531000,
        "params": {"machine": "class", "python": "3.11"},
        "python": "3.11",
        "requirements": {},
        "env_vars": {},
        "result_columns": synthetic.COLUMNS,
        "results": {NAME: row},
        "durations": {},
        "state": states,
        "version": 2,
    }


def finish(sweep, shape, value, node="one", version="1"):
    """Write a task's file: a figure of one shape."""
    one = [[size] for size in shape.split(", ")]
    state = {shape: [{"seconds": 1, "marks": [], "node": node, "samples": 20}]}
    content = {
        "node": node,
        "implementations": ["scan"],
        "grids": [],
        "seconds": 1,
        "failures": {},
        "runs": [document([value], one, state, version)],
    }
    sweep.write(f"done/{shape.replace(', ', 'x')}.json", content)


def values(results):
    """Return the values of the results by shape, and the nodes that their states name."""
    (run,) = runs(results)
    states = json.loads(run.path.read_text())["state"].get(NAME, {})
    of_shape = {shape: state[0].get("node") for shape, state in states.items()}
    figures = read(run, unavailable=True)
    return {", ".join(map(str, figure.shape)): (figure.state, figure.value) for figure in figures}, of_shape


def test_the_figures_of_tasks_come_together_with_their_samples_and_states(sweep, tmp_path):
    results = tmp_path / "results"
    finish(sweep, "2, 4, 5, 1", 1e-3)
    finish(sweep, "3, 4, 6, 1", None, node="two")
    assert gather.gather(sweep, results)[:2] == (2, 2)
    found, of_shape = values(results)
    assert found == {
        "2, 4, 5, 1": ("ok", 1e-3),
        "2, 4, 6, 1": ("n/a", None),
        "3, 4, 5, 1": ("n/a", None),
        "3, 4, 6, 1": ("failed", None),
    }
    assert of_shape == {"2, 4, 5, 1": "one", "3, 4, 6, 1": "two"}
    (path,) = (results / "class").glob("a*.json")
    content = json.loads(path.read_text())
    assert content["results"][NAME][11][0] == synthetic.sampled([1e-3])[11][0]
    assert content["params"] == {"machine": "class", "cpu": "A CPU", "python": "3.11"}
    before = path.read_bytes()
    assert gather.gather(sweep, results).figures == 0
    assert path.read_bytes() == before


def test_a_task_replaces_a_figure_once_and_never_a_good_one_by_a_failure(sweep, tmp_path):
    results = tmp_path / "results"
    (results / "class").mkdir(parents=True)
    path = results / "class" / f"{COMMIT[:8]}-existing-p.json"
    earlier = document([1.0, 2.0, 3.0, NAN])
    path.write_text(json.dumps(earlier))
    finish(sweep, "2, 4, 5, 1", 9.0)
    finish(sweep, "2, 4, 6, 1", None)
    gather.gather(sweep, results)
    assert [value for _, value in values(results)[0].values()] == [9.0, 2.0, 3.0, None]
    # A figure that was timed after that stays; one that was lost comes back.
    path.write_text(json.dumps(document([8.0, 2.0, 3.0, NAN])))
    assert gather.gather(sweep, results).figures == 0
    assert values(results)[0]["2, 4, 5, 1"] == ("ok", 8.0)
    path.unlink()
    gather.gather(sweep, results)
    assert values(results)[0]["2, 4, 5, 1"] == ("ok", 9.0)


def test_a_file_that_cannot_be_used_is_named_and_the_others_are_merged(sweep, tmp_path):
    finish(sweep, "2, 4, 5, 1", 1e-3)
    (sweep.folder / "done" / "broken.json").write_text('{"runs": [{}')
    (sweep.folder / "done" / "strange.json").write_text('{"runs": [{"version": 7}]}')
    done = gather.gather(sweep, tmp_path / "results")
    assert done.figures == 1
    assert [("broken" in line, "strange" in line) for line in done.left_out] == [(True, False), (False, True)]


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.pop(0),
        lambda row: row[:] and row.__delitem__(slice(3, None)),
        lambda row: row[0].append(1.0),
        lambda row: row[1].__setitem__(0, ["2", "3"]),
        lambda row: row[11].clear(),
    ],
)
def test_a_task_whose_rows_do_not_fit_is_named(change, sweep, tmp_path):
    finish(sweep, "2, 4, 5, 1", 1e-3)
    finish(sweep, "3, 4, 5, 1", 1e-3)
    content = sweep.read("done/3x4x5x1.json")
    change(content["runs"][0]["results"][NAME])
    sweep.write("done/3x4x5x1.json", content)
    done = gather.gather(sweep, tmp_path / "results")
    assert done.figures == 1
    (line,) = done.left_out
    assert "3x4x5x1.json can't be used: its " in line


def test_a_shape_that_the_sweeps_benchmarks_lack_is_added_to_the_row(sweep, tmp_path):
    finish(sweep, "2, 4, 5, 1", 1e-3)
    finish(sweep, "7, 4, 5, 1", 2e-3)
    assert gather.gather(sweep, tmp_path / "results").figures == 2
    found, _ = values(tmp_path / "results")
    assert (found["2, 4, 5, 1"], found["7, 4, 5, 1"]) == (("ok", 1e-3), ("ok", 2e-3))


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 2, "results": 7}'])
def test_a_broken_results_file_stays_and_is_named(content, sweep, tmp_path):
    path = tmp_path / "results" / "class" / f"{COMMIT[:8]}-existing-p.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    finish(sweep, "2, 4, 5, 1", 1e-3)
    done = gather.gather(sweep, tmp_path / "results")
    assert done.figures == 0
    assert [line.startswith(f"{path} can't be used: it") for line in done.left_out] == [True]
    assert path.read_bytes() == content
    path.unlink()
    assert gather.gather(sweep, tmp_path / "results").figures == 1


@pytest.mark.parametrize(
    "name", ["sweep.json", "benchmarks.json", "class/machine.json", "gathered.json", "canary/a.json"]
)
@pytest.mark.parametrize("content", [b"", b"[1]", b'{"seconds": "x"}', b'{"version": "7"}'])
def test_a_broken_file_of_the_sweep_is_named(name, content, sweep, tmp_path):
    finish(sweep, "2, 4, 5, 1", 1e-3)
    described = {"machine": "class", "commit": COMMIT, "device": "cpu", "canary": ["quick", "lstm", ["scan"], ["p"]]}
    sweep.write("sweep.json", described)
    path = sweep.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(NotFound, match=f"{path} can't be used: it.*delete it, and call the same rnnbench sweep again"):
        gather.gather(Sweep.load(sweep.folder), tmp_path / "results")


def test_a_failed_write_leaves_the_results_as_they_were(sweep, tmp_path, monkeypatch):
    results = tmp_path / "results"
    finish(sweep, "2, 4, 5, 1", 1e-3)
    gather.gather(sweep, results)
    before = {path: path.read_bytes() for path in results.rglob("*.json")}
    finish(sweep, "3, 4, 5, 1", 2e-3)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            gather.gather(sweep, results)
    assert {path: path.read_bytes() for path in results.rglob("*.json")} == before
    assert gather.gather(sweep, results).figures == 1


def test_a_row_of_fewer_parameters_is_widened_without_loss():
    narrow, changed = rows.put(None, [[1.0], [["2"], ["5"]], "1", None, None], [["2"], ["5"]], replace=True)
    wide, _ = rows.put(narrow, [[2.0], [["3"], ["6"]], "1", None, None], [["2", "3"], ["5", "6"]], replace=True)
    assert changed
    assert wide[1] == [["2", "3"], ["5", "6"]]
    assert [wide[0][0], wide[0][3]] == [1.0, 2.0]
    assert all(value != value for value in wide[0][1:3])


@pytest.mark.parametrize("shape", ["2, 4, 5, 1", "3, 4, 6, 1"])
def test_one_shape_of_a_file_is_put_back_where_it_was(shape):
    whole = document([1.0, None, NAN, 4.0])
    one = rows.compact(whole, shape)["results"][NAME]
    row, _ = rows.put(None, one, PARAMS, replace=True)
    position = {"2, 4, 5, 1": 0, "3, 4, 6, 1": 3}[shape]
    for column in (0, 5, 11):
        assert row[column][position] == whole["results"][NAME][column][position]


_CLAIM = """
import sys
from pathlib import Path
from rnnbench.cluster.sweep import Canary, Sweep
sweep = Sweep(Path(sys.argv[1]), "class", "a" * 40, "cpu", Canary("quick", "lstm", (), ()))
with sweep.claim("2x4x5x1") as claimed:
    print(claimed, flush=True)
    sys.stdin.read()
"""


def test_a_claim_holds_until_its_process_ends_however_it_does(sweep):
    command = [sys.executable, "-c", _CLAIM, str(sweep.folder)]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **options) as first:
        assert first.stdout.readline() == "True\n"
        assert list(sweep.running()) == ["2x4x5x1"]
        with subprocess.Popen(command, **options) as second:
            assert second.communicate()[0] == "False\n"
        assert list(sweep.running()) == ["2x4x5x1"]
        first.kill()
    assert sweep.running() == {}


def test_the_canary_marks_the_node_that_differs_and_no_other(tmp_path):
    def times(*seconds):
        found = [nodes.Time(COMMIT, f"n{number}", "", "scan", "2, 4, 5, 1", one) for number, one in enumerate(seconds)]
        return sorted(found, key=lambda time: time.seconds)

    assert [time.node for time in nodes.outside(times(1.0, 1.01, 0.99, 1.3, 1.0))] == ["n3"]
    assert nodes.outside(times(1.0, 1.04, 0.97)) == []
    assert nodes.outside(times(1.0, 1.2)) == []  # nobody knows which of two is at fault
    spread = nodes.sentences(times(1.0, 1.01, 0.99, 1.3, 1.0))
    assert "from 0.990 times that on n2 to 1.300 times on n3" in spread[0]
    assert "n3 stands out: 1.30 times the median" in spread[1]
    assert nodes.sentences(times(1.0)) == []
    # The report and the page show them beside what the selftests say.
    nodes.save(times(1.0, 1.01, 0.99, 1.3, 1.0), tmp_path / "class")
    assert live_selftest.findings(tmp_path / "class") == " ".join(spread)


def test_everything_means_each_network_and_model_once(sweep, tmp_path):
    wanted = list(plan.grids(plan.ALL, "lstm"))
    tasks = plan.missing(sweep, wanted, ["scan"], ["existing:p"], tmp_path / "results")
    names = [task.name for task in tasks]
    assert len(names) == len(set(names))
    assert {"32x30x128x1", "gru-32x30x128x1", "rnn-32x30x128x1", "rnnt-encoder"} <= set(names)
