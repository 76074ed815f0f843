"""The command line: rnnbench, or python -m rnnbench."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rnnbench import __version__, grids, variants


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; wrong arguments exit with 2 and say what is allowed."""
    parser = argparse.ArgumentParser(prog="rnnbench", description="Recurrent networks, timed and checked.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)

    listing = commands.add_parser("variants", help="list the variants and whether they can run here")
    listing.add_argument("--device", choices=variants.DEVICES, default="cpu")

    pattern = commands.add_parser("filter", help="print the pattern of a grid for asv run --bench")
    pattern.add_argument("grid", choices=tuple(grids.GRIDS))

    options = parser.parse_args(arguments)
    if options.command == "variants":
        _list_variants(options.device)
    else:
        print(grids.asv_filter(options.grid))
    return 0


def _list_variants(device: str) -> None:
    found = variants.available(device)
    width = max(map(len, found))
    for name, reason in found.items():
        print(f"{name:{width}}  {reason or f'runs on {device}'}")
