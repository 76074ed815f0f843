"""asv's results files as plain rows: read one file at a time; needs jiter.

A file that can't be used is named in one ResultsWarning and left out, and so is a benchmark in it.
Text comes from whoever wrote the files: what isn't printable in it is replaced here.
"""

from __future__ import annotations

import functools
import itertools
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnnbench.history.benchmark_names import describe
from rnnbench.measure import state
from rnnbench.network.shapes import Shape

# Of asv 0.6: the versions of the formats of machine.json and of a results file.
_MACHINE_VERSION = 1
_RESULTS_VERSION = 2

# What may be 0: a time can't.
_UNTIMED = ("memory", "error_outputs", "error_gradients")

# How asv begins and ends a results file: enough to know whose it is without reading it all.
_HEAD = re.compile(rb'\{"commit_hash": "([^"\\]*)", "env_name": "([^"\\]*)", "date": (\d+),')
_TAIL = re.compile(rb'\}, "version": (\d+)\}\s*\Z')
_HEAD_BYTES = 1024
_TAIL_BYTES = 32


class ResultsWarning(UserWarning):
    """A file among the results, or a benchmark in it, was left out; the message names it and says why."""


class NotFound(LookupError):
    """What was asked for isn't there; the message says what is."""


class Run(NamedTuple):
    """A results file: what asv measured at a commit, on a machine, in an environment."""

    machine: str
    commit: str
    environment: str
    date: int  # of the commit, in ms since 1970
    path: Path


class Software(NamedTuple):
    """What computed a figure; of processes that differ all, with a slash between them."""

    libraries: str  # names and versions
    cudnn: str  # its version; this and what follows is empty where cuDNN computed no network
    algorithm: str  # cuDNN's names, as it was heard to be told
    math_type: str


class Figure(NamedTuple):
    """What a benchmark measured for a shape; of a whole batch."""

    machine: str
    commit: str
    date: int  # of the commit, in ms since 1970
    environment: str
    benchmark: str
    variant: str
    quantity: str  # one of QUANTITIES
    shape: Shape
    state: str  # "ok"; "failed"; or "n/a": it can't run there, or wasn't asked for
    value: float | None  # seconds, bytes, or an error's ratio
    low: float | None  # the quartiles, of what was sampled
    high: float | None
    samples: int
    version: str  # of the benchmark: figures of different versions measure different things
    marks: tuple[str, ...] | None  # of state.MARKS, what makes it doubtful; None where nobody looked
    software: Software | None  # None where it wasn't stored


def machines(results: Path) -> dict[str, dict[str, str]]:
    """Return each machine's facts, by its name: what machine.json says, as text.

    Raises NotFound where there is no folder of results.
    """
    return {facts["machine"]: facts for _, facts in _folders(results)}


def runs(results: Path, machine: str | None = None, commit: str | None = None) -> list[Run]:
    """Return what has results, the newest commit first: of one machine, of a commit or its hash's beginning.

    Only the beginning and the end of each file are read. Raises NotFound where there is no folder of
    results.
    """
    found = []
    for folder, facts in _folders(results):
        if machine not in (None, facts["machine"]):
            continue
        for path in folder.glob("*.json"):
            named = path.name.partition("-")[0]
            if path.name == "machine.json" or (commit and not (named.startswith(commit) or commit.startswith(named))):
                continue
            try:
                run = Run(facts["machine"], *_identity(path), path)
            except ValueError as reason:
                _warn(path, reason)
            else:
                if run.commit.startswith(commit or ""):
                    found.append(run)
    return sorted(found, key=lambda run: (-run.date, run.commit, run.machine, run.environment))


def read(run: Run, unavailable: bool = False) -> list[Figure]:
    """Return the figures of a results file; with `unavailable` those that are n/a too."""
    try:
        content = _load(run.path, _RESULTS_VERSION)
        columns, results, states = content["result_columns"], content["results"].items(), content.get("state", {})
        if (named := printable(str(content["params"]["machine"]))) != run.machine:
            raise ValueError(f"it is of the machine {named}, in the folder of {run.machine}")
    except (AttributeError, KeyError, TypeError) as error:
        _warn(run.path, f"it isn't laid out as asv's results: {error!r}")
        return []
    except ValueError as reason:
        _warn(run.path, reason)
        return []

    found, left_out = [], []
    for name, values in results:
        try:
            row = dict(zip(columns, values))  # noqa: B905 - asv leaves out empty ends
            measured = _figures(run, name, row, states.get(name, {}))
        except (AttributeError, KeyError, TypeError, ValueError) as reason:
            left_out.append(f"{name} ({reason})")
        else:
            found += [figure for figure in measured if unavailable or figure.state != "n/a"]
    if left_out:
        _warn(run.path, ", ".join(left_out), action="leaving out of")
    return found


def printable(text: str) -> str:
    """Return a text with a mark in the place of whatever could move a terminal's cursor or hide text."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _folders(results: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield each machine's folder and facts."""
    if not results.is_dir():
        raise NotFound(f"there is no folder {results}: run it beside asv's results, or name their folder")
    for folder in sorted(results.iterdir()):
        if not folder.is_dir() or not any(folder.glob("*.json")):
            continue
        path = folder / "machine.json"
        try:
            content = _load(path, _MACHINE_VERSION)
            facts = {printable(key): printable(value) for key, value in content.items() if isinstance(value, str)}
            if not facts.get("machine"):
                raise ValueError("it doesn't name its machine")
        except ValueError as reason:
            _warn(path, reason, action="leaving out its folder:")
        else:
            yield folder, facts


