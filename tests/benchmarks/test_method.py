"""The method of the timed benchmarks doesn't change without a decision about their version."""

import ast
import hashlib
import inspect
import textwrap

import benchmarks.lstm
from rnnbench import cases
from rnnbench.measure.clock import DeviceClock

# The settings of the benchmarks' base class, and a digest of the code that warms up and reads the clock, by version.
METHODS = {"1": ({"number": 1, "rounds": 2, "repeat": (7, 20, 2.0), "warmup_time": 0}, (0.2, 1.0, 8), "6fe03564b009")}


def digest(*functions):
    """Return a digest of functions' names, constants and structure. Comments, docstrings and layout don't change it."""
    parts = []
    for function in functions:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
        for statement in tree.body[1:] if ast.get_docstring(tree) else tree.body:
            for node in ast.walk(statement):
                fields = [value for _, value in ast.iter_fields(node) if isinstance(value, (str, int, float))]
                parts.append(f"{type(node).__name__} {fields}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def test_the_method_is_that_of_its_version():
    base = benchmarks.lstm._LSTM
    settings, warm_up, code = METHODS[base.version]
    reason = "If figures stay comparable, change METHODS here. Else raise the version, and say so in CHANGELOG.md."
    assert {name: getattr(base, name) for name in settings} == settings, reason
    assert warm_up == (cases._LEAST_SECONDS, cases._MOST_SECONDS, cases._LEAST_CALLS), reason
    assert digest(cases.Case.warm, DeviceClock.__call__) == code, reason
