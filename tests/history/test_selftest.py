"""rnnbench selftest: it finds what was slowed, judges as asv compare does, and report shows what it stored."""

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import asv
import pytest
from asv.results import iter_results_paths
from helpers import HELPERS, ROOT, synthetic

from rnnbench.cli import main
from rnnbench.history import ResultsWarning, selftest
from rnnbench.history.selftest import Verdict
from rnnbench.network.shapes import GRIDS, Shape
from rnnbench.report import page
from rnnbench.variants import Variant

SHAPE = "32, 30, 128, 1"
FIGURE = "lstm.ScanLSTM.time_train"


def verdicts(*changed):
    """Return those of one figure: for each factor, how many of 60 comparisons were changed at each slowdown."""
    return [
        Verdict("0123abcd", "2026-11-22", FIGURE, SHAPE, 0.01, 14, slowdown, factor, 60, count)
        for factor, counts in zip(selftest._FACTORS, changed, strict=True)
        for slowdown, count in zip((0.0, 0.05, 0.1, 0.2), counts, strict=True)
    ]


def test_what_is_slowed_is_found(monkeypatch, tmp_path, capsys, add_variant):
    """By asv, in the benchmarks, with a variant of known times; to a tenth of the speed, for a busy machine."""
    monkeypatch.setattr(selftest, "_RUNS", (0.0, 9.0))
    monkeypatch.setattr(selftest, "_TURNS", 2)
    monkeypatch.setitem(GRIDS, "quick", (Shape(32, 30, 128, 1),))
    add_variant(Variant("spinning", "Spinning", "It spins", ("cpu",)))
    copied = tmp_path / "benchmarks"
    shutil.copytree(ROOT / "benchmarks", copied, ignore=shutil.ignore_patterns("__pycache__"))
    with (copied / "__init__.py").open("a") as file:
        row = 'variants.Variant("spinning", "Spinning", "It spins", ("cpu",))'
        file.write(f'\nfrom rnnbench import variants\n\nvariants.VARIANTS["spinning"] = {row}\n')
        file.write(f"variants.__path__.append({str(HELPERS)!r})\n")
    monkeypatch.setenv("HOME", str(tmp_path))  # asv's list of machines stays as it is
    monkeypatch.setenv("RNNBENCH_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    selftest._commit(tmp_path, "Add a variant")

    assert main(["selftest", "--machine", "test", "spinning"]) == 0
    found = [one for one in selftest.read(Path("results/test")) if one.factor == 1.1 and one.slowdown]
    names = {"lstm.SpinningLSTM.time_forward", "lstm.SpinningLSTM.time_train"}
    assert {one.benchmark for one in found} == names
    assert all((one.shape, one.compared, one.changed) == (SHAPE, 1, 1) for one in found)
    assert {one.samples for one in found} <= set(range(2 * 7, 2 * 20 + 1))  # of both turns
    output = capsys.readouterr().out
    assert all(name in output for name in names)


@pytest.mark.parametrize("slowdown", [0.0, 0.2])
def test_it_judges_as_asv_compare_does(slowdown, tmp_path, monkeypatch):
    monkeypatch.setattr(selftest, "_RUNS", (0.0, slowdown))
    results, seconds = tmp_path / "results", [0.5, 0.8, 0.97, 0.99, 1.0, 1.03, 1.07, 1.2, 2.0]
    synthetic.write_machine(results, "north")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    commits = [selftest._commit(tmp_path, f"Run {number}") for number in range(2)]
    names = [f"lstm.V{number}LSTM.time_train" for number in range(len(seconds))]
    for commit, values in zip(commits, ([1.0] * len(seconds), seconds), strict=True):
        rows = [synthetic.sampled([value, *[float("nan")] * 35], repeat=8) for value in values]
        synthetic.write_run(results, "north", commit, dict(zip(names, rows, strict=True)))
    (results / "benchmarks.json").write_text('{"version": 2}')
    configuration = {"version": 1, "repo": str(tmp_path), "results_dir": str(results), "environment_type": "existing"}
    (tmp_path / "asv.conf.json").write_text(json.dumps(configuration))

    judged = selftest._judge(results, "north", commits, "0123abcd")
    command = [
        sys.executable,
        "-m",
        "asv",
        "compare",
        "--config",
        tmp_path / "asv.conf.json",
        "--only-changed",
        *commits,
    ]
    for factor in selftest._FACTORS:
        shown = subprocess.run([*command, f"--factor={factor}"], capture_output=True, text=True, check=True)
        lines = [line for line in shown.stdout.splitlines() if f"({SHAPE})" in line]
        # Of a slowed run only what is slower is found.
        expected = {name for name in names for line in lines if name in line and (not slowdown or "| +" in line)}
        found = [one for one in judged if (one.factor, one.slowdown) == (factor, slowdown)]
        assert {one.benchmark for one in found} == set(names)
        assert {one.benchmark for one in found if one.changed} == expected
        assert 0 < len(expected) < len(names)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        # At 1.025 two of 60 false alarms are too many; at 1.05 one is not, and 57 of 60 are enough.
        (((2, 60, 60, 60), (1, 56, 57, 60), (0, 0, 30, 60)), "A change of 10% is found here with --factor 1.05; "),
        (((0, 57, 60, 60), (0, 0, 60, 60), (0, 0, 30, 60)), "A change of 5% is found here with --factor 1.025; "),
        (((9, 60, 60, 60), (8, 60, 60, 60), (7, 60, 60, 60)), "A change of 20% isn't reliably found here; "),
        (((0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 56)), "A change of 20% isn't reliably found here; "),
    ],
)
def test_the_smallest_change_is_one_found_without_false_alarms(changed, said):
    sentence = selftest.sentence(verdicts(*changed))
    assert sentence.startswith(said)
    assert f"{changed[-1][0]} of 60 comparisons of the same code" in sentence
    assert "2026-11-22 at 0123abcd, 14 to 14 samples" in sentence


