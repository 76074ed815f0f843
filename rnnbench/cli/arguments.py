"""Arguments and error messages that the commands share."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from rnnbench import variants
from rnnbench.history import asv_files, printable
from rnnbench.network.contract import Unavailable
from rnnbench.network.models import ALL_MODELS, FAMILIES, MODELS
from rnnbench.network.shapes import GRIDS, Shape

# argparse gives its class no public name.
Commands = Any

_GRIDS_EXPLAINED = (
    f"quick has {len(GRIDS['quick'])} small shapes, seed the {len(GRIDS['seed'])} shapes published in 2016, "
    f"full all {len(GRIDS['full'])} shapes"
)
_MODELS_EXPLAINED = (
    f"models has {len(MODELS)} networks of real models instead, and the name of one has it alone (docs/models.md)"
)


def examples(*lines: str) -> dict[str, Any]:
    """Return the settings of a parser whose help ends with these commands as examples."""
    epilog = "\n".join(["examples:", *(f"  {line}" for line in lines)])
    return {"epilog": epilog, "formatter_class": _WithExamples}


def add_device(command: argparse.ArgumentParser, help: str, **settings: Any) -> None:
    """Add the option --device to a command."""
    command.add_argument("--device", choices=variants.DEVICES, help=help, **settings)


def environments_device() -> str:
    """Return the device that RNNBENCH_DEVICE names, or "cpu". Raises Unavailable if there is no such device."""
    device = os.environ.get("RNNBENCH_DEVICE") or "cpu"
    if device not in variants.DEVICES:
        raise Unavailable(f"RNNBENCH_DEVICE={device}: it must be one of {', '.join(variants.DEVICES)}")
    return device


class _WithExamples(argparse.HelpFormatter):
    """Wrap the description and the options as usual, but keep the lines of the examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("examples:") else super()._fill_text(text, width, indent)


def add_variants(command: argparse.ArgumentParser, help: str) -> None:
    """Add the names of variants to a command, as arguments that may be left out."""
    command.add_argument("variants", nargs="*", type=variant, metavar="variant", help=help)


def add_grid(command: argparse.ArgumentParser, name: str, help: str, **settings: Any) -> None:
    """Add a grid to a command, as the argument "grid" or the option "--grid"; the help explains each grid."""
    command.add_argument(name, choices=tuple(GRIDS), help=f"{help}; {_GRIDS_EXPLAINED}", **settings)


def add_networks(command: argparse.ArgumentParser, name: str, help: str, also: str | None = None) -> None:
    """Add a grid of a family of networks, or all models, to a command: `add_grid`, and the option --network.

    With a further choice, `also`, the grid may be left out too.
    """
    explained = f"{help}; {_GRIDS_EXPLAINED}; {_MODELS_EXPLAINED}"
    choices = (*GRIDS, ALL_MODELS, *MODELS, *([also] if also else []))
    command.add_argument(name, choices=choices, nargs="?" if also else None, metavar="grid", help=explained)
    command.add_argument(
        "--network", choices=tuple(FAMILIES), default="lstm", help="the networks of the grid (default: %(default)s)"
    )


def add_results(command: argparse.ArgumentParser) -> None:
    """Add the option --results, asv's results_dir, to a command."""
    command.add_argument(
        "--results",
        type=Path,
        default="results",
        metavar="FOLDER",
        help="the folder with the results (default: %(default)s)",
    )


def machine(name: str) -> str:
    """Return the text if it can be a machine's name; raise ArgumentTypeError otherwise."""
    if not asv_files.is_machine(name):
        raise argparse.ArgumentTypeError(
            f"{name!r} can't be a machine's name: it also names a folder, so avoid /, <, > and a leading dot"
        )
    return name


def variant(name: str) -> str:
    """Return the text if it is a variant's name; raise ArgumentTypeError otherwise."""
    if name not in variants.VARIANTS:
        raise argparse.ArgumentTypeError(f"{name}: it must be one of {', '.join(variants.VARIANTS)}")
    return name


def implementation(name: str) -> str:
    """Return the text if it is the name or the file of an implementation; raise ArgumentTypeError otherwise."""
    try:
        variants.find(name)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem
    return name


def as_shape(text: str) -> Shape | None:
    """Return the shape that a text such as 32x30x128x1 names, or None. A depth that is left out is 1."""
    if not re.fullmatch(r"[1-9]\d{0,5}([x×][1-9]\d{0,5}){2,3}", text, re.ASCII):
        return None
    return Shape(*[*map(int, re.split("[x×]", text)), 1][:4])


def image(name: str) -> Path:
    """Return the path of a plot; raise ArgumentTypeError if it isn't a .png or .svg file."""
    if not name.endswith((".png", ".svg")):
        raise argparse.ArgumentTypeError(f"{name}: the file's name must end with .png or .svg")
    return Path(name)


def integer(text: str) -> int:
    """Return the text as an integer from 0 to 2**32 - 1, NumPy's range for seeds; raise ArgumentTypeError otherwise."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text}: it must be an integer from 0 to {2**32 - 1}")
    return int(text)


def complain(reason: object) -> int:
    """Print the reason to stderr, and return 1, the exit status of a failure."""
    lines = map(printable, str(reason).split("\n"))
    print("rnnbench:", "\n".join(lines), file=sys.stderr)
    return 1
