"""Tests of rnnbench report and history as commands: wrong arguments, missing libraries, broken files, speed."""

import platform
import resource
import shutil
import sys
from pathlib import Path

import pytest
from helpers import synthetic
from helpers.recorded import RESULTS

from rnnbench.cli import results as result_commands
from rnnbench.report import formats, tables, terminal


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["report", "--machine", "attic"], ["attic", "epyc-2core, h100"]),
        (["report", "--machine", "h100", "--commit", "beef"], ["beef", "fcae1cdc"]),
        (["report", "--machine", "h100", "--against", "beef"], ["beef", "fcae1cdc", "h100", "titan-x"]),
        (["history", "--machine", "attic"], ["attic", "epyc-2core, h100"]),
        (["history", "--commit", "beef"], ["beef"]),
        (["report", "--results", "nowhere"], ["nowhere"]),
    ],
    ids=" ".join,
)
def test_a_missing_machine_or_commit_is_named_with_those_that_exist(arguments, named, run):
    status, output, errors = run([arguments[0], "--results", str(RESULTS), *arguments[1:]])
    assert (status, output) == (1, "")
    assert all(word in errors for word in named)
    assert errors.startswith("rnnbench: ")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["--plot", "x.pdf"], ["--format", "html"], ["--plot", "x.png", "--format", "csv"]]
)
def test_wrong_arguments(arguments, run):
    status, output, errors = run(["report", *arguments])
    assert (status, output) == (2, "")
    assert arguments[0] in errors


def test_the_command_offers_every_format():
    assert ("text", *formats.FORMATS) == result_commands._FORMATS
    assert tuple(terminal.SECTIONS) == result_commands._TABLES
    assert tables.CALLS == result_commands._CALLS


def test_a_broken_file_is_named_once_and_the_rest_is_shown(tmp_path, run):
    results = Path(shutil.copytree(RESULTS, tmp_path / "results"))
    broken = results / "h100" / "00000000-cut.json"
    broken.write_text("{")
    undescribed = results / "epyc-2core" / "machine.json"
    undescribed.unlink()
    for command in (["report", "--machine", "h100"], ["history", "--machine", "h100", "--grid", "seed"]):
        status, output, errors = run([*command, "--results", str(results)])
        assert status == 0
        assert "fcae1cdc" in output
        assert len(errors.splitlines()) == 2
        assert all(str(path) in errors for path in (broken, undescribed))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("jiter", ["report", "--format", "json"]),
        ("rich", ["report"]),
        ("tabulate", ["report", "--format", "markdown"]),
        ("matplotlib", ["report", "--plot", "x.png"]),
    ],
)
def test_a_missing_library_is_named_with_the_command_that_installs_it(name, arguments, monkeypatch, run):
    monkeypatch.setitem(sys.modules, name, None)
    status, output, errors = run([*arguments, "--results", str(RESULTS)])
    assert (status, output) == (1, "")
    assert errors.startswith(f"rnnbench: the package {name} is missing: {sys.executable} -m pip install ")
    assert errors.rstrip("'\n").endswith("report]")


def test_a_machine_that_is_not_this_host_is_named(run, monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "laptop")
    chosen = ["report", "--results", str(RESULTS), "--table", "software"]
    status, _, errors = run(chosen)
    assert (status, errors.count("\n")) == (0, 1)
    assert "no results of this host, laptop, were found" in errors
    assert run([*chosen, "--machine", "h100"])[2] == ""


def test_a_terminal_of_another_encoding_shows_a_report(python):
    arguments = ["report", "--machine", "epyc-2core", "--table", "times", "--results", str(RESULTS)]
    done = python("-m", "rnnbench", *arguments, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "?" in done.stdout


def test_the_command_line_imports_tables_and_plots_only_when_needed(python):
    names = "{'tabulate', 'rich', 'matplotlib', 'asv', 'rnnbench.report'}"
    done = python("-c", f"import sys, rnnbench.cli; print({names} & set(sys.modules))")
    assert (done.stdout, done.stderr) == ("set()\n", "")


@pytest.mark.alone
def test_a_long_history_is_read_quickly(tmp_path, python):
    synthetic.write(tmp_path, 40)
    # Measure CPU time, because on a busy machine other programs extend the elapsed time.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = python("-m", "rnnbench", "report", "--results", str(tmp_path))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    assert done.returncode == 0
    assert done.stderr.startswith("rnnbench: no results of this host")
    assert done.stderr.count("\n") == 1
    assert synthetic.commit_hash(39)[:8] in done.stdout
