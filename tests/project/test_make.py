"""Tests of the Makefile: if something is missing, it says so in one sentence before it makes anything."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from rnnbench import theano_runtime
from rnnbench.network.models import ALL_MODELS, MODELS
from rnnbench.network.shapes import GRIDS

PYTHON = Path(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info))


@pytest.fixture
def checkout(tmp_path):
    for name in ("Makefile", "setup.py"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder, *arguments, **environment):
    # `make test` and CI set make variables, which must not reach this make.
    inherited = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env={**inherited, **environment}, capture_output=True, text=True
    )


def path_without(tmp_path, *missing):
    """Return a PATH with only the programs that the Makefile calls, without the missing ones."""
    folder = tmp_path / "path"
    folder.mkdir()
    for name in ("sh", "make", "git", "g++", "hostname", "echo", "grep"):
        if name not in missing:
            (folder / name).symlink_to(shutil.which(name))
    return str(folder)


@pytest.mark.parametrize("target", ["bench", "test"])
def test_a_folder_that_is_not_a_git_checkout(checkout, target):
    done = make(checkout, target, GIT_CEILING_DIRECTORIES=str(checkout.parent))
    assert done.returncode == 2
    assert "git clone" in done.stderr.splitlines()[0]
    assert not (checkout / ".venv").exists()


def test_a_checkout_of_another_owner(checkout):
    """Git itself has this variable for its tests."""
    subprocess.run(["git", "init", "--quiet", checkout], check=True)
    done = make(
        checkout, "bench", f"PYTHON={PYTHON}", GIT_TEST_ASSUME_DIFFERENT_OWNER="1", GIT_CONFIG_GLOBAL=os.devnull
    )
    assert done.returncode == 2
    assert done.stderr.startswith("git refuses this checkout, because another user owns it: ")
    assert f"safe.directory '{checkout}'" in done.stderr
    assert not (checkout / ".venv").exists()


def test_no_compiler(checkout, tmp_path):
    done = make(checkout, "bench", f"PYTHON={PYTHON}", PATH=path_without(tmp_path, "g++"))
    assert done.returncode == 2
    assert "g++ is missing" in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(("answer", "named"), [("echo 3.14", "3.14"), ("echo 3.9", "3.9"), ("exit 1", "not there")])
def test_another_python(checkout, tmp_path, answer, named):
    other = tmp_path / "python3"
    other.write_text(f"#!/bin/sh\n{answer}\n")
    other.chmod(0o755)
    done = make(checkout, "bench", f"PYTHON={other}")
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if "missing" in line)
    assert line.startswith(f"Python 3.10, 3.11, 3.12 or 3.13 is missing: '{other}' is {named}.")
    for way in ("apt-get install", "uv python install", "pyenv install", "conda create"):
        assert way in line
    assert not (checkout / ".venv").exists()


def test_the_pythons_are_those_that_theano_runs_on():
    (names,) = re.findall(r"^\tcase \$\$found in (.*)\) ;;", (ROOT / "Makefile").read_text(), re.MULTILINE)
    first, last = theano_runtime.PYTHONS
    pythons = [f"3.{minor}" for minor in range(first[1], last[1] + 1)]
    assert names.split(" | ") == pythons
    (tested,) = re.findall(r"^ +python: \[(.*)\]$", (ROOT / ".github/workflows/ci.yml").read_text(), re.MULTILINE)
    assert tested == ", ".join(f'"{python}"' for python in pythons)


@pytest.mark.parametrize("grid", ["quik", "", 'a"b'])
def test_a_wrong_grid_is_found_before_the_set_up(checkout, grid):
    done = make(checkout, "bench", f"PYTHON={PYTHON}", f"GRID={grid}")
    assert done.returncode == 2
    assert f"GRID={grid}: it must be {', '.join(GRIDS)}, models, or a name from docs/models.md." in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("grid", [*GRIDS, ALL_MODELS, *MODELS])
def test_a_grid_or_model_is_accepted(grid):
    done = make(ROOT, "prerequisites", f"PYTHON={PYTHON}", f"GRID={grid}")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_finished_set_up_needs_no_interpreter_outside_it(checkout):
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "bench").touch()
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b.c", "-C", str(checkout)]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "One"]):
        subprocess.run([*git, *words], check=True)
    assert make(checkout, "prerequisites", "PYTHON=/nowhere").returncode == 0


def test_gits_own_words_are_shown(checkout):
    (checkout / ".git").write_text("gitdir: /nowhere\n")
    done = make(checkout, "prerequisites", f"PYTHON={PYTHON}")
    assert done.returncode == 2
    assert "fatal: not a git repository: /nowhere" in done.stderr


def test_no_git(checkout, tmp_path):
    done = make(checkout, "bench", f"PYTHON={PYTHON}", PATH=path_without(tmp_path, "git"))
    assert done.returncode == 2
    assert "git is missing" in done.stderr


@pytest.fixture
def set_up(tmp_path):
    """The Makefile's folder of a finished set-up, with the interpreter of this test."""
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (folder / "bench").touch()
    return f"VENV={folder}"


