"""Tests of rnnbench report --export, which writes tables in the form of another project's README."""

import pytest
from helpers import synthetic
from helpers.recorded import HISTORY
from helpers.reports import markdown_rows

from rnnbench.report import export, formats, tables


def test_export_has_a_heading_for_each_shape_and_a_row_for_each_library(full_history):
    text = export.rnn_benchmarks(tables.make(full_history[0], "north"))
    headings = [line for line in text.splitlines() if line.startswith("### ")]
    assert headings[:2] == ["### Batch Size 32", "### Batch Size 128"]
    assert headings[-1] == "### Batch Size 128, Sequence Length 200, 3 Layers"
    assert len(headings) == len(set(headings)) == 12
    assert text.count("#### Hidden Size") == 36
    section = text.split("### Batch Size 128\n")[1].split("#### Hidden Size 512\n")[1].split("####")[0]
    assert section.splitlines()[1] == "| Library | Compile (s) | Train (µs) | Forward only (µs) |"
    seconds = synthetic.seconds(128, 30, 512, 1)
    compiled = synthetic.seconds(32, 30, 128, 1)
    ((*_, compile_s, train, forward),) = markdown_rows(section, ["Theano, cuDNN"])
    assert float(compile_s) == pytest.approx(compiled / 2, rel=0.1)
    assert (train, forward) == (formats.number(seconds / 2 / 128 * 1e6),) * 2
    assert "without an update" in text


def test_without_builds_there_is_no_column_for_them():
    text = export.rnn_benchmarks(tables.make(HISTORY, "h100", "fc372c93"))
    assert "| Library | Train (µs) | Forward only (µs) |\n| ------------- | ------------- | ------------- |\n" in text
    assert "Compile" not in text
    assert "n/a" not in text


def test_the_versions_of_the_libraries_are_named():
    text = export.rnn_benchmarks(tables.make(HISTORY, "h100", "fc372c93"))
    assert "   * Theano 1.0.5, flashrnn 1.0.8, jax 0.11.2, jaxlib 0.11.2, torch 2.11.0, triton 3.6.0\n" in text