def parse(path: Path) -> Any:
    """Return what a JSON file of asv's holds, NaN included; needs jiter.

    Raises ValueError, with what is wrong, for one that can't be read or isn't whole.
    """
    # Five times as fast as json; unlike the other fast ones it takes NaN.
    from jiter import from_json

    try:
        return from_json(path.read_bytes())
    except OSError as error:
        raise ValueError(f"it can't be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"it isn't JSON, or was cut off: {error}") from error


def _load(path: Path, version: int) -> dict[str, Any]:
    content = parse(path)
    if not isinstance(content, dict) or content.get("version") != version:
        raise ValueError(f"it isn't of version {version} of asv's format")
    return content


def _identity(path: Path) -> tuple[str, str, int]:
    """Return the commit, the environment and the date of a results file; ValueError says what is wrong with it."""
    commit, environment, date = _ends(path) or _contents(path)
    if not (isinstance(commit, str) and re.fullmatch("[0-9a-f]{7,64}", commit)):
        raise ValueError("it doesn't name its commit")
    if type(date) is not int or not 0 <= date < 253402300800000:
        raise ValueError("its commit's date isn't one")
    return commit, printable(str(environment)), date


def _ends(path: Path) -> tuple[Any, ...] | None:
    """Return what a file's beginning says, if it ends as it should; None where only its contents can tell."""
    try:
        with path.open("rb") as file:
            head = _HEAD.match(file.read(_HEAD_BYTES))
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            tail = _TAIL.search(file.read())
    except OSError:
        return None
    if not head or not tail or int(tail[1]) != _RESULTS_VERSION:
        return None
    return head[1].decode(errors="replace"), head[2].decode(errors="replace"), int(head[3])


def _contents(path: Path) -> tuple[Any, ...]:
    content = _load(path, _RESULTS_VERSION)
    return tuple(content.get(key) for key in ("commit_hash", "env_name", "date"))


def _figures(run: Run, benchmark: str, columns: Mapping[str, Any], states: Mapping[str, Any]) -> list[Figure]:
    """Return a benchmark's figures, a shape each.

    AttributeError, KeyError, TypeError, ValueError: they aren't as asv, or our plugin, writes them.
    """
    variant, quantity = describe(benchmark)
    shapes = _shapes(*map(tuple, columns["params"]))

    def column(name: str) -> Sequence[Any]:
        # asv writes no column where it has nothing to say of any shape.
        values = columns.get(name)
        return [None] * len(shapes) if values is None else values

    rows = zip(
        shapes, column("result"), column("stats_q_25"), column("stats_q_75"), column("stats_repeat"), strict=True
    )
    version = printable(str(columns.get("version")))
    measured = []
    for shape, value, low, high, repeat in rows:
        outcome = "failed" if value is None else "n/a" if value != value else "ok"
        samples = (repeat or 1) if outcome == "ok" else 0
        if outcome != "ok":
            value = low = high = None
        for number in (value, low, high):
            # NaN compares as false; what is computed from larger ones wouldn't be finite, or can't be written.
            if number is not None and not (
                (type(number) is float or (type(number) is int and number < 2**63))
                and (0 < number < 1e300 or (number == 0 and quantity in _UNTIMED))
            ):
                raise ValueError(f"{value}, with the quartiles {low} and {high}, can't be its {quantity}")
        if type(samples) is not int or not 0 <= samples < 2**63:
            raise ValueError(f"{samples} isn't how often it was sampled")
        seen = states.get(", ".join(map(str, shape))) if states and outcome == "ok" else None
        measured.append(
            Figure(
                run.machine,
                run.commit,
                run.date,
                run.environment,
                benchmark,
                variant,
                quantity,
                shape,
                outcome,
                value,
                low,
                high,
                samples,
                version,
                _marks(seen),
                _software(seen),
            )
        )
    return measured


def _marks(states: Any) -> tuple[str, ...] | None:
    """Return what any of a figure's processes saw."""
    if states is None:
        return None
    marks = {mark for one in states for mark in one["marks"]}
    if unknown := marks - state.MARKS.keys():
        raise ValueError(f"{sorted(map(str, unknown))} isn't a mark of a state")
    return tuple(sorted(marks))


def _software(states: Any) -> Software | None:
    """Return what computed in a figure's processes; those of before it was stored say nothing."""
    told = [one for one in states or () if "libraries" in one]
    if not told:
        return None
    found = set()
    for one in told:
        libraries = ", ".join(f"{name} {version}" for name, version in one["libraries"].items())
        cudnn = one["cudnn"] or {}
        found.add(Software(libraries, *(cudnn.get(key, "") for key in ("version", "algorithm", "math_type"))))
    if not all(isinstance(text, str) for one in found for text in one):
        raise ValueError("what computed it isn't named in words")
    return Software(*(printable(" / ".join(sorted(set(texts)))) for texts in zip(*found, strict=True)))


@functools.cache
def _shapes(*sizes: tuple[str, ...]) -> list[Shape]:
    shapes = [Shape(*map(int, chosen)) for chosen in itertools.product(*sizes)]
    if min(map(min, shapes)) < 1:
        raise ValueError("a size is less than 1")
    return shapes


def _warn(path: Path, reason: object, action: str = "leaving out") -> None:
    message = printable(f"{action} {path}: {reason}")
    # Of one place for all, so that a file that is read twice is named once.
    warnings.warn(message, ResultsWarning, stacklevel=1)
