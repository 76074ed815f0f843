"""Tests of the choice of networks: LSTMs, GRUs and models, each with records of its own."""

import re
import shutil

import pytest
from helpers import recorded, synthetic
from helpers.dashboard import History, page_opener, publish, read_data, table, unfold

from rnnbench.network.models import subjects, workload
from rnnbench.report import absence, summary, tables
from rnnbench.variants import VARIANTS

COMMIT = History.git("rev-parse", recorded.COMMIT)
TRAIN = {"Scan": {"serving": 2e-3, "kernelbench_lstm": 0.5}, "Torch": {"serving": 1e-3, "kernelbench_lstm": 0.25}}
TRAIN["Torch"]["kernelbench_gru_bidirectional"] = 0.125  # of the same sizes as kernelbench_lstm
PEAKS = {"float32_flops": "1e12", "memory_bandwidth": "1e11", "ram": "1e12"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of LSTMs on two machines, and of GRUs and models on one of them."""
    folder = tmp_path_factory.mktemp("networks") / "results"
    content = synthetic.full_grid()
    for machine in ("north", "south"):
        synthetic.write_machine(folder, machine, **PEAKS)
        synthetic.write_run(folder, machine, COMMIT, content)
    shutil.copy(recorded.HISTORY / "benchmarks.json", folder)
    for prefix, values in TRAIN.items():
        content[f"models.{prefix}Model.time_train"] = synthetic.of_models(synthetic.sampled, **values)
        times = [3 * synthetic.seconds(*shape) for shape in synthetic.SHAPES]
        content[f"gru.{prefix}GRU.time_train"] = synthetic.sampled(times)
    content["models.TorchAccuracy.track_outputs"] = synthetic.of_models(synthetic.tracked, serving=1e-7)
    synthetic.write_run(folder, "north", COMMIT, content)
    return folder


@pytest.fixture(scope="module")
def site(results):
    return publish(results.parent, results)[0]


@pytest.fixture
def show(tab, site, serve):
    return page_opener(tab, serve(site))


def test_a_network_is_chosen_in_the_controls_and_the_address_keeps_it(show):
    tab = show(machine="south")
    assert tab.title().startswith("LSTM on")
    assert tab.locator("#network option").all_text_contents() == ["LSTM", "GRU", "Models"]
    tab.locator("#more > summary").click()
    tab.select_option("#network", "models")
    tab.wait_for_function("document.title.startsWith('Models on')")
    assert "network=models" in tab.url
    assert tab.locator("#machine").input_value() == "north"  # the south has no models
    tab.select_option("#network", "gru")
    tab.wait_for_function("document.title.startsWith('GRU on')")
    assert len(table(tab, "#times-of-train")[1]) == 36
    tab.go_back()
    tab.wait_for_function("document.title.startsWith('Models on')")


def test_a_model_is_shown_by_its_name(show, results):
    tab = show(network="models")
    (heading, *names), rows = table(tab, "#times-of-train")
    assert (heading, sorted(names)) == ("Model", ["scan", "torch"])
    assert [row[0] for row in rows] == ["kernelbench-lstm", "kernelbench-gru-bidirectional", "serving"]
    assert dict(zip(names, rows[2][1:], strict=True))["torch"].startswith("1000 (")  # µs
    assert dict(zip(names, rows[1][1:], strict=True)) == {
        "torch": next(text for text in rows[1] if text.startswith("12500 (")),
        "scan": "n/a",
    }
    report = tables.make(results, "north", group="models")
    assert tab.locator("#answer").text_content() == summary.answer(report).replace("`", "")
    assert [row[0] for row in table(tab, "#ranking-rows")[1]] == ["kernelbench-lstm", "serving"]
    unfold(tab, "costs")
    assert [row[1] for row in table(tab, "#costs-rows")[1]] == ["serving"]


def test_a_models_floor_comes_from_its_own_workload(show):
    tab = show(network="models")
    label = tab.locator("#dots circle.dot[aria-label*='torch, train, kernelbench-lstm']").get_attribute("aria-label")
    share = float(re.search(r"([\d.]+)% of the floor", label)[1]) / 100
    assert share == pytest.approx(workload("kernelbench-lstm").train_flops / 1e12 / 0.25, rel=0.02)


def test_a_missing_figure_says_why_the_implementation_cannot_compute_the_model(show):
    variant, place, reason = next(
        (name, place, reason)
        for name, row in VARIANTS.items()
        for place, subject in enumerate(subjects("models"))
        if "cpu" in row.devices and (reason := absence.unsupported(name, subject))
    )
    tab = show(network="models")
    arguments = [{"name": variant, "figures": {}}, place]
    said = tab.evaluate("([one, place]) => absenceReason(shown.record, one, 'train', place)", arguments)
    assert said == reason


def test_each_network_has_a_file_of_its_own(site):
    index = read_data(site, "index")
    place = [machine["name"] for machine in index["machines"]].index("north")
    assert list(index["machines"][place]["networks"]) == ["lstm", "gru", "models"]
    of_models = read_data(site, f"{place}-{COMMIT}-models")
    assert {one["name"] for one in of_models["implementations"]} == {"scan", "torch"}


def test_the_figures_as_csv_name_the_model(show):
    tab = show(network="models")
    with tab.expect_download() as download:
        tab.locator("#save-csv").click()
    heading, *lines = download.value.path().read_text().splitlines()
    place = heading.split(",").index("network")
    assert {line.split(",")[place] for line in lines} == {
        "kernelbench-lstm",
        "kernelbench-gru-bidirectional",
        "serving",
    }
