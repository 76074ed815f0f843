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
    assert names.split(" | ") == [f"3.{minor}" for minor in range(first[1], last[1] + 1)]


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


def test_compare_asks_for_both_commits():
    done = make(ROOT, "compare", "A=HEAD")
    assert done.returncode == 2
    assert "make compare A=<commit> B=<commit>" in done.stderr


def test_help_names_every_command():
    done = make(ROOT)
    assert done.returncode == 0
    for command in ("bench", "test", "preview", "compare", "publish", "lint"):
        assert f"make {command}" in done.stdout
