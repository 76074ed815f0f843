"""Tests of the results page's data: the time and memory that it adds to `asv publish`."""

import json
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import asv
import pytest
from helpers import ROOT, synthetic
from helpers.dashboard import read_data

from rnnbench.history import site
from rnnbench.report import page

COMMITS = 30

# Measures asv's own publish, and then the plugin with its import. It measures CPU time, because other processes change
# that little. asv works in a pool with one process per core, so the pool's time is divided by the number of cores.
# NumPy's import starts threads that spin for a moment. Nobody waits for them, so here it starts none.
COST = """
import os, resource, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from asv import benchmarks, config
from asv.commands.publish import Publish

def seconds():
    here, pool = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return here.ru_utime + here.ru_stime + (pool.ru_utime + pool.ru_stime) / os.cpu_count()

settings = config.Config.load(sys.argv[1])
start = seconds()
Publish.run(settings, pull=False)
own = seconds()
from rnnbench.asv_plugin import ResultsPage
ResultsPage.publish(settings, None, benchmarks.Benchmarks.load(settings), None, None)
print("seconds", own - start, seconds() - own)
"""


def dashboard(folder):
    """Make a folder with asv's page, and return it."""
    folder.mkdir()
    shutil.copy(Path(asv.__file__).parent / "www" / "index.html", folder)
    return folder


def repository(folder, commits):
    """Make a git repository of empty commits, and return their hashes, the newest last."""
    git = ["git", "-C", folder]
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", folder], check=True)
    stream = "".join(
        f"commit refs/heads/main\ncommitter A <a@b> {1_700_000_000 + 86_400 * number} +0000\ndata 0\n"
        for number in range(commits)
    )
    subprocess.run([*git, "fast-import", "--quiet"], input=stream, text=True, check=True)
    listed = subprocess.run([*git, "rev-list", "--reverse", "main"], capture_output=True, text=True, check=True)
    return listed.stdout.split()


@pytest.mark.alone
def test_the_page_adds_at_most_a_fifth_to_the_time_of_publish(tmp_path, python, monkeypatch):
    hashes = repository(tmp_path / "repository", COMMITS)
    monkeypatch.setattr(synthetic, "commit_hash", hashes.__getitem__)
    stored = tmp_path / "stored"
    synthetic.write(stored, COMMITS)
    shutil.copy(ROOT / "results" / "benchmarks.json", stored)
    # As publish gives them to asv: without the benchmarks that have no figures.
    site.copy(stored.rglob("*.json"), stored, tmp_path / "results")
    settings = json.loads((ROOT / "asv.conf.json").read_text())
    settings |= {
        "repo": str(tmp_path / "repository"),
        "branches": ["main"],
        "plugins": [],
        "regressions_first_commits": {},
    }
    settings |= {name: str(tmp_path / name.removesuffix("_dir")) for name in ("results_dir", "html_dir")}
    (tmp_path / "asv.conf.json").write_text(json.dumps(settings))

    took = []
    for _ in range(3):
        done = python("-c", COST, str(tmp_path / "asv.conf.json"))
        assert done.returncode == 0, done.stdout + done.stderr
        took.append([float(seconds) for seconds in done.stdout.split()[-2:]])
    # What else runs can only add to a process's time, to either part. So the least of each is compared.
    own, added = map(min, zip(*took, strict=True))
    assert added < 0.2 * own
    assert len(list((tmp_path / "html" / page.DATA).glob("*-*.js"))) == COMMITS * len(synthetic.MACHINES)


def test_every_record_has_a_file_and_a_line_in_the_index(tmp_path):
    results, html = tmp_path / "results", dashboard(tmp_path / "html")
    synthetic.write(results, 2, machines=["north", "south"])
    synthetic.write_machine(results, "east")
    synthetic.write_run(results, "south", synthetic.commit_hash(2), synthetic.full_grid())
    page.write(results, html, tmp_path)
    index = read_data(html, "index")
    assert {
        machine["name"]: len(of_lstm["records"]) if (of_lstm := machine["networks"].get("lstm")) else 0
        for machine in index["machines"]
    } == {
        "east": 0,
        "north": 2,
        "south": 3,
    }
    for number, machine in enumerate(index["machines"]):
        for record in machine["networks"].get("lstm", {"records": []})["records"]:
            assert (record["implementations"], record["shapes"]) == (5, 36)
            assert read_data(html, f"{number}-{record['commit']}-lstm")["grid"] == "full"


def test_memory_hardly_grows_with_the_number_of_commits(tmp_path):
    def peak(commits):
        results = tmp_path / f"results-{commits}"
        synthetic.write(results, commits, machines=["north"])
        html = dashboard(tmp_path / f"html-{commits}")
        tracemalloc.start()
        page.write(results, html, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak(1)  # imports modules and fills caches, which stay
    growth = (peak(12) - peak(2)) / 10
    record = min(path.stat().st_size for path in (tmp_path / "html-12" / page.DATA).glob("0-*.js"))
    assert growth < 0.1 * record
