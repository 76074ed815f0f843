"""Reading asv's results files as rows, checked against the files themselves and with broken copies of them."""

import json
import math
import shutil
import warnings
from pathlib import Path

import pytest
from helpers import recorded, synthetic

from rnnbench import history
from rnnbench.history import NotFound, ResultsWarning, figures
from rnnbench.history.benchmark_names import QUANTITIES, describe
from rnnbench.measure import floor
from rnnbench.network.models import MODELS
from rnnbench.network.shapes import PARAMS, Shape
from rnnbench.network.workload import Workload
from rnnbench.report import tables

RESULTS = recorded.RESULTS
COMMIT = synthetic.commit_hash(0)
NAN = float("nan")


@pytest.fixture
def results(tmp_path):
    """A copy of the real results."""
    return Path(shutil.copytree(RESULTS, tmp_path / "results"))


@pytest.fixture
def made(tmp_path):
    """A results folder with one machine and no run yet."""
    synthetic.write_machine(tmp_path, "north")
    return tmp_path


def only_file(results, machine):
    (path,) = (path for path in (results / machine).glob("*.json") if path.name != "machine.json")
    return path


def read(results, machine=None, unavailable=False):
    """Return the figures of all runs."""
    return [figure for run in history.runs(results, machine) for figure in history.read(run, unavailable)]


def read_strictly(*choice, **more):
    """Return the figures; fail if there is a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read(*choice, **more)


def row_with(column, value):
    """Return a timed benchmark's row in which one column has this value."""
    row = synthetic.sampled([1.0] * 36)
    row[synthetic.COLUMNS.index(column)] = value
    return row


@pytest.mark.parametrize("machine", ["h100", "epyc-2core"])
def test_every_figure_has_the_values_of_its_file(machine):
    content = json.loads(only_file(RESULTS, machine).read_text())
    column = {name: number for number, name in enumerate(content["result_columns"])}
    figures = read_strictly(RESULTS, machine=machine, unavailable=True)
    assert len(figures) == 36 * len(content["results"])
    for figure in figures:
        row = content["results"][figure.benchmark]
        indices = [sizes.index(size) for sizes, size in zip(PARAMS, figure.shape, strict=True)]
        at = ((indices[0] * 3 + indices[1]) * 3 + indices[2]) * 2 + indices[3]
        value = row[column["result"]][at]
        if math.isnan(value):
            assert (figure.state, figure.value, figure.low, figure.samples) == ("n/a", None, None, 0)
            continue
        assert (figure.state, figure.value) == ("ok", value)
        if len(row) > column["stats_q_75"]:
            expected = [row[column[name]][at] for name in ("stats_q_25", "stats_q_75")]
            assert [figure.low, figure.high] == expected
            assert figure.samples == len(row[column["samples"]][at])
        assert (figure.machine, figure.commit, figure.date) == (machine, content["commit_hash"], content["date"])
        # The commit is older than a change of how calls are timed, which didn't raise the version.
        version = "1 before 87a56911" if figure.benchmark.startswith("lstm.") else "1"
        assert (figure.environment, figure.version) == (content["env_name"], version)


def test_unavailable_figures_are_returned_only_on_request():
    figures = read_strictly(RESULTS, machine="h100")
    assert len(figures) == 4 * 10
    assert {figure.state for figure in figures} == {"ok"}
    assert {figure.state for figure in read_strictly(RESULTS, machine="h100", unavailable=True)} == {"ok", "n/a"}


def test_null_means_failed_for_one_shape_and_for_all(made):
    values = [None, NAN, *[1.0] * 34]
    content = {"lstm.ScanLSTM.time_train": synthetic.sampled(values), "lstm.CudnnLSTM.time_train": [None, [["32"]] * 4]}
    synthetic.write_run(made, "north", COMMIT, content)
    scan, cudnn = {}, {}
    for figure in read_strictly(made, unavailable=True):
        (scan if figure.variant == "scan" else cudnn)[figure.shape] = figure.state
    assert [scan[Shape(*shape)] for shape in synthetic.SHAPES] == ["failed", "n/a", *["ok"] * 34]
    assert cudnn == {Shape(32, 32, 32, 32): "failed"}


