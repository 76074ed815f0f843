"""Tests of asv's own pages, which follow the results page."""

import pytest
from helpers.dashboard import MACHINES, numbers, rounds_to, stored_figures


def test_the_grid_of_benchmarks(open_asv):
    tab = open_asv("")
    # The window is tall enough for all graphs, because asv draws a graph when it comes into view.
    tab.set_viewport_size({"width": 1280, "height": 3000})
    tab.wait_for_selector("text=ScanLSTM.time_train")
    tab.evaluate("$(window).trigger('scroll')")
    tab.wait_for_function("$('.benchmark-plot').length && $('.benchmark-plot:not(:has(canvas))').length === 0")


def test_the_list_of_benchmarks_has_the_stored_numbers(open_asv):
    tab = open_asv("summarylist?machine=h100")
    tab.set_viewport_size({"width": 980, "height": 800})
    tab.wait_for_selector("#summarylist-body td.value:visible")
    text = "rows => rows.map(row => Array.from(row.cells, cell => cell.textContent))"
    shown = {row[0]: row[1] for row in tab.locator("#summarylist-body tbody tr").evaluate_all(text)}
    factor = {"ms": 1e-3, "μs": 1e-6}
    for shape, (seconds, *_) in stored_figures(MACHINES["h100"], "lstm.CudnnLSTM.time_train").items():
        value = shown[f"lstm.CudnnLSTM.time_train ({', '.join(map(str, shape))})"]
        assert rounds_to(value[:-2], seconds / factor[value[-2:]])
    rows = tab.locator("#summarylist-body tbody tr:visible")
    assert all(value for value in rows.locator("td.value").all_text_contents())
    assert tab.locator("#nav").bounding_box()["height"] < 60


def test_the_list_of_benchmarks_is_sorted_by_a_click(open_asv):
    tab = open_asv("summarylist?machine=h100")
    tab.locator("#summarylist-body th", has_text="Value").click()
    tab.wait_for_selector("#summarylist-body th.asc >> text=Value")
    values = [value for value in tab.locator("#summarylist-body td.value").all_text_contents() if value]
    assert numbers(values[0])[0] == min(numbers(value)[0] for value in values if "μs" in value)


def test_the_graph_of_a_benchmark_has_the_stored_numbers(open_asv):
    tab = open_asv("lstm.ScanLSTM.time_forward")
    tab.wait_for_selector("#main-graph canvas")
    series = tab.evaluate("$('#main-graph').data('plot').getData().map(series => series.data.map(point => point[1]))")
    drawn = [value for values in series for value in values if value is not None]
    figure, *_ = stored_figures(MACHINES["h100"], "lstm.ScanLSTM.time_forward")[32, 30, 128, 1]
    assert any(value == pytest.approx(figure, rel=1e-6) for value in drawn)


def test_the_results_page_and_asvs_pages_lead_to_each_other(open_page):
    tab = open_page()
    tab.get_by_role("link", name="History", exact=True).click()
    tab.wait_for_selector(".benchmark-container")
    tab.get_by_role("link", name="Results").click()
    tab.wait_for_selector("#results:not([hidden])")


@pytest.mark.parametrize(
    ("former", "present", "place"),
    [
        ("#/summarylist?machine=h100", "asv.html#", "#summarylist-body td.value:visible"),
        ("#/recurrent-networks?machine=epyc-2core", "index.html?machine=epyc-2core", "#results:not([hidden])"),
    ],
)
def test_former_addresses_lead_to_the_present_ones(tab, address, former, present, place):
    tab.goto(f"{address}index.html{former}")
    tab.wait_for_selector(place)
    assert tab.url.startswith(f"{address}{present}")
