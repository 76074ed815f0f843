"""Theano-PyMC, a second Theano that is imported by the same name, is told from Theano."""

import pytest

from rnnbench import theano_runtime, variants
from rnnbench.theano_runtime import theano_pymc


@pytest.fixture
def package(monkeypatch, tmp_path):
    """Let Theano-PyMC seem to be installed, beside the Theano of this test."""
    folder = tmp_path / "Theano_PyMC-1.1.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: Theano-PyMC\nVersion: 1.1.2\n")
    monkeypatch.syspath_prepend(tmp_path)
    theano_pymc.is_installed.cache_clear()
    yield
    theano_pymc.is_installed.cache_clear()


def test_theano_is_not_taken_for_theano_pymc():
    assert not theano_pymc.is_installed()


def test_theano_pymc_is_found_by_its_name_and_version(package):
    (piece,) = (piece for piece in theano_runtime.find() if piece.name.startswith("Theano"))
    assert (piece.name, piece.version) == ("Theano-PyMC", "1.1.2")
    assert variants.versions("scan")["Theano-PyMC"] == "1.1.2"


def test_fused_says_that_it_needs_the_other_theano(package):
    assert "it needs Theano 1.0.5" in variants.available("cpu", ["fused"])["fused"]


def test_scan_is_timed_in_both_and_fused_in_one():
    assert variants.installable(variants.THEANO_PYMC, "cpu") == ["scan"]
    assert variants.installable(variants.THEANO, "cpu") == ["scan", "fused"]
