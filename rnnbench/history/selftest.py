"""Measure the smallest slowdown that asv can detect on this machine, and how often it raises a false alarm.

asv times the benchmarks several times: some runs time the code as it is, and some time it slowed by a known share.
Each run is recorded at its own empty commit of a scratch repository. The runs are then judged as `asv compare` does.
"""

from __future__ import annotations

import csv
import datetime
import io
import itertools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple, TypeVar

from rnnbench import variants
from rnnbench.history import files, work_tree
from rnnbench.history.benchmark_names import class_prefix
from rnnbench.history.figures import ResultsWarning, printable
from rnnbench.measure import variables
from rnnbench.network.shapes import GRIDS

# Not .json, because asv would read it as results.
FILE = "selftest.csv"

# The share by which each run is slowed.
_RUN_SLOWDOWNS = (0.0, 0.05, 0.0, 0.1, 0.0, 0.2, 0.0, 0.0)
# The runs take turns, one process for each turn, so that machine drift affects all of them equally. Some processes are
# slow throughout, so a run needs several; docs/method.md has the figures.
_TURNS = 4
# asv's --factor: asv calls two figures changed only if their ratio is larger. Its default is 1.1. Each factor here is
# 1 plus half of one of the slowdowns, so that this slowdown clearly exceeds it.
_FACTORS = (1.025, 1.05, 1.1)
# A factor detects a slowdown reliably within these limits, as shares of the comparisons.
_MAX_FALSE_ALARMS = 1 / 50
_MIN_DETECTED = 0.95


Parsed = TypeVar("Parsed")


class Verdict(NamedTuple):
    """How many of the comparisons of two runs asv called changed, for one figure, slowdown and factor."""

    commit: str
    day: str
    benchmark: str
    shape: str  # its sizes as asv writes them, e.g. "32, 30, 128, 1"
    seconds: float  # the median of the first run
    samples: int  # of each run
    slowdown: float  # the share by which the second run was slowed; 0 for the same code
    factor: float  # asv's --factor
    compared: int  # the number of comparisons
    changed: int  # the number of comparisons that asv called changed


# The file format keeps the older name "cell" for a shape.
_COLUMNS = ["cell" if name == "shape" else name for name in Verdict._fields]


class Failed(Exception):
    """A command failed, or no figure was timed in every run; the message has the details."""


def measure(machine: str, grid: str, names: Iterable[str], device: str, tell: Callable[[str], None]) -> list[Verdict]:
    """Time a grid's shapes in every run, and return asv's verdicts; takes minutes.

    Times the named variants, or every variant that this machine can run if `names` is empty. Must be called in a
    checkout. Uses the interpreter of this process. asv must know the machine. Calls `tell` with a line of progress
    before each process.

    Raises Failed if git or asv fails, or if no figure was timed in every run.
    """
    commit = work_tree.describe_head(Path())
    if not commit:
        raise Failed(f"git finds no commit in {Path.cwd()}: change to a checkout first")
    names = names or [name for name, reason in variants.available(device).items() if reason is None]
    prefixes = "|".join(map(class_prefix, names))
    shapes = "|".join(", ".join(map(str, shape)) for shape in GRIDS[grid])
    pattern = rf"^lstm\.({prefixes})LSTM\..*\(({shapes})\)$"
    with tempfile.TemporaryDirectory(prefix="rnnbench-selftest-") as folder:
        scratch = Path(folder)
        _git(scratch, "init", "--quiet")
        commits = [_commit(scratch, f"Run {number}") for number in range(len(_RUN_SLOWDOWNS))]
        for turn, (run, slowdown) in itertools.product(range(_TURNS), enumerate(_RUN_SLOWDOWNS)):
            how = f"slowed by {slowdown:.0%}" if slowdown else "as it is"
            tell(f"turn {turn + 1} of {_TURNS}, run {run + 1} of {len(_RUN_SLOWDOWNS)}: {how}")
            _time(scratch, machine, pattern, commits[run], slowdown, device, append=turn > 0)
        verdicts = _judge(scratch / "results", machine, commits, commit)
    if not verdicts:
        raise Failed(f"no figure of the {grid} grid was timed in all {len(_RUN_SLOWDOWNS)} runs")
    return verdicts


def save(verdicts: Iterable[Verdict], folder: Path) -> None:
    """Write the verdicts to FILE in a machine's results folder."""
    write_rows(folder / FILE, _COLUMNS, verdicts)


def read(folder: Path) -> list[Verdict]:
    """Return the verdicts that `save` wrote, or an empty list if there is no file.

    An invalid file also gives an empty list, with a ResultsWarning.
    """
    return read_rows(folder / FILE, _verdict)


