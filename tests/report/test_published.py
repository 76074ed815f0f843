"""Tests of the figures published in 2016, and of the comparison with them."""

import csv
import json

import pytest
from helpers import ROOT
from helpers.recorded import RESULTS
from helpers.reports import SHAPE, find_row, stored_median, unwrapped

from rnnbench.network.shapes import GRIDS, Shape
from rnnbench.report import formats, published, tables, terminal


def test_all_published_figures_are_read():
    with (ROOT / "rnnbench" / "report" / "titan_x.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["cell"] == "lstm"]
    for source in ("cudnn-rnn-benchmarks", "rnn-benchmarks"):
        figures = list(published.figures(source))
        assert {figure.environment for figure in figures} == {source}
        of_source = [row for row in rows if row["source"] == source]
        given = [float(row[f"{name}_us_per_example"]) for row in of_source for name in ("train", "forward")]
        assert [figure.value / figure.shape.batch * 1e6 for figure in figures] == pytest.approx(given)
        assert len(given) == 2 * {"cudnn-rnn-benchmarks": 20, "rnn-benchmarks": 18}[source]


def test_comparison_with_the_published_titan_x():
    report = tables.make(RESULTS, "h100", against="titan-x")
    ours = stored_median("h100", "lstm.CudnnLSTM.time_train", SHAPE) / 32 * 1e6
    assert find_row(report, "cudnn", "train").against.ratio.times == pytest.approx(136.3 / ours)
    ours = stored_median("h100", "lstm.ScanLSTM.time_forward", Shape(128, 200, 1024, 3)) / 128 * 1e6
    assert find_row(report, "scan", "forward", Shape(128, 200, 1024, 3)).against.ratio.times == pytest.approx(
        3161.8 / ours
    )
    assert all(row.against for row in report.rows)
    differences = published.SOURCES["cudnn-rnn-benchmarks"].differences
    for text in (unwrapped(terminal.text(report)), formats.markdown(report)):
        assert all(sentence in text for sentence in differences)
    assert json.loads(formats.as_json(report))["differences"] == list(differences)
    assert "Against titan-x" in terminal.text(report)
    assert "no change" not in terminal.text(report)  # there are no samples to judge by
    assert "titan-x" not in terminal.text(tables.make(RESULTS, "h100"))


def test_only_variants_with_a_published_counterpart_are_compared(full_history):
    report = tables.make(full_history[0], "north", against="titan-x")
    compared = {row.figure.variant for row in report.rows if row.against}
    assert compared == {"scan", "cudnn"}
    assert {row.figure.shape for row in report.rows if row.against} == set(GRIDS["seed"])
