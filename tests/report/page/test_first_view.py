"""Tests of what a visitor meets first, with all recorded results: the sentence, the chart, and how soon they come."""

import re

import pytest
from helpers import recorded
from helpers.dashboard import page_opener, table

from rnnbench.report import formats, summary, tables
from rnnbench.report import page as dashboard

OF_THE_PAGE = "performance.getEntriesByType('resource').map(entry => [entry.name, entry.transferSize])"


@pytest.fixture(scope="module")
def best():
    """Return the report of the record with the most figures that compete."""
    reports = [tables.make(recorded.HISTORY, *place) for place in recorded.commits_with("lstm")]
    return max(
        reports, key=lambda report: sum(len(rows) for rows in tables.contenders(report.rows).values() if len(rows) > 1)
    )


def test_the_page_opens_with_the_answer(open_recorded, best):
    tab = open_recorded()
    assert tab.title() == f"LSTM on {summary.hardware(best)}, strict float32: which is fastest? – rnnbench"
    assert tab.locator("#answer").text_content() == summary.answer(best).replace("`", "")
    drawn = {row[0]: row[1:] for row in table(tab, "#summary")[1]}
    assert list(drawn) == [one.variant for one in summary.summaries(best, "train")]
    for column, call in ((0, "train"), (2, "forward")):
        for one in summary.summaries(best, call):
            low, high = min(one.ratios), max(one.ratios)
            text = f"{formats.ratio_text(one.mean)}× ({formats.ratio_text(low)}–{formats.ratio_text(high)})"
            assert drawn[one.variant][column] == text
    count = sum(len(one.ratios) for call in tables.CALLS for one in summary.summaries(best, call))
    assert tab.locator("#dots circle.dot").count() == count


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_sentence_and_chart_need_no_scrolling(open_recorded, size):
    tab = open_recorded()
    tab.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
    tab.wait_for_timeout(100)
    for name in ("#answer", "#dots svg"):
        box = tab.locator(name).bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= size[1]
    assert tab.evaluate("document.documentElement.scrollWidth") == size[0]


def test_the_first_view_is_small_and_soon_drawn(chromium, recorded_site, serve):
    drawn, open_site = [], serve(recorded_site)
    for _ in range(3):  # another program may take the processor in one of them
        tab = chromium.new_context().new_page()
        page_opener(tab, open_site)()
        data = [size for name, size in tab.evaluate(OF_THE_PAGE) if f"/{dashboard.DATA}/" in name]
        assert len(data) == 2  # the index and one record
        assert sum(data) < 300_000
        drawn.append(tab.evaluate("performance.getEntriesByName('drawn')[0].startTime"))
        tab.context.close()
    assert min(drawn) < 1000


def test_the_page_works_from_disk(chromium, recorded_site):
    tab = chromium.new_page()
    errors = []
    tab.on("console", lambda message: message.type in ("error", "warning") and errors.append(message.text))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto((recorded_site / "index.html").as_uri())
    tab.wait_for_selector("#dots svg")
    tab.select_option("#machine", "epyc-2core-2")
    tab.wait_for_selector("#chart-title >> text=EPYC")
    assert "machine=epyc-2core-2" in tab.url
    tab.go_back()
    tab.wait_for_selector("#chart-title >> text=H100")
    tab.get_by_role("link", name="Method", exact=True).click()
    assert tab.locator("h1").text_content() == "Method"
    tab.goto((recorded_site / dashboard.ASV_PAGE).as_uri())
    tab.wait_for_selector("text=Run make preview, which serves them")
    assert errors == []
    tab.close()


def test_every_link_leads_somewhere(recorded_site):
    for path in [recorded_site / "index.html", *(recorded_site / "docs").iterdir()]:
        for link, place in re.findall(
            r'(?:href|data-document)="(?![a-z]+:)([^"#?]*)(?:\?\w+)?(?:#([^"]*))?"', path.read_text()
        ):
            folder = recorded_site / "docs" if link[:4] in ("meth", "CONT") else path.parent
            target = folder / link if link else path
            assert target.is_file(), f"{path.name} leads to {link}"
            if place and not place.startswith("/"):
                assert f'id="{place}"' in target.read_text(), f"{path.name} leads to {link}#{place}"


def test_the_selftest_stands_at_the_ranking(open_recorded):
    tab = open_recorded(machine="h100")
    assert "asv detects a 10% change" in tab.locator("#ranking").text_content()
    assert tab.locator("#selftest").is_visible()
