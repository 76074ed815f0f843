"""Tests of the tab where figures are missing."""

import json
import shutil

from helpers import recorded
from helpers.dashboard import FAILED, SHAPES, edited_data, heat_map_texts, page_opener, table_rows

from rnnbench import Workload
from rnnbench.network.shapes import Shape
from rnnbench.report import absence
from rnnbench.report import page as dashboard


def test_failed_and_na_look_different(open_page, history):
    tab = open_page(dashboard.NAME, machine="h100", commit=history.older, grid="full")
    table = table_rows(tab, "#rn-times")
    assert table[FAILED, "cudnn"][0] == "failed"
    assert table[(32, 100, 128, 1), "cudnn"] == ["n/a", "n/a"]
    failed = tab.locator("#rn-times td.failed")
    absent = tab.locator("#rn-times td.absent").first
    assert failed.count() == 1
    colour = "shape => getComputedStyle(shape).color"
    assert failed.evaluate(colour) != absent.evaluate(colour)
    assert "should have run" in failed.get_attribute("title")
    assert "failed" in tab.locator("#rn-speedup td.failed").all_text_contents()


def test_implementations_made_for_another_device_are_listed_once(open_page):
    tab = open_page(dashboard.NAME, machine="epyc-2core")
    assert tab.locator("#rn-unavailable li").all_text_contents() == [
        "Not shown: cudnn, cudnn_tf32. Reason: made for NVIDIA GPUs, but this machine was timed on its CPU."
    ]
    assert {implementation for _, implementation in table_rows(tab, "#rn-times")} == {"scan"}


def test_the_page_explains_shapes_too_large_for_the_machine(tab, html, serve, tmp_path):
    other = shutil.copytree(html, tmp_path / "html")
    facts = json.loads((recorded.RESULTS / "epyc-2core" / "machine.json").read_text()) | {"ram": str(2**30)}
    shape = (128, 200, 1024, 3)
    reason = absence.reason("scan", Shape(*shape), facts)
    assert f"{Workload(*shape).least_memory / 2**30:.1f} GiB of memory, and this machine has 1.0 GiB" in reason
    index = json.loads((other / dashboard.NAME / "index.json").read_text())
    machine = next(described for described in index["machines"] if described["name"] == "epyc-2core")
    assert set(machine["reasons"]["scan"]) == {None}
    machine["reasons"]["scan"] = [absence.reason("scan", Shape(*shape), facts) for shape in SHAPES]
    (other / dashboard.NAME / "index.json").write_text(json.dumps(index))

    page_opener(tab, serve(other))(dashboard.NAME, machine="epyc-2core", grid="full")
    assert f"n/a: {reason}." in tab.locator("#rn-unavailable li").all_text_contents()
    titles = tab.locator("#rn-times td.absent").evaluate_all("cells => cells.map(cell => cell.title)")
    assert {reason, "not measured"} <= set(titles)


def test_without_scan_nothing_is_compared_with_it(tab, html, serve, tmp_path, history):
    other = shutil.copytree(html, tmp_path / "html")
    with edited_data(other, "h100", history.newest) as content:
        content["series"] = [series for series in content["series"] if series["variant"] != "scan"]
    page_opener(tab, serve(other))(dashboard.NAME, machine="h100", commit=history.newest)
    assert tab.locator("#rn-speedup").text_content() == (
        "There is nothing to compare: no shape has both a time for scan and a time for another implementation. "
        "Run make bench to time scan, and make bench-peers to time PyTorch, JAX and others."
    )
    assert {implementation for _, implementation in table_rows(tab, "#rn-times")} == {"cudnn"}


def test_a_single_implementation_is_not_ranked(open_page):
    tab = open_page(dashboard.NAME, machine="epyc-2core")
    assert not tab.get_by_text("The fastest implementation at each shape").is_visible()


def test_without_peaks_there_is_no_floor_and_the_page_says_so(open_page):
    tab = open_page(dashboard.NAME, machine="epyc-2core")
    assert heat_map_texts(tab, "#rn-floor") == []
    assert "results/epyc-2core/machine.json" in tab.locator("#rn-floor").text_content()


def test_without_software_facts_the_table_is_hidden(open_page, history):
    tab = open_page(dashboard.NAME, machine="h100", commit=history.newest)
    assert tab.locator("#rn-software").is_hidden()


def test_no_results_at_all(tab, html, serve, tmp_path):
    shutil.copytree(html, tmp_path / "html")
    data = tmp_path / "html" / dashboard.NAME / "index.json"
    data.write_text(json.dumps(json.loads(data.read_text()) | {"machines": []}))
    tab.goto(f"{serve(tmp_path / 'html')}#/{dashboard.NAME}")
    tab.wait_for_selector("text=There are no results yet")
