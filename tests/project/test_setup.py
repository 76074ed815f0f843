"""Tests that setup.py's extras agree with the registry of implementations."""

import runpy

import pytest
import setuptools
from helpers import ROOT

from rnnbench.variants import THEANO, VARIANTS

# These extras don't belong to an implementation.
OTHER_EXTRAS = {"bench", "peers", "report", "test"}


@pytest.fixture
def extras(monkeypatch):
    """The extras of setup.py: a list of requirements for each name."""
    arguments = {}
    monkeypatch.setattr(setuptools, "setup", lambda **settings: arguments.update(settings))
    runpy.run_path(str(ROOT / "setup.py"))
    return arguments["extras_require"]


def test_every_implementation_has_an_extra_and_every_extra_an_implementation(extras):
    assert {row.extra for row in VARIANTS.values()} == extras.keys() - OTHER_EXTRAS


def test_the_extra_peers_has_the_requirements_of_all_peers_but_flashrnn(extras):
    # FlashRNN is useless without a GPU and CUDA's compiler.
    peers = {row.extra for row in VARIANTS.values() if row.environment != THEANO} - {"flashrnn"}
    assert extras["peers"] == [requirement for name in extras if name in peers for requirement in extras[name]]


def test_an_extra_installs_libraries_that_have_their_versions_stored(extras):
    for row in VARIANTS.values():
        installed = {requirement.partition("==")[0] for requirement in extras[row.extra]}
        assert installed & set(row.libraries), row.name
