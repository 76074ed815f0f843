"""setup.py, held to the registry: what an implementation's extra brings."""

import runpy

import pytest
import setuptools
from helpers import ROOT

from rnnbench.variants import THEANO, VARIANTS

# What isn't an implementation's.
OTHERS = {"bench", "peers", "report", "test"}


@pytest.fixture
def extras(monkeypatch):
    """setup.py's extras: lists of requirements by name."""
    told = {}
    monkeypatch.setattr(setuptools, "setup", lambda **settings: told.update(settings))
    runpy.run_path(str(ROOT / "setup.py"))
    return told["extras_require"]


def test_every_extra_is_an_implementations_and_the_other_way_round(extras):
    assert {row.extra for row in VARIANTS.values()} == extras.keys() - OTHERS


def test_the_peers_are_the_extras_that_live_in_one_environment(extras):
    # FlashRNN needs a GPU and CUDA's compiler to be of use.
    wanted = {row.extra for row in VARIANTS.values() if row.environment != THEANO} - {"flashrnn"}
    assert extras["peers"] == [requirement for name in extras if name in wanted for requirement in extras[name]]


def test_an_extra_brings_the_libraries_whose_versions_are_stored(extras):
    for row in VARIANTS.values():
        brought = {requirement.partition("==")[0] for requirement in extras[row.extra]}
        assert brought & set(row.libraries), row.name
