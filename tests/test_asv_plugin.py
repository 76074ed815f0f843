"""The lines of progress that `asv run` prints with our plugin."""

import pytest
from asv.results import Results
from asv.runner import BenchmarkResult

from rnnbench.asv_plugin import _format

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
