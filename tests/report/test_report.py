"""rnnbench report, history and readme: what they show is what the files have."""

import csv
import io
import itertools
import json
import platform
import re
import resource
import shlex
import shutil
import sys
import xml.etree.ElementTree
from pathlib import Path
from types import SimpleNamespace

import pytest
from asv.benchmarks import Benchmarks
from helpers import ROOT, recorded, synthetic

from rnnbench import history
from rnnbench.cli import results as result_commands
from rnnbench.history import NotFound
from rnnbench.history.benchmark_names import asv_filter, class_prefix
from rnnbench.measure.state import MARKS
from rnnbench.network.shapes import GRIDS, Shape
from rnnbench.network.workload import Workload
from rnnbench.report import absence, export, formats, gaps, plot, published, readme, tables
from rnnbench.variants import VARIANTS

RESULTS = recorded.RESULTS
SHAPE = Shape(32, 30, 128, 1)
PEAKS = {"float32_flops": "6.7e13", "tf32_flops": "4.9e14", "memory_bandwidth": "3.35e12"}
NAN = float("nan")


def median(machine, benchmark, shape):
    """Return a figure by a way of its own through the results file: seconds a batch."""
    (path,) = (RESULTS / machine).glob("fcae1cdc-*.json")
    values, sizes, *_ = json.loads(path.read_text())["results"][benchmark]
    at = 0
    for choices, size in zip(sizes, shape, strict=True):
        at = at * len(choices) + choices.index(str(size))
    return values[at]


def row_of(report, variant, quantity, shape=SHAPE):
    (row,) = (
        row
        for row in report.rows
        if (row.figure.variant, row.figure.quantity, row.figure.shape) == (variant, quantity, shape)
    )
    return row


def timed(**values):
    """Return results of one shape's train time, by variant."""
    return {f"lstm.{prefix}LSTM.time_train": one_shape(value) for prefix, value in values.items()}


def one_shape(value):
    return synthetic.sampled([value, *[NAN] * 35])


