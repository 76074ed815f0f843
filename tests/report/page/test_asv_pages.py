"""Tests of asv's own pages of the dashboard."""

import pytest
from helpers.dashboard import MACHINES, numbers, rounds_to, stored_figures

from rnnbench.report import page as dashboard


def test_the_grid_of_benchmarks(open_page):
    tab = open_page("")
    # The window is tall enough for all graphs, because asv draws a graph when it comes into view.
    tab.set_viewport_size({"width": 1280, "height": 3000})
    tab.wait_for_selector("text=ScanLSTM.time_train")
    tab.evaluate("$(window).trigger('scroll')")
    tab.wait_for_function("$('.benchmark-plot').length && $('.benchmark-plot:not(:has(canvas))').length === 0")


def test_the_list_of_benchmarks_has_the_stored_numbers(open_page):
    tab = open_page("summarylist", machine="h100")
    tab.wait_for_selector("#summarylist-body td.value")
    text = "rows => rows.map(row => Array.from(row.cells, cell => cell.textContent))"
    shown = {row[0]: row[1] for row in tab.locator("#summarylist-body tbody tr").evaluate_all(text)}
    factor = {"ms": 1e-3, "μs": 1e-6}
    for shape, (seconds, *_) in stored_figures(MACHINES["h100"], "lstm.CudnnLSTM.time_train").items():
        value = shown[f"lstm.CudnnLSTM.time_train ({', '.join(map(str, shape))})"]
        assert rounds_to(value[:-2], seconds / factor[value[-2:]])


def test_the_list_of_benchmarks_is_sorted_by_a_click(open_page):
    tab = open_page("summarylist", machine="h100")
    tab.locator("#summarylist-body th", has_text="Value").click()
    tab.wait_for_selector("#summarylist-body th.asc >> text=Value")
    values = [value for value in tab.locator("#summarylist-body td.value").all_text_contents() if value]
    assert numbers(values[0])[0] == min(numbers(value)[0] for value in values if "μs" in value)


def test_the_graph_of_a_benchmark_has_the_stored_numbers(open_page):
    tab = open_page("lstm.ScanLSTM.time_forward")
    tab.wait_for_selector("#main-graph canvas")
    series = tab.evaluate("$('#main-graph').data('plot').getData().map(series => series.data.map(point => point[1]))")
    drawn = [value for values in series for value in values if value is not None]
    figure, *_ = stored_figures(MACHINES["h100"], "lstm.ScanLSTM.time_forward")[32, 30, 128, 1]
    assert any(value == pytest.approx(figure, rel=1e-6) for value in drawn)


def test_leaving_the_tab_restores_asvs_pages(open_page):
    tab = open_page(dashboard.NAME, machine="h100")
    tab.get_by_role("link", name="Benchmark grid").click()
    tab.wait_for_selector(".benchmark-container")
    assert not tab.locator(f"#{dashboard.NAME}").is_visible()
