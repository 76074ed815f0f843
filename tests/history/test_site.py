"""rnnbench publish: what asv's pages get of the results, and where their links lead."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT, recorded, synthetic
from helpers.dashboard import read_data
from helpers.reports import at_first_shape

from rnnbench.history import live_selftest, selftest, site
from rnnbench.history.benchmark_names import class_prefix
from rnnbench.variants import VARIANTS, is_ours

FIRST_COMMITS = json.loads((ROOT / "asv.conf.json").read_text())["regressions_first_commits"]


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """Return a dashboard of the recorded history, as rnnbench publish writes it."""
    folder = tmp_path_factory.mktemp("site")
    settings = json.loads((ROOT / "asv.conf.json").read_text())
    settings |= {"repo": str(ROOT), "results_dir": str(recorded.HISTORY), "html_dir": str(folder / "html")}
    (folder / "asv.conf.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "rnnbench", "publish", "--config", str(folder / "asv.conf.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def index(html):
    return json.loads((html / "index.json").read_text())


def test_the_page_shows_each_machines_selftest(html):
    machines = {machine["name"]: machine["selftest"] for machine in read_data(html, "index")["machines"]}
    assert machines["h100"]
    for name, found in machines.items():
        folder = recorded.HISTORY / name
        assert found == live_selftest.findings(folder)
        verdicts = selftest.read(folder)  # none where nobody ran it
        assert found.startswith(selftest.sentence(verdicts)) if verdicts else found is None


def test_facts_that_change_with_an_update_do_not_cut_a_series(index):
    environments = {
        (path.parent.name, json.loads(path.read_text())["params"]["python"])
        for path in recorded.HISTORY.glob("*/*-*.json")
    }
    assert not set(site._FACTS_LEFT_OUT) & set(index["params"])
    assert {(series["machine"], series["python"]) for series in index["graph_param_list"]} == environments
    assert len(index["graph_param_list"]) == len(environments)


def test_the_times_come_first_and_benchmarks_without_results_are_left_out(index):
    names = list(index["benchmarks"])
    groups = list(dict.fromkeys(name.partition(".")[0] for name in names))
    assert groups == ["lstm", "device", "compile", "memory", "accuracy", "gru", "rnn", "models"]
    measured = {
        name
        for path in recorded.HISTORY.glob("*/*-*.json")
        for name, row in json.loads(path.read_text())["results"].items()
        if any(value is not None and value == value for value in row[0] or ())
    }
    assert set(names) == measured & json.loads((recorded.HISTORY / "benchmarks.json").read_text()).keys()


def test_regressions_are_looked_for_in_this_projects_implementations_only(html):
    (nobody,) = (names for names, commit in FIRST_COMMITS.items() if commit is None)
    for variant in VARIANTS:
        for benchmark in (f"lstm.{class_prefix(variant)}LSTM.time_train", f"memory.{class_prefix(variant)}Memory.t"):
            assert bool(re.match(nobody, benchmark)) == (not is_ours(variant)), variant
    for entry, *_ in json.loads((html / "regressions.json").read_text())["regressions"]:
        assert not re.match(nobody, entry)


def test_a_first_commit_that_the_repository_lacks_is_left_out():
    known = site.known_commits(str(ROOT), {"a": "0" * 40, **FIRST_COMMITS})
    assert known == FIRST_COMMITS


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/someone/rnnbench.git", "https://github.com/someone/rnnbench"),
        ("https://user:secret@gitlab.com/some/group/rnnbench", "https://gitlab.com/some/group/rnnbench"),
        ("git@codeberg.org:someone/rnnbench.git", "https://codeberg.org/someone/rnnbench"),
        ("ssh://git@github.com/someone/rnnbench", "https://github.com/someone/rnnbench"),
        ("git@git.internal.example:someone/rnnbench.git", None),
        ("https://github.com.example/someone/rnnbench", None),
        ("/home/someone/rnnbench", None),
        (None, None),
    ],
)
def test_links_lead_to_a_public_repository_or_to_the_results(remote, address, tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    if remote:
        subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", remote], check=True)
    expected = (address, f"{address}/commit/") if address else ("page.html", "page.html?commit=")
    assert site.links(str(tmp_path), "page.html") == expected


def test_code_is_escaped_and_a_machine_without_results_gets_no_selftest(tmp_path):
    results, private = tmp_path / "results", tmp_path / "private"
    synthetic.write_machine(results, "north")
    name = "lstm.ScanLSTM.time_train"
    path = synthetic.write_run(results, "north", synthetic.commit_hash(0), {name: at_first_shape(1.0)})
    (results / "benchmarks.json").write_text(json.dumps({name: {"code": "<b>"}, "version": 2}))
    (results / "south").mkdir()
    for machine in ("north", "south"):
        shutil.copy(recorded.HISTORY / "h100" / selftest.FILE, results / machine)
        (results / machine / live_selftest.FILE).touch()
    site.copy([path, results / "benchmarks.json"], results, private)
    assert json.loads((private / "benchmarks.json").read_text()) == {name: {"code": "&lt;b&gt;"}, "version": 2}
    assert {selftest.FILE, live_selftest.FILE} <= {path.name for path in (private / "north").iterdir()}
    assert not (private / "south").exists()