@pytest.fixture
def made(tmp_path):
    """Two machines, without a run yet."""
    synthetic.write_machine(tmp_path, "north", **PEAKS)
    synthetic.write_machine(tmp_path, "south", gpu="A GPU")
    return tmp_path


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Three commits of the full grid on three machines; the folder and the hashes, the newest last."""
    folder = tmp_path_factory.mktemp("full")
    return folder, synthetic.write(folder, 3)


def lines_of(text, first):
    """Return the shapes of a Markdown table's rows that begin with these."""
    rows = [[shape.strip() for shape in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in rows if row[: len(first)] == list(first)]


def test_the_table_has_the_files_figures_per_example_with_their_quartiles():
    report = tables.make(RESULTS, "h100")
    for shape in GRIDS["seed"]:
        first = [str(shape.depth), f"{shape.batch} × {shape.seq}", str(shape.hidden)]
        for variant, prefix in (("scan", "Scan"), ("cudnn", "Cudnn")):
            (shown,) = lines_of(formats.markdown(report), [*first, variant])
            for text, method in zip(shown[4:6], ("train", "forward"), strict=True):
                value, low, high = map(float, re.fullmatch(r"([\d.]+) \(([\d.]+)–([\d.]+)\)", text).groups())
                expected = median("h100", f"lstm.{prefix}LSTM.time_{method}", shape) / shape.batch * 1e6
                assert value == pytest.approx(expected, rel=5e-3)
                assert low <= value <= high
    assert "284 (279–320)" in formats.text(report)  # as the first published README had it


def test_the_published_order(full):
    drawn = lines_of(formats.markdown_times(tables.make(full[0], "north")), [])
    sizes = [(int(depth), *map(int, re.findall(r"\d+", both)), int(hidden)) for depth, both, hidden, *_ in drawn[2:]]
    assert [(depth, seq, batch, hidden) for depth, batch, seq, hidden in sizes] == sorted(
        (shape[3], shape[1], shape[0], shape[2]) for shape in synthetic.SHAPES for _ in synthetic.PREFIXES
    )


def test_the_speedup_is_scans_median_over_the_variants():
    report = tables.make(RESULTS, "h100")
    for shape in GRIDS["seed"]:
        for quantity in ("train", "forward"):
            scan, cudnn = (median("h100", f"lstm.{prefix}LSTM.time_{quantity}", shape) for prefix in ("Scan", "Cudnn"))
            assert row_of(report, "cudnn", quantity, shape).speedup == pytest.approx(scan / cudnn)
            assert row_of(report, "scan", quantity, shape).speedup is None
    assert "6.5×" in formats.text(report)
    assert "vs scan" not in formats.text(tables.make(RESULTS, "epyc-2core"))


def test_the_share_of_the_floor_is_shown_where_the_machine_has_peaks(made):
    least = Workload(*SHAPE).train_flops / 6.7e13
    for machine in ("north", "south"):
        synthetic.write_run(made, machine, synthetic.commit_hash(0), timed(Scan=4 * least, CudnnTF32=least))
    report = tables.make(made, "north")
    assert row_of(report, "scan", "train").of_floor == pytest.approx(0.25)
    in_tf32 = max(Workload(*SHAPE).train_flops / 4.9e14, Workload(*SHAPE).train_bytes / 3.35e12)
    assert row_of(report, "cudnn_tf32", "train").of_floor == pytest.approx(in_tf32 / least)
    assert "25%" in formats.text(report)
    synthetic.write_run(made, "north", synthetic.commit_hash(0), timed(Scan=least))
    assert "100%" in formats.text(tables.make(made, "north"))
    assert "of floor" not in formats.text(tables.make(made, "south"))


def test_against_the_titan_x_as_published():
    report = tables.make(RESULTS, "h100", against="titan-x")
    ours = median("h100", "lstm.CudnnLSTM.time_train", SHAPE) / 32 * 1e6
    assert row_of(report, "cudnn", "train").against == pytest.approx(136.3 / ours)
    ours = median("h100", "lstm.ScanLSTM.time_forward", Shape(128, 200, 1024, 3)) / 128 * 1e6
    assert row_of(report, "scan", "forward", Shape(128, 200, 1024, 3)).against == pytest.approx(3161.8 / ours)
    assert all(row.against for row in report.rows)
    differences = published.SOURCES["cudnn-rnn-benchmarks"].differences
    for text in (formats.text(report), formats.markdown(report)):
        assert all(sentence in text for sentence in differences)
    assert json.loads(formats.as_json(report))["differences"] == list(differences)
    assert "vs titan-x" in formats.text(report)
    assert "titan-x" not in formats.text(tables.make(RESULTS, "h100"))


def test_what_has_no_published_counterpart_is_not_compared(full):
    report = tables.make(full[0], "north", against="titan-x")
    compared = {row.figure.variant for row in report.rows if row.against}
    assert compared == {"scan", "cudnn"}
    assert {row.figure.shape for row in report.rows if row.against} == set(GRIDS["seed"])


def test_the_published_figures_are_all_there():
    with (ROOT / "rnnbench" / "report" / "titan_x.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["cell"] == "lstm"]
    for source in ("cudnn-rnn-benchmarks", "rnn-benchmarks"):
        figures = list(published.figures(source))
        assert {figure.environment for figure in figures} == {source}
        of_source = [row for row in rows if row["source"] == source]
        given = [float(row[f"{name}_us_per_example"]) for row in of_source for name in ("train", "forward")]
        assert [figure.value / figure.shape.batch * 1e6 for figure in figures] == pytest.approx(given)
        assert len(given) == 2 * {"cudnn-rnn-benchmarks": 20, "rnn-benchmarks": 18}[source]


def test_against_another_machine_and_another_commit(made):
    old, new = synthetic.commit_hash(1), synthetic.commit_hash(2)
    synthetic.write_run(made, "north", old, timed(Scan=3e-3), date=1)
    synthetic.write_run(made, "north", new, timed(Scan=2e-3, Cudnn=1e-3), date=2)
    synthetic.write_run(made, "south", old, timed(Scan=8e-3), date=1)

    def against(machine, commit, other):
        report = tables.make(made, machine, commit, other)
        assert report.other == (other if len(other) == 5 else other[:8])
        return report.other_commit, row_of(report, "scan", "train").against

    assert against("north", new, old[:9]) == (old, pytest.approx(1.5))
    assert against("north", old, new[:9]) == (new, pytest.approx(2 / 3))
    assert against("north", old, "south") == (old, pytest.approx(8 / 3))
    # The newest there is, where the other machine lacks the commit; the same, where it has it.
    assert against("north", new, "south") == (old, pytest.approx(4))
    assert against("south", old, "north") == (old, pytest.approx(3 / 8))
    assert row_of(tables.make(made, "north", new, old), "cudnn", "train").against is None


def test_figures_of_benchmarks_of_different_versions_are_not_compared(made):
    old, new = synthetic.commit_hash(1), synthetic.commit_hash(2)
    earlier = timed(Scan=3e-3)
    earlier["lstm.ScanLSTM.time_train"][synthetic.COLUMNS.index("version")] = "0"
    synthetic.write_run(made, "north", old, earlier, date=1)
    synthetic.write_run(made, "north", new, timed(Scan=2e-3), date=2)
    assert row_of(tables.make(made, "north", new, old), "scan", "train").against is None


def test_the_machine_and_the_commit_when_none_is_named(full, made, monkeypatch):
    folder, commits = full
    monkeypatch.setattr(platform, "node", lambda: "west")
    report = tables.make(folder)
    assert (report.facts["machine"], report.commit) == ("west", commits[-1])
    monkeypatch.setattr(platform, "node", lambda: "nowhere")
    synthetic.write_run(made, "north", synthetic.commit_hash(1), timed(Scan=1), date=1)
    synthetic.write_run(made, "south", synthetic.commit_hash(0), timed(Scan=1), date=2)
    # Newer, but nothing that it measured can be shown.
    synthetic.write_run(made, "south", synthetic.commit_hash(2), timed(Scan=NAN), date=3)
    report = tables.make(made)
    assert (report.facts["machine"], report.commit) == ("south", synthetic.commit_hash(0))


def test_environments_meet_in_one_table(made):
    commit = synthetic.commit_hash(0)
    synthetic.write_run(made, "north", commit, timed(Scan=6, Torch=NAN), environment="one")
    synthetic.write_run(made, "north", commit, timed(Scan=NAN, Torch=2), environment="two")
    report = tables.make(made, "north")
    assert [row.implementation for row in report.rows] == ["scan", "torch"]
    assert row_of(report, "torch", "train").speedup == 3

    synthetic.write_run(made, "north", commit, timed(Scan=8, Torch=2), environment="two")
    report = tables.make(made, "north")
    assert [row.implementation for row in report.rows] == ["scan (one)", "scan (two)", "torch"]
    assert row_of(report, "torch", "train").speedup == 4


def test_failed_and_not_available_look_different(made):
    content = {**timed(Scan=None, Cudnn=1), "lstm.CudnnLSTM.time_forward": one_shape(NAN)}
    content["lstm.ScanLSTM.time_forward"] = one_shape(1e-3)
    synthetic.write_run(made, "north", synthetic.commit_hash(0), content)
    text = formats.markdown(tables.make(made, "north"))
    ((*_, train, forward, _, _),) = lines_of(text, ["1", "32 × 30", "128", "scan"])
    assert (train, forward) == ("failed", "31.2 (28.1–34.4)")
    ((_, _, _, _, train, forward, *_),) = lines_of(text, ["1", "32 × 30", "128", "cudnn"])
    assert forward == "n/a"
    assert train.startswith("31250 (")


def test_what_a_machine_cannot_run_and_what_failed_is_explained(made):
    content = {"lstm.ScanLSTM.time_train": synthetic.sampled([None, *[1.0] * 35])}
    for machine in ("north", "south"):
        synthetic.write_run(made, machine, synthetic.commit_hash(0), content)
    north, south = (formats.text(tables.make(made, machine)) for machine in ("north", "south"))
    on_cuda = ", ".join(name for name, row in VARIANTS.items() if row.devices == ("cuda",))
    assert f"{on_cuda}: n/a, it is made for cuda, and this machine was timed on cpu." in north
    assert "made for cuda" not in south  # which has a GPU
    assert "failed: it should have run; asv keeps no reason" in north
    assert "failed:" not in formats.text(tables.make(RESULTS, "h100"))


def test_a_shape_that_the_memory_cannot_hold_is_told_by_the_benchmarks_own_rule():
    shape = Shape(128, 200, 1024, 3)
    least = Workload(*shape).least_memory
    assert absence.reason("scan", shape, {"ram": str(least)}) is None
    assert "needs at least" in absence.reason("scan", shape, {"ram": str(least - 1)})
    # A GPU's memory isn't in the facts.
    assert absence.reason("scan", shape, {"ram": "1", "gpu": "A GPU"}) is None
    for unknown in ({}, {"ram": "much"}, {"ram": "nan"}):
        assert absence.reason("scan", shape, unknown) is None


def test_csv_and_json_have_the_same_figures(full):
    report = tables.make(full[0], "north", against="south")
    records = json.loads(formats.as_json(report), parse_constant=pytest.fail)["figures"]
    read = list(csv.DictReader(io.StringIO(formats.comma_separated(report))))
    assert len(records) == len(read) == len(report.rows) == 36 * 9 * 5
    for row, record, line in zip(report.rows, records, read, strict=True):
        assert {key: "" if value is None else str(value) for key, value in record.items()} == line
        assert (record["version"], record["quantity"]) == (row.figure.variant, row.figure.quantity)
        per_example = 1e6 / record["batch"] if record["unit"] == "µs per example" else 1
        assert record["value"] == row.figure.value * per_example
        assert record["against"] == (None if record["unit"] == "relative error" else 1)


@pytest.fixture
def doubted(made):
    """One machine's scan, timed while it was busy, and cudnn, timed while it wasn't."""
    states = {f"lstm.{prefix}LSTM.time_train": marks for prefix, marks in (("Scan", ["busy"]), ("Cudnn", []))}
    seen = {name: {"32, 30, 128, 1": [{"marks": marks}, {"marks": []}]} for name, marks in states.items()}
    content = timed(Scan=2e-3, Cudnn=1e-3, Torch=3e-3)
    synthetic.write_run(made, "north", synthetic.commit_hash(0), content, state=seen)
    return made


def test_what_the_machines_state_makes_doubtful_is_marked_and_explained(doubted):
    report = tables.make(doubted, "north")
    sentence = f"1 of 3 figures, busy: {MARKS['busy']}."
    for document, star in ((formats.text(report), "*"), (formats.markdown(report), r"\*")):
        assert len(re.findall(rf"\){re.escape(star)}", document)) == 1
        assert f"{star}: {sentence}" in document
        assert f" scan{star} " in document  # in the ranking, where cudnn leads it
    assert lines_of(formats.markdown_times(report), ["1", "32 × 30", "128", "scan"])[0][4].endswith(r")\*")
    assert formats.markdown_times(report).endswith(sentence)
    marks = {record["version"]: record["marks"] for record in json.loads(formats.as_json(report))["figures"]}
    assert marks == {"scan": "busy", "cudnn": "none", "torch": None}


def computed(algorithm):
    cudnn = {"version": "9.19.0", "algorithm": algorithm, "math_type": "FMA"} if algorithm else None
    return {"marks": [], "libraries": {"torch": "2.11.0"}, "cudnn": cudnn}


def test_what_computed_is_told_with_the_shapes_that_it_computed(made):
    """Calls and shapes that were computed alike have one line; processes that differ are both told."""
    chosen = GRIDS["seed"][:2]
    row = synthetic.sampled([3e-3 if shape in chosen else NAN for shape in GRIDS["full"]])
    content = {f"lstm.{name}LSTM.time_{call}": row for name in ("Torch", "TorchLoop") for call in tables.CALLS}
    shapes = [", ".join(map(str, shape)) for shape in chosen]
    small, large = [computed("PERSIST_STATIC_SMALL_H")], [computed("STANDARD"), computed("STANDARD")]
    states = {f"lstm.TorchLSTM.time_{call}": dict(zip(shapes, (small, large), strict=True)) for call in tables.CALLS}
    states["lstm.TorchLSTM.time_forward"] = {shapes[1]: [computed("STANDARD"), computed("PERSIST_STATIC")]}
    states["lstm.TorchLoopLSTM.time_train"] = {shapes[0]: [computed(None)]}
    synthetic.write_run(made, "north", synthetic.commit_hash(0), content, state=states)
    report = tables.make(made, "north")
    (table,) = (table for table in formats.tables(report) if "cuDNN" in table.headings)
    torch, sizes = ["torch", "torch 2.11.0", "9.19.0"], [shape.replace(", ", " × ") for shape in shapes]
    assert table.rows == [
        [*torch, "PERSIST_STATIC / STANDARD", "FMA", "forward", sizes[1]],
        [*torch, "PERSIST_STATIC_SMALL_H", "FMA", "train", sizes[0]],
        [*torch, "STANDARD", "FMA", "train", sizes[1]],
        ["torch_loop", "torch 2.11.0", "", "", "", "train", sizes[0]],
    ]
    records = json.loads(formats.as_json(report))["figures"]
    assert {one["algorithm"] for one in records} == {
        "PERSIST_STATIC / STANDARD",
        "PERSIST_STATIC_SMALL_H",
        "STANDARD",
        "",
    }


def test_nothing_is_said_of_marks_where_there_are_none(made):
    synthetic.write_run(made, "north", synthetic.commit_hash(0), timed(Scan=2e-3))
    assert "*" not in formats.text(tables.make(made, "north"))


def test_strict_refuses_what_is_marked(doubted, run):
    command = ["report", "--results", str(doubted), "--machine", "north", "--strict"]
    status, output, errors = run(command)
    assert (status, output) == (1, "")
    assert errors.startswith(f"rnnbench: north at {synthetic.commit_hash(0)[:8]} is refused: 1 of 3 figures, busy")
    assert errors.count("\n") == 1
    synthetic.write_run(doubted, "north", synthetic.commit_hash(0), timed(Scan=2e-3))
    assert run(command)[0] == 0


def test_builds_memory_and_errors_are_shown():
    text = formats.text(tables.make(RESULTS, "epyc-2core"))
    built = median("epyc-2core", "compile.ScanWarmBuild.timeraw_train", SHAPE)
    memory = median("epyc-2core", "memory.ScanMemory.track_train", SHAPE)
    error = median("epyc-2core", "accuracy.ScanAccuracy.track_outputs", SHAPE)
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
        (2e-7, "2.0e-07"),
        (0, "0"),
    ],
)
def test_numbers_have_three_digits(value, shown):
    assert formats.number(value) == shown


