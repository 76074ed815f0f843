"""Tests of the choices: the controls, the address that holds them, and what an address says that names nothing."""

import json
import shutil

import pytest
from helpers import recorded
from helpers.dashboard import (
    MACHINES,
    SHAPES,
    check_times,
    edited_index,
    edited_record,
    notes,
    numbers,
    page_opener,
    sizes,
    stored_figures,
    table,
    times,
)

from rnnbench.network.shapes import GRIDS
from rnnbench.report import summary, tables


def wait_for(tab, machine, commit):
    """Wait until the page shows a record."""
    tab.wait_for_function(
        "([machine, commit]) => shown.record.machine.name === machine && shown.record.commit.commit === commit",
        arg=[machine, commit],
    )


def shown_shapes(tab):
    return {shape for shape, _ in times(tab, "train")}


def test_the_controls_change_what_is_shown(open_page, history):
    tab = open_page(machine="epyc-2core")
    tab.select_option("#machine", "h100")
    wait_for(tab, machine="h100", commit=history.older)
    tab.select_option("#commit", history.newest)
    wait_for(tab, machine="h100", commit=history.newest)
    assert f"machine=h100&commit={history.newest[:8]}" in tab.url
    assert check_times(tab, MACHINES["h100"], GRIDS["seed"]) == 40

    tab.select_option("#commit", history.older)
    wait_for(tab, machine="h100", commit=history.older)
    assert check_times(tab, history.path, GRIDS["seed"]) == 39

    tab.locator("#more > summary").click()
    tab.select_option("#grid", "quick")
    tab.wait_for_selector("#chosen >> text=quick grid")
    assert shown_shapes(tab) == set(GRIDS["quick"])
    tab.go_back()
    tab.wait_for_selector("#chosen >> text=seed grid")
    assert shown_shapes(tab) == set(GRIDS["seed"])


def test_a_chosen_machine_keeps_no_commit_of_another(open_page, history):
    tab = open_page(machine="epyc-2core", commit=history.newest[:8])
    tab.select_option("#machine", "h100")
    tab.wait_for_selector("#chart-title >> text=H100")
    assert "commit" not in tab.url


def test_the_page_opens_at_the_record_that_answers_most(open_page, history):
    # Three implementations compete at the older commit, and two at the newest.
    tab = open_page()
    assert tab.locator("#machine").input_value() == "h100"
    assert tab.locator("#commit").input_value() == history.older


def test_a_permalink_restores_every_choice(open_page, history, chromium):
    tab = open_page(machine="h100", commit=history.older)
    tab.locator("#more > summary").click()
    tab.select_option("#grid", "quick")
    tab.select_option("#baseline", "scan")
    tab.get_by_role("checkbox", name="torch").uncheck()
    tab.select_option("#against", f"h100@{history.newest[:8]}")
    tab.wait_for_selector("#comparison:not([hidden])")
    tab.get_by_role("button", name="Ratio").click()
    tab.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    tab.get_by_role("button", name="Copy link").click()
    tab.wait_for_selector("text=The link is copied")
    link = tab.evaluate("window.copied")
    look = "['answer', 'chosen', 'chart-title', 'pairs', 'only'].map(id => document.getElementById(id).innerText)"
    state = "['machine', 'commit', 'grid', 'baseline', 'against'].map(id => document.getElementById(id).value)"
    before = tab.evaluate(look), tab.evaluate(state)

    other = chromium.new_page(viewport=tab.viewport_size)
    other.goto(link)
    other.wait_for_selector("#comparison:not([hidden])")
    other.locator("#more > summary").click()
    assert (other.evaluate(look), other.evaluate(state)) == before
    assert other.get_by_role("columnheader", name="Ratio").get_attribute("aria-sort") == "ascending"
    other.close()


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"machine": "nope"}, "no results of a machine “nope”. The machines are epyc-2core and h100"),
        ({"machine": "h100", "commit": "deadbeef"}, "h100 has no results at the commit “deadbeef”"),
        ({"grid": "zzz"}, "There is no grid “zzz”. There is quick, seed and full"),
        ({"precision": "tf32"}, "has no times in TF32"),
        ({"only": "nobody"}, "has no times of nobody"),
        ({"baseline": "nobody"}, "has no times of nobody"),
        ({"against": "nobody"}, "nothing like “nobody” to compare with"),
    ],
)
def test_an_address_that_names_nothing_says_so(open_page, choices, words):
    tab = open_page(**choices)
    assert words in tab.locator("#status").text_content()
    assert "Shown instead: h100 at" in tab.locator("#status").text_content()


