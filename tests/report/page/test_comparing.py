"""Tests of two records beside each other."""

import math
import shutil

from helpers.dashboard import (
    MACHINES,
    SHAPES,
    edited_record,
    numbers,
    page_opener,
    rounds_to,
    sizes,
    stored_figures,
    table,
)


def pairs(tab):
    """Return the cells of the comparison, by implementation, call and shape."""
    _, rows = table(tab, "#pairs")
    return {(name, call, sizes(shape)): texts for name, call, shape, *texts in rows}


def test_two_commits(open_page, history):
    # All figures of the older commit are twice as long, and cudnn failed at a shape.
    tab = open_page(machine="h100", commit=history.newest, against=history.older[:8])
    shown = pairs(tab)
    assert len(shown) == 39
    for (name, call, shape), (here, there, ratio, difference) in shown.items():
        stored = stored_figures(MACHINES["h100"], f"lstm.{name.capitalize()}LSTM.time_{call}")[shape][0]
        assert rounds_to(numbers(here)[0], stored / shape[0] * 1e6)
        assert rounds_to(numbers(there)[0], 2 * stored / shape[0] * 1e6)
        assert float(ratio.rstrip("×")) == 2
        assert difference == "faster here"
    text = tab.locator("#answer").text_content()
    assert "Of 39 times" in text
    assert "faster than h100 at " + history.older[:8] + " in 39 and slower in 0" in text


def test_two_machines(open_page, history):
    tab = open_page(machine="epyc-2core", against="h100")
    shown = pairs(tab)
    assert {name for name, _, _ in shown} == {"scan"}
    here, there = (stored_figures(path, "lstm.ScanLSTM.time_train") for path in (MACHINES["epyc-2core"], history.path))
    for shape in here.keys() & there.keys():
        ratio = there[shape][0] / here[shape][0]
        assert rounds_to(shown["scan", "train", shape][2].rstrip("×"), ratio)
        assert shown["scan", "train", shape][3] == ("faster here" if ratio > 1 else "slower here")
    assert "h100 at " in tab.locator("#chart-title").text_content()


def test_a_difference_within_the_spread_is_noise(tab, html, serve, tmp_path, history):
    other = shutil.copytree(html, tmp_path / "html")
    with edited_record(other, "h100", history.older) as record:
        (scan,) = (one for one in record["implementations"] if one["name"] == "scan")
        for row in scan["figures"]["train"]:
            row[1:4] = [1.05 * row[1] / 2, 0.7 * row[1] / 2, 1.3 * row[1] / 2]
    page_opener(tab, serve(other))(machine="h100", commit=history.newest, against=history.older)
    for (name, call, _), (*_, difference) in pairs(tab).items():
        assert difference == ("within the noise" if (name, call) == ("scan", "train") else "faster here")
    assert tab.locator("#dots circle.open").count() == 10


def test_the_figures_of_2016(open_page, history):
    tab = open_page(machine="h100", commit=history.newest, against="titan-x")
    seconds = stored_figures(MACHINES["h100"], "lstm.CudnnLSTM.time_train")[128, 200, 1024, 3][0]
    here, then, ratio, _ = pairs(tab)["cudnn", "train", (128, 200, 1024, 3)]
    assert then == "4720"  # published: 4719.5
    assert rounds_to(numbers(here)[0], seconds / 128 * 1e6)
    assert rounds_to(ratio.rstrip("×"), 4719.5 / (seconds / 128 * 1e6))
    assert "Their clock didn't wait for the GPU." in tab.locator("#comparison-differences li").all_text_contents()


def test_the_mean_of_the_ratios(open_page, history):
    tab = open_page(machine="h100", commit=history.newest, against="epyc-2core")
    pair = [stored_figures(MACHINES[name], "lstm.ScanLSTM.time_train") for name in ("h100", "epyc-2core")]
    logs = [
        math.log(pair[1][shape][0] / pair[0][shape][0]) for shape in SHAPES if shape in pair[0] and shape in pair[1]
    ]
    shown = tab.locator("#dots .mean-text").first.text_content()
    assert rounds_to(shown.rstrip("×"), math.exp(sum(logs) / len(logs)))