def test_nothing_from_the_files_ends_a_markdown_shape_or_moves_the_cursor(made, run):
    synthetic.write_machine(made, "e|<b>\x1b[2J")
    for environment in ("a|b\x1b[31m", "c"):
        synthetic.write_run(made, "e|<b>\x1b[2J", synthetic.commit_hash(0), timed(Scan=1), environment=environment)
    text = formats.markdown(tables.make(made, "e|<b>\ufffd[2J"))
    assert "e\\|\\<b>" in text
    assert "scan (a\\|b" in text
    for arguments in (["report", "--machine", "e|<b>\ufffd[2J"], ["history"]):
        _, output, errors = run([*arguments, "--results", str(made)])
        assert "\x1b" not in output + errors


def test_export_has_a_heading_a_setting_and_a_row_a_library(full):
    text = export.rnn_benchmarks(tables.make(full[0], "north"))
    headings = [line for line in text.splitlines() if line.startswith("### ")]
    assert headings[:2] == ["### Batch Size 32", "### Batch Size 128"]
    assert headings[-1] == "### Batch Size 128, Sequence Length 200, 3 Layers"
    assert len(headings) == len(set(headings)) == 12
    assert text.count("#### Hidden Size") == 36
    section = text.split("### Batch Size 128\n")[1].split("#### Hidden Size 512\n")[1].split("####")[0]
    assert section.splitlines()[1] == "| Library | Compile (s) | Train (µs) | Forward only (µs) |"
    seconds = synthetic.seconds(128, 30, 512, 1)
    compiled = synthetic.seconds(32, 30, 128, 1)
    ((*_, compile_s, train, forward),) = lines_of(section, ["Theano, cuDNN"])
    assert float(compile_s) == pytest.approx(compiled / 2, rel=0.1)
    assert (train, forward) == (formats.number(seconds / 2 / 128 * 1e6),) * 2
    assert "without an update" in text


