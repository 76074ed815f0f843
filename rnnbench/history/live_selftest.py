"""Measure how small a slowdown `rnnbench compare` finds on this machine, how often it is wrong, and how long it takes.

Pairs of processes are timed. Each pair is timed as it is, and with its second process slowed by known shares. Then many
comparisons are made of pairs that are drawn from these.
"""

from __future__ import annotations

import datetime
import math
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rnnbench import variants
from rnnbench.history import nodes, selftest, work_tree
from rnnbench.history.figures import printable
from rnnbench.live import comparison
from rnnbench.live.interval import FASTER, SLOWER, UNSURE, Judge
from rnnbench.live.process import Code
from rnnbench.network.shapes import Shape

# Not .json, because asv would read it as results.
FILE = "selftest-compare.csv"

_FOLDER = Path(__file__).parents[2]  # of the code that runs now
_SLOWDOWNS = (0.0, 0.02, 0.03, 0.05, 0.1)
_PAIRS = 20  # of processes
_COMPARISONS = 1000  # drawn for each slowdown
# The defaults of `rnnbench compare`.
LEAST, SECONDS = 0.03, 60.0
# A slowdown is reliably found if at least this share of the comparisons finds it.
_FOUND = 0.95


class Row(NamedTuple):
    """How the drawn comparisons of one figure and slowdown ended."""

    commit: str
    day: str
    implementation: str
    shape: str  # its sizes as asv writes them, e.g. "32, 30, 128, 1"
    function: str  # "forward" or "train"
    seconds: float  # the median time of a call
    slowdown: float  # the share by which the second process was slowed; 0 for the same code
    timed: int  # the number of timed pairs that the comparisons draw from
    compared: int  # the number of comparisons
    slower: int  # how many of them called the second process slower
    faster: int
    unsure: int  # how many were not sure at the end of their time
    took: float  # the median number of seconds of a comparison


def measure(
    implementations: Sequence[str], shapes: Sequence[Shape], device: str, tell: Callable[[str], None]
) -> list[Row]:
    """Time pairs of processes at each shape, and return the rows of all figures; takes some minutes a shape.

    Calls `tell` with lines of progress. Raises Unavailable or Failed as a process does.
    """
    rows = []
    for shape in shapes:
        for name in implementations:
            tell(f"{name} at {' × '.join(map(str, shape))}: {_PAIRS} pairs of live processes")
            timed, cost = _time(name, shape, device)
            rows += _judge(name, shape, timed, cost)
    return rows


def save(rows: Iterable[Row], folder: Path) -> None:
    """Write the rows to FILE in a machine's results folder."""
    selftest.write_rows(folder / FILE, Row._fields, rows)


def read(folder: Path) -> list[Row]:
    """Return the rows that `save` wrote, or an empty list if there is no file.

    An invalid file also gives an empty list, with a ResultsWarning.
    """
    return selftest.read_rows(folder / FILE, _row)


def findings(folder: Path) -> str | None:
    """Return what a machine's selftests say of asv and of rnnbench compare, and how its nodes differ, or None."""
    verdicts, rows = selftest.read(folder), read(folder)
    sentences = [selftest.sentence(verdicts)] if verdicts else []
    sentences += [sentence(rows)] if rows else []
    sentences += nodes.sentences(nodes.read(folder))
    return " ".join(sentences) or None


def sentence(rows: Sequence[Row]) -> str:
    """Return a sentence with the smallest slowdown that rnnbench compare finds, its time, and its false alarms."""
    same = [row for row in rows if row.slowdown == 0]
    compared = sum(row.compared for row in same)
    false_alarms = sum(row.slower + row.faster for row in same)
    wrong = f"it called {false_alarms} of {compared} comparisons of the same code changed"
    source = f"selftest of {rows[0].day} at {rows[0].commit}"
    for slowdown in sorted({row.slowdown for row in rows} - {0.0}):
        slowed = [row for row in rows if row.slowdown == slowdown]
        found, total = sum(row.slower for row in slowed), sum(row.compared for row in slowed)
        if found >= _FOUND * total:
            took = statistics.median(row.took for row in slowed)
            option = f" with --least {100 * least(slowdown):g}" if least(slowdown) < LEAST else ""
            where = f"in {found} of {total} comparisons, in {took:.0f} s"
            return (
                f"On this machine rnnbench compare{option} finds a slowdown of {slowdown:.0%} {where}; {wrong} "
                f"({source})."
            )
    most = max(row.slowdown for row in rows)
    return f"On this machine rnnbench compare doesn't reliably find even a slowdown of {most:.0%}; {wrong} ({source})."


