"""The command line, `rnnbench` or `python -m rnnbench`. Each module here adds one group of commands to the parser."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from rnnbench import __version__
from rnnbench.cli import checks, compare, measurements, results, sweep, timing
from rnnbench.cli.arguments import complain
from rnnbench.history import NotFound, ResultsWarning
from rnnbench.measure import variables
from rnnbench.measure.state import Doubtful
from rnnbench.network.contract import Unavailable
from rnnbench.theano_runtime.pieces import install_command

# Packages that only some commands need, by the extra of setup.py that installs them.
_EXTRAS = {
    **dict.fromkeys(("asv", "fastjsonschema", "markdown", "orjson"), "bench"),
    **dict.fromkeys(("jiter", "matplotlib", "rich", "tabulate"), "report"),
    **dict.fromkeys(("submitit", "tomli"), "cluster"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    The status is 0 for success, and 1 if the command can't do its work. It then prints the reason in one line.
    Wrong arguments raise SystemExit with the status 2, after a message that lists the allowed ones.
    """
    variables.forget()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal of another encoding may lack a dash or a micro sign
    parser = _parser()
    options, others = parser.parse_known_args(arguments)
    if others and not options.takes_others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    options.others = others
    with warnings.catch_warnings():
        warnings.simplefilter("default", ResultsWarning)
        warnings.showwarning = _show_warning
        try:
            status: int = options.run(options)
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            # The reader has closed the pipe. Python flushes stdout once more at exit, which must not fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            complain("interrupted")
            return 128 + signal.SIGINT
        except (NotFound, Doubtful, Unavailable, UnicodeError, OSError) as reason:
            return complain(reason)
        except ModuleNotFoundError as missing:
            if missing.name not in _EXTRAS:
                raise
            return complain(f"the package {missing.name} is missing: {install_command(_EXTRAS[missing.name])}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rnnbench",
        description="Time implementations of recurrent networks, check what they compute, and report the results.",
        epilog="`rnnbench COMMAND --help` explains a command. `make help` lists the usual tasks.",
    )
    parser.add_argument("--version", action="version", version=__version__, help="show the version and exit")
    parser.set_defaults(takes_others=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for group in (timing, checks, measurements, compare, sweep, results):
        group.register(commands)
    return parser


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    complain(message)
