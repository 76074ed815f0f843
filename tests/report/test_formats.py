"""Tests of the report as text, Markdown, CSV and JSON: numbers, marks for doubtful figures, software."""

import csv
import io
import json
import re

import pytest
from helpers import synthetic
from helpers.recorded import RESULTS
from helpers.reports import NAN, SHAPE, markdown_rows, stored_median, train_times, unwrapped

from rnnbench.measure.state import MARKS
from rnnbench.network.shapes import GRIDS
from rnnbench.report import formats, tables, terminal


def test_csv_and_json_have_the_same_figures(full_history):
    report = tables.make(full_history[0], "north", against="south")
    records = json.loads(formats.as_json(report), parse_constant=pytest.fail)["figures"]
    read = list(csv.DictReader(io.StringIO(formats.comma_separated(report))))
    assert len(records) == len(read) == len(report.rows) == 36 * 9 * 5
    for row, record, line in zip(report.rows, records, read, strict=True):
        assert {key: "" if value is None else str(value) for key, value in record.items()} == line
        assert (record["implementation"], record["quantity"]) == (row.figure.variant, row.figure.quantity)
        per_example = 1e6 / record["batch"] if record["unit"] == "µs per example" else 1
        assert record["value"] == row.figure.value * per_example
        assert record["against"] == (None if record["unit"] == "relative error" else 1)
        assert record["verdict"] == ("no change" if record["quantity"] in tables.CALLS else None)


def test_builds_memory_and_errors_are_shown():
    text = terminal.text(tables.make(RESULTS, "epyc-2core"))
    built = stored_median("epyc-2core", "compile.ScanWarmBuild.timeraw_train", SHAPE)
    memory = stored_median("epyc-2core", "memory.ScanMemory.track_train", SHAPE)
    error = stored_median("epyc-2core", "accuracy.ScanAccuracy.track_outputs", SHAPE)
    for shown in (f"{built:.2f} (", f"{memory / 1e6:.1f}", f"{error:.1e}"):
        assert shown in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "0.500"),
        (2.084, "2.08"),
        (91.68, "91.7"),
        (664.1, "664"),
        (2077.3, "2077"),
        (99.96, "100"),
        (9.996, "10.0"),
        (999.6, "1000"),
        (2e-7, "2.0e-07"),
        (0, "0"),
    ],
)
def test_numbers_have_three_digits(value, shown):
    assert formats.number(value) == shown


@pytest.fixture
def busy_results(two_machines):
    """Return a results folder. One machine was busy while it timed scan, and idle while it timed cudnn."""
    states = {f"lstm.{prefix}LSTM.time_train": marks for prefix, marks in (("Scan", ["busy"]), ("Cudnn", []))}
    stored = {name: {"32, 30, 128, 1": [{"marks": marks}, {"marks": []}]} for name, marks in states.items()}
    content = train_times(Scan=2e-3, Cudnn=1e-3, Torch=3e-3)
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), content, state=stored)
    return two_machines


def test_doubtful_figures_are_marked_and_explained(busy_results):
    report = tables.make(busy_results, "north")
    sentence = f"doubtful (busy), 1 of 3 figures: {MARKS['busy']}."
    for document, star in ((unwrapped(terminal.text(report)), "*"), (formats.markdown(report), r"\*")):
        assert len(re.findall(rf"\){re.escape(star)}", document)) == 1
        assert f"{star}: {sentence}" in document
        assert f" scan{star} " in document  # in the ranking: cudnn is the best, and scan the next
    for section in ("summary", "ranking", "times"):
        shown = unwrapped(terminal.text(report, [section]))
        assert re.search(r"\*: doubtful \(busy\), 1 of \d figures: other programs used", shown), section
    assert markdown_rows(formats.markdown_times(report), ["1", "32 × 30", "128", "scan"])[0][4].endswith(r")\*")
    assert f"\n- \\*: {sentence}" in formats.markdown_times(report)
    ratios = {row.implementation: formats.speedup_text(row) for row in report.rows if row.figure.quantity == "train"}
    assert ratios["scan"] == ""
    # The baseline's doubt is in each ratio.
    assert all(text.endswith("×*") for name, text in ratios.items() if name != "scan")
    marks = {record["implementation"]: record["marks"] for record in json.loads(formats.as_json(report))["figures"]}
    assert marks == {"scan": "busy", "cudnn": "none", "torch": None}


