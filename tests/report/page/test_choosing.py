"""Tests of the selectors for the machine, the commit and the grid."""

import json
import shutil

from helpers.dashboard import MACHINES, SHAPES, check_times, edited_data, page_opener, table_rows

from rnnbench.network.shapes import GRIDS
from rnnbench.report import page as dashboard


def test_the_selectors_change_what_is_shown(open_page, history):
    tab = open_page(dashboard.NAME)
    tab.select_option("#rn-machine", "h100")
    tab.wait_for_selector("text=Shown: h100 at")
    assert check_times(table_rows(tab, "#rn-times"), MACHINES["h100"], GRIDS["seed"]) == 40

    tab.select_option("#rn-commit", history.older)
    tab.wait_for_selector(f"text=h100 at {history.older[:8]}")
    assert check_times(table_rows(tab, "#rn-times"), history.path, GRIDS["seed"]) == 39

    tab.select_option("#rn-grid", "quick")
    tab.wait_for_selector("text=the quick grid")
    assert {shape for shape, _ in table_rows(tab, "#rn-times")} == set(GRIDS["quick"])

    tab.go_back()
    tab.wait_for_selector("text=the seed grid")
    assert {shape for shape, _ in table_rows(tab, "#rn-times")} == set(GRIDS["seed"])


def test_the_grid_is_the_smallest_that_has_all_figures(tab, html, serve, tmp_path):
    other = shutil.copytree(html, tmp_path / "html")
    with edited_data(other, "epyc-2core", json.loads(MACHINES["epyc-2core"].read_text())["commit_hash"]) as content:
        for series in content["series"]:
            for figures in series["figures"].values():
                figures[:] = [row for row in figures if SHAPES[row[0]] in GRIDS["quick"]]
    page_opener(tab, serve(other))(dashboard.NAME, machine="epyc-2core")
    assert tab.locator("#rn-status").text_content().endswith("the quick grid.")
    tab.select_option("#rn-machine", "h100")
    tab.wait_for_selector("text=the seed grid")
    tab.select_option("#rn-grid", "full")
    tab.wait_for_selector("text=the full grid")
    tab.select_option("#rn-machine", "epyc-2core")
    tab.wait_for_selector("text=epyc-2core at")
    assert tab.locator("#rn-status").text_content().endswith("the full grid.")
