"""Tests of the report's rows: which figures they have, in which order, and the ratios to other figures."""

import platform
import re

import pytest
from helpers import synthetic
from helpers.recorded import RESULTS
from helpers.reports import NAN, SHAPE, find_row, markdown_rows, stored_median, train_times

from rnnbench.history import NotFound
from rnnbench.network.shapes import GRIDS
from rnnbench.network.workload import Workload
from rnnbench.report import formats, tables, terminal


def test_times_are_shown_per_example_with_quartiles():
    report = tables.make(RESULTS, "h100")
    for shape in GRIDS["seed"]:
        first = [str(shape.depth), f"{shape.batch} × {shape.seq}", str(shape.hidden)]
        for variant, prefix in (("scan", "Scan"), ("cudnn", "Cudnn")):
            (shown,) = markdown_rows(formats.markdown(report), [*first, variant])
            for text, method in zip(shown[4:6], ("train", "forward"), strict=True):
                value, low, high = map(float, re.fullmatch(r"([\d.]+) \(([\d.]+)–([\d.]+)\)", text).groups())
                expected = stored_median("h100", f"lstm.{prefix}LSTM.time_{method}", shape) / shape.batch * 1e6
                assert value == pytest.approx(expected, rel=5e-3)
                assert low <= value <= high
    assert "284 (279–320)" in terminal.text(report)  # as in the first README of this project


def test_the_published_order(full_history):
    shown = markdown_rows(formats.markdown_times(tables.make(full_history[0], "north")), [])
    sizes = [(int(depth), *map(int, re.findall(r"\d+", both)), int(hidden)) for depth, both, hidden, *_ in shown[2:]]
    assert [(depth, seq, batch, hidden) for depth, batch, seq, hidden in sizes] == sorted(
        (shape[3], shape[1], shape[0], shape[2]) for shape in synthetic.SHAPES for _ in synthetic.PREFIXES
    )


def test_the_speedup_is_scans_median_divided_by_the_variants_median():
    report = tables.make(RESULTS, "h100")
    for shape in GRIDS["seed"]:
        for quantity in ("train", "forward"):
            scan, cudnn = (
                stored_median("h100", f"lstm.{prefix}LSTM.time_{quantity}", shape) for prefix in ("Scan", "Cudnn")
            )
            assert find_row(report, "cudnn", quantity, shape).speedup == pytest.approx(scan / cudnn)
            assert find_row(report, "scan", quantity, shape).speedup is None
    assert "6.5×" in terminal.text(report)
    assert "vs scan" not in terminal.text(tables.make(RESULTS, "epyc-2core"))


def test_the_share_of_the_floor_is_shown_if_the_peak_rates_are_known(two_machines):
    least = Workload(*SHAPE).train_flops / 6.7e13
    for machine in ("north", "south"):
        synthetic.write_run(
            two_machines, machine, synthetic.commit_hash(0), train_times(Scan=4 * least, CudnnTF32=least)
        )
    report = tables.make(two_machines, "north")
    assert find_row(report, "scan", "train").of_floor == pytest.approx(0.25)
    assert "above 100%" not in formats.markdown(report)
    low = report._replace(rows=[row._replace(of_floor=1.21) for row in report.rows])
    assert "above 100%: the peak rates are too low: rnnbench machine " in formats.markdown(low)
    in_tf32 = max(Workload(*SHAPE).train_flops / 4.9e14, Workload(*SHAPE).train_bytes / 3.35e12)
    assert find_row(report, "cudnn_tf32", "train").of_floor == pytest.approx(in_tf32 / least)
    assert "25%" in terminal.text(report)
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), train_times(Scan=least))
    assert "100%" in terminal.text(tables.make(two_machines, "north"))
    assert "of floor" not in terminal.text(tables.make(two_machines, "south"))


def test_against_another_machine_and_another_commit(two_machines):
    old, new = synthetic.commit_hash(1), synthetic.commit_hash(2)
    synthetic.write_run(two_machines, "north", old, train_times(Scan=3e-3), date=1)
    synthetic.write_run(two_machines, "north", new, train_times(Scan=2e-3, Cudnn=1e-3), date=2)
    synthetic.write_run(two_machines, "south", old, train_times(Scan=8e-3), date=1)

    def against(machine, commit, other):
        report = tables.make(two_machines, machine, commit, other)
        assert report.other == (other if len(other) == 5 else other[:8])
        return report.other_commit, find_row(report, "scan", "train").against.ratio.times

    assert against("north", new, old[:9]) == (old, pytest.approx(1.5))
    assert against("north", old, new[:9]) == (new, pytest.approx(2 / 3))
    assert against("north", old, "south") == (old, pytest.approx(8 / 3))
    # If the other machine has no results of the commit, its newest commit counts.
    assert against("north", new, "south") == (old, pytest.approx(4))
    assert against("south", old, "north") == (old, pytest.approx(3 / 8))
    assert find_row(tables.make(two_machines, "north", new, old), "cudnn", "train").against is None


def test_figures_of_benchmarks_of_different_versions_are_not_compared(two_machines):
    old, new = synthetic.commit_hash(1), synthetic.commit_hash(2)
    earlier = train_times(Scan=3e-3)
    earlier["lstm.ScanLSTM.time_train"][synthetic.COLUMNS.index("version")] = "0"
    synthetic.write_run(two_machines, "north", old, earlier, date=1)
    synthetic.write_run(two_machines, "north", new, train_times(Scan=2e-3), date=2)
    assert find_row(tables.make(two_machines, "north", new, old), "scan", "train").against is None


def test_the_default_machine_and_commit(full_history, two_machines, monkeypatch):
    folder, commits = full_history
    monkeypatch.setattr(platform, "node", lambda: "west")
    report = tables.make(folder)
    assert (report.facts["machine"], report.commit) == ("west", commits[-1])
    monkeypatch.setattr(platform, "node", lambda: "nowhere")
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(1), train_times(Scan=1), date=1)
    synthetic.write_run(two_machines, "south", synthetic.commit_hash(0), train_times(Scan=1), date=2)
    # This run is newer, but it has no figure.
    synthetic.write_run(two_machines, "south", synthetic.commit_hash(2), train_times(Scan=NAN), date=3)
    report = tables.make(two_machines)
    assert (report.facts["machine"], report.commit) == ("south", synthetic.commit_hash(0))


def test_an_ambiguous_commit_is_refused(two_machines):
    for commit in ("abc0", "abc1"):
        synthetic.write_run(two_machines, "north", commit * 10, train_times(Scan=1))
    with pytest.raises(NotFound, match=r"abc0.*, abc1"):
        tables.make(two_machines, "north", "abc")


def test_environments_share_a_table(two_machines):
    commit = synthetic.commit_hash(0)
    synthetic.write_run(two_machines, "north", commit, train_times(Scan=6, Torch=NAN), environment="one")
    synthetic.write_run(two_machines, "north", commit, train_times(Scan=NAN, Torch=2), environment="two")
    report = tables.make(two_machines, "north")
    assert [row.implementation for row in report.rows] == ["scan", "torch"]
    assert find_row(report, "torch", "train").speedup == 3

    synthetic.write_run(two_machines, "north", commit, train_times(Scan=8, Torch=2), environment="two")
    report = tables.make(two_machines, "north")
    assert [row.implementation for row in report.rows] == ["scan (one)", "scan (two)", "torch"]
    assert find_row(report, "torch", "train").speedup == 4
