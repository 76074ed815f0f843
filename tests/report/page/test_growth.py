"""Tests of the tab's plots of time against each size, and of their slopes."""

import json
import math
import shutil

from helpers.dashboard import MACHINES, SHAPES, edited_data, page_opener, stored_figures

from rnnbench.report import page as dashboard
from rnnbench.variants import VARIANTS


def test_the_slope_of_a_line(open_page, history):
    tab = open_page(dashboard.NAME, machine="h100", commit=history.newest)
    figure = tab.locator("figure", has_text="Time against seq at batch 128, hidden 1024, depth 3")
    times = stored_figures(MACHINES["h100"], "lstm.CudnnLSTM.time_train")
    ratio = times[128, 200, 1024, 3][0] / times[128, 30, 1024, 3][0]
    slope = f"{math.log(ratio) / math.log(200 / 30):.2f}"
    assert f"cudnn, train: slope {slope}" in figure.text_content()
    row = tab.locator("#rn-slopes tbody tr", has_text="cudnn, train")
    assert row.locator("td").nth(1).text_content() == slope


def test_a_slope_that_rounds_to_zero_has_no_sign(tab, html, serve, tmp_path, history):
    other = shutil.copytree(html, tmp_path / "html")
    with edited_data(other, "h100", history.newest) as content:
        for series in content["series"]:
            for row in series["figures"].get("train", []):
                row[1] = 1 - 1e-6 * SHAPES[row[0]][0]
    page_opener(tab, serve(other))(dashboard.NAME, machine="h100", commit=history.newest)
    shown = tab.locator("#rn-slopes tbody tr", has_text="train").locator("td").all_text_contents()
    assert set(shown) == {"0.00"}
    assert "slope -0.00" not in tab.locator("#rn-growth").text_content()


def test_no_two_lines_look_the_same(tab, html, serve, tmp_path):
    data = shutil.copytree(html, tmp_path / "html") / dashboard.NAME
    index = json.loads((data / "index.json").read_text())
    number, machine = next(pair for pair in enumerate(index["machines"]) if pair[1]["name"] == "h100")
    machine |= {"floors": {variant: {} for variant in VARIANTS}, "reasons": {variant: [] for variant in VARIANTS}}
    (data / "index.json").write_text(json.dumps(index))
    path = data / f"{number}-{machine['commits'][0][0]}.json"
    content = json.loads(path.read_text())
    content["series"] = [{**content["series"][0], "variant": variant} for variant in VARIANTS]
    path.write_text(json.dumps(content))

    page_opener(tab, serve(tmp_path / "html"))(dashboard.NAME, machine="h100")
    look = """lines => lines.map(line => [...line.querySelectorAll('svg *')].map(part => [
        part.outerHTML, ...['color', 'fill', 'strokeDasharray'].map(name => getComputedStyle(part)[name])]).join())"""
    looks = tab.locator("figure.growth >> nth=0 >> li").evaluate_all(look)
    assert len(looks) == len(set(looks)) == 2 * len(VARIANTS)
