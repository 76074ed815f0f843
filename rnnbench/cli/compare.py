"""The command compare: two versions of the code, timed in live processes that take turns."""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import tempfile
from pathlib import Path

from rnnbench import variants
from rnnbench.cli.arguments import Commands, add_device, as_shape, complain, environments_device, implementation
from rnnbench.network.shapes import GRIDS, Shape

_DESCRIPTION = """\
Time two versions of the code in live processes that take turns, and say whether B is slower than A.

A and B are each one of:
  .             the work tree
  COMMIT        a commit, branch or tag
  VARIANT       an implementation, e.g. scan or ./mine.py: this compares two implementations
  NAME=VALUE    the work tree with this environment variable
  PYTHON        the work tree with this interpreter, a path with a /

The rest names shapes (BATCHxSEQxHIDDEN or BATCHxSEQxHIDDENxDEPTH) and implementations. Without shapes it times the
quick grid. Without implementations it times Theano's. Examples:

  rnnbench compare HEAD . fused
  rnnbench compare HEAD~3 HEAD 32x30x128 scan fused
  rnnbench compare scan fused 32x30x128
  rnnbench compare OMP_NUM_THREADS=1 OMP_NUM_THREADS=2 fused

The exit status is 1 if B is slower than A at a figure, or if a figure could not be timed.
docs/compare.md describes the verdicts, docs/method.md the method.
"""
_MOST_SECONDS = 86400


def register(commands: Commands) -> None:
    """Add this command to the parser."""
    compare = commands.add_parser(
        "compare",
        help="time two commits, or two implementations, in processes that take turns, and say which is slower",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument("a", metavar="A", help="the earlier version")
    compare.add_argument("b", metavar="B", help="the later version")
    compare.add_argument(
        "what", nargs="*", type=_shape_or_variant, metavar="SHAPE|VARIANT", help="a shape or an implementation to time"
    )
    add_device(compare, help="the device to run on (default: the environment variable RNNBENCH_DEVICE, or cpu)")
    compare.add_argument(
        "--least",
        type=_percent,
        default=3.0,
        metavar="PERCENT",
        help="the least change that matters: a comparison also ends when the change is surely smaller "
        "(default: %(default)g)",
    )
    compare.add_argument(
        "--seconds",
        type=_seconds,
        default=60.0,
        help="stop after this time for a figure, sure or not; the first compilation isn't counted "
        "(default: %(default)g)",
    )
    compare.add_argument("--json", action="store_true", help="print the results as JSON instead of a table")
    compare.set_defaults(run=_compare)


def _shape_or_variant(text: str) -> Shape | str:
    """Return the shape or the variant's name; raise ArgumentTypeError if it is neither."""
    if found := as_shape(text):
        return found
    try:
        return implementation(text)
    except argparse.ArgumentTypeError as problem:
        raise argparse.ArgumentTypeError(f"{problem}; or a shape such as 32x30x128") from problem


def _percent(text: str) -> float:
    return _number(text, 100, "a percentage above 0 and at most 100")


def _seconds(text: str) -> float:
    return _number(text, _MOST_SECONDS, f"seconds above 0 and at most {_MOST_SECONDS}")


def _number(text: str, most: float, meaning: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= most:
        raise argparse.ArgumentTypeError(f"{text}: it must be {meaning}")
    return number


def _compare(options: argparse.Namespace) -> int:
    """Print the results of a comparison; return 1 if a figure is slower or could not be timed."""
    from rnnbench.live import comparison, interval, versions
    from rnnbench.live.process import Failed

    if not options.json:
        import tabulate  # noqa: F401 - a missing package must not show after all the timing

    # The temporary folder is removed when Python raises KeyboardInterrupt.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shapes = [what for what in options.what if isinstance(what, Shape)] or list(GRIDS["quick"])
    names = [what for what in options.what if isinstance(what, str)]
    device = options.device or environments_device()
    names = names or variants.installable(variants.THEANO, device)
    least = options.least / 100
    sides = options.a, options.b
    with tempfile.TemporaryDirectory(prefix="rnnbench-compare-") as folder:
        try:
            # Both folders have names of the same length: a path's length moves a process's memory.
            first, second = (versions.prepare(side, Path(folder, name)) for side, name in zip(sides, "ab", strict=True))
        except Failed as reason:
            return complain(reason)
        if (first.implementation is None) != (second.implementation is None):
            return complain(f"{sides[0]} and {sides[1]} can't be compared: name two implementations or none")
        results = list(comparison.compare((first, second), names, shapes, device, options.seconds, least, tell=_tell))
    if options.json:
        print(json.dumps({"a": sides[0], "b": sides[1], "least": least, "results": comparison.as_json(results)}))
    else:
        print(comparison.table(results, sides))
    return 1 if any(result.verdict == interval.SLOWER or result.problem for result in results) else 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
