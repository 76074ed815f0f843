"""rnnbench report in a terminal: 80 columns, the answer first, colour, and what the options choose."""

import io
import json
import re

import pytest
from helpers import recorded, synthetic
from helpers.recorded import HISTORY
from helpers.reports import NAN, SHAPE, at_first_shape, find_row, markdown_rows, train_times, unwrapped
from rich.console import Console

from rnnbench import history
from rnnbench.network import models
from rnnbench.network.shapes import GRIDS
from rnnbench.report import formats, summary, tables, terminal
from rnnbench.variants import VARIANTS


@pytest.fixture(scope="module")
def h100():
    return tables.make(HISTORY, "h100", "fc372c93")


@pytest.mark.parametrize("machine", ["h100", "epyc-2core", "epyc-2core-2"])
def test_no_line_is_longer_than_80(machine):
    for group in models.GROUPS:
        for _, commit in recorded.commits_with(group, machine):
            for against in (None, "titan-x") if group == "lstm" else (None,):
                text = terminal.text(tables.make(HISTORY, machine, commit, against, group))
                assert max(map(len, text.splitlines())) <= 80


def test_a_commit_without_figures_of_a_group_is_named():
    with pytest.raises(history.NotFound, match=r"no figures of h100 at fcae1cdc \(GRU\)"):
        tables.make(HISTORY, "h100", recorded.COMMIT, group="gru")


def test_the_answer_and_the_ranking_come_first(h100):
    text = unwrapped(terminal.text(h100))
    sentence = summary.answer(h100).replace("`", "")
    places = [text.index(words) for words in (sentence, "All shapes at once", "The fastest at each shape", "Time per")]
    assert places == sorted(places)
    assert places[0] < 80


def test_each_figure_stands_in_its_row(h100):
    lines = terminal.text(h100, ["times"]).splitlines()
    split = lines.index("Time per example: forward pass")
    for call, part in (("train", lines[:split]), ("forward", lines[split:])):
        shape = None
        found = {}
        for line in part:
            if words := re.fullmatch(r"(?:(\d+(?:×\d+){3}) )? +([a-z_]+) +(\S+ \(\S+\)\*?) .*", f"{line} "):
                shape = words[1] or shape
                found[shape, words[2]] = words[3]
        rows = [row for row in h100.rows if row.figure.quantity == call]
        assert found == {
            ("×".join(map(str, row.figure.shape)), row.implementation): formats.value_text(row) for row in rows
        }
        assert len(found) == len(GRIDS["seed"]) * 8


def test_the_gpus_own_time_stands_beside_the_time_of_a_call(tmp_path):
    content = train_times(Scan=6.4e-3, Fused=3.2e-4)
    content["device.FusedDevice.track_train"] = synthetic.tracked([2.56e-4, *[NAN] * 35])
    synthetic.write_machine(tmp_path, "gpu", gpu="A GPU")
    synthetic.write_run(tmp_path, "gpu", 40 * "c", content)
    report = tables.make(tmp_path, "gpu")
    text = terminal.text(report, ["times"])
    assert "on the GPU: the time that the GPU itself takes" in unwrapped(text)
    assert re.search(r"fused +10\.0 \(\S+\) +8\.00 ", text)
    assert re.search(r"scan +200 \(\S+\) +n/a ", text)
    (row,) = markdown_rows(formats.markdown_times(report), ["1", "32 × 30", "128", "fused"])
    assert "8.00" in row
    (record,) = (one for one in json.loads(formats.as_json(report))["figures"] if one["quantity"] == "device_train")
    assert (record["value"], record["unit"]) == (pytest.approx(8), "µs per example")