@pytest.mark.parametrize(
    ("benchmark", "variant", "quantity"),
    [
        ("lstm.ScanLSTM.time_forward", "scan", "forward"),
        ("lstm.CudnnTF32LSTM.time_train", "cudnn_tf32", "train"),
        ("lstm.TorchTF32LSTM.time_train", "torch_tf32", "train"),
        ("lstm.Fused3xTF32LSTM.time_train", "fused_3xtf32", "train"),
        ("device.TorchLoopTF32Device.track_forward", "torch_loop_tf32", "device_forward"),
        ("lstm.TorchFP16LSTM.time_train", "torch_fp16", "train"),
        ("device.TorchLoopBF16Device.track_forward", "torch_loop_bf16", "device_forward"),
        ("lstm.NumpyLoopLSTM.time_train", "numpy_loop", "train"),
        ("compile.JaxScanWarmBuild.timeraw_forward", "jax_scan", "build_forward_warm"),
        ("compile.ScanColdBuild.timeraw_train", "scan", "build_train_cold"),
        ("memory.TorchMemory.track_train", "torch", "memory"),
        ("accuracy.ScanAccuracy.track_outputs", "scan", "error_outputs"),
        ("accuracy.ScanAccuracy.track_gradients", "scan", "error_gradients"),
        ("gru.JaxCudnnTF32GRU.time_train", "jax_cudnn_tf32", "train"),
        ("rnn.TorchDevice.track_forward", "torch", "device_forward"),
        ("models.TorchLoopModel.time_forward", "torch_loop", "forward"),
        ("models.ScanAccuracy.track_outputs", "scan", "error_outputs"),
    ],
)
def test_a_benchmarks_name_says_the_variant_and_the_quantity(benchmark, variant, quantity):
    assert describe(benchmark) == (variant, quantity)


@pytest.mark.parametrize(
    "benchmark",
    ["", "version", "lstm.ScanLSTM", "lstm.LSTM.time_train", "lstm.ScanGRU.time_train", "memory.ScanLSTM.time_train"],
)
def test_other_names_are_refused(benchmark):
    with pytest.raises(ValueError, match="no benchmark"):
        describe(benchmark)


def test_a_figure_of_a_model_has_its_name_its_shape_and_its_state(made):
    content = {"models.ScanModel.time_train": synthetic.of_models(synthetic.sampled, serving=2e-3, gnmt_encoder=None)}
    states = {"models.ScanModel.time_train": {"'serving'": [{"marks": ["busy"]}]}}
    synthetic.write_run(made, "north", COMMIT, content, state=states)
    found = {figure.network: figure for figure in read_strictly(made)}
    assert found.keys() == {"serving", "gnmt-encoder"}
    assert found["gnmt-encoder"].state == "failed"
    serving = found["serving"]
    assert (serving.shape, serving.value, serving.marks) == (MODELS["serving"].shape, 2e-3, ("busy",))
    assert serving.subject == ("serving", (1, 50, 512, 1))


def test_a_model_that_nobody_knows_is_left_out_and_named(made):
    row = synthetic.of_models(synthetic.sampled, serving=2e-3)
    row[1] = [["'a-later-model'", *row[1][0][1:]]]
    synthetic.write_run(made, "north", COMMIT, {"models.ScanModel.time_train": row})
    with pytest.warns(ResultsWarning, match="there is no model a-later-model"):
        assert read(made) == []


def test_every_benchmark_of_this_repository_is_known():
    names = json.loads((RESULTS / "benchmarks.json").read_text())
    names.pop("version")
    assert {describe(name)[1] for name in names} == set(QUANTITIES)


def test_runs_are_selected_by_machine_and_abbreviated_hash_newest_first(tmp_path):
    commits = synthetic.write(tmp_path, 3, machines=["north", "south"])
    assert [run.commit for run in history.runs(tmp_path, "north")] == commits[::-1]
    assert {run.machine for run in history.runs(tmp_path)} == {"north", "south"}
    for beginning in (commits[1], commits[1][:4], commits[1][:12]):
        (run,) = history.runs(tmp_path, "south", beginning)
        assert (run.machine, run.commit, run.environment) == ("south", commits[1], "virtualenv-py3.11")
    assert history.runs(tmp_path, "south", commits[1][:8] + "0" * 32) == []
    assert history.runs(tmp_path, "east") == []


