"""The commands that say what can run here, and whether it computes what it should: variants, doctor, verify."""

from __future__ import annotations

import argparse
import random

from rnnbench import theano_runtime, variants
from rnnbench.cli.arguments import Commands, add_device, add_grid, add_variants, complain, integer
from rnnbench.measure import failures
from rnnbench.network.shapes import GRIDS


def register(commands: Commands) -> None:
    """Add these commands to the parser."""
    listing = commands.add_parser("variants", help="list the variants and whether they can run here")
    add_device(listing, default="cpu")
    listing.set_defaults(run=_list_variants)

    doctor = commands.add_parser(
        "doctor", help="show what Theano needs, where it is, and how to install what is missing"
    )
    add_device(doctor, help="fail if this one can't be used")
    doctor.set_defaults(run=_examine)

    verify = commands.add_parser("verify", help="check every variant's outputs and gradients against the reference")
    add_variants(verify, help="check these alone")
    add_device(verify, default="cpu")
    add_grid(verify, "--grid", default="quick", help="check the shapes of this grid")
    verify.add_argument("--shapes", type=integer, default=8, metavar="N", help="also check N random odd shapes")
    verify.add_argument("--seed", type=integer, help="repeat an earlier run's odd shapes and data")
    verify.set_defaults(run=_verify)


def _list_variants(options: argparse.Namespace) -> int:
    found = variants.available(options.device)
    width = max(map(len, found))
    for name, reason in found.items():
        print(f"{name:{width}}  {reason or f'runs on {options.device}'}")
    return 0


def _examine(options: argparse.Namespace) -> int:
    """Print each piece that Theano needs, and return 1 if the device that was asked for can't be used."""
    device = options.device
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


def _verify(options: argparse.Namespace) -> int:
    """Print the errors of each variant that can run, up to the first that is wrong, and return 1 if one is."""
    from rnnbench import verify

    device, grid, count = options.device, options.grid, options.shapes
    seed = random.randrange(10**6) if options.seed is None else options.seed
    shapes = [*GRIDS[grid], *verify.draw(count, seed)]
    print(f"The {grid} grid and {count} odd shapes on {device}; for the same ones again: --seed {seed}")
    wanted = options.variants or variants.VARIANTS
    found = {name: reason for name, reason in variants.available(device).items() if name in wanted}
    for name, reason in found.items():
        if reason:
            print(f"{name} can't run: {reason}")
    names = [name for name, reason in found.items() if not reason]
    checks: list[verify.Check] = []
    problem = None
    try:
        for check in verify.checks(names, shapes, seed, device):
            checks.append(check)
            if check.reason:
                print(f"{check.variant} can't run a shape: {check.reason}")
            if problem := check.fault:
                break
    except Exception as failure:
        problem = failures.sentence(failure)
        if problem is None:
            raise
    if any(check.errors for check in checks):
        print(verify.table(checks))
    else:
        problem = problem or f"nothing could be checked on {device}"
    return complain(problem) if problem else 0
