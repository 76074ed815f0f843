"""Reports of GRUs and of models: the same tables as for LSTMs, a model by its name."""

import csv
import io
import json

import pytest
from helpers import synthetic
from helpers.reports import find_row, markdown_rows, unwrapped

from rnnbench.history import NotFound
from rnnbench.network.models import MODELS, workload
from rnnbench.network.shapes import Shape
from rnnbench.report import absence, documents, export, formats, summary, tables, terminal
from rnnbench.variants import VARIANTS

COMMIT = synthetic.commit_hash(0)
# Both have the sizes 10 × 512 × 256 × 6.
LSTM, GRU = "kernelbench-lstm", "kernelbench-gru-bidirectional"


@pytest.fixture
def made(two_machines):
    """Results of two models and of a GRU on the north, and of LSTMs on the south."""
    synthetic.write_machine(two_machines, "north", float32_flops="1e12", memory_bandwidth="1e11", ram="1e12")
    times = {
        "Scan": {"kernelbench_lstm": 0.4, "kernelbench_gru_bidirectional": 0.9},
        "Torch": {"kernelbench_lstm": 0.2, "kernelbench_gru_bidirectional": 0.3},
    }
    content = {
        f"models.{prefix}Model.time_train": synthetic.of_models(synthetic.sampled, **values)
        for prefix, values in times.items()
    }
    content["models.ScanAccuracy.track_outputs"] = synthetic.of_models(synthetic.tracked, kernelbench_lstm=1e-7)
    content["gru.ScanGRU.time_train"] = synthetic.sampled([1.0] * 36)
    synthetic.write_run(two_machines, "north", COMMIT, content)
    synthetic.write_run(two_machines, "south", COMMIT, {"lstm.ScanLSTM.time_train": synthetic.sampled([1.0] * 36)})
    return two_machines


def test_a_report_has_one_group_of_networks(made):
    for group, networks in (("gru", {"gru"}), ("models", {LSTM, GRU})):
        report = tables.make(made, "north", group=group)
        assert {row.figure.network for row in report.rows} == networks
    with pytest.raises(NotFound, match=r"no figures of north \(RNN\). To measure some: make bench-peers NETWORK=rnn"):
        tables.make(made, "north", group="rnn")


def test_the_default_machine_is_one_with_such_figures(made):
    assert tables.make(made, group="models").facts["machine"] == "north"
    assert tables.make(made).facts["machine"] == "south"


def test_models_of_equal_sizes_are_ranked_apart(made):
    report = tables.make(made, "north", group="models")
    assert [standing.subject[0] for standing in tables.standings(report.rows)] == [LSTM, GRU]
    leads = [standing.lead.ratio.times for standing in tables.standings(report.rows)]
    assert leads == pytest.approx([2, 3])
    checked = {(row.figure.network, row.figure.variant) for row in report.rows if row.is_checked}
    assert checked == {(LSTM, "scan")}


def test_the_floor_is_that_of_the_models_own_workload(made):
    report = tables.make(made, "north", group="models")
    row = find_row(report, "torch", "train", MODELS[GRU].shape, GRU)
    assert row.of_floor == pytest.approx(workload(GRU).train_flops / 1e12 / 0.3)


def test_a_model_is_shown_by_its_name(made):
    report = tables.make(made, "north", group="models")
    shown = unwrapped(terminal.text(report))
    assert shown.startswith("Models: north (A CPU) at")
    assert "Models: on the A CPU, in strict float32, torch (PyTorch) trains" in shown
    assert "over 2 models" in shown
    markdown = formats.markdown(report)
    assert [row[1] for row in markdown_rows(markdown, [GRU]) if row[1] == "train"]
    assert markdown_rows(markdown, [LSTM, "torch"])[0][2].startswith("20000 (")  # µs per example
    assert summary.answer(report).startswith("Models: on the A CPU")


def test_csv_and_json_name_the_network(made):
    report = tables.make(made, "north", group="models")
    records = list(csv.DictReader(io.StringIO(formats.comma_separated(report))))
    assert {record["network"] for record in records} == {LSTM, GRU}
    content = json.loads(formats.as_json(report))
    assert [standing["network"] for standing in content["standings"]] == [LSTM, GRU]
    assert content["networks"] == "models"


def test_the_form_of_rnn_benchmarks_has_lstms_only(made):
    with pytest.raises(NotFound, match="LSTMs only"):
        export.rnn_benchmarks(tables.make(made, "north", group="models"))


def test_the_command_shows_a_group(made, run):
    status, output, _ = run(["report", "--results", str(made), "--network", "models", "--table", "ranking"])
    assert status == 0
    assert f"{LSTM} " in output
    assert run(["report", "--results", str(made), "--network", "rnn", "--machine", "north"])[0] == 1


def test_what_is_missing_of_the_models_and_the_command_that_measures_it(made, run):
    (made / "benchmarks.json").write_text("{}")
    *_, output, _ = run(["history", "--results", str(made), "--grid", "models", "--machine", "north"])
    assert "figures of the models:" in output
    assert f"git checkout {COMMIT[:8]} && make bench-peers GRID=models MACHINE=north" in output
    assert "serving" in output
    *_, output, _ = run(["history", "--results", str(made), "--grid", "serving", "--machine", "north"])
    assert "figures of serving:" in output
    *_, output, _ = run(["history", "--results", str(made), "--grid", "quick", "--network", "rnn"])
    # No run there has timed a plain RNN, so the commit's code may not know it.
    assert "git checkout" not in output
    if any(absence.unsupported(name, ("rnn", Shape(1, 1, 1, 1))) is None for name in VARIANTS):
        assert "make bench-peers GRID=quick MACHINE=north NETWORK=rnn" in output


def test_a_document_shows_a_network_and_the_list_of_models(made, tmp_path):
    document = tmp_path / "page.md"
    document.write_text("<!-- answer: north network=models -->\n<!-- end -->\n<!-- models -->\n<!-- end -->\n")
    text = documents.rewrite(document, made)[document].decode()
    assert "Models: on the A CPU" in text
    assert [row[0].strip("`") for row in markdown_rows(text, [])[2:]] == list(MODELS)