def test_what_was_not_compared_is_not_found():
    equals = [one for one in verdicts(*[(0, 60, 60, 60)] * 3) if one.slowdown == 0]
    assert "isn't reliably found" in selftest.sentence(equals)


def test_report_shows_what_was_stored(tmp_path, capsys):
    synthetic.write(tmp_path, 1, machines=("north", "south"))
    stored = verdicts((2, 60, 60, 60), (1, 56, 57, 60), (0, 0, 30, 60))
    selftest.save(stored, tmp_path / "north")
    assert selftest.read(tmp_path / "north") == stored
    for machine, shown in (("north", True), ("south", False)):
        for form in ("text", "json"):
            assert main(["report", "--machine", machine, "--results", str(tmp_path), "--format", form]) == 0
            output, errors = capsys.readouterr()
            assert (selftest.sentence(stored) in output) == shown
            assert errors == ""
    shutil.copytree(Path(asv.__file__).with_name("www"), tmp_path / "html")
    page.write(tmp_path, tmp_path / "html")
    north, south = json.loads((tmp_path / "html" / page.NAME / "index.json").read_text())["machines"]
    assert north["facts"]["selftest"] == selftest.sentence(stored)
    assert "selftest" not in south["facts"]


def test_asv_passes_over_what_is_stored(tmp_path):
    synthetic.write(tmp_path, 1, machines=("north",))
    selftest.save(verdicts(*[(0, 0, 0, 0)] * 3), tmp_path / "north")
    assert [name for _, name, _ in iter_results_paths(str(tmp_path))] == [
        f"{synthetic.commit_hash(0)[:8]}-virtualenv-py3.11.json"
    ]


@pytest.mark.parametrize(
    ("column", "value"),
    [("changed", "61"), ("changed", "-1"), ("compared", "x"), ("seconds", "nan"), ("slowdown", "0.07"), ("factor", "")],
)
def test_what_no_selftest_wrote_is_left_out_with_a_warning(column, value, tmp_path):
    (row, *rest) = verdicts(*[(0, 0, 0, 0)] * 3)
    selftest.save([row._replace(**{column: value}), *rest], tmp_path)
    with pytest.warns(ResultsWarning, match="selftest.csv: it isn't as rnnbench selftest writes it"):
        assert selftest.read(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"commit\n1\n", b"a,b\n" + b"1," * 10**5])
def test_a_broken_file_is_left_out(content, tmp_path):
    (tmp_path / selftest.FILE).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResultsWarning)
        assert selftest.read(tmp_path) == []


def test_text_from_a_stranger_moves_no_cursor(tmp_path):
    stored = [one._replace(commit="\x1b[2J") for one in verdicts(*[(0, 0, 0, 0)] * 3)]
    selftest.save(stored, tmp_path)
    assert "\x1b" not in selftest.sentence(selftest.read(tmp_path))


def test_a_run_that_fails_says_what_asv_said(monkeypatch, tmp_path, capsys):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").write_text("")
    (tmp_path / "benchmarks" / "broken.py").write_text("import nothing_of_this_name")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    selftest._commit(tmp_path, "Break")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["selftest", "--machine", "test"]) == 1
    assert "nothing_of_this_name" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
