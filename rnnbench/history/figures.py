"""Read asv's results files as plain rows, one file at a time; needs jiter.

One ResultsWarning names each invalid file, and the file is left out. An invalid benchmark in a valid file is treated
in the same way. Anyone may have written the files, so unprintable characters in their text are replaced.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnnbench.history.benchmark_names import describe, group_of, method, parameters
from rnnbench.measure import state
from rnnbench.network.models import ALL_MODELS, MODELS, Subject
from rnnbench.network.shapes import Shape

# The versions of asv 0.6's file formats.
_MACHINE_VERSION = 1
_RESULTS_VERSION = 2

# Only these may be 0; a time can't.
_QUANTITIES_OTHER_THAN_TIME = ("memory", "error_outputs", "error_gradients")

# The ratio of two numbers beyond these could overflow, and couldn't be written as JSON.
_SMALLEST, _LARGEST = 1e-150, 1e150
MOST_COMBINATIONS = 100_000  # of a benchmark's parameters; far more than any has

# The first and the last bytes of a results file. They identify the run, so the whole file needn't be parsed.
_HEAD = re.compile(rb'\{"commit_hash": "([^"\\]*)", "env_name": "([^"\\]*)", "date": (\d+),')
_TAIL = re.compile(rb'\}, "version": (\d+)\}\s*\Z')
_HEAD_BYTES = 1024
_TAIL_BYTES = 32


class ResultsWarning(UserWarning):
    """A results file, or a benchmark in it, was left out; the message names it and says why."""


class NotFound(LookupError):
    """The requested results don't exist; the message says what is missing and what to do."""


class Run(NamedTuple):
    """One results file: asv's figures for one machine, commit and environment."""

    machine: str
    commit: str
    environment: str
    date: int  # of the commit, in ms since 1970
    path: Path


class Software(NamedTuple):
    """The software that computed a figure. If its processes differ, each field joins their values with " / ".

    The last three fields are empty if cuDNN didn't compute the network.
    """

    libraries: str  # names and versions
    cudnn: str  # its version
    algorithm: str  # cuDNN's name for it, from cuDNN's log
    math_type: str  # likewise


class Figure(NamedTuple):
    """One benchmark's measurement of one shape. A time is for a whole batch."""

    machine: str
    commit: str
    date: int  # of the commit, in ms since 1970
    environment: str
    benchmark: str
    variant: str
    quantity: str  # one of QUANTITIES
    network: str  # a family or a model
    shape: Shape
    state: str  # "ok"; "failed"; or "n/a" if the variant can't run there or the shape wasn't selected
    value: float | None  # seconds, bytes, or a relative error; the median if samples were taken
    low: float | None  # the lower quartile; None without samples
    high: float | None  # the upper quartile; None without samples
    samples: int
    medians: tuple[float, ...]  # the median of each process's samples; empty if the processes aren't known
    version: str  # of the benchmark's method; figures of different versions aren't comparable
    marks: tuple[str, ...] | None  # the state.MARKS that make it doubtful; None if no state was stored
    software: Software | None  # None if it wasn't stored
    threads: str  # how many a CPU computed with; empty if that wasn't stored; several are joined with " / "

    @property
    def subject(self) -> Subject:
        """The network and its shape."""
        return self.network, self.shape


def machines(results: Path) -> dict[str, dict[str, str]]:
    """Return the facts of each machine from its machine.json, by the machine's name.

    Raises NotFound if the results folder doesn't exist.
    """
    return {facts["machine"]: facts for _, facts in _folders(results)}


def runs(results: Path, machine: str | None = None, commit: str | None = None) -> list[Run]:
    """Return the runs, newest commit first; only those of `machine` and `commit` if given.

    `commit` may be the beginning of a hash. Only the beginning and the end of each file are read. Raises NotFound if
    the results folder doesn't exist.
    """
    matching = []
    for folder, facts in _folders(results):
        if machine not in (None, facts["machine"]):
            continue
        for path in folder.glob("*.json"):
            short = path.name.partition("-")[0]
            if path.name == "machine.json" or (commit and not (short.startswith(commit) or commit.startswith(short))):
                continue
            try:
                run = Run(facts["machine"], *_identity(path), path)
            except ValueError as reason:
                _warn(path, reason)
            else:
                if run.commit.startswith(commit or ""):
                    matching.append(run)
    return sorted(matching, key=lambda run: (-run.date, run.commit, run.machine, run.environment))