def test_the_readmes_tables_are_the_results():
    text = (ROOT / "README.md").read_text()
    assert readme.rewrite(text, recorded.HISTORY) == text, "README.md is stale: make readme"


def test_readme_writes_between_the_marks_only(tmp_path, run):
    path = tmp_path / "README.md"
    path.write_text("top\n<!-- table: h100 -->\nold\n<!-- end -->\nafter\n<!-- table: epyc-2core -->\n<!-- end -->\n")
    command = ["readme", str(path), "--results", str(RESULTS)]
    assert run(command) == (0, "", "")
    text = path.read_text()
    table = "(\\|.*\n)+"
    around = f"top\n<!-- table: h100 -->\n{table}<!-- end -->\nafter\n<!-- table: epyc-2core -->\n{table}<!-- end -->\n"
    assert re.fullmatch(around, text)
    assert "44.4 (44.2–44.6)" in text.split("after")[0]
    assert run(command) == (0, "", "")
    assert path.read_text() == text


def test_a_mark_can_name_its_commit():
    old, new = (
        readme.rewrite(f"<!-- table: h100{at} cudnn -->\n<!-- end -->\n", recorded.HISTORY) for at in ("@fcae1cdc", "")
    )
    assert old.startswith("<!-- table: h100@fcae1cdc cudnn -->\n|")
    assert old.splitlines()[1:] != new.splitlines()[1:]
    with pytest.raises(NotFound, match="0123456"):
        readme.rewrite("<!-- table: h100@0123456 -->\n<!-- end -->\n", recorded.HISTORY)


