"""Tests that the figures in the tab are those in the results files."""

import re

import pytest
from helpers.dashboard import (
    BANDWIDTH,
    DOUBTFUL,
    FAILED,
    FLOPS,
    MACHINES,
    SHAPES,
    check_times,
    heat_map_texts,
    in_heat_map_order,
    numbers,
    rounds_to,
    stored_figures,
    table_rows,
)

from rnnbench import Workload
from rnnbench.measure.state import MARKS
from rnnbench.network.shapes import GRIDS
from rnnbench.report import page as dashboard


@pytest.mark.parametrize("machine", MACHINES)
def test_the_times_are_those_in_results(open_page, machine, history):
    tab = open_page(dashboard.NAME, machine=machine, commit=history.newest, grid="full")
    path = MACHINES[machine]
    expected = sum(
        len(stored_figures(path, f"lstm.{name}.time_{function}"))
        for name in ("ScanLSTM", "CudnnLSTM")
        for function in ("train", "forward")
    )
    assert check_times(table_rows(tab, "#rn-times"), path, SHAPES) == expected


def test_build_time_memory_and_accuracy_are_those_in_results(open_page):
    tab = open_page(dashboard.NAME, machine="epyc-2core", grid="quick")
    shown = table_rows(tab, "#rn-costs")
    benchmarks = {
        "compile.ScanWarmBuild.timeraw_forward": 1,
        "compile.ScanWarmBuild.timeraw_train": 1,
        "compile.ScanColdBuild.timeraw_forward": 1,
        "compile.ScanColdBuild.timeraw_train": 1,
        "memory.ScanMemory.track_train": 1e6,
        "accuracy.ScanAccuracy.track_outputs": 1,
        "accuracy.ScanAccuracy.track_gradients": 1,
    }
    for column, (benchmark, unit) in enumerate(benchmarks.items()):
        figures = stored_figures(MACHINES["epyc-2core"], benchmark)
        for shape in GRIDS["quick"]:
            text = shown[shape, "scan"][column]
            assert rounds_to(text, figures[shape][0] / unit) if shape in figures else text == "n/a"


def test_the_speed_up_over_scan(open_page, history):
    tab = open_page(dashboard.NAME, machine="h100", commit=history.newest)
    shown = heat_map_texts(tab, "#rn-speedup")
    path = MACHINES["h100"]
    expected = [
        stored_figures(path, f"lstm.ScanLSTM.time_{function}")[shape][0]
        / stored_figures(path, f"lstm.CudnnLSTM.time_{function}")[shape][0]
        for function, shape in in_heat_map_order(GRIDS["seed"])
    ]
    assert len(shown) == len(expected) == 20
    assert all(rounds_to(text.rstrip("×"), ratio) for text, ratio in zip(shown, expected, strict=True))


def test_the_best_of_each_shape(open_page, history):
    tab = open_page(dashboard.NAME, machine="h100", commit=history.older, grid="full")
    shown = table_rows(tab, "#rn-ranking")
    times = {name: stored_figures(history.path, f"lstm.{name}LSTM.time_train") for name in ("Scan", "Cudnn", "Torch")}
    assert {shape for shape, call in shown if call == "train"} == set(times["Torch"])
    for shape, torch in times["Torch"].items():
        best, time, lead, of_floor, theano = shown[shape, "train"]
        lead, theano = re.sub(r"^tie with (\S+), (.*)$", r"\2 \1", lead), theano.removeprefix("tie, ")
        name, other = ("scan", times["Scan"]) if shape == FAILED else ("cudnn", times["Cudnn"])
        ratios = [other[shape][0] / torch[0], other[shape][1] / torch[2], other[shape][2] / torch[1]]
        torch_named = "torch*" if DOUBTFUL.get(shape) else "torch"
        assert (best, lead.split()[-1]) == ("torch", name)
        assert rounds_to(numbers(time)[0], 1e6 * torch[0] / shape[0])
        assert time.endswith("*") == bool(DOUBTFUL.get(shape))
        assert (theano.split()[0], theano.split()[-1]) == (name, torch_named)
        inverse = [1 / ratios[0], 1 / ratios[2], 1 / ratios[1]]
        for text, ratio in zip(numbers(lead) + numbers(theano), ratios + inverse, strict=True):
            assert rounds_to(text, ratio)
        work = Workload(*shape)
        least = max(work.train_flops / FLOPS, work.train_bytes / BANDWIDTH)
        assert rounds_to(of_floor.rstrip("%"), 100 * least / torch[0])


def test_the_share_of_the_floor(open_page, history):
    tab = open_page(dashboard.NAME, machine="h100", commit=history.newest)
    shown = heat_map_texts(tab, "#rn-floor")
    expected = []
    for name in ("ScanLSTM", "CudnnLSTM"):
        for function, shape in in_heat_map_order(GRIDS["seed"]):
            work = Workload(*shape)
            flops, moved = getattr(work, f"{function}_flops"), getattr(work, f"{function}_bytes")
            seconds = stored_figures(MACHINES["h100"], f"lstm.{name}.time_{function}")[shape][0]
            expected.append(100 * max(flops / FLOPS, moved / BANDWIDTH) / seconds)
    assert len(shown) == 40
    assert all(rounds_to(numbers(text)[0], share) for text, share in zip(shown, expected, strict=True))


def test_the_published_figures_and_the_ratio_to_them(open_page, history):
    tab = open_page(dashboard.NAME, machine="h100", commit=history.newest)
    shown = table_rows(tab, "#rn-published .scroll >> nth=0 >> table")
    seconds = stored_figures(MACHINES["h100"], "lstm.CudnnLSTM.time_train")[128, 200, 1024, 3][0]
    then, here, ratio, *_ = shown[(128, 200, 1024, 3), "cudnn"]
    assert then == "4720"  # published: 4719.5
    assert rounds_to(here, seconds / 128 * 1e6)
    assert rounds_to(ratio.rstrip("×"), 4719.5 / (seconds / 128 * 1e6))


def test_the_software_of_the_calls(open_page, history):
    tab = open_page(dashboard.NAME, machine="h100", commit=history.older)
    line = tab.locator("#rn-software tbody tr")
    assert line.locator("th").all_text_contents() == ["scan"]
    shown = ["Theano 1.0.5", "9.19.0", "STANDARD", "FMA", "train", "32 × 30 × 128 × 1"]
    assert line.locator("td").all_text_contents() == shown


def test_doubtful_figures_have_a_star_and_a_note(open_page, history):
    tab = open_page(dashboard.NAME, machine="h100", commit=history.older)
    shown = table_rows(tab, "#rn-times")
    starred = {(shape, implementation) for (shape, implementation), texts in shown.items() if texts[0].endswith("*")}
    assert starred == {(shape, "torch") for shape, marks in DOUBTFUL.items() if marks}
    assert tab.locator("#rn-times p").all_text_contents() == [
        f"* {mark} ({count}): {MARKS[mark]}." for count, mark in (("2 figures", "busy"), ("1 figure", "throttled"))
    ]
    assert "*" not in open_page(dashboard.NAME, machine="h100", commit=history.newest).locator("main").text_content()
