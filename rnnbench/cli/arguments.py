"""What the commands share: the types of their arguments, and how they say what is wrong."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rnnbench import variants
from rnnbench.history import asv_files, printable
from rnnbench.network.shapes import GRIDS

# argparse gives its class no public name.
Commands = Any


def add_device(command: argparse.ArgumentParser, **settings: Any) -> None:
    """Give a command the option --device."""
    command.add_argument("--device", choices=variants.DEVICES, **settings)


def add_variants(command: argparse.ArgumentParser, help: str) -> None:
    """Let a command be told variants by their names."""
    command.add_argument("variants", nargs="*", type=_variant, metavar="variant", help=help)


def add_grid(command: argparse.ArgumentParser, name: str, **settings: Any) -> None:
    """Give a command a grid, as the argument "grid" or the option "--grid"."""
    command.add_argument(name, choices=tuple(GRIDS), **settings)


def add_results(command: argparse.ArgumentParser) -> None:
    """Give a command the folder of asv's results."""
    command.add_argument("--results", type=Path, default="results", metavar="FOLDER", help="asv's results_dir")


def machine(name: str) -> str:
    """Return a machine's name; it is a folder's name too."""
    if not asv_files.is_machine(name):
        raise argparse.ArgumentTypeError(f"{name!r} can't be a machine's name: it must do for a folder's")
    return name


def integer(text: str) -> int:
    """Return an integer from 0 to 2**32 - 1."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text}: it must be an integer from 0 to {2**32 - 1}")
    return int(text)


def complain(reason: object) -> int:
    """Print to the error output what is wrong, and return the exit status that says so."""
    print(f"rnnbench: {printable(str(reason))}", file=sys.stderr)
    return 1


def _variant(name: str) -> str:
    if name not in variants.VARIANTS:
        raise argparse.ArgumentTypeError(f"{name}: it must be one of {', '.join(variants.VARIANTS)}")
    return name