def test_without_doubtful_figures_there_is_no_mark(two_machines):
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), train_times(Scan=2e-3))
    assert "*" not in terminal.text(tables.make(two_machines, "north"))


def test_strict_refuses_doubtful_figures(busy_results, run):
    command = ["report", "--results", str(busy_results), "--machine", "north", "--strict"]
    status, output, errors = run(command)
    assert (status, output) == (1, "")
    refused = f"rnnbench: north at {synthetic.commit_hash(0)[:8]} is refused: doubtful (busy), 1 of 3 figures"
    assert errors.startswith(refused)
    assert errors.count("\n") == 1
    synthetic.write_run(busy_results, "north", synthetic.commit_hash(0), train_times(Scan=2e-3))
    assert run(command)[0] == 0


def process_state(algorithm):
    """Return the state that a process stores after a call with this algorithm of cuDNN; None: without cuDNN."""
    cudnn = {"version": "9.19.0", "algorithm": algorithm, "math_type": "FMA"} if algorithm else None
    return {"marks": [], "libraries": {"torch": "2.11.0"}, "cudnn": cudnn}


def test_the_software_table(two_machines):
    """Calls and shapes with the same software share a row. If two processes differ, the row names both algorithms."""
    chosen = GRIDS["seed"][:2]
    row = synthetic.sampled([3e-3 if shape in chosen else NAN for shape in GRIDS["full"]])
    content = {f"lstm.{name}LSTM.time_{call}": row for name in ("Torch", "TorchLoop") for call in tables.CALLS}
    shapes = [", ".join(map(str, shape)) for shape in chosen]
    small, large = [process_state("PERSIST_STATIC_SMALL_H")], [process_state("STANDARD"), process_state("STANDARD")]
    states = {f"lstm.TorchLSTM.time_{call}": dict(zip(shapes, (small, large), strict=True)) for call in tables.CALLS}
    states["lstm.TorchLSTM.time_forward"] = {shapes[1]: [process_state("STANDARD"), process_state("PERSIST_STATIC")]}
    states["lstm.TorchLoopLSTM.time_train"] = {shapes[0]: [process_state(None)]}
    synthetic.write_run(two_machines, "north", synthetic.commit_hash(0), content, state=states)
    report = tables.make(two_machines, "north")
    (table,) = (table for table in formats.tables(report) if "cuDNN" in table.headings)
    torch, sizes = ["torch", "torch 2.11.0", "9.19.0"], [shape.replace(", ", " × ") for shape in shapes]
    assert table.rows == [
        [*torch, "PERSIST_STATIC / STANDARD", "FMA", "forward", sizes[1]],
        [*torch, "PERSIST_STATIC_SMALL_H", "FMA", "train", sizes[0]],
        [*torch, "STANDARD", "FMA", "train", sizes[1]],
        ["torch_loop", "torch 2.11.0", "", "", "", "train", sizes[0]],
    ]
    records = json.loads(formats.as_json(report))["figures"]
    assert {record["algorithm"] for record in records} == {
        "PERSIST_STATIC / STANDARD",
        "PERSIST_STATIC_SMALL_H",
        "STANDARD",
        "",
    }


def test_text_from_files_cannot_end_a_markdown_cell_or_move_the_cursor(two_machines, run):
    synthetic.write_machine(two_machines, "e|<b>\x1b[2J")
    for environment in ("a|b\x1b[31m", "c"):
        synthetic.write_run(
            two_machines, "e|<b>\x1b[2J", synthetic.commit_hash(0), train_times(Scan=1), environment=environment
        )
    text = formats.markdown(tables.make(two_machines, "e|<b>\ufffd[2J"))
    assert "e\\|\\<b>" in text
    assert "scan (a\\|b" in text
    for arguments in (["report", "--machine", "e|<b>\ufffd[2J"], ["history"]):
        _, output, errors = run([*arguments, "--results", str(two_machines)])
        assert "\x1b" not in output + errors