def write_rows(path: Path, columns: Iterable[str], rows: Iterable[tuple]) -> None:
    """Write a CSV file, and make its folder if needed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    files.write(path, text.getvalue().encode())


def read_rows(path: Path, parse: Callable[[dict[str, str]], Parsed]) -> list[Parsed]:
    """Return the parsed rows of a CSV file, or an empty list if there is no file.

    `parse` may raise ValueError, TypeError or KeyError. An invalid file gives an empty list, with a ResultsWarning.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [parse(row) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as reason:
        message = printable(f"leaving out {path}: it isn't as rnnbench writes it: {reason!r}")
        warnings.warn(message, ResultsWarning, stacklevel=3)
        return []


def sentence(verdicts: Sequence[Verdict]) -> str:
    """Return a sentence with the smallest change that asv detects, and its false alarms at its default factor.

    If no change is detected reliably, it says whether asv misses changes, raises false alarms, or both.
    """
    samples = [verdict.samples for verdict in verdicts]
    taken = " to ".join(map(str, sorted({min(samples), max(samples)})))
    source = f"selftest of {verdicts[0].day} at {verdicts[0].commit}, {taken} samples a figure"
    false_alarms, same = _counts(verdicts, 0, max(_FACTORS))
    at_default = f"it called {false_alarms} of {same} comparisons of the same code changed ({source})."
    if found := _smallest(verdicts):
        slowdown, factor = found
        change = f"a {slowdown:.0%} change with --factor {factor:g}"
        return f"On this machine asv detects {change}; at its default 1.1 {at_default}"
    slowdown, factor = max(_RUN_SLOWDOWNS), max(_FACTORS)
    detected, slowed = _counts(verdicts, slowdown, factor)
    finds = detected >= _MIN_DETECTED * slowed > 0
    if finds:
        what = f"finds a {slowdown:.0%} change, but raises too many false alarms"
    elif false_alarms <= _MAX_FALSE_ALARMS * same:
        what = f"doesn't reliably detect even a {slowdown:.0%} change"
    else:
        what = f"doesn't reliably detect even a {slowdown:.0%} change, and raises too many false alarms"
    low, high = _likely_share(false_alarms, same)
    return (
        f"On this machine asv {what}; at its default factor 1.1 it found {detected} of {slowed} such changes, and "
        f"{at_default} That many fit a share of {low:.0%} to {high:.0%}; at most {_MAX_FALSE_ALARMS:.0%} is allowed."
    )


def detectable(verdicts: Sequence[Verdict]) -> float:
    """Return the smallest slowdown that asv detects reliably, 0.1 for 10%; 0 without verdicts.

    If it detects none, this is the largest one that was tried, because no smaller one is detected either.
    """
    if not verdicts:
        return 0
    found = _smallest(verdicts)
    return found[0] if found else max(_RUN_SLOWDOWNS)


def table(verdicts: Iterable[Verdict]) -> str:
    """Return a table with a row for each figure and factor: how many comparisons asv called changed; needs tabulate."""
    from tabulate import tabulate

    lines: dict[tuple, dict[float, str]] = defaultdict(dict)
    for verdict in verdicts:
        line = verdict.benchmark, verdict.shape, f"{verdict.seconds * 1e3:.3g}", f"{verdict.factor:g}"
        lines[line][verdict.slowdown] = f"{verdict.changed} of {verdict.compared}"
    headings = ["benchmark", "shape", "ms", "factor"]
    headings += [f"{slowdown:.0%} slower" if slowdown else "same code" for slowdown in sorted(set(_RUN_SLOWDOWNS))]
    rows = [[*line, *(counts[slowdown] for slowdown in sorted(counts))] for line, counts in lines.items()]
    return tabulate(rows, headings, "simple", disable_numparse=True, colalign=["left"] * 2 + ["right"] * 6)


def _smallest(verdicts: Sequence[Verdict]) -> tuple[float, float] | None:
    """Return the smallest slowdown that is detected reliably, and the factor that does; None if there is none."""
    for slowdown, factor in itertools.product(sorted(set(_RUN_SLOWDOWNS) - {0}), _FACTORS):
        false_alarms, same = _counts(verdicts, 0, factor)
        detected, slowed = _counts(verdicts, slowdown, factor)
        measured = same and slowed
        if measured and false_alarms <= _MAX_FALSE_ALARMS * same and detected >= _MIN_DETECTED * slowed:
            return slowdown, factor
    return None


def _likely_share(count: int, total: int) -> tuple[float, float]:
    """Return the bounds of Wilson's 95% interval of a share, from a count of a total."""
    if not total:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.975)
    center = (count + z * z / 2) / (total + z * z)
    half = z / (total + z * z) * math.sqrt(count * (total - count) / total + z * z / 4)
    return max(0.0, center - half), min(1.0, center + half)


def _counts(verdicts: Iterable[Verdict], slowdown: float, factor: float) -> tuple[int, int]:
    """Return how many comparisons asv called changed, and how many there were."""
    chosen = [verdict for verdict in verdicts if (verdict.slowdown, verdict.factor) == (slowdown, factor)]
    return sum(verdict.changed for verdict in chosen), sum(verdict.compared for verdict in chosen)