def test_a_terminal_has_colour_and_a_pipe_has_none(h100, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    file = io.StringIO()
    terminal.show(
        h100, Console(file=file, width=80, force_terminal=True, color_system="standard"), ["ranking", "times"]
    )
    text = file.getvalue()
    assert re.search(r"\x1b\[1;32m *43\.7 \(", text)  # the fastest: bold and green
    assert re.search(r"\x1b\[36mtie, 1\.01×", text)
    assert re.search(r"\x1b\[33m *261 \([^)]*\)\*", text)  # doubtful: yellow
    assert "\x1b" not in terminal.text(h100)


def test_failures_are_red_and_text_from_files_is_no_markup(two_machines):
    content = {**train_times(Scan=None, Torch=1.0), "lstm.ScanLSTM.time_forward": at_first_shape(1e-3)}
    synthetic.write_machine(two_machines, "[red]x", gpu=":smile: [bold]GPU")
    synthetic.write_run(two_machines, "[red]x", synthetic.commit_hash(0), content)
    file = io.StringIO()
    report = tables.make(two_machines, "[red]x")
    terminal.show(report, Console(file=file, width=80, force_terminal=True, color_system="standard", markup=False))
    assert re.search(r"\x1b\[31m *failed", file.getvalue())
    assert "[red]x (:smile: [bold]GPU)" in terminal.text(report)


@pytest.mark.parametrize("name", terminal.SECTIONS)
def test_a_table_is_shown_alone(name, h100, run):
    report = tables.make(HISTORY, "h100", "fc372c93", "titan-x")
    shown = terminal.text(report, [name])
    command = ["report", "--results", str(HISTORY), "--machine", "h100", "--commit", "fc372c93", "--against", "titan-x"]
    assert run([*command, "--table", name]) == (0, shown, "")
    everything = terminal.text(report)
    body = shown.partition("\n")[2]
    assert body in everything
    assert bool(body) == (name not in ("builds", "memory"))  # which that run didn't measure


def test_variants_and_a_call_are_chosen_in_every_format(run):
    command = [
        "report",
        "--results",
        str(HISTORY),
        "--machine",
        "h100",
        "--commit",
        "fc372c93",
        "--variants",
        "scan",
        "torch",
        "--call",
        "train",
    ]
    for form in ("text", "markdown", "csv"):
        status, output, _ = run([*command, "--format", form])
        assert status == 0
        # A column of the CSV is called cudnn.
        shown = output.split("n/a on this")[0].replace(",cudnn,", ",")
        named = {name for name in VARIANTS if re.search(rf"(?<![\w/]){name}(?!\w)", shown)}
        assert named == {"scan", "torch"}
        assert "forward" not in output.lower().replace("forward pass", "")
    status, output, errors = run([*command[:8], "keras"])
    assert (status, output) == (1, "")
    assert errors.startswith("rnnbench: h100 at fc372c93 has no such figures; it has: scan, cudnn, ")


def test_against_shows_both_figures_a_verdict_and_how_many(two_machines):
    old, new = synthetic.commit_hash(1), synthetic.commit_hash(2)
    before = {"Scan": 3e-3, "Cudnn": 1e-3, "Torch": 1e-3, "JaxScan": 1e-3}
    after = {"Scan": 2e-3, "Cudnn": 1.05e-3, "Torch": 2e-3, "Keras": 1e-3}
    busy = {"lstm.TorchLSTM.time_train": {"32, 30, 128, 1": [{"marks": ["busy"]}]}}
    synthetic.write_run(two_machines, "north", old, train_times(**before), date=1, state=busy)
    synthetic.write_run(two_machines, "north", new, train_times(**after), date=2)
    report = tables.make(two_machines, "north", new, old)
    verdicts = {row.figure.variant: formats.verdict(row) for row in report.rows}
    assert verdicts == {"scan": "faster", "cudnn": "no change", "torch": "slower", "keras": None}
    assert find_row(report, "scan", "train", SHAPE).against.figure.value == 3e-3
    text = terminal.text(report, ["against"])
    counts = f"Against {old[:8]}: 1 faster here, 1 slower, 1 no change that this machine can tell."
    assert counts in unwrapped(text)
    assert re.search(r"scan +62\.5 +93\.8 +1\.50× \(1\.23–1\.83\) +faster", text)
    assert re.search(r"cudnn +32\.8 +31\.2 +0\.95× \(0\.78–1\.16\) +no change", text)
    assert re.search(r"torch +62\.5 +31\.2\* ", text)
    assert "*: doubtful (busy), 1 of 6 figures: other programs" in unwrapped(text)
    assert "keras" not in text
    (cudnn,) = [record for record in formats._records(report) if record["implementation"] == "cudnn"]
    assert (cudnn["other"], cudnn["verdict"]) == (pytest.approx(31.25), "no change")


def test_the_recorded_results_have_doubtful_figures():
    """The tests above need them."""
    assert any(row.figure.marks for row in tables.make(recorded.HISTORY, "h100", "fc372c93").rows)