def test_a_mark_can_name_its_variants():
    text = "<!-- table: h100 cudnn -->\n<!-- end -->\n"
    drawn = readme.rewrite(text, RESULTS)
    assert {line.split("|")[4].strip() for line in drawn.splitlines()[3:-1]} == {"cudnn"}
    assert drawn.startswith("<!-- table: h100 cudnn -->\n")


def test_a_mark_can_ask_for_the_ranking():
    drawn = readme.rewrite("<!-- ranking: h100@ec908981 scan cudnn -->\n<!-- end -->\n", recorded.HISTORY)
    rows = [[shape.strip() for shape in line.split("|")] for line in drawn.splitlines()[1:-1]]
    assert rows[0][4:8] == ["call", "best", "time, µs", "vs the next"]
    assert (len(rows), {row[5] for row in rows[2:]}) == (22, {"cudnn"})
    assert ["1", "32 × 30", "128", "train", "cudnn", "43.4 (41.3–56.9)"] in [row[1:7] for row in rows]


def test_the_standings_are_of_each_shape_and_precision(made):
    times = {"Scan": 4e-3, "Cudnn": 2e-3, "Torch": 1.6e-3, "JaxScan": 3e-3, "CudnnTF32": 1e-3}
    synthetic.write_run(made, "north", synthetic.commit_hash(0), timed(**times))
    (one,) = tables.standings(tables.make(made, "north").rows)  # of TF32 there is one alone
    assert (one.shape, one.quantity, one.tf32) == (SHAPE, "train", False)
    assert (one.best.figure.variant, one.lead.other.figure.variant) == ("torch", "cudnn")
    assert one.lead.times == pytest.approx(2 / 1.6)
    assert one.best.of_floor == pytest.approx(Workload(*SHAPE).train_flops / 6.7e13 / 1.6e-3)
    assert (one.ours.one.figure.variant, one.ours.other.figure.variant) == ("cudnn", "torch")
    # synthetic's quartiles are 0.9 and 1.1 times a value.
    expected = (0.8, 0.8 * 0.9 / 1.1, 0.8 * 1.1 / 0.9)
    assert (one.ours.times, one.ours.low, one.ours.high) == pytest.approx(expected)


def test_a_variant_of_two_environments_stands_once_by_its_faster_one(made):
    for environment, factor in (("slow", 2), ("fast", 1)):
        content = timed(Scan=factor * 1e-3, Cudnn=factor * 4e-3)
        synthetic.write_run(made, "north", synthetic.commit_hash(0), content, environment=environment)
    (one,) = tables.standings(tables.make(made, "north").rows)
    assert (one.best.implementation, one.lead.other.implementation) == ("scan (fast)", "cudnn (fast)")
    assert one.lead.times == pytest.approx(4)
    assert one.ours is None  # there is no peer