def _verdict(row: dict[str, str]) -> Verdict:
    verdict = Verdict(
        printable(row["commit"]),
        printable(row["day"]),
        printable(row["benchmark"]),
        printable(row["cell"]),
        float(row["seconds"]),
        int(row["samples"]),
        float(row["slowdown"]),
        float(row["factor"]),
        int(row["compared"]),
        int(row["changed"]),
    )
    known = verdict.slowdown in _RUN_SLOWDOWNS and verdict.factor in _FACTORS
    if not (known and 0 < verdict.seconds < 1e300 and 0 <= verdict.changed <= verdict.compared):
        raise ValueError(f"no selftest writes the row {row}")
    return verdict


def _commit(repository: Path, message: str) -> str:
    """Make an empty commit and return its hash."""
    _git(repository, "commit", "--quiet", "--allow-empty", f"--message={message}")
    return _git(repository, "rev-parse", "HEAD")


def _git(folder: Path, *arguments: str) -> str:
    settings = (
        "user.name=rnnbench",
        "user.email=rnnbench@localhost",
        "commit.gpgsign=false",
        "core.hooksPath=/dev/null",
    )
    return _run(["git", *(word for setting in settings for word in ("-c", setting)), *arguments], folder).strip()


def _time(scratch: Path, machine: str, pattern: str, commit: str, slowdown: float, device: str, append: bool) -> None:
    """Let asv time this checkout's benchmarks in one process; store or append the samples at a scratch commit."""
    configuration = {
        "version": 1,
        "project": "rnnbench",
        "repo": str(scratch),
        "branches": ["HEAD"],
        "benchmark_dir": str(Path("benchmarks").resolve()),
        "results_dir": str(scratch / "results"),
        "environment_type": "existing",
        "pythons": [sys.executable],
    }
    file = scratch / "asv.conf.json"
    file.write_text(json.dumps(configuration))
    command = [sys.executable, "-m", "asv", "run", "--config", str(file), "--set-commit-hash", commit]
    command += ["--append-samples" if append else "--record-samples", "--attribute", "rounds=1"]
    command += ["--machine", machine, "--bench", pattern]
    _run(command, Path(), **{variables.SLOWDOWN: str(slowdown), "RNNBENCH_DEVICE": device})


def _run(command: Sequence[str], folder: Path, **changes: str) -> str:
    process = subprocess.run(command, cwd=folder, env=os.environ | changes, capture_output=True, text=True, check=False)
    if process.returncode != 0:
        lines = (process.stdout + process.stderr).strip().splitlines()
        raise Failed("\n".join([f"{Path(command[0]).name} failed. The end of its output:", *lines[-20:]]))
    return process.stdout


def _judge(results: Path, machine: str, commits: Sequence[str], commit: str) -> list[Verdict]:
    """Return the verdicts of `asv compare` on the runs at `commits`; `commit` is the checkout's own."""
    from asv.commands.compare import _is_result_better

    runs = [_figures(results, machine, run_commit) for run_commit in commits]
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()

    def faster(first: tuple, second: tuple, factor: float) -> bool:
        return _is_result_better(first[0], second[0], first[1:], second[1:], factor)

    verdicts = []
    for name, shape in sorted(set.intersection(*map(set, runs)), key=lambda figure: runs[0][figure][0]):
        figures = [run[name, shape] for run in runs]
        same = [figure for figure, slowdown in zip(figures, _RUN_SLOWDOWNS, strict=True) if not slowdown]
        seconds, statistics, _ = same[0]
        for factor in _FACTORS:
            pairs = list(itertools.combinations(same, 2))
            false_alarms = sum(faster(a, b, factor) or faster(b, a, factor) for a, b in pairs)
            counts = {0.0: (len(pairs), false_alarms)}
            for figure, slowdown in zip(figures, _RUN_SLOWDOWNS, strict=True):
                if slowdown:
                    counts[slowdown] = (len(same), sum(faster(unslowed, figure, factor) for unslowed in same))
            verdicts += [
                Verdict(commit, day, name, shape, seconds, statistics["repeat"], slowdown, factor, *count)
                for slowdown, count in counts.items()
            ]
    return verdicts


def _figures(results: Path, machine: str, commit: str) -> dict[tuple[str, str], tuple[Any, ...]]:
    """Return the figures at a commit: (seconds, statistics, samples) by benchmark and shape."""
    from asv.commands.compare import unroll_result
    from asv.results import iter_results_for_machine_and_hash

    figures = {}
    for result in iter_results_for_machine_and_hash(str(results), machine, commit):
        for key in result.get_all_result_keys():
            sizes = result.get_result_params(key)
            values = (result.get_result_value, result.get_result_stats, result.get_result_samples)
            for name, value, *rest in unroll_result(key, sizes, *(get(key, sizes) for get in values)):
                if value is not None and value == value:
                    shape = re.sub(".*\\(|\\)", "", name)
                    figures[key, shape] = (value, *rest)
    return figures
