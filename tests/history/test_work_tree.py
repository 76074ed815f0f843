"""Figures of code that isn't the commit's are marked."""

import json
import subprocess
from pathlib import Path

import pytest
from asv.runner import BenchmarkResult
from helpers import synthetic

from rnnbench.asv_plugin import StatefulResults
from rnnbench.history import work_tree


def git(*arguments):
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    return subprocess.run(["git", *who, *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def commit(tmp_path, monkeypatch):
    """A checkout with a package and benchmarks, which is the current folder; its only commit."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    for folder in ("rnnbench", "benchmarks"):
        Path(folder).mkdir()
        Path(folder, "file.py").write_text("one = 1\n")
    git("add", ".")
    git("commit", "--quiet", "--message=One")
    return git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("path", "environment", "folders"),
    [
        ("rnnbench/file.py", "existing-py_x", ["rnnbench"]),
        ("rnnbench/new.py", "existing-py_x", ["rnnbench"]),
        ("rnnbench/file.py", "virtualenv-py3.11", []),  # asv builds the commit's package
        ("benchmarks/file.py", "virtualenv-py3.11", ["benchmarks"]),
        ("benchmarks/new.py", "existing-py_x", ["benchmarks"]),
        ("README.md", "existing-py_x", []),
    ],
)
def test_changed_folders(path, environment, folders, commit):
    assert work_tree.changed(commit, environment) == []
    Path(path).write_text("one = 2\n")
    assert work_tree.changed(commit, environment) == folders
    git("add", ".")
    assert work_tree.changed(commit, environment) == folders
    assert work_tree.changed("", environment) == []  # asv stores nothing


def test_git_is_asked_once_where_nobody_writes(commit):
    with work_tree.unchanging():
        assert work_tree.changed(commit, "existing-py_x") == []
        Path("rnnbench/file.py").write_text("one = 2\n")
        assert work_tree.changed(commit, "existing-py_x") == []
    assert work_tree.changed(commit, "existing-py_x") == ["rnnbench"]


def test_another_commits_hash_is_not_this_codes(commit):
    """--set-commit-hash names any commit, but an existing interpreter times the work tree."""
    Path("rnnbench/file.py").write_text("one = 2\n")
    git("commit", "--quiet", "--all", "--message=Two")
    assert work_tree.changed(commit, "existing-py_x") == ["rnnbench"]
    assert work_tree.changed(git("rev-parse", "HEAD"), "existing-py_x") == []


def test_the_mark_is_stored_with_each_figure(commit):
    Path("rnnbench/file.py").write_text("one = 2\n")
    benchmark = {"name": "b", "params": [["1", "3"]], "version": "1", "unit": "seconds"}
    for environment, marks in (("existing-py_x", ["uncommitted"]), ("virtualenv-py3.11", None)):
        results = StatefulResults({"machine": "test"}, {}, commit, 0, "3.11", environment, {})
        result = BenchmarkResult([1.0, 2.0], [[1.0], [2.0]], [1, 1], 0, "", None)
        results.add_result(benchmark, result, record_samples=True)
        states = results._states.get("b", {})
        assert {shape: [state["marks"] for state in stored] for shape, stored in states.items()} == (
            {"1": [marks], "3": [marks]} if marks else {}
        )


def test_selftest_says_that_its_code_is_not_the_commits(commit):
    assert work_tree.describe_head(Path()) == commit[:8]
    Path("rnnbench/file.py").write_text("one = 2\n")
    assert work_tree.describe_head(Path()) == f"{commit[:8]}-dirty"
    assert work_tree.describe_head(Path("/")) == ""


def test_names_of_commits_are_resolved(commit):
    git("tag", "--annotate", "v1", "--message=One")
    git("branch", "feature/one")
    git("commit", "--quiet", "--allow-empty", "--message=Two")
    for name in ("v1", "feature/one", "HEAD~1", "HEAD^"):
        assert work_tree.resolve(name, Path()) == commit
    assert work_tree.resolve("HEAD", Path()) == git("rev-parse", "HEAD")
    for name in ("nothing", commit[:8], "--all", "\0", "", "HEAD~9"):
        assert work_tree.resolve(name, Path()) == name
    assert work_tree.resolve("HEAD", Path("/nowhere")) == "HEAD"


def test_report_and_history_take_names_of_commits(commit, run):
    synthetic.write_machine(Path("results"), "north")
    git("commit", "--quiet", "--allow-empty", "--message=Two")
    for number, name in enumerate((commit, git("rev-parse", "HEAD"))):
        content = {"lstm.ScanLSTM.time_train": synthetic.sampled([1.0 + number] * 36)}
        synthetic.write_run(Path("results"), "north", name, content, date=1795400000000 + number)
    for name in ("HEAD~1", commit[:7]):
        assert f"at {commit[:8]}" in run(["report", "--commit", name])[1]
        status, output, _ = run(["history", "--commit", name])
        assert (status, output.count("north")) == (0, 1)
    assert json.loads(run(["report", "--against", "HEAD~1", "--format", "json"])[1])["figures"][0]["against"] == 0.5
    assert run(["report", "--commit", "HEAD~9"])[2].startswith("rnnbench: there are no results of commit HEAD~9; ")
    git("commit", "--quiet", "--allow-empty", "--message=Three")
    head = git("rev-parse", "HEAD")
    assert f"no results of commit HEAD ({head[:8]}); the newest" in run(["report", "--commit", "HEAD"])[2]


def test_other_numbers_of_threads_are_named(commit, run):
    """They change the times, and the code may be the same."""
    synthetic.write_machine(Path("results"), "north")
    for number, name in enumerate(("a" * 40, "b" * 40)):
        states = {", ".join(map(str, shape)): [{"marks": [], "threads": 1 + number}] for shape in synthetic.SHAPES}
        content, state = (
            {"lstm.ScanLSTM.time_train": synthetic.sampled([1.0] * 36)},
            {"lstm.ScanLSTM.time_train": states},
        )
        synthetic.write_run(Path("results"), "north", name, content, 1795400000000 + number, state=state)
    output = " ".join(run(["report", "--against", "a" * 8])[1].split())
    assert "timed with other numbers of threads: 1 there, 2 here." in output
    assert json.loads(run(["report", "--format", "json"])[1])["figures"][0]["threads"] == "2"
    assert "threads" not in " ".join(run(["report"])[1].split())
