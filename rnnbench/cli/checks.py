"""The commands that check this machine and the implementations: variants, doctor, verify."""

from __future__ import annotations

import argparse
import random

from rnnbench import theano_runtime, variants
from rnnbench.cli.arguments import Commands, add_device, add_grid, complain, examples, implementation, integer
from rnnbench.measure import failures
from rnnbench.network.shapes import GRIDS
from rnnbench.network.workload import Workload

_DEVICE_NAMES = {"cpu": "CPU", "cuda": "GPU"}


def register(commands: Commands) -> None:
    """Add these commands to the parser."""
    listing = commands.add_parser(
        "variants",
        help="list the implementations: what each is, and whether it can run on this machine",
        description="List all implementations (these commands call them variants). For each, say what it is, whether "
        "it can run on this machine, and if not, why.",
        **examples("rnnbench variants", "rnnbench variants --device cuda"),
    )
    add_device(listing, default="cpu", help="the device to run on (default: %(default)s)")
    listing.set_defaults(run=_list_variants)

    doctor = commands.add_parser(
        "doctor",
        help="show the software that Theano needs, and how to install what is missing",
        description="List the software that Theano needs on this machine. For each piece, show its version and path, "
        "or how to install it. The last lines say which devices are ready.",
        **examples("rnnbench doctor", "rnnbench doctor --device cuda"),
    )
    add_device(doctor, help="list what Theano needs on this device only, and fail if it can't use the device")
    doctor.set_defaults(run=_examine)

    verify = commands.add_parser(
        "verify",
        help="check every implementation's outputs and gradients against a float64 reference",
        description="Compute the outputs and gradients of every implementation that can run here, and compare them "
        "with a float64 reference. Print a table of the errors. Stop and fail at the first error that exceeds the "
        "implementation's tolerance.",
        **examples("rnnbench verify scan fused", "rnnbench verify --grid seed --shapes 0 --device cuda"),
    )
    verify.add_argument(
        "variants",
        nargs="*",
        type=implementation,
        metavar="variant",
        help="check only these implementations, by name or by the path of a .py file (default: all)",
    )
    add_device(verify, default="cpu", help="the device to run on (default: %(default)s)")
    add_grid(verify, "--grid", default="quick", help="check the shapes of this grid (default: %(default)s)")
    verify.add_argument(
        "--shapes",
        type=integer,
        default=8,
        metavar="N",
        help="also check N random networks: every kind, one direction or both, equal lengths or not "
        "(default: %(default)s)",
    )
    verify.add_argument(
        "--seed", type=integer, help="repeat an earlier run's random networks and data; that run printed its seed"
    )
    verify.set_defaults(run=_verify)


def _list_variants(options: argparse.Namespace) -> int:
    for name, reason in variants.available(options.device).items():
        print(f"{name}: {variants.find(name).description}")
        print(f"    {f'cannot run: {reason}' if reason else f'runs on {options.device}'}")
    return 0


def _examine(options: argparse.Namespace) -> int:
    """Print each piece that Theano needs, and a verdict; return 1 if the user named a device that isn't ready."""
    device = options.device
    pieces = theano_runtime.find(device or "cuda")
    on_cpus = theano_runtime.find("cpu")
    width = max(len(piece.name) for piece in pieces)
    for piece in pieces:
        if not device and piece in (pieces[0], pieces[len(on_cpus)]):
            print("For the CPU:" if piece == pieces[0] else "For an NVIDIA GPU too:")
        version_and_path = [piece.version, piece.path and str(piece.path)]
        state = piece.reason or "  ".join(text for text in version_and_path if text)
        print(f"{piece.name:{width}}  {'missing' if piece.reason else 'ok':7}  {state}")
        if piece.install:
            print(f"{'':{width}}           to install: {piece.install}")
    reasons = {name: theano_runtime.unavailable(name) for name in ([device] if device else variants.DEVICES)}
    print()
    for name, reason in reasons.items():
        print(f"{_DEVICE_NAMES[name]}: {f'not ready. {reason}' if reason else 'ready.'}")
    return 1 if device and reasons[device] else 0


def _verify(options: argparse.Namespace) -> int:
    """Print the errors of each variant that can run, up to the first wrong one; return 1 if one is wrong."""
    from rnnbench import verify

    device, grid, count = options.device, options.grid, options.shapes
    seed = random.randrange(10**6) if options.seed is None else options.seed
    works = [*(Workload(*shape, seed=seed) for shape in GRIDS[grid]), *verify.draw(count, seed)]
    print(f"Checking the {grid} grid and {count} random networks on {device}. To repeat this run, add --seed {seed}")
    reasons = variants.available(device, options.variants)
    for name, reason in reasons.items():
        if reason:
            print(f"{name} can't run: {reason}")
    names = [name for name, reason in reasons.items() if not reason]
    checks: list[verify.Check] = []
    told = set()
    problem = None
    try:
        for check in verify.checks(names, works, device):
            checks.append(check)
            if check.reason and (check.variant, check.reason) not in told:
                print(f"{check.variant} can't run one of the networks: {check.reason}")
                told.add((check.variant, check.reason))
            if check.failure:  # the other checks may work
                complain(check.fault)
            elif problem := check.fault:
                break
        if not problem:
            failed = {check.variant for check in checks if check.failure}
            whole = [name for name in names if name not in failed]
            extreme = (check.fault for check in verify.extreme_checks(whole, device))
            problem = next(filter(None, extreme), None)
    except Exception as failure:
        problem = failures.sentence(failure)
        if problem is None:
            raise
    if any(check.errors for check in checks):
        print(verify.table(checks))
    elif not any(check.failure for check in checks):
        problem = problem or f"nothing could be checked on {device}"
    if not problem and (count := sum(check.failure is not None for check in checks)):
        problem = f"checks that failed: {count}"
    return complain(problem) if problem else 0
