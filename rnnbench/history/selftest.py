"""How well a machine measures: what asv calls changed between runs of the same code, and of copies slowed on purpose.

asv times the benchmarks again and again, each time as another, empty commit of a scratch repository, and what it
recorded is judged as `asv compare` does.
"""

from __future__ import annotations

import csv
import datetime
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnnbench import variants
from rnnbench.history.benchmark_names import class_prefix
from rnnbench.history.figures import ResultsWarning, printable
from rnnbench.network.shapes import GRIDS

# asv reads each .json there as results.
FILE = "selftest.csv"

# Each run is slowed by such a share.
_RUNS = (0.0, 0.05, 0.0, 0.1, 0.0, 0.2, 0.0, 0.0)
# All take their samples in turn, of one process at a time: a machine that drifts does so for all. Four processes each,
# as benchmarks/lstm.py says, keep the false alarms of those that are slow throughout at 1 in 50.
_TURNS = 4
# A change counts for asv from half of it on; 1.1 is asv's default.
_FACTORS = (1.025, 1.05, 1.1)
# Of a factor that can be trusted: no more false alarms than this among equals, and no fewer of the slowed found.
_FALSE_ALARMS = 1 / 50
_FOUND = 0.95


class Verdict(NamedTuple):
    """How often asv called a figure changed, of so many comparisons of two runs."""

    commit: str
    day: str
    benchmark: str
    shape: str  # its sizes, as asv names them
    seconds: float  # the median of the first run
    samples: int  # of each run
    slowdown: float  # by which share the second run was slowed; 0 for the same code
    factor: float  # from which quotient on asv counts a change
    compared: int
    changed: int


# A shape was called a cell when the file was first written.
_COLUMNS = ["cell" if name == "shape" else name for name in Verdict._fields]


class Failed(Exception):
    """A run didn't come to its end; the message says what asv said."""


def measure(machine: str, grid: str, names: Iterable[str], device: str, tell: Callable[[str], None]) -> list[Verdict]:
    """Time a grid's calls once for each of the runs, and return what asv makes of them; takes minutes.

    Of these variants, or without names of all that can run here.

    Runs in a checkout, with the interpreter of this process; asv must know the machine. Raises Failed.
    """
    commit = _git(Path(), "rev-parse", "--short=8", "HEAD")
    names = names or [name for name, reason in variants.available(device).items() if reason is None]
    prefixes = "|".join(map(class_prefix, names))
    shapes = "|".join(", ".join(map(str, shape)) for shape in GRIDS[grid])
    pattern = rf"^lstm\.({prefixes})LSTM\..*\(({shapes})\)$"
    with tempfile.TemporaryDirectory(prefix="rnnbench-selftest-") as folder:
        scratch = Path(folder)
        _git(scratch, "init", "--quiet")
        commits = [_commit(scratch, f"Run {number}") for number in range(len(_RUNS))]
        for turn, (run, slowdown) in itertools.product(range(_TURNS), enumerate(_RUNS)):
            how = f"slowed by {slowdown:.0%}" if slowdown else "as it is"
            tell(f"turn {turn + 1} of {_TURNS}, run {run + 1} of {len(_RUNS)}: {how}")
            _time(scratch, machine, pattern, commits[run], slowdown, device, append=turn > 0)
        verdicts = _judge(scratch / "results", machine, commits, commit)
    if not verdicts:
        raise Failed(f"no figure of the {grid} grid was timed in every run")
    return verdicts


def save(verdicts: Iterable[Verdict], folder: Path) -> None:
    """Write them beside a machine's results."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(verdicts)


def read(folder: Path) -> list[Verdict]:
    """Return what `save` wrote; nothing where there is none, or, with a ResultsWarning, where it can't be used."""
    path = folder / FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_verdict(row) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as reason:
        message = printable(f"leaving out {path}: it isn't as rnnbench selftest writes it: {reason!r}")
        warnings.warn(message, ResultsWarning, stacklevel=2)
        return []


def sentence(verdicts: Sequence[Verdict]) -> str:
    """Return the machine's smallest detectable change, and how often asv is wrong at its own factor."""
    samples = [one.samples for one in verdicts]
    taken = f"{min(samples)} to {max(samples)} samples a figure"
    measured = f"selftest of {verdicts[0].day} at {verdicts[0].commit}, {taken}"
    alarms = "{} of {} comparisons of the same code".format(*_counts(verdicts, 0, max(_FACTORS)))
    own = f"asv calls {alarms} changed ({measured})."
    for slowdown in sorted(set(_RUNS) - {0}):
        for factor in _FACTORS:
            wrong, equals = _counts(verdicts, 0, factor)
            found, slowed = _counts(verdicts, slowdown, factor)
            if equals and slowed and wrong <= _FALSE_ALARMS * equals and found >= _FOUND * slowed:
                return f"A change of {slowdown:.0%} is found here with --factor {factor:g}; at 1.1 {own}"
    return f"A change of {max(_RUNS):.0%} isn't reliably found here; at a factor of 1.1 {own}"


