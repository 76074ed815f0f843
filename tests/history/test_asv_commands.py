"""rnnbench run and publish on results and folders that need care."""

import json
import multiprocessing
import os
import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from asv.commands.publish import Publish
from helpers import ROOT, synthetic

from rnnbench import asv_plugin
from rnnbench.cli import main
from rnnbench.history import asv_commands, asv_files

NAN = float("nan")
NAME = "lstm.ScanLSTM.time_train"
COMMIT = synthetic.commit_hash(0)


def with_profile(folder, values):
    row = [*synthetic.sampled([*values, *[NAN] * 34]), "eJwrzy/KSQEABb0CGg=="]
    folder.mkdir()
    synthetic.write_machine(folder, "north")
    return synthetic.write_run(folder, "north", COMMIT, {NAME: row})


def test_results_with_a_profile_are_used(tmp_path):
    """`asv run --profile` stores one text for all shapes."""
    recorded, path = with_profile(tmp_path / "a", [1.0, 2.0]), with_profile(tmp_path / "b", [3.0, None])
    asv_files.load(path)
    asv_commands._keep_earlier_figures(path, recorded, strict=False)
    row = json.loads(path.read_text())["results"][NAME]
    assert row[0][:2] == [3.0, 2.0]
    assert row[12] == "eJwrzy/KSQEABb0CGg=="
    asv_files.load(path)


def test_no_profile_is_stored(configured, tmp_path, capsys):
    assert main(["run", "--profile"]) == 1
    assert "use asv profile BENCHMARK" in capsys.readouterr().err
    path = with_profile(tmp_path / "a", [1.0, 2.0])
    asv_plugin.StatefulResults.load(str(path)).save(str(tmp_path / "a"))
    assert "eJwrzy" not in path.read_text()
    assert json.loads(path.read_text())["results"][NAME][0][:2] == [1.0, 2.0]


def test_a_profile_that_asv_did_not_write_is_refused(tmp_path):
    path = with_profile(tmp_path / "a", [1.0, 2.0])
    path.write_text(path.read_text().replace("eJwrzy", "<b>"))
    with pytest.raises(ValueError, match="isn't as asv writes it"):
        asv_files.load(path)


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """A folder with results and asv's configuration, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    settings = json.loads((ROOT / "asv.conf.json").read_text()) | {"repo": str(ROOT), "plugins": []}
    Path("asv.conf.json").write_text(json.dumps(settings))
    synthetic.write(Path("results"), 1)
    return tmp_path


def test_publish_removes_no_other_files(configured, capsys):
    """`--html-dir .`, for example, would replace all that is there."""
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("Dear")
    assert main(["publish", "--html-dir", "mine"]) == 1
    assert capsys.readouterr().err == (
        "rnnbench: mine has other files, which publish would remove: name a new or empty folder\n"
    )
    assert Path("mine/letter.txt").read_text() == "Dear"


def test_publish_in_a_shallow_clone_counts_the_left_out_files_in_one_line(configured, capsys):
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", "clone"], check=True)
    settings = json.loads(Path("asv.conf.json").read_text()) | {"repo": "clone"}
    Path("asv.conf.json").write_text(json.dumps(settings))
    shutil.rmtree("results")
    machine = Path(shutil.copytree(ROOT / "results" / "epyc-2core-2", "results/epyc-2core-2"))
    shutil.copy(ROOT / "results" / "benchmarks.json", "results")
    assert main(["publish"]) == 0
    said = capsys.readouterr()
    assert "Couldn't find" not in said.out + said.err
    assert said.err == (
        "rnnbench: asv's pages leave out the results of commits outside HEAD's history "
        f"(files: {len([*machine.glob('*-*.json')])}): git fetch --unshallow brings them\n"
    )


def test_publish_says_before_its_work_that_the_folder_can_not_be_written(configured, capsys):
    Path("file").touch()
    assert main(["publish", "--html-dir", "file/html"]) == 1
    assert capsys.readouterr().err == f"rnnbench: nothing was run: {configured}/file isn't writable: Not a directory\n"


def test_asv_compare_marks_figures_of_another_method(tmp_path):
    """The warm-up changed at a commit of this date, and the version didn't."""
    (tmp_path / "north").mkdir()
    content = {name: synthetic.sampled([1.0] * 36) for name in (NAME, "memory.ScanMemory.track_train")}
    versions = []
    for date in (1795393829999, 1795393830000):
        path = synthetic.write_run(tmp_path, "north", COMMIT, content, date=date)
        loaded = asv_plugin.StatefulResults.load(str(path))
        versions.append(loaded.benchmark_version)
        loaded.save(str(tmp_path))
        assert json.loads(path.read_text())["results"][NAME][2] == "1"
    assert versions == [
        {NAME: "1 before 87a56911", "memory.ScanMemory.track_train": "1"},
        {NAME: "1", "memory.ScanMemory.track_train": "1"},
    ]


def test_an_ended_process_of_publish_is_named(configured, monkeypatch, capsys):
    """Ctrl-C reaches all processes, and the others may end before the first one does."""

    def end(*arguments, **options):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
            pool.submit(os._exit, 1).result()

    monkeypatch.setattr(Publish, "run_from_conf_args", end)
    assert main(["publish"]) == 1
    assert "a process that wrote the dashboard was ended. The earlier dashboard is unchanged" in capsys.readouterr().err