@pytest.mark.parametrize(("error", "best"), [(0.9e-5, "torch"), (1.1e-5, "cudnn")])
def test_what_is_wrong_does_not_stand(error, best, made):
    content = timed(Scan=4e-3, Cudnn=3e-3, Torch=1e-3)
    content["accuracy.TorchAccuracy.track_gradients"] = synthetic.tracked([error, *[NAN] * 35])
    synthetic.write_run(made, "north", synthetic.commit_hash(0), content)
    report = tables.make(made, "north")
    (one,) = tables.standings(report.rows)
    assert one.best.figure.variant == best
    assert lines_of(formats.markdown_ranking(report), ["1", "32 × 30", "128"])[0][4] == best


def test_the_standings_are_shown(made, run):
    synthetic.write_run(made, "south", synthetic.commit_hash(0), timed(Scan=4e-3, Torch=1e-3))
    status, output, _ = run(["report", "--machine", "south", "--results", str(made), "--format", "json"])
    assert status == 0
    (one,) = json.loads(output)["standings"]
    assert (one["best"], one["lead"]["other"], one["ours"]["one"]) == ("torch", "scan", "scan")
    assert one["of_floor"] is None  # this machine's peaks aren't known
    status, output, _ = run(["report", "--machine", "south", "--results", str(made)])
    assert "4.0× (3.3–4.9) scan" in output
    assert "scan 0.25× (0.20–0.31) torch" in output


def test_where_one_variant_was_timed_there_are_no_standings(made, run):
    synthetic.write_run(made, "north", synthetic.commit_hash(0), timed(Scan=4e-3))
    status, output, _ = run(["report", "--machine", "north", "--results", str(made)])
    assert status == 0
    assert "beside the best peer" not in output
    assert "at worst and at best" not in output


@pytest.mark.parametrize(
    ("text", "named"), [("no mark", "<!-- table: MACHINE -->"), ("<!-- table: attic -->\n<!-- end -->", "attic")]
)
def test_a_readme_that_cannot_be_written_is_left(text, named, tmp_path, run):
    path = tmp_path / "README.md"
    path.write_text(text)
    status, output, errors = run(["readme", str(path), "--results", str(RESULTS)])
    assert (status, output) == (1, "")
    assert named in errors
    assert path.read_text() == text


def test_plots(full, tmp_path, run):
    pytest.importorskip("matplotlib")
    first, again, image = (tmp_path / name for name in ("first.svg", "again.svg", "image.png"))
    for path in (first, again, image):
        assert run(["report", "--results", str(full[0]), "--plot", str(path)]) == (0, "", "")
    assert xml.etree.ElementTree.parse(first).getroot().tag.endswith("svg")
    assert first.read_bytes() == again.read_bytes()
    assert image.read_bytes().startswith(b"\x89PNG")


def test_seventeen_variants_are_told_apart_and_look_alike_in_each_panel(made):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    prefixes = [class_prefix(name) for name in VARIANTS]
    assert len(prefixes) > 10
    results = {
        f"lstm.{prefix}LSTM.time_train": synthetic.full_grid()["lstm.ScanLSTM.time_train"] for prefix in prefixes
    }
    # In this panel there are fewer.
    results["lstm.CudnnLSTM.time_train"] = one_shape(1.0)
    synthetic.write_run(made, "north", synthetic.commit_hash(0), results)
    report = tables.make(made, "north")
    looks = []
    for panel, axis in zip(figure.subplots(1, 2), ("seq", "hidden"), strict=True):
        plot._draw(panel, report, "train", axis)
        lines = {line.get_label().split(":")[0]: line for line in panel.get_lines() if ":" in line.get_label()}
        looks.append({name: (line.get_color(), line.get_marker()) for name, line in lines.items()})
        assert len(set(looks[-1].values())) == len(lines) == len(VARIANTS) - 1
    assert looks[0] == looks[1]


def test_the_slope_is_the_power_that_time_grows_with(full):
    rows = [row for row in tables.make(full[0], "north").rows if row.figure.quantity == "train"]
    for axis, power in {"batch": 0.5, "seq": 1, "hidden": 1, "depth": 1}.items():
        base, lines = plot.lines(rows, axis)
        # The largest of the other sizes.
        assert base == Shape(128, 200, 1024, 3)._replace(**{axis: 0})
        assert set(lines) == {"scan", "cudnn", "cudnn_tf32", "torch", "torch_tf32"}
        assert all(plot.slope(line, axis) == pytest.approx(power) for line in lines.values())