def test_compare_asks_for_both_commits(set_up):
    done = make(ROOT, "compare", set_up, "A=HEAD")
    assert done.returncode == 2
    assert "make compare A=<commit> B=<commit>" in done.stderr


def test_compare_shows_only_benchmarks_with_figures(set_up):
    done = make(ROOT, "compare", set_up, "A=53ea4a12", "B=556eda17", "MACHINE=epyc-2core")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[2:] for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) > 10
    assert not any(before.strip() == after.strip() == "n/a" for before, after, *_ in rows)


def test_compare_names_the_machine_without_figures(set_up):
    done = make(ROOT, "compare", set_up, "A=53ea4a12", "B=556eda17", "MACHINE=h100")
    assert done.returncode == 2
    assert "Did not find results for commit 53ea4a12" in done.stderr
    assert "another one than h100." in done.stderr


def test_a_machines_name_may_have_a_quote(set_up):
    for target in ("bench", "bench-peers", "compare"):
        lines = make(ROOT, "--dry-run", target, set_up, "MACHINE=it's mine", "A=HEAD", "B=HEAD").stdout
        checked = subprocess.run(["sh", "-n"], input=lines, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        said = [line for line in lines.splitlines() if line.startswith("echo ") and "mine" in line]
        spoken = subprocess.run(["sh", "-c", "\n".join(said)], capture_output=True, text=True).stdout
        assert spoken.count("it's mine") == len(said)


def test_an_empty_device_is_the_cpu(set_up):
    lines = make(ROOT, "--dry-run", "bench", set_up, RNNBENCH_DEVICE="").stdout
    assert "--device 'cpu'" in lines


@pytest.mark.parametrize(("target", "program"), [("bench", "run"), ("bench-peers", "interleave"), ("test", "pytest")])
def test_temporary_files_that_a_program_leaves_are_removed(tmp_path, target, program):
    python, temporary = tmp_path / "venv" / "bin" / "python", tmp_path / "temporary"
    python.parent.mkdir(parents=True)
    temporary.mkdir()
    python.write_text(f"#!/bin/sh\ncase \" $* \" in *' {program} '*) mktemp;; esac\n")
    python.chmod(0o755)
    for stamp in ("bench", "test"):
        (tmp_path / "venv" / stamp).touch()
    done = make(ROOT, target, f"VENV={tmp_path / 'venv'}", TMPDIR=str(temporary))
    assert done.returncode == 0, done.stderr
    assert str(temporary) in done.stdout
    assert not list(temporary.iterdir())


def test_help_names_every_command():
    done = make(ROOT)
    assert done.returncode == 0
    for command in ("bench", "test", "preview", "compare", "publish", "lint"):
        assert f"make {command}" in done.stdout
