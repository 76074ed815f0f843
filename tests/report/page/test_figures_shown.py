"""Tests that the figures on the results page are those in the results files."""

import math
import shutil
from pathlib import Path

import asv
import pytest
from helpers import synthetic
from helpers.dashboard import (
    BANDWIDTH,
    DOUBTFUL,
    FAILED,
    FLOPS,
    MACHINES,
    SHAPES,
    check_times,
    notes,
    numbers,
    page_opener,
    ranking,
    rounds_to,
    sizes,
    stored_figures,
    table,
    times,
    unfold,
)
from helpers.reports import train_times

from rnnbench import Workload
from rnnbench.measure.state import MARKS
from rnnbench.network.shapes import GRIDS
from rnnbench.report import page as dashboard


@pytest.mark.parametrize("machine", MACHINES)
def test_the_times_are_those_in_results(open_page, machine, history):
    tab = open_page(machine=machine, commit=history.newest, grid="full")
    path = MACHINES[machine]
    expected = sum(
        len(stored_figures(path, f"lstm.{name}.time_{function}"))
        for name in ("ScanLSTM", "CudnnLSTM")
        for function in ("train", "forward")
    )
    assert check_times(tab, path, SHAPES) == expected


def test_build_time_memory_and_accuracy_are_those_in_results(open_page):
    tab = open_page(machine="epyc-2core", grid="quick")
    unfold(tab, "costs")
    shown = {sizes(shape): texts for _, shape, *texts in table(tab, "#costs-rows")[1]}
    benchmarks = {
        "compile.ScanWarmBuild.timeraw_train": 1,
        "compile.ScanWarmBuild.timeraw_forward": 1,
        "compile.ScanColdBuild.timeraw_train": 1,
        "compile.ScanColdBuild.timeraw_forward": 1,
        "memory.ScanMemory.track_train": 1e6,
        "accuracy.ScanAccuracy.track_outputs": 1,
        "accuracy.ScanAccuracy.track_gradients": 1,
    }
    for column, (benchmark, unit) in enumerate(benchmarks.items()):
        figures = stored_figures(MACHINES["epyc-2core"], benchmark)
        for shape in GRIDS["quick"]:
            text = shown[shape][column]
            assert rounds_to(text, figures[shape][0] / unit) if shape in figures else text == "n/a"


def test_the_dots_are_the_multiples_of_the_fastest(open_page, history):
    tab = open_page(machine="h100", commit=history.newest)
    found = {}
    for first, *_, last in notes(tab):
        name, call, shape = first.split(", ")
        found[name, call, sizes(shape)] = last
    assert len(found) == 40
    for call in ("train", "forward"):
        scan, cudnn = (stored_figures(MACHINES["h100"], f"lstm.{name}LSTM.time_{call}") for name in ("Scan", "Cudnn"))
        for shape in GRIDS["seed"]:
            fastest = min(scan[shape][0], cudnn[shape][0])
            for name, stored in (("scan", scan), ("cudnn", cudnn)):
                assert rounds_to(numbers(found[name, call, shape])[0], stored[shape][0] / fastest)


def test_the_best_of_each_shape(open_page, history):
    tab = open_page(machine="h100", commit=history.older, grid="full")
    shown = ranking(tab)
    stored = {name: stored_figures(history.path, f"lstm.{name}LSTM.time_train") for name in ("Scan", "Cudnn", "Torch")}
    assert {shape for shape, call in shown if call == "train"} == set(stored["Torch"])
    for shape, torch in stored["Torch"].items():
        best, time, lead, of_floor, theano = shown[shape, "train"]
        name, other = ("scan", stored["Scan"]) if shape == FAILED else ("cudnn", stored["Cudnn"])
        assert best == "torch?"  # its accuracy was not measured
        assert rounds_to(numbers(time)[0], 1e6 * torch[0] / shape[0])
        assert time.endswith("*") == bool(DOUBTFUL.get(shape))
        assert name in lead
        assert rounds_to(numbers(lead)[0], other[shape][0] / torch[0])
        assert {name, "torch"} <= {word.rstrip("*") for word in theano.split()}
        work = Workload(*shape)
        least = max(work.train_flops / FLOPS, work.train_bytes / BANDWIDTH)
        assert rounds_to(of_floor.rstrip("%"), 100 * least / torch[0])


def test_the_share_of_the_floor(open_page, history):
    tab = open_page(machine="h100", commit=history.newest)
    unfold(tab, "floor")
    count = 0
    for first, *_, floor in notes(tab, "#floor-dots"):
        name, call, shape = first.split(", ")
        work = Workload(*sizes(shape))
        flops, moved = getattr(work, f"{call}_flops"), getattr(work, f"{call}_bytes")
        seconds = stored_figures(MACHINES["h100"], f"lstm.{name.capitalize()}LSTM.time_{call}")[sizes(shape)][0]
        assert rounds_to(numbers(floor)[0], 100 * max(flops / FLOPS, moved / BANDWIDTH) / seconds)
        count += 1
    assert count == 40


def test_the_software_of_the_calls(open_page, history):
    tab = open_page(machine="h100", commit=history.older)
    unfold(tab, "software")
    ((name, *texts),) = table(tab, "#software-rows")[1]
    assert [name, *texts[:5]] == ["scan", "Theano 1.0.5", "9.19.0", "STANDARD", "FMA", "train"]
    assert "NVIDIA H100 80GB HBM3" in tab.locator("#facts dd").all_text_contents()


def test_doubtful_figures_have_a_star_an_open_dot_and_a_note(open_page, history):
    tab = open_page(machine="h100", commit=history.older)
    starred = {key for key, text in times(tab, "train").items() if text.endswith("*")}
    assert starred == {(shape, "torch") for shape, marks in DOUBTFUL.items() if marks}
    expected = [
        f"* {mark} ({count}): {MARKS[mark]}." for count, mark in (("2 figures", "busy"), ("1 figure", "throttled"))
    ]
    assert tab.locator("#times-train .note").all_text_contents() == expected
    assert tab.locator("#chart-notes .note").all_text_contents() == expected
    assert tab.locator("#dots circle.open").count() == len(starred)
    tab.locator("#dots circle.open").first.focus()
    assert "doubtful (busy)" in tab.locator("#tip").inner_text()
    tab = open_page(machine="h100", commit=history.newest)
    assert "*" not in tab.locator("#times").inner_text()


def test_the_gpus_own_time_stands_in_the_note_and_among_the_costs(tab, serve, tmp_path):
    results, shape = tmp_path / "results", (32, 30, 128, 1)
    synthetic.write_machine(results, "north", gpu="A GPU")
    times = [1e-3, *[math.nan] * 35]
    content = train_times(Scan=4e-3, Cudnn=2e-3) | {"device.CudnnDevice.track_train": synthetic.tracked(times)}
    synthetic.write_run(results, "north", synthetic.commit_hash(0), content)
    html = tmp_path / "html"
    shutil.copytree(Path(asv.__file__).with_name("www"), html)
    dashboard.write(results, html, tmp_path)
    page_opener(tab, serve(html))()
    (note,) = (lines for lines in notes(tab) if lines[0] == f"cudnn, train, {' × '.join(map(str, shape))}")
    assert f"{1e-3 / 32 * 1e6:.1f} µs on the GPU itself, without waiting for the host" in note
    unfold(tab, "costs")
    headings, ((name, _, time),) = table(tab, "#costs-rows")
    assert (headings[2], name, time) == ("Train on the GPU (µs per example)", "cudnn", "31.2")