def test_the_table_of_all_slopes(full):
    *_, table = formats.tables(tables.make(full[0], "north"))
    assert table.headings[1:5] == ["Train, seq", "Train, hidden", "Train, batch", "Train, depth"]
    assert table.rows[0] == ["scan", *["1.00", "1.00", "0.50", "1.00"] * 2]
    assert [version for version, *_ in table.rows] == ["scan", "cudnn", "cudnn_tf32", "torch", "torch_tf32"]
    *_, table = formats.tables(tables.make(RESULTS, "epyc-2core"))
    assert [slope == "n/a" for slope in table.rows[0][1:]] == [True, False, False, True] * 2


def test_a_slope_that_rounds_to_zero_has_no_sign(made):
    falling = synthetic.sampled([1 - 1e-6 * batch for batch, *_ in synthetic.SHAPES])
    synthetic.write_run(made, "north", synthetic.commit_hash(0), {"lstm.ScanLSTM.time_train": falling})
    *_, table = formats.tables(tables.make(made, "north"))
    assert table.rows[0][1:5] == ["0.00"] * 4


def test_a_size_that_was_timed_once_has_no_line():
    rows = [row for row in tables.make(RESULTS, "epyc-2core").rows if row.figure.quantity == "train"]
    assert plot.lines(rows, "seq") == (None, {})
    assert plot.lines(rows, "hidden")[0] == Shape(128, 30, 0, 1)


def names_of_benchmarks(results):
    names = json.loads((results / "benchmarks.json").read_text())
    return [name for name in names if name != "version"]


def gap_of(results, machine, grid):
    (gap,) = gaps.find(results, history.runs(results, machine), grid)
    return gap


def asked(command):
    """Return the machine, the pattern and the commits of a run command."""
    words = shlex.split(command)
    start = words.index("rnnbench")
    assert words[start : start + 2] == ["rnnbench", "run"]
    assert "--record-samples" in words
    return words[words.index("--machine") + 1], words[words.index("--bench") + 1], words[-1]


@pytest.mark.parametrize("grid", GRIDS)
def test_the_command_asks_for_what_is_missing_and_nothing_else(grid):
    gap = gap_of(RESULTS, "epyc-2core", grid)
    measured = {
        f"{figure.benchmark}({', '.join(map(str, figure.shape))})"
        for run in history.runs(RESULTS, "epyc-2core")
        for figure in history.read(run)
    }
    # scan alone runs there.
    every = [
        f"{name}({', '.join(map(str, shape))})"
        for name in names_of_benchmarks(RESULTS)
        if ".Scan" in name
        for shape in GRIDS["full"]
    ]
    wanted = {name for name in every if re.search(asv_filter(grid), name)}
    if grid == "quick":
        assert (gap.missing, gap.command) == ({}, "")
        return
    machine, pattern, commits = asked(gap.command)
    assert (machine, commits) == ("epyc-2core", "fcae1cdc1bfe53ad49d2f36acf112118f4954898^!")
    described = json.loads((RESULTS / "benchmarks.json").read_text())
    described.pop("version")
    selected = Benchmarks(SimpleNamespace(benchmark_dir=None), described.values(), pattern).benchmark_selection
    names = {
        f"{name}({', '.join(map(str, synthetic.SHAPES[at]))})" for name, shapes in selected.items() for at in shapes
    }
    assert names == wanted - measured


@pytest.mark.parametrize(
    ("measured", "environments"),
    [
        (("Scan", "Cudnn"), ["virtualenv:3.11"]),
        (("Scan", "Torch"), ["peers:3.11", "virtualenv:3.11"]),
        (("Torch",), ["peers:3.11"]),
    ],
)
def test_the_command_names_the_environments_that_the_missing_need(measured, environments, made):
    synthetic.write_machine(made, "north", gpu="A GPU")
    (made / "benchmarks.json").write_text("{}")
    synthetic.write_run(made, "north", synthetic.commit_hash(0), timed(**dict.fromkeys(measured, 1e-3)))
    words = shlex.split(gap_of(made, "north", "quick").command)
    named = [after for word, after in itertools.pairwise(words) if word == "--environment"]
    assert (named or ["virtualenv:3.11"]) == environments  # asv's own is Theano's


def test_a_gpus_command_names_its_device():
    assert gap_of(RESULTS, "h100", "seed").command.startswith("RNNBENCH_DEVICE=cuda rnnbench run")
    assert gap_of(RESULTS, "epyc-2core", "seed").command.startswith("rnnbench run")