def test_a_commit_is_found_by_its_beginning_and_without_its_machine(open_page, history):
    tab = open_page(commit=history.older[:7])
    assert tab.locator("#status").is_hidden()
    assert tab.locator("#machine").input_value() == "h100"
    assert tab.locator("#commit").input_value() == history.older


def test_the_beginning_of_several_commits_is_refused(tab, html, serve, tmp_path, history):
    other = shutil.copytree(html, tmp_path / "html")
    with edited_index(other) as index:
        machine = next(machine for machine in index["machines"] if machine["name"] == "h100")
        records = machine["networks"]["lstm"]["records"]
        records.append(records[0] | {"commit": history.newest[:10] + "0" * 30})
    page_opener(tab, serve(other))(machine="h100", commit=history.newest[:6])
    assert "is the beginning of several commits" in tab.locator("#status").text_content()


def test_the_commits_say_what_they_hold(open_page, history):
    tab = open_page(machine="h100")
    texts = tab.locator("#commit option").all_text_contents()
    assert f"{history.newest[:8]}, 2026-11-22 – 2 implementations, 10 shapes" in texts
    assert f"{history.older[:8]}, 2026-11-21 – 3 implementations, 10 shapes" in texts


def test_the_grid_is_the_smallest_that_has_all_figures(tab, html, serve, tmp_path):
    assert page_opener(tab, serve(html))(machine="h100").locator("#chosen").text_content().startswith("seed grid")
    other = shutil.copytree(html, tmp_path / "html")
    commit = json.loads(MACHINES["epyc-2core"].read_text())["commit_hash"]
    with edited_record(other, "epyc-2core", commit) as record:
        assert record["grid"] == "seed"
        record["grid"] = "quick"
    page_opener(tab, serve(other))(machine="epyc-2core")
    assert shown_shapes(tab) == set(GRIDS["quick"])


def test_the_baseline_and_the_filter(open_page, history):
    tab = open_page(machine="h100", commit=history.older, baseline="scan", only="scan,cudnn")
    scan, cudnn = (stored_figures(history.path, f"lstm.{name}LSTM.time_forward") for name in ("Scan", "Cudnn"))
    ratios = {shape: cudnn[shape][0] / scan[shape][0] for shape in GRIDS["seed"]}
    found = {
        sizes(lines[0].rpartition(", ")[2]): lines[-1] for lines in notes(tab) if lines[0].startswith("cudnn, forward")
    }
    assert len(found) == 10
    for shape, text in found.items():
        assert text.endswith("of scan’s time")
        assert abs(float(numbers(text)[0]) - ratios[shape]) < 0.006
    assert {implementation for _, implementation in times(tab, "train")} == {"scan", "cudnn"}


def test_precision(open_recorded):
    tab = open_recorded(machine="h100", commit="ec908981", precision="tf32")
    names = [row[0] for row in table(tab, "#summary")[1]]
    assert len(names) == 2
    assert all(name.endswith("_tf32") for name in names)
    report = tables.make(recorded.HISTORY, "h100", "ec908981")
    assert tab.locator("#answer").text_content() == summary.answer(
        report._replace(rows=[row for row in report.rows if row.figure.variant.endswith("tf32")]), "tf32"
    ).replace("`", "")


def test_a_table_is_sorted_by_a_click_on_a_heading(open_page, history):
    tab = open_page(machine="h100", commit=history.older)
    stored = stored_figures(history.path, "lstm.ScanLSTM.time_train")
    order = sorted((shape for shape in SHAPES if shape in stored), key=lambda shape: stored[shape][0])
    button = tab.locator("#times-of-train thead").get_by_role("button", name="scan")
    for expected in (order, order[::-1]):
        button.click()
        assert [sizes(row[0]) for row in table(tab, "#times-of-train")[1]] == expected