def read(run: Run, unavailable: bool = False) -> list[Figure]:
    """Return the figures of a results file; the n/a ones only if `unavailable` is set."""
    try:
        content = _load(run.path, _RESULTS_VERSION)
        columns, results, states = content["result_columns"], content["results"].items(), content.get("state", {})
        if (machine := printable(str(content["params"]["machine"]))) != run.machine:
            raise ValueError(f"it holds results of the machine {machine}, but lies in the folder of {run.machine}")
    except (AttributeError, KeyError, TypeError) as error:
        _warn(run.path, f"it doesn't have the structure of an asv results file: {error!r}")
        return []
    except ValueError as reason:
        _warn(run.path, reason)
        return []

    figures, left_out = [], []
    for name, values in results:
        try:
            row = dict(zip(columns, values))  # noqa: B905 - asv omits empty columns at the end of a row
            measured = _figures(run, name, row, states.get(name, {}))
        except (AttributeError, KeyError, TypeError, ValueError) as reason:
            left_out.append(f"{name} ({reason})")
        else:
            figures += [figure for figure in measured if unavailable or figure.state != "n/a"]
    if left_out:
        _warn(run.path, ", ".join(left_out), action="leaving out of")
    return figures


def printable(text: str) -> str:
    """Return the text with U+FFFD for each unprintable character, which could move a terminal's cursor or hide text."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _folders(results: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield each machine's folder and facts; raise NotFound if the results folder doesn't exist."""
    if not results.is_dir():
        raise NotFound(f"there is no folder {results}: run this in the folder that holds asv's results, or name it")
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
    """Return the content of one of asv's JSON files, which may hold NaN; needs jiter.

    Raises ValueError if the file can't be read or isn't complete JSON; the message says what is wrong.
    """
    # jiter is much faster than json and, unlike other fast parsers, accepts NaN.
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
        raise ValueError(f"it doesn't have version {version} of asv's format")
    return content


def _identity(path: Path) -> tuple[str, str, int]:
    """Return the commit, environment and date (ms since 1970) of a results file; raise ValueError if it is invalid."""
    commit, environment, date = _identity_from_ends(path) or _identity_from_content(path)
    if not (isinstance(commit, str) and re.fullmatch("[0-9a-f]{7,64}", commit)):
        raise ValueError("it doesn't name its commit")
    if type(date) is not int or not 0 <= date < 253402300800000:
        raise ValueError("its commit's date isn't a valid time in ms since 1970")
    return commit, printable(str(environment)), date


def _identity_from_ends(path: Path) -> tuple[Any, ...] | None:
    """Return a file's identity from its first and last bytes, or None if these aren't as asv writes them."""
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


def _identity_from_content(path: Path) -> tuple[Any, ...]:
    content = _load(path, _RESULTS_VERSION)
    return tuple(content.get(key) for key in ("commit_hash", "env_name", "date"))


def _figures(run: Run, benchmark: str, columns: Mapping[str, Any], states: Mapping[str, Any]) -> list[Figure]:
    """Return a benchmark's figures, one for each shape.

    Raises AttributeError, KeyError, TypeError or ValueError if the data isn't as asv or our plugin writes it.
    """
    variant, quantity = describe(benchmark)
    subjects = _subjects(group_of(benchmark), *map(tuple, columns["params"]))

    def column(name: str) -> Sequence[Any]:
        # asv writes null for a column without any value.
        values = columns.get(name)
        return [None] * len(subjects) if values is None else values

    rows = zip(
        subjects,
        column("result"),
        column("stats_q_25"),
        column("stats_q_75"),
        column("stats_repeat"),
        column("samples"),
        strict=True,
    )
    version = printable(method(benchmark, str(columns.get("version")), run.date))
    measured = []
    for (network, shape), value, low, high, repeat, taken in rows:
        outcome = "failed" if value is None else "n/a" if value != value else "ok"
        samples = (repeat or 1) if outcome == "ok" else 0
        if outcome != "ok":
            value = low = high = None
        for number in (value,) if low is high is None else (value, low, high):
            # NaN fails these comparisons.
            if number is not None and not (
                (type(number) is float or (type(number) is int and number < 2**63))
                and (_SMALLEST < number < _LARGEST or (number == 0 and quantity in _QUANTITIES_OTHER_THAN_TIME))
            ):
                raise ValueError(f"{value}, with the quartiles {low} and {high}, isn't a possible value of {quantity}")
        if type(samples) is not int or not 0 <= samples < 2**63:
            raise ValueError(f"{samples} isn't a number of samples")
        stored = states.get(parameters((network, shape))) if states and outcome == "ok" else None
        measured.append(
            Figure(
                run.machine,
                run.commit,
                run.date,
                run.environment,
                benchmark,
                variant,
                quantity,
                network,
                shape,
                outcome,
                value,
                low,
                high,
                samples,
                _medians(taken, stored) if stored else (),
                version,
                _marks(stored) if stored is not None else None,
                _software(stored) if stored else None,
                _threads(stored) if stored else "",
            )
        )
    return measured