def test_the_layout_of_the_json_does_not_matter(results):
    path = only_file(results, "h100")
    expected = read_strictly(results)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(content.items())), indent=2))
    assert read_strictly(results) == expected


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda text: text[: len(text) // 2], "cut off"),
        (lambda text: "", "isn't JSON"),
        (lambda text: "<html>", "isn't JSON"),
        (lambda text: "\xff\xfe\x00", "isn't JSON"),
        (lambda text: "[" * 100_000, "isn't JSON"),
        (lambda text: "[1, 2]", "version 2"),
        (lambda text: text.replace('"version": 2}', '"version": 3}'), "version 2"),
        (lambda text: text.replace('"version": 2}', '"version": NaN}'), "version 2"),
        (lambda text: text.replace('"date": 1795354531000', '"date": NaN'), "date"),
        (lambda text: text.replace('"commit_hash": "fcae', '"commit_hash": "; rm '), "commit"),
        (lambda text: text.replace('"results": {', '"others": {'), "KeyError\\('results'\\)"),
        (lambda text: text.replace('"machine": "h100"', '"machine": "h200"'), "h200"),
    ],
)
def test_a_broken_file_is_named_once_and_left_out(results, broken, reason):
    path = only_file(results, "h100")
    path.write_text(broken(path.read_text()), encoding="latin-1")
    with pytest.warns(ResultsWarning, match=reason) as warned:
        figures = read(results)
    assert len(warned) == 1
    assert str(path) in str(warned[0].message)
    assert figures == read_strictly(RESULTS, machine="epyc-2core")


@pytest.mark.parametrize("broken", [lambda text: text[:-40], lambda text: text.replace('sion": 2}', 'sion": 3}')])
def test_a_broken_file_is_no_run(results, broken):
    path = only_file(results, "h100")
    path.write_text(broken(path.read_text()))
    with pytest.warns(ResultsWarning):
        assert history.runs(results, "h100") == []


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("lstm.ScanGRU.time_train", row_with("result", [1.0] * 36), "no benchmark"),
        ("lstm.TorchLSTM.time_train", row_with("stats_q_25", [NAN] * 36), "quartiles nan"),
        ("lstm.TorchLSTM.time_train", row_with("result", [-1.0] * 36), "-1.0"),
        ("lstm.TorchLSTM.time_train", row_with("result", [0] * 36), "0, with"),
        ("lstm.TorchLSTM.time_train", row_with("result", [float("inf")] * 36), "inf"),
        ("lstm.TorchLSTM.time_train", row_with("result", [10**400] * 36), "1000"),
        ("lstm.TorchLSTM.time_train", row_with("result", ["fast"] * 36), "fast"),
        ("lstm.TorchLSTM.time_train", row_with("result", [True] * 36), "True"),
        ("lstm.TorchLSTM.time_train", row_with("result", [1.0] * 35), "shorter"),
        ("lstm.TorchLSTM.time_train", row_with("stats_repeat", [NAN] * 36), "nan isn't"),
        ("lstm.TorchLSTM.time_train", row_with("stats_repeat", [2**63] * 36), "9223372036854775808 isn't"),
        ("lstm.TorchLSTM.time_train", row_with("result", [2**63] * 36), "9223372036854775808, with"),
        ("lstm.TorchLSTM.time_train", row_with("params", [["32"], ["1"], ["2"]]), "missing"),
        ("lstm.TorchLSTM.time_train", row_with("params", [[float("inf")], ["1"], ["2"], ["3"]]), "isn't text"),
        ("lstm.TorchLSTM.time_train", row_with("params", [["1"] * 1000] * 4), "too many combinations"),
        ("lstm.TorchLSTM.time_train", row_with("params", [["a"], ["1"], ["2"], ["3"]]), "invalid literal"),
        ("lstm.TorchLSTM.time_train", row_with("params", [["0"], ["1"], ["2"], ["3"]]), "less than 1"),
        ("lstm.TorchLSTM.time_train", "nonsense", "TorchLSTM"),
        ("lstm.TorchLSTM.time_train", 7, "TorchLSTM"),
    ],
)
def test_a_broken_benchmark_is_named_and_the_others_of_its_file_are_kept(made, name, row, reason):
    good = synthetic.sampled([1.0] * 36)
    path = synthetic.write_run(made, "north", COMMIT, {name: row, "lstm.ScanLSTM.time_train": good})
    with pytest.warns(ResultsWarning, match=reason) as warned:
        figures = read(made)
    assert len(warned) == 1
    assert str(path) in str(warned[0].message)
    assert name in str(warned[0].message)
    assert [figure.variant for figure in figures] == ["scan"] * 36


