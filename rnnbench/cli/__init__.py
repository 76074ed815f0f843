"""The command line: rnnbench, or python -m rnnbench. Each group of commands is a module, and registers them itself."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from rnnbench import __version__
from rnnbench.cli import checks, measurements, results
from rnnbench.cli.arguments import complain
from rnnbench.history import NotFound, ResultsWarning
from rnnbench.measure.state import Doubtful
from rnnbench.network.contract import Unavailable

# What an extra of setup.py brings: a command that needs one says so.
_OPTIONAL = ("asv", "fastjsonschema", "jiter", "matplotlib", "orjson", "tabulate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 1 where its input is wrong, which it says in a line.

    Wrong arguments exit with 2 and say what is allowed.
    """
    parser = _parser()
    options, others = parser.parse_known_args(arguments)
    if others and not options.takes_asvs_arguments:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    options.others = others
    with warnings.catch_warnings():
        warnings.simplefilter("default", ResultsWarning)
        warnings.showwarning = _show
        try:
            status: int = options.run(options)
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            # The reader has closed the pipe. Python would write to it once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            complain("interrupted")
            return 128 + signal.SIGINT
        except (NotFound, Doubtful, Unavailable, UnicodeError, OSError) as reason:
            return complain(reason)
        except ModuleNotFoundError as missing:
            if missing.name not in _OPTIONAL:
                raise
            return complain(f"{missing.name} is missing: pip install {missing.name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rnnbench", description="Recurrent networks, timed and checked.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(takes_asvs_arguments=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for group in (checks, measurements, results):
        group.register(commands)
    return parser


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    complain(message)