def _medians(samples: Any, states: Sequence[Any]) -> tuple[float, ...]:
    """Return the median of each process's samples; nothing if the samples weren't stored.

    A process stores how many samples it took. Older results lack these numbers: all processes then count alike.
    """
    if not samples:
        return ()
    counts = [process.get("samples") for process in states]
    if all(type(count) is int and count > 0 for count in counts) and sum(counts) == len(samples):
        ends = list(itertools.accumulate(counts))
    else:
        ends = [round(len(samples) * number / len(states)) for number in range(1, len(states) + 1)]
    parts = [samples[start:end] for start, end in itertools.pairwise([0, *ends])]
    if not all(type(sample) is float and _SMALLEST < sample < _LARGEST for sample in samples) or not all(parts):
        raise ValueError("its samples aren't times")
    return tuple(map(statistics.median, parts))


def _marks(states: Any) -> tuple[str, ...]:
    """Return the marks that at least one of a figure's processes stored."""
    marks = {mark for process in states for mark in process["marks"]}
    if unknown := marks - state.MARKS.keys():
        raise ValueError(f"{sorted(map(str, unknown))}: the machine's state has no such marks")
    return tuple(sorted(marks))


def _software(states: Any) -> Software | None:
    """Return the software that a figure's processes used, or None if none of them stored it, as in old results."""
    processes = [process for process in states if "libraries" in process]
    if not processes:
        return None
    software = set()
    for process in processes:
        libraries = ", ".join(f"{name} {version}" for name, version in process["libraries"].items())
        cudnn = process["cudnn"] or {}
        software.add(Software(libraries, *(cudnn.get(key, "") for key in ("version", "algorithm", "math_type"))))
    if not all(isinstance(text, str) for fields in software for text in fields):
        raise ValueError("the software that computed it isn't given as text")
    return Software(*(printable(" / ".join(sorted(set(texts)))) for texts in zip(*software, strict=True)))


def _threads(states: Any) -> str:
    """Return the numbers of threads that a figure's processes computed with on a CPU."""
    numbers = {process["threads"] for process in states if "threads" in process and not process.get("gpu")}
    if not all(type(number) is int and 0 < number < 10**6 for number in numbers):
        raise ValueError("its numbers of threads aren't numbers")
    return " / ".join(map(str, sorted(numbers)))


@functools.cache
def _subjects(group: str, *values: tuple[str, ...]) -> list[Subject]:
    """Return what a benchmark's parameters mean, from the values of each. Raises ValueError if that is nothing."""
    if any(type(each) is not str for each in itertools.chain(*values)):
        raise ValueError("a parameter isn't text")
    if math.prod(map(len, values)) > MOST_COMBINATIONS:
        raise ValueError("it has too many combinations of parameters")
    if group == ALL_MODELS:
        names = [name.strip("'") for (name,) in itertools.product(*values)]
        if unknown := sorted({*names} - MODELS.keys()):
            raise ValueError(f"there is no model {unknown[0]}")
        return [(name, MODELS[name].shape) for name in names]
    shapes = [Shape(*map(int, combination)) for combination in itertools.product(*values)]
    if min(map(min, shapes)) < 1:
        raise ValueError("a size is less than 1")
    return [(group, shape) for shape in shapes]


def _warn(path: Path, reason: object, action: str = "leaving out") -> None:
    message = printable(f"{action} {path}: {reason}")
    # All warnings come from this line, so Python shows a repeated warning about a file only once.
    warnings.warn(message, ResultsWarning, stacklevel=1)
