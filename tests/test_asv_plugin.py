"""What our plugin stores with asv's results, and the lines of progress that it lets `asv run` print."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from asv.results import Results
from asv.runner import BenchmarkResult
from helpers import ROOT

from rnnbench import asv_plugin
from rnnbench.asv_plugin import StatefulResults, _format

NAN = float("nan")


def line_of(values, unit="bytes"):
    """Return what the plugin prints of a benchmark whose one parameter has these sizes."""
    sizes = ["32", "128", "512", "1024"][: len(values)]
    benchmark = {"name": "b", "params": [sizes], "param_names": ["hidden"], "unit": unit, "version": "1"}
    nothing = [None] * len(values)
    results = Results.unnamed()
    results.add_result(benchmark, BenchmarkResult(values, nothing, nothing, 0, "failed: out of memory", None))
    return _format(results, benchmark)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([1e6, 2e6, 3e6], "1M, 2M, 3M"),
        ([1e6, NAN, 3e6], "1M, 3M"),
        ([NAN, NAN], "n/a"),
        ([4e6, 2e6, 3e6, 1e6], "1M to 4M at 4 shapes"),
        ([2e6, 2e6], "2M, 2M"),
    ],
)
def test_a_benchmark_takes_one_line(values, line):
    assert line_of(values) == (line, None)


def test_a_failure_is_counted_and_its_message_shown():
    assert line_of([1e6, None, NAN]) == ("1M, 1 failed", "failed: out of memory")


def test_an_error_has_three_digits():
    assert line_of([3.920519599449461e-07], unit="relative error") == ("3.92e-07", None)


def test_the_line_leaves_out_what_only_an_earlier_run_timed():
    benchmark = {"name": "b", "params": [["32", "128"]], "param_names": ["hidden"], "unit": "bytes", "version": "1"}
    results = StatefulResults.unnamed()
    for values, selected in (([1e6, 2e6], None), ([4e6, NAN], [0])):
        result = BenchmarkResult(values, [None] * 2, [None] * 2, 0, "", None)
        results.add_result(benchmark, result, selected_idx=selected)
    assert _format(results, benchmark) == ("4M", None)


def test_each_process_is_stored_with_the_number_of_its_samples():
    benchmark = {"name": "b", "params": [["32"], ["30"], ["128"], ["1", "3"]], "version": "1", "unit": "seconds"}
    results = StatefulResults.unnamed()
    for append, counts in ((False, (20, None)), (True, (7, 9)), (True, (12, 11))):
        samples = [count and [1.0] * count for count in counts]
        for depth, count in zip((1, 3), counts, strict=True):
            if count:
                note = {"parameters": f"32, 30, 128, {depth}", "state": {"marks": []}}
                Path(asv_plugin._notes().name, f"{depth}.json").write_text(json.dumps(note))
        numbers = [count and 1 for count in counts]
        result = BenchmarkResult([count and 1.0 for count in counts], samples, numbers, 0, "", None)
        results.add_result(benchmark, result, record_samples=True, append_samples=append)
    taken = {shape: [state["samples"] for state in states] for shape, states in results._states["b"].items()}
    assert taken == {"32, 30, 128, 1": [20, 7, 12], "32, 30, 128, 3": [9, 11]}


@pytest.mark.parametrize("missing", ["numpy", "fastjsonschema", "jiter", "orjson"])
def test_without_a_package_of_ours_asv_says_in_a_line_what_it_lacks(missing):
    hide = f"import sys; sys.modules[{missing!r}] = None; from asv.console import log; log.enable()"
    load = "from asv.plugin_manager import PluginManager; PluginManager().import_plugin('.asv_plugin')"
    done = subprocess.run([sys.executable, "-c", f"{hide}; {load}"], cwd=ROOT, capture_output=True, text=True)
    (line,) = (done.stdout + done.stderr).splitlines()
    assert f"{missing} is missing. asv works without it" in line
    assert line.endswith(f"{sys.executable} -m pip install '.[bench]'")


def test_states_are_stored_without_what_only_the_page_needs():
    hide = "import sys; sys.modules['markdown'] = None"
    load = "from asv.plugin_manager import PluginManager; PluginManager().import_plugin('.asv_plugin')"
    code = f"{hide}; {load}; from asv.commands import run; print(run.Results.__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("StatefulResults\n", "")


@pytest.mark.parametrize("hide", ["", "import sys; sys.modules['fastjsonschema'] = None; "], ids=["all", "asv alone"])
def test_asv_builds_environments_with_the_python_that_runs_it(hide):
    load = "from asv.plugin_manager import PluginManager; PluginManager().import_plugin('.asv_plugin')"
    code, others = f"{hide}import os; {load}; print(os.environ['PATH'])", "/usr/bin:/bin"
    environment = {**os.environ, "PATH": others}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"{os.path.dirname(sys.executable)}:{others}"


def test_asv_rm_keeps_the_states_and_libraries_of_the_other_benchmarks(tmp_path):
    """asv itself rewrites the file without them, and busy figures would become clean ones."""
    machine, name, removed = "epyc-2core-2", "267da566-virtualenv-py3.11.json", "lstm.ScanLSTM.time_forward"
    shutil.copytree(ROOT / "results" / machine, tmp_path / "results" / machine)
    shutil.copy(ROOT / "results" / "benchmarks.json", tmp_path / "results")
    configuration = json.loads((ROOT / "asv.conf.json").read_text()) | {"results_dir": str(tmp_path / "results")}
    configuration["repo"] = str(ROOT)
    (tmp_path / "asv.conf.json").write_text(json.dumps(configuration))
    path = tmp_path / "results" / machine / name
    before = json.loads(path.read_text())["state"]
    assert before.pop(removed)

    command = [sys.executable, "-m", "asv", "rm", "--config", tmp_path / "asv.conf.json", "-y"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    patterns = [f"benchmark={removed}", f"machine={machine}"]
    subprocess.run([*command, *patterns], env=environment, check=True, capture_output=True, text=True)
    after = json.loads(path.read_text())
    assert removed not in after["results"]
    assert after["results"]
    assert after["state"] == before
