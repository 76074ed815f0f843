"""Commands answer any input and any file content with output or an error message, never with a traceback."""

import copy
import json
import os
import re

import pytest
from asv import runner
from asv.benchmarks import Benchmarks
from helpers import ROOT, recorded
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rnnbench.cli import main
from rnnbench.history import asv_files

# Hypothesis warns about fixtures shared by examples. It is safe here, because each example restores what it changes.
SHARED = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEW = settings(SHARED, max_examples=8)

TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "..", "../../x", "/", "-", "--", "\x1b[2J", "\u202e", "<b>", "__proto__", "a" * 300]),
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.just(10**400),
        st.floats(),
        TEXTS,
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def places(content):
    """Yield (container, key) for each value in a JSON document."""
    if isinstance(content, (dict, list)):
        for key in list(content) if isinstance(content, dict) else range(len(content)):
            yield content, key
            yield from places(content[key])


@st.composite
def changed(draw, original):
    """Draw a copy of a JSON document with one to three values replaced, removed or moved to another key."""
    content = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        # The first 30 are added because nearly all others are samples.
        candidates = list(places(content))
        if not candidates:
            break
        container, key = draw(st.sampled_from(candidates[:: max(1, len(candidates) // 200)] + candidates[:30]))
        action = draw(st.sampled_from(["other", "gone", "renamed"]))
        if action == "other" or isinstance(container, list):
            container[key] = draw(VALUES)
        else:
            value = container.pop(key)
            if action == "renamed":
                container[draw(TEXTS)] = value
    return content


def original(name):
    return json.loads(next(recorded.RESULTS.glob(name)).read_text())


RESULTS = original(f"epyc-2core/{recorded.COMMIT}-*.json")
MACHINE = original("epyc-2core/machine.json")
BENCHMARKS = original("benchmarks.json")


def call(arguments, capsys):
    """Run a command in this process; return its exit status, output and errors."""
    try:
        status = main(arguments)
    except SystemExit as leaving:
        status = leaving.code
    output, errors = capsys.readouterr()
    assert status in (0, 1, 2)
    assert (status == 0) or errors
    return status, output, errors


COMMANDS = ["variants", "doctor", "filter", "machine", "report", "history", "readme", "run", "publish"]
OPTIONS = ["--device", "--grid", "--format", "--export", "--machine", "--commit", "--against", "--results", "--help"]
WORDS = st.one_of(st.sampled_from([*OPTIONS, "cpu", "cuda", "quick", "csv", "h100", recorded.COMMIT, "gpu"]), TEXTS)


@SHARED
@given(st.sampled_from(COMMANDS), st.lists(WORDS, max_size=4))
@example("filter", ["quik"])
@example("report", ["--results", "\0"])
@example("readme", ["/dev/null"])
@example("readme", ["/bin/true"])
def test_any_command_line(capsys, tmp_path, monkeypatch, command, words):
    monkeypatch.chdir(tmp_path)
    if command == "machine":
        # Only invalid names: a valid one would measure, and write to the user's home.
        words = [f"/{word}" for word in words]
    call([command, *words], capsys)


@SHARED
@given(
    st.sampled_from(["THEANO_FLAGS", "THEANORC", "HOME", "XDG_CACHE_HOME", "RNNBENCH_CUDA", "CUDA_HOME", "PATH"]),
    st.one_of(TEXTS, st.text(alphabet="a=.,'\"\\ /~", max_size=12)).filter(lambda text: "\0" not in text),
    st.sampled_from([["doctor"], ["variants"], ["variants", "--device", "cuda"], ["report"]]),
)
@example("RNNBENCH_CUDA", "~0", ["doctor"])
def test_any_environment_variable(capsys, tmp_path, monkeypatch, name, value, command):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as environment:
        environment.setenv(name, os.fsdecode(os.fsencode(value.encode("utf-8", "surrogateescape"))))
        call(command, capsys)


@SHARED
@given(st.one_of(changed(RESULTS), VALUES), st.one_of(st.just(MACHINE), changed(MACHINE)))
def test_reports_on_broken_results(capsys, tmp_path, results, machine):
    folder = tmp_path / "results" / "here"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "machine.json").write_text(json.dumps(machine))
    (folder / f"{recorded.COMMIT}-virtualenv-py3.11.json").write_text(json.dumps(results))
    for command in (["report"], ["history", "--grid", "quick"], ["report", "--format", "json"]):
        _, output, _ = call([*command, "--results", str(tmp_path / "results")], capsys)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", output)


@FEW
@given(
    st.lists(st.one_of(changed(RESULTS), VALUES), min_size=20, max_size=20),
    st.one_of(st.just(BENCHMARKS), changed(BENCHMARKS)),
    changed(MACHINE),
)
@example(
    [RESULTS],
    {name: item | {"param_names": []} for name, item in BENCHMARKS.items() if name != "version"} | {"version": 2},
    MACHINE,
)
def test_a_dashboard_of_broken_results(capsys, tmp_path_factory, monkeypatch, results, benchmarks, machine):
    folder = tmp_path_factory.mktemp("published")
    monkeypatch.chdir(folder)
    for name, facts in (("here", MACHINE | {"machine": "epyc-2core"}), ("there", machine)):
        (folder / "results" / name).mkdir(parents=True)
        (folder / "results" / name / "machine.json").write_text(json.dumps(facts))
    for number, content in enumerate(results):
        place = folder / "results" / ("here" if number else "there")
        (place / f"{recorded.COMMIT}-{number}.json").write_text(json.dumps(content))
    (folder / "results" / "benchmarks.json").write_text(json.dumps(benchmarks))
    configuration = json.loads((ROOT / "asv.conf.json").read_text()) | {"repo": str(ROOT)}
    (folder / "asv.conf.json").write_text(json.dumps(configuration))
    call(["publish"], capsys)


def with_interval(end):
    """Return the recorded results, in which the confidence interval of one benchmark has this upper end."""
    results = copy.deepcopy(RESULTS)
    column = results["result_columns"].index("stats_ci_99_b")
    row = next(row for row in results["results"].values() if len(row) > column)
    row[column] = [end]
    return results


def test_an_end_of_an_interval_may_be_infinite_but_not_too_large_for_a_float():
    asv_files.check("results", with_interval(float("inf")))
    with pytest.raises(ValueError, match="isn't as asv writes it"):
        asv_files.check("results", with_interval(10**400))


CONFIGURATION = json.loads((ROOT / "asv.conf.json").read_text())


@SHARED
@given(st.one_of(changed(CONFIGURATION), VALUES))
@example(CONFIGURATION | {"resultsdir": "results"})
@example(CONFIGURATION | {"plugins": [".nosuch"]})
@example(CONFIGURATION | {"plugins": ["./../x"]})
@example(CONFIGURATION | {"plugins": [""]})
def test_any_configuration(capsys, tmp_path, monkeypatch, configuration):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "asv.conf.json").write_text(json.dumps(configuration))
    status, _, _ = call(["publish"], capsys)
    assert status == 1  # even a valid configuration fails, because there are no results


def test_what_asv_finds_in_the_benchmarks_is_no_bad_input(python, tmp_path):
    found = tmp_path / "found.json"
    done = python(runner.BENCHMARK_RUN_SCRIPT, "discover", str(ROOT / "benchmarks"), str(found))
    assert done.returncode == 0, done.stderr
    described = {benchmark["name"]: benchmark for benchmark in json.loads(found.read_text())}
    asv_files.check("benchmarks.json", {**described, "version": Benchmarks.api_version})
