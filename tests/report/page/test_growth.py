"""Tests of the plots of time against each size."""

import math

from helpers.dashboard import MACHINES, stored_figures, unfold


def test_a_line_ends_with_its_name_and_its_exponent(open_page, history):
    tab = open_page(machine="h100", commit=history.newest)
    unfold(tab, "growth")
    figure = tab.locator("figure", has_text="Train step, time against seq at batch 128, hidden 1024, depth 3")
    times = stored_figures(MACHINES["h100"], "lstm.CudnnLSTM.time_train")
    ratio = times[128, 200, 1024, 3][0] / times[128, 30, 1024, 3][0]
    names = figure.locator(".line-name").all_text_contents()
    assert f"cudnn  {math.log(ratio) / math.log(200 / 30):.2f}" in names
    assert len(names) == 2
    boxes = [label.bounding_box() for label in figure.locator(".line-name").all()]
    assert abs(boxes[0]["y"] - boxes[1]["y"]) > 8
