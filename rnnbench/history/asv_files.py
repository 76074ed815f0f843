"""Check asv's files against schemas, because anyone may have written them and asv itself doesn't check them.

asv stops with a traceback at a field of an unexpected type, and its pages insert names from benchmarks.json as HTML.
The schemas here reject such files.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnnbench.history import figures

# Text may hold no control characters, no characters that hide it or change its direction, and no HTML.
_INVISIBLE = "\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
_TEXT = {"type": "string", "pattern": rf"\A[^<>{_INVISIBLE}]*\Z", "maxLength": 1000}
_CODE = {"type": "string", "pattern": r"\A[^{}]*\Z".format(_INVISIBLE.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))}
# A name must be safe as a file's name and as a key of a JavaScript object.
_NAME_PATTERN = re.compile(rf"\A(?!\.|(?:__proto__|constructor|prototype)\Z)[^/\\<>{_INVISIBLE}]{{1,200}}\Z")
_NAME = {"type": "string", "pattern": _NAME_PATTERN.pattern}
_BENCHMARK = {"type": "string", "pattern": r"\A(?!__)[A-Za-z0-9_.]+\Z", "maxLength": 200}
_MACHINE_NAME = {**_NAME, "format": "line"}
# The dashboard has a folder for each fact and its name, nested into one path. Both must stay short.
_FACT_NAME = {**_NAME, "format": "short"}
_FACT_TEXT = {**_TEXT, "format": "line"}
_MAX_BYTES = {"short": 40, "line": 150}
_FACT = {"anyOf": [_FACT_TEXT, {"type": "null"}]}
_FACTS = {"type": "object", "propertyNames": _FACT_NAME, "maxProperties": 20, "additionalProperties": _FACT}

# NaN means n/a; it passes both limits. The ends of a confidence interval may be infinite. But an integer that is too
# large for a float stops asv.
_LARGEST = 1e300
_MEASURED = {"anyOf": [{"type": "number", "minimum": -_LARGEST, "maximum": _LARGEST}, {"type": "null"}]}
_STATISTIC = {"anyOf": [_MEASURED, {"type": "number", "not": {"type": "integer"}}]}
_MOMENT = {"type": "integer", "minimum": 0, "maximum": 253402300799999}  # ms since 1970, to the year 9999
_PARAMETERS = {"type": "array", "maxItems": 10, "items": {"type": "array", "maxItems": 1000, "items": _TEXT}}


def _column(item: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"type": "array", "items": item}, {"type": "null"}]}


_COLUMNS = {
    "result": _column(_MEASURED),
    "params": _PARAMETERS,
    "version": _FACT,
    "started_at": {"anyOf": [_MOMENT, {"type": "null"}]},
    "duration": _STATISTIC,
    **{f"stats_{name}": _column(_STATISTIC) for name in ("ci_99_a", "ci_99_b", "q_25", "q_75", "number", "repeat")},
    "samples": _column({"anyOf": [{"type": "array", "items": _MEASURED}, {"type": "null"}]}),
    # `asv run --profile` stores a text in base 64. No command here reads it: it may hold code.
    "profile": {"anyOf": [{"type": "string", "pattern": r"\A[A-Za-z0-9+/=]*\Z"}, {"type": "null"}]},
}

_RESULTS = {
    "commit_hash": {"type": "string", "pattern": r"\A[0-9a-f]{40,64}\Z"},
    "date": _MOMENT,
    "durations": {"type": "object", "additionalProperties": _STATISTIC},
    "env_name": _NAME,
    "env_vars": _FACTS,
    "params": {**_FACTS, "properties": {"machine": _MACHINE_NAME}, "required": ["machine"]},
    "python": _TEXT,
    "requirements": _FACTS,
    "result_columns": {"const": list(_COLUMNS)},
    "results": {
        "type": "object",
        "propertyNames": _BENCHMARK,
        "additionalProperties": {"type": "array", "items": list(_COLUMNS.values()), "additionalItems": False},
    },
    "version": {"const": 2},
}
# One state for each process that timed a shape; rnnbench.history.figures checks its fields.
_STATES = {"type": "array", "items": {"type": "object"}}
_STATE = {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": _STATES}}
_MACHINE = {
    "type": "object",
    "required": ["machine"],
    "propertyNames": _FACT_NAME,
    "maxProperties": 20,
    "properties": {"machine": _MACHINE_NAME, "version": {"const": 1}},
    "additionalProperties": _FACT_TEXT,
}
_DESCRIPTION = {
    "name": _BENCHMARK,
    "code": _CODE,
    "param_names": {"type": "array", "items": _NAME},
    "params": _PARAMETERS,
    "type": _NAME,
    "unit": _NAME,
    "version": _TEXT,
}
_WORD = {"type": "string", "pattern": r"\A[^\x00]+\Z"}
_LINE = {"type": "string", "pattern": r"\A[^\x00]*\Z"}
_LINES = {"type": "array", "items": _LINE}
_ANY_WORD = {"anyOf": [_WORD, {"type": "null"}]}
_COMMANDS = {"anyOf": [_LINE, _LINES, {"type": "null"}]}
_SECONDS = {"type": "number", "exclusiveMinimum": 0}
_OBJECT = {"type": "object"}
_OBJECTS = {"type": "array", "items": _OBJECT}
_CONFIGURATION = {
    **dict.fromkeys(("project", "repo", "env_dir", "benchmark_dir", "results_dir", "html_dir"), _WORD),
    **dict.fromkeys(("project_url", "repo_subdir", "show_commit_url"), _LINE),
    **dict.fromkeys(("pythons", "plugins", "conda_channels"), _LINES),
    **dict.fromkeys(("build_command", "install_command", "uninstall_command"), _COMMANDS),
    **dict.fromkeys(("environment_type", "dvcs", "conda_environment_file", "launch_method"), _ANY_WORD),
    **dict.fromkeys(("install_timeout", "default_benchmark_timeout"), _SECONDS),
    **dict.fromkeys(("matrix", "regressions_first_commits", "regressions_thresholds"), _OBJECT),
    **dict.fromkeys(("exclude", "include"), _OBJECTS),
    "branches": {"type": "array", "items": _ANY_WORD},
    "build_cache_size": {"type": "integer", "minimum": 0},
    "hash_length": {"type": "integer", "minimum": 1, "maximum": 64},
}
_SCHEMAS: dict[str, dict[str, Any]] = {
    # asv ignores an unknown setting, so a misspelled one must be rejected here.
    "asv.conf.json": {"type": "object", "properties": _CONFIGURATION, "additionalProperties": False},
    "machine.json": {**_MACHINE, "required": ["machine", "version"]},
    "benchmarks.json": {
        "type": "object",
        "required": ["version"],
        "propertyNames": _BENCHMARK,
        "properties": {"version": {"const": 2}},
        "additionalProperties": {
            "type": "object",
            "required": list(_DESCRIPTION),
            "properties": {**_DESCRIPTION, "pretty_source": _CODE},
            "additionalProperties": {"anyOf": [_TEXT, _STATISTIC, {"type": "array", "items": _STATISTIC}]},
        },
    },
    ".asv-machine.json": {
        "type": "object",
        "required": ["version"],
        "propertyNames": _NAME,
        "properties": {"version": {"const": 1}},
        "additionalProperties": _MACHINE,
    },
    "results": {"type": "object", "required": list(_RESULTS), "properties": {**_RESULTS, "state": _STATE}},
}


def is_machine(name: str) -> bool:
    """Return whether a machine may have this name.

    The name is also a folder's name, and a key beside "version" in ~/.asv-machine.json.
    """
    return bool(_NAME_PATTERN.match(name)) and _fits(_MAX_BYTES["line"])(name) and name != "version"


def load(path: Path) -> dict[str, Any]:
    """Return the content of one of asv's files: machine.json, benchmarks.json, .asv-machine.json or a results file.

    Raises ValueError if the file is invalid; the message says what is wrong.
    """
    content = figures.parse(path)
    check(path.name if path.name in _SCHEMAS else "results", content)
    return content


def check(kind: str, content: Any) -> None:
    """Raise ValueError if this content is invalid in a file of this kind; the message says what is wrong.

    `kind` is a file's name, or "results".
    """
    match(_checker(kind), content, "asv")
    # A schema can't compare the lengths of two lists.
    for name, description in content.items() if kind == "benchmarks.json" else ():
        if name != "version" and len(description["params"]) != len(description["param_names"]):
            raise ValueError(f"its {name} has a different number of param_names and params")


def match(checker: Callable[[Any], object], content: Any, author: str) -> None:
    """Raise ValueError unless a schema that fastjsonschema compiled accepts this content, as `author` writes it."""
    import fastjsonschema

    try:
        checker(content)
    except fastjsonschema.JsonSchemaValueException as error:
        place = str(error.name).removeprefix("data").lstrip(".")
        raise ValueError(f"{f'its {place}' if place else 'it'} isn't as {author} writes it") from error


@functools.cache
def _checker(kind: str) -> Callable[[Any], object]:
    import fastjsonschema

    formats = {name: _fits(max_bytes) for name, max_bytes in _MAX_BYTES.items()}
    return fastjsonschema.compile(_SCHEMAS[kind], formats=formats)


def _fits(max_bytes: int) -> Callable[[str], bool]:
    return lambda text: len(text.encode(errors="replace")) <= max_bytes