def test_what_was_measured_in_any_environment_or_failed_is_not_missing(made):
    commit = synthetic.commit_hash(0)
    synthetic.write_machine(made, "north", gpu="A GPU")
    # Memory and TF32 can't be measured there; of cudnn nobody has asked; keras isn't made for a GPU.
    memory = {"memory.ScanMemory.track_train": synthetic.tracked([NAN] * 36)}
    synthetic.write_run(made, "north", commit, {**timed(Scan=1, Torch=NAN, CudnnTF32=NAN), **memory}, environment="one")
    synthetic.write_run(made, "north", commit, timed(Scan=None, Torch=None), environment="three")
    synthetic.write_run(made, "north", commit, timed(Scan=NAN, Torch=NAN), environment="two")
    tried = timed(Scan=1, Torch=1, Cudnn=1, CudnnTF32=1, Keras=1)
    known = [*tried, *memory, "lstm.CudnnTF32LSTM.time_forward", "version"]
    (made / "benchmarks.json").write_text(json.dumps(dict.fromkeys(known)))
    gap = gap_of(made, "north", "quick")
    rest = [shape for shape in GRIDS["full"] if shape in GRIDS["quick"] and shape != SHAPE]
    assert gap.missing == {
        "lstm.ScanLSTM.time_train": rest,
        "lstm.TorchLSTM.time_train": rest,
        "lstm.CudnnLSTM.time_train": [SHAPE, *rest],
    }
    assert gap.failed == {"lstm.TorchLSTM.time_train": [SHAPE]}


def test_history_lists_what_has_results(full, run):
    folder, commits = full
    status, output, errors = run(["history", "--results", str(folder), "--grid", "full"])
    assert (status, errors) == (0, "")
    for machine in synthetic.MACHINES:
        for commit in commits:
            assert re.search(rf"^{commit[:8]} +2023-11-1\d +{machine} +virtualenv-py3.11$", output, re.MULTILINE)
        assert f"{machine} at {commits[-1][:8]} has all of the full grid's figures." in output
    _, output, _ = run(["history", "--results", str(folder), "--machine", "west", "--commit", commits[0]])
    assert len(output.splitlines()) == 3


def test_history_shows_the_command(run):
    _, output, _ = run(["history", "--results", str(RESULTS), "--grid", "seed"])
    assert gap_of(RESULTS, "h100", "seed").command in output
    assert "lacks 34 of the seed grid's figures:" in output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["report", "--machine", "attic"], ["attic", "epyc-2core, h100"]),
        (["report", "--machine", "h100", "--commit", "beef"], ["beef", "fcae1cdc"]),
        (["report", "--machine", "h100", "--against", "beef"], ["beef", "fcae1cdc", "h100", "titan-x"]),
        (["history", "--machine", "attic"], ["attic", "epyc-2core, h100"]),
        (["history", "--commit", "beef"], ["beef"]),
        (["report", "--results", "nowhere"], ["nowhere"]),
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_said_with_what_is(arguments, named, run):
    status, output, errors = run([arguments[0], "--results", str(RESULTS), *arguments[1:]])
    assert (status, output) == (1, "")
    assert all(word in errors for word in named)
    assert errors.startswith("rnnbench: ")
    assert len(errors.splitlines()) == 1


def test_a_beginning_of_two_commits_is_refused(made):
    for commit in ("abc0", "abc1"):
        synthetic.write_run(made, "north", commit * 10, timed(Scan=1))
    with pytest.raises(NotFound, match=r"abc0.*, abc1"):
        tables.make(made, "north", "abc")


@pytest.mark.parametrize(
    "arguments", [["--plot", "x.pdf"], ["--format", "html"], ["--plot", "x.png", "--format", "csv"]]
)
def test_wrong_arguments(arguments, run):
    status, output, errors = run(["report", *arguments])
    assert (status, output) == (2, "")
    assert arguments[0] in errors


def test_the_command_offers_every_format():
    assert tuple(formats.FORMATS) == result_commands._FORMATS


def test_a_broken_file_is_said_once_and_the_rest_is_shown(tmp_path, run):
    results = Path(shutil.copytree(RESULTS, tmp_path / "results"))
    broken = results / "h100" / "00000000-cut.json"
    broken.write_text("{")
    undescribed = results / "epyc-2core" / "machine.json"
    undescribed.unlink()
    for command in (["report", "--machine", "h100"], ["history", "--machine", "h100", "--grid", "seed"]):
        status, output, errors = run([*command, "--results", str(results)])
        assert status == 0
        assert "fcae1cdc" in output
        assert len(errors.splitlines()) == 2
        assert all(str(path) in errors for path in (broken, undescribed))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("jiter", ["report", "--format", "json"]),
        ("tabulate", ["report"]),
        ("matplotlib", ["report", "--plot", "x.png"]),
    ],
)
def test_a_missing_library_is_named_with_its_cure(name, arguments, monkeypatch, run):
    monkeypatch.setitem(sys.modules, name, None)
    status, output, errors = run([*arguments, "--results", str(RESULTS)])
    assert (status, output) == (1, "")
    assert f"pip install {name}" in errors


def test_starting_imports_neither_tables_nor_plots(python):
    names = "{'tabulate', 'matplotlib', 'asv', 'rnnbench.report'}"
    done = python("-c", f"import sys, rnnbench.cli; print({names} & set(sys.modules))")
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_long_history_is_read_quickly(tmp_path, python):
    synthetic.write(tmp_path, 40)
    # The CPU's time: on a busy machine the elapsed one is the others'.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = python("-m", "rnnbench", "report", "--results", str(tmp_path))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    assert (done.returncode, done.stderr) == (0, "")
    assert synthetic.commit_hash(39)[:8] in done.stdout
