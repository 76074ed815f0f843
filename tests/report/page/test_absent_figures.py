"""Tests of the results page where figures are missing."""

import json
import shutil

from helpers import recorded
from helpers.dashboard import FAILED, SHAPES, edited_index, edited_record, page_opener, sizes, table, times, unfold

from rnnbench import Workload
from rnnbench.network.shapes import GRIDS, Shape
from rnnbench.report import absence


def cell(tab, shape, implementation):
    """Return the cell of a train time."""
    headings, rows = table(tab, "#times-of-train")
    row = [sizes(texts[0]) for texts in rows].index(shape)
    return tab.locator("#times-of-train tbody tr").nth(row).locator("th, td").nth(headings.index(implementation))


def test_failed_and_na_look_different_and_say_why(tab, html, serve, tmp_path, history):
    other, missing = shutil.copytree(html, tmp_path / "html"), (32, 30, 128, 1)
    with edited_record(other, "h100", history.older) as record:
        (cudnn,) = (one for one in record["implementations"] if one["name"] == "cudnn")
        cudnn["figures"]["train"] = [row for row in cudnn["figures"]["train"] if SHAPES[row[0]] != missing]
    page_opener(tab, serve(other))(machine="h100", commit=history.older, grid="full")
    failed, absent = cell(tab, FAILED, "cudnn"), cell(tab, missing, "cudnn")
    assert (failed.text_content(), absent.text_content()) == ("failed", "n/a")
    colour = "cell => getComputedStyle(cell).color"
    assert failed.evaluate(colour) != absent.evaluate(colour)
    failed.hover()
    assert "should have run" in tab.locator("#tip").inner_text()
    absent.hover()
    assert "not measured at this commit" in tab.locator("#tip").inner_text()
    assert tab.locator("#times-of-train td.failed").count() == 1


def test_shapes_that_nobody_timed_are_counted(open_page, history):
    tab = open_page(machine="h100", commit=history.older, grid="full")
    assert {shape for shape, _ in times(tab, "train")} == set(GRIDS["seed"])
    assert "Not timed at this commit: 26 of the grid’s 36 shapes." in tab.locator("#absent").text_content()


def test_implementations_made_for_another_device_are_listed_once(open_page):
    tab = open_page(machine="epyc-2core")
    text = tab.locator("#absent").text_content()
    reason = "Reason: made for NVIDIA GPUs, but this machine was timed on its CPU."
    assert text.count(reason) == 1
    assert text.startswith(f"Not shown: cudnn and cudnn_tf32. {reason}")
    assert {implementation for _, implementation in times(tab, "train")} == {"scan"}


def test_the_page_explains_shapes_too_large_for_the_machine(tab, html, serve, tmp_path):
    other = shutil.copytree(html, tmp_path / "html")
    facts = json.loads((recorded.RESULTS / "epyc-2core" / "machine.json").read_text()) | {"ram": str(2**30)}
    shape = (128, 200, 1024, 3)
    reason = absence.too_large(("lstm", Shape(*shape)), facts)
    assert f"{Workload(*shape).least_memory / 2**30:.1f} GiB of memory, and this machine has 1.0 GiB" in reason
    with edited_index(other) as index:
        machine = next(machine for machine in index["machines"] if machine["name"] == "epyc-2core")
        of_lstm = machine["networks"]["lstm"]
        assert of_lstm["large"] == {}
        of_lstm["large"] = {str(SHAPES.index(shape)): reason}
    page_opener(tab, serve(other))(machine="epyc-2core", grid="full")
    assert f"Too large: {reason}." in tab.locator("#absent").text_content()


def test_a_single_implementation_is_not_ranked_and_the_page_says_what_to_do(open_page, history):
    tab = open_page(machine="epyc-2core")
    assert not tab.locator("#ranking").is_visible()
    assert not tab.locator("#chart").is_visible()
    answer = tab.locator("#answer")
    assert answer.text_content().startswith("scan was timed on epyc-2core at ")
    assert "make bench-peers" in answer.text_content()
    answer.get_by_role("link").click()
    tab.wait_for_selector("#chart-title >> text=H100")
    assert tab.locator("#commit").input_value() == history.older


def test_without_peaks_there_is_no_floor_and_the_page_says_so(open_page):
    tab = open_page(machine="epyc-2core")
    unfold(tab, "floor")
    assert tab.locator("#floor-dots svg").count() == 0
    assert "results/epyc-2core/machine.json" in tab.locator("#floor-note").text_content()


def test_costs_measured_at_another_commit_have_a_link_there(open_recorded):
    tab = open_recorded(machine="h100", commit="fc372c93")
    unfold(tab, "costs")
    elsewhere = tab.locator("#costs-elsewhere")
    # Memory was measured anew, build times were not.
    assert "Memory (MB). Last recorded at 0aa5d099" in elsewhere.text_content()
    elsewhere.get_by_role("link", name="ec908981").click()
    tab.wait_for_function("new URLSearchParams(location.search).get('commit') === 'ec908981'")
    tab.wait_for_selector("#costs-rows")


def test_no_results_at_all(tab, html, serve, tmp_path):
    other = shutil.copytree(html, tmp_path / "html")
    with edited_index(other) as index:
        index["machines"] = []
    tab.goto(f"{serve(other)}index.html")
    tab.wait_for_selector("text=There are no results yet")
