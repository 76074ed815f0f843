"""The commands that install what is missing."""

import importlib.util
import shlex
import sys

import pytest
from helpers import ROOT

from rnnbench.theano_runtime import pieces


@pytest.mark.parametrize(
    ("extra", "has_theano", "extras"),
    [
        ("torch", True, "theano,torch"),
        ("torch", False, "torch"),
        ("theano", False, "theano"),
        ("theano", True, "theano"),
    ],
)
def test_the_command_names_this_python_the_checkout_and_theanos_pins(extra, has_theano, extras, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if has_theano else None)
    python, *arguments = shlex.split(pieces.install_command(extra))
    assert python == sys.executable
    assert arguments == ["-m", "pip", "install", f"{ROOT}[{extras}]"]


def test_outside_a_checkout_the_command_names_the_installed_project(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "_CHECKOUT", tmp_path)
    assert "rnnbench[" in shlex.split(pieces.install_command("torch"))[-1]
