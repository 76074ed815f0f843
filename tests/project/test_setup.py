"""Tests that setup.py's extras agree with the registry of implementations."""

import runpy

import pytest
import setuptools
from helpers import ROOT
from packaging.requirements import Requirement

from rnnbench.theano_runtime import install
from rnnbench.variants import THEANO, THEANO_PYMC, VARIANTS

# These extras don't belong to an implementation.
OTHER_EXTRAS = {"bench", "cluster", "peers", "report", "test", THEANO_PYMC}


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
    peers = {row.extra for row in VARIANTS.values() if THEANO not in row.environments} - {"flashrnn"}
    assert extras["peers"] == [requirement for name in extras if name in peers for requirement in extras[name]]


def test_an_extra_installs_libraries_that_have_their_versions_stored(extras):
    for row in VARIANTS.values():
        installed = {requirement.partition("==")[0] for requirement in extras[row.extra]}
        assert installed & set(row.libraries), row.name


def test_theano_pymc_takes_the_place_of_theano(extras):
    (theano, *others), (pymc, *same) = (extras[name] for name in ("theano", THEANO_PYMC))
    assert (theano.partition("==")[0], pymc.partition("==")[0]) == ("Theano", "Theano-PyMC")
    assert same == others


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_each_package_of_theano_has_one_version_for_a_python(extras, python):
    names = [
        requirement.name
        for requirement in map(Requirement, extras["theano"])
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python})
    ]
    assert len(names) == len(set(names))
    assert {"numpy", "scipy", "setuptools", "Mako", "scipy-openblas32"} <= set(names)
    # Theano's setup.py fails from Python 3.12 on. There install.py builds it, which takes six and wheel.
    assert ("Theano" in names) == (python in ("3.10", "3.11"))
    assert ({"six", "wheel"} <= set(names)) == ("Theano" not in names)
    assert install.REQUIREMENT in extras["theano"][0]