def table(rows: Iterable[Row]) -> str:
    """Return a table with a row for each figure and slowdown; needs tabulate."""
    from tabulate import tabulate

    headings = ["implementation", "shape", "call", "ms", "slowed by", "slower", "faster", "not sure", "of", "s"]
    lines = [
        [
            *(row.implementation, row.shape, row.function, f"{row.seconds * 1e3:.3g}", f"{row.slowdown:.0%}"),
            *(row.slower, row.faster, row.unsure, row.compared, f"{row.took:.0f}"),
        ]
        for row in rows
    ]
    return tabulate(lines, headings, "simple", disable_numparse=True, colalign=["left"] * 3 + ["right"] * 7)


Pairs = dict[tuple[float, str], list[comparison.Timed]]  # of each slowdown and function


def _time(name: str, shape: Shape, device: str) -> tuple[Pairs, float]:
    """Time the pairs of one implementation at one shape. Return them, and the seconds that compare takes for each.

    The slowdowns take turns, so drift affects all alike.
    """
    functions = comparison.FUNCTIONS if variants.find(name).trains else comparison.FUNCTIONS[:1]
    timed: Pairs = {(slowdown, function): [] for function in functions for slowdown in _SLOWDOWNS}
    costs = []
    for _ in range(_PAIRS):
        start = time.perf_counter()
        turns = 0.0
        codes = Code("one process", _FOLDER), Code("the other process", _FOLDER)
        with comparison.started(codes, (name, name), shape, device, functions) as processes:
            for function in functions:
                comparison.warm(processes, function)
                before = time.perf_counter()
                for slowdown in random.sample(_SLOWDOWNS, len(_SLOWDOWNS)):
                    timed[slowdown, function].append(comparison.time_turns(processes, function, slowdown))
                turns += time.perf_counter() - before
        # A comparison has one of the slowdowns. Each figure pays for its share of a pair.
        seconds = time.perf_counter() - start - turns + turns / len(_SLOWDOWNS)
        costs.append(seconds / len(functions))
    return timed, statistics.median(costs)  # the first pair may have compiled


def _judge(name: str, shape: Shape, timed: Pairs, cost: float) -> list[Row]:
    """Return the rows of comparisons that are drawn from timed pairs, each of which takes `cost` seconds."""
    commit = work_tree.describe_head(_FOLDER)
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    rows = []
    for (slowdown, function), pairs in timed.items():
        seconds = statistics.median(pair.seconds[0] for pair in pairs)
        counts, number_of_pairs = _compare([pair.log_ratio for pair in pairs], slowdown, int(SECONDS / cost))
        rows.append(
            Row(
                *(commit, day, name, ", ".join(map(str, shape)), function, seconds, slowdown),
                *(len(pairs), _COMPARISONS, counts[SLOWER], counts[FASTER], counts[UNSURE]),
                round(number_of_pairs * cost, 1),
            )
        )
    return rows


def least(slowdown: float) -> float:
    """Return the least change that comparisons ask for, which find this slowdown: the default, if that is small enough.

    Otherwise compare would call the slowdown no change that matters.
    """
    return slowdown / 2 if 0 < slowdown < LEAST else LEAST


def _compare(log_ratios: Sequence[float], slowdown: float, most_pairs: int) -> tuple[Counter[str], float]:
    """Draw comparisons from timed pairs. Return how many ended with each verdict, and their median number of pairs.

    With the same code a pair might as well have had its sides swapped, so a coin decides that.
    """
    draw = random.Random(0)
    verdicts: Counter[str] = Counter()
    numbers = []
    for _ in range(_COMPARISONS):
        judge = Judge(least(slowdown))
        for number in range(1, max(1, most_pairs) + 1):
            sign = 1 if slowdown else draw.choice((-1, 1))
            looked = judge.add(sign * draw.choice(log_ratios), is_last=number == most_pairs)
            if looked and judge.verdict != UNSURE:
                break
        verdicts[judge.verdict] += 1
        numbers.append(judge.pairs)
    return verdicts, statistics.median(numbers)


def _row(row: dict[str, str]) -> Row:
    found = Row(
        printable(row["commit"]),
        printable(row["day"]),
        printable(row["implementation"]),
        printable(row["shape"]),
        printable(row["function"]),
        float(row["seconds"]),
        float(row["slowdown"]),
        int(row["timed"]),
        int(row["compared"]),
        int(row["slower"]),
        int(row["faster"]),
        int(row["unsure"]),
        float(row["took"]),
    )
    ended = found.slower, found.faster, found.unsure
    if not (0 < found.seconds < math.inf and 0 <= found.slowdown < 10 and 0 <= found.took < 1e9):
        raise ValueError(f"no selftest writes the row {row}")
    if min(ended) < 0 or sum(ended) > found.compared or not found.compared:
        raise ValueError(f"no selftest writes the row {row}")
    return found
