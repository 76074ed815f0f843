"""The command line: rnnbench, or python -m rnnbench."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rnnbench import __version__, grids, machine, theano_runtime, variants


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; wrong arguments exit with 2 and say what is allowed."""
    parser = argparse.ArgumentParser(prog="rnnbench", description="Recurrent networks, timed and checked.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)

    listing = commands.add_parser("variants", help="list the variants and whether they can run here")
    listing.add_argument("--device", choices=variants.DEVICES, default="cpu")

    doctor = commands.add_parser(
        "doctor", help="show what Theano needs, where it is, and how to install what is missing"
    )
    doctor.add_argument("--device", choices=variants.DEVICES, help="fail if this one can't be used")

    pattern = commands.add_parser("filter", help="print the pattern of a grid for asv run --bench")
    pattern.add_argument("grid", choices=tuple(grids.GRIDS))

    description = commands.add_parser("machine", help="tell asv what machine this is")
    description.add_argument("name", help="its name in results/")
    description.add_argument("--device", choices=variants.DEVICES, default="cpu", help="cuda adds the GPU's facts")

    options = parser.parse_args(arguments)
    if options.command == "variants":
        _list_variants(options.device)
    elif options.command == "doctor":
        return _examine(options.device)
    elif options.command == "machine":
        machine.save(options.name, options.device)
    else:
        print(grids.asv_filter(options.grid))
    return 0


def _list_variants(device: str) -> None:
    found = variants.available(device)
    width = max(map(len, found))
    for name, reason in found.items():
        print(f"{name:{width}}  {reason or f'runs on {device}'}")


def _examine(device: str | None) -> int:
    """Print each piece that Theano needs, and return 1 if the device that was asked for can't be used."""
    found = theano_runtime.find(device or "cuda")
    width = max(len(piece.name) for piece in found)
    for piece in found:
        described = [piece.version, piece.path and str(piece.path)]
        state = piece.reason or "  ".join(text for text in described if text)
        print(f"{piece.name:{width}}  {'missing' if piece.reason else 'ok':7}  {state}")
        if piece.install:
            print(f"{'':{width}}           to install: {piece.install}")
    reason = device and theano_runtime.unavailable(device)
    if reason:
        print(f"{device} can't be used: {reason}")
    return 1 if reason else 0