def table(verdicts: Iterable[Verdict]) -> str:
    """Return for each figure and factor how many comparisons asv called changed; needs tabulate."""
    from tabulate import tabulate

    lines: dict[tuple, dict[float, str]] = defaultdict(dict)
    for one in verdicts:
        line = one.benchmark, one.shape, f"{one.seconds * 1e3:.3g}", f"{one.factor:g}"
        lines[line][one.slowdown] = f"{one.changed} of {one.compared}"
    headings = ["benchmark", "shape", "ms", "factor"]
    headings += [f"{slowdown:.0%} slower" if slowdown else "same code" for slowdown in sorted(set(_RUNS))]
    rows = [[*line, *(found[slowdown] for slowdown in sorted(found))] for line, found in lines.items()]
    return tabulate(rows, headings, "simple", disable_numparse=True, colalign=["left"] * 2 + ["right"] * 6)


def _counts(verdicts: Iterable[Verdict], slowdown: float, factor: float) -> tuple[int, int]:
    """Return how many comparisons were called changed, and how many there were."""
    chosen = [one for one in verdicts if (one.slowdown, one.factor) == (slowdown, factor)]
    return sum(one.changed for one in chosen), sum(one.compared for one in chosen)


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
    known = verdict.slowdown in _RUNS and verdict.factor in _FACTORS
    if not (known and 0 < verdict.seconds < 1e300 and 0 <= verdict.changed <= verdict.compared):
        raise ValueError(f"no selftest finds {row}")
    return verdict


def _commit(repository: Path, message: str) -> str:
    """Make an empty commit and return its hash."""
    _git(repository, "commit", "--quiet", "--allow-empty", f"--message={message}")
    return _git(repository, "rev-parse", "HEAD")


def _git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=rnnbench", "-c", "user.email=rnnbench@localhost", "-c", "commit.gpgsign=false")
    return _run(["git", *who, *arguments], folder).strip()


def _time(scratch: Path, machine: str, pattern: str, commit: str, slowdown: float, device: str, append: bool) -> None:
    """Let asv time the benchmarks of this folder as a commit of the scratch repository, or add to its samples."""
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
    _run(command, Path(), RNNBENCH_SLOWDOWN=str(slowdown), RNNBENCH_DEVICE=device)


def _run(command: Sequence[str], folder: Path, **changes: str) -> str:
    done = subprocess.run(command, cwd=folder, env=os.environ | changes, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise Failed("\n".join([f"{Path(command[0]).name} failed and said at its end:", *said[-20:]]))
    return done.stdout


def _judge(results: Path, machine: str, commits: Sequence[str], commit: str) -> list[Verdict]:
    from asv.commands.compare import _is_result_better

    runs = [_figures(results, machine, each) for each in commits]
    day = datetime.datetime.now(datetime.UTC).date().isoformat()

    def faster(one: tuple, other: tuple, factor: float) -> bool:
        return _is_result_better(one[0], other[0], one[1:], other[1:], factor)

    verdicts = []
    for name, shape in sorted(set.intersection(*map(set, runs)), key=lambda figure: runs[0][figure][0]):
        taken = [run[name, shape] for run in runs]
        same = [figure for figure, slowdown in zip(taken, _RUNS, strict=True) if not slowdown]
        seconds, statistics, _ = same[0]
        for factor in _FACTORS:
            pairs = list(itertools.combinations(same, 2))
            wrong = sum(faster(one, other, factor) or faster(other, one, factor) for one, other in pairs)
            counts = {0.0: (len(pairs), wrong)}
            for figure, slowdown in zip(taken, _RUNS, strict=True):
                if slowdown:
                    counts[slowdown] = (len(same), sum(faster(one, figure, factor) for one in same))
            verdicts += [
                Verdict(commit, day, name, shape, seconds, statistics["repeat"], slowdown, factor, *count)
                for slowdown, count in counts.items()
            ]
    return verdicts


def _figures(results: Path, machine: str, commit: str) -> dict[tuple[str, str], tuple[Any, ...]]:
    """Return what asv recorded for a commit: (seconds, statistics, samples), by benchmark and shape."""
    from asv.commands.compare import unroll_result
    from asv.results import iter_results_for_machine_and_hash

    found = {}
    for result in iter_results_for_machine_and_hash(str(results), machine, commit):
        for key in result.get_all_result_keys():
            sizes = result.get_result_params(key)
            values = (result.get_result_value, result.get_result_stats, result.get_result_samples)
            for name, value, *rest in unroll_result(key, sizes, *(get(key, sizes) for get in values)):
                if value is not None and value == value:
                    shape = re.sub(".*\\(|\\)", "", name)
                    found[key, shape] = (value, *rest)
    return found