@pytest.mark.parametrize("content", [None, "", "[]", '{"machine": "north", "version": 2}', '{"version": 1}'])
def test_a_machine_without_a_valid_description_is_left_out(made, content):
    synthetic.write_run(made, "north", COMMIT, {})
    synthetic.write_machine(made, "south")
    synthetic.write_run(made, "south", COMMIT, {"lstm.ScanLSTM.time_train": synthetic.sampled([1.0] * 36)})
    description = made / "north" / "machine.json"
    description.unlink() if content is None else description.write_text(content)
    with pytest.warns(ResultsWarning) as warned:
        assert {figure.machine for figure in read(made)} == {"south"}
    assert len(warned) == 1
    assert str(description) in str(warned[0].message)


def test_other_files_and_folders_among_the_results_are_ignored(results):
    (results / "notes").mkdir()
    (results / "README.md").touch()
    (results / "h100" / "notes.txt").touch()
    assert read_strictly(results) == read_strictly(RESULTS)


def test_unprintable_characters_are_replaced(made):
    synthetic.write_machine(made, "south\x1b[2J", cpu="A\u202eCPU")
    path = synthetic.write_run(
        made, "south\x1b[2J", COMMIT, {"lstm.\x1b[1mLSTM.time_train": []}, environment="py\x07\x9b3"
    )
    facts = history.machines(made)["south\ufffd[2J"]
    assert facts["cpu"] == "A\ufffdCPU"
    (run,) = history.runs(made)
    with pytest.warns(ResultsWarning) as warned:
        assert history.read(run) == []
    assert run.environment == "py\ufffd\ufffd3"
    assert run.path == path
    assert all(str(warning.message).isprintable() for warning in warned)


def test_a_missing_results_folder_is_an_error(tmp_path):
    with pytest.raises(NotFound, match="nowhere"):
        history.runs(tmp_path / "nowhere")
    assert history.runs(tmp_path) == []


def test_only_the_requested_run_is_parsed(tmp_path, monkeypatch):
    commits = synthetic.write(tmp_path, 5)
    opened = []
    load = figures._load
    monkeypatch.setattr(figures, "_load", lambda path, version: opened.append(path.name) or load(path, version))
    tables.make(tmp_path, "south", commits[2])
    assert {*opened} == {"machine.json", f"{commits[2][:8]}-virtualenv-py3.11.json"}


FACTS = {"float32_flops": "6.7e13", "tf32_flops": "4.9e14", "memory_bandwidth": "3.35e12"}


def test_the_floor_is_the_longer_of_computing_and_moving_data():
    shape = Shape(128, 200, 1024, 3)
    work = Workload(*shape)
    assert floor.floor(shape, "train", "cudnn", FACTS) == (work.train_flops / 6.7e13, "compute")
    assert floor.floor(shape, "forward", "cudnn_tf32", FACTS) == (work.forward_flops / 4.9e14, "compute")
    slow = {**FACTS, "memory_bandwidth": "1e9"}
    assert floor.floor(shape, "forward", "cudnn", slow) == (work.forward_bytes / 1e9, "memory")
    assert floor.floor(shape, "train", "cudnn", slow) == (work.train_bytes / 1e9, "memory")


@pytest.mark.parametrize("variant", ["torch_fp16", "torch_loop_bf16"])
def test_the_floor_of_16_bits_has_its_own_peak_rate_and_half_the_bytes(variant):
    shape = Shape(128, 200, 1024, 3)
    work = Workload(*shape)
    assert floor.floor(shape, "train", variant, FACTS) is None
    facts = {**FACTS, "float16_flops": "9.9e14"}
    assert floor.floor(shape, "train", variant, facts) == (work.train_flops / 9.9e14, "compute")
    slow = {**facts, "memory_bandwidth": "1e9"}
    assert floor.floor(shape, "forward", variant, slow) == (work.forward_bytes / 2 / 1e9, "memory")


@pytest.mark.parametrize("rate", [None, "", "fast", "nan", "inf", "0", "-1"])
def test_there_is_no_floor_without_both_peak_rates(rate):
    facts = {key: value for key, value in {**FACTS, "memory_bandwidth": rate}.items() if value is not None}
    assert floor.floor(Shape(32, 30, 128, 1), "train", "scan", facts) is None
