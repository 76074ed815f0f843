"""The commands that measure, or prepare it: filter, machine, run, interleave, selftest."""

from __future__ import annotations

import argparse
import os

from rnnbench import variants
from rnnbench.cli.arguments import Commands, add_device, add_grid, add_results, add_variants, complain
from rnnbench.cli.arguments import machine as machine_name
from rnnbench.history import benchmark_names, interleave, machine
from rnnbench.measure import state


def register(commands: Commands) -> None:
    """Add these commands to the parser."""
    pattern = commands.add_parser("filter", help="print the pattern of a grid for asv run --bench")
    add_grid(pattern, "grid")
    add_variants(pattern, help="time these alone")
    pattern.set_defaults(run=_print_filter)

    described = commands.add_parser("machine", help="tell asv what machine this is")
    described.add_argument("name", type=machine_name, help="its name in results/")
    add_device(described, default="cpu", help="cuda adds the GPU's facts")
    described.add_argument("--strict", action="store_true", help="refuse a machine that is busy or throttled now")
    described.set_defaults(run=_describe)

    # asv's own parser takes their arguments, and has the help on them.
    for name, say in (
        ("run", "asv run, with its arguments, on a copy of the results: one that is ended damages nothing"),
        ("publish", "asv publish, with its arguments: the old dashboard stays until the new one is complete"),
    ):
        command = commands.add_parser(name, add_help=False, help=say)
        command.set_defaults(run=_run_asv, takes_asvs_arguments=True)

    turns = commands.add_parser("interleave", help="time a grid at HEAD in several environments in turn")
    add_grid(turns, "grid")
    turns.add_argument("--machine", required=True, type=machine_name, metavar="NAME", help="its name in results/")
    add_device(turns, default="cpu")
    turns.add_argument(
        "--environment",
        action="append",
        required=True,
        type=_environment,
        metavar="NAME",
        help="one of asv's: virtualenv:3.11 has Theano, peers:3.11 the other frameworks, "
        "existing:/path/to/python3 what is installed there; name several",
    )
    turns.set_defaults(run=_interleave)

    selftest = commands.add_parser("selftest", help="measure the smallest slowdown that this machine can detect")
    add_variants(selftest, help="time these alone")
    selftest.add_argument("--machine", required=True, type=machine_name, metavar="NAME", help="its name in results/")
    add_grid(selftest, "--grid", default="quick", help="time the shapes of this grid")
    add_results(selftest)
    selftest.set_defaults(run=_selftest)


def _environment(name: str) -> str:
    kinds = ("existing", *sorted({row.environment for row in variants.VARIANTS.values()}))
    if not name.startswith(tuple(f"{kind}:" for kind in kinds)):
        raise argparse.ArgumentTypeError(f"{name}: it must begin with one of {', '.join(f'{kind}:' for kind in kinds)}")
    return name


def _print_filter(options: argparse.Namespace) -> int:
    print(benchmark_names.asv_filter(options.grid, options.variants))
    return 0


def _describe(options: argparse.Namespace) -> int:
    """Tell asv what machine this is, and say what makes its figures doubtful; return 1 if that is refused."""
    doubts = state.judge(state.now(options.device)).values()
    for sentence in doubts:
        complain(sentence)
    if doubts and options.strict:
        return 1
    machine.save(options.name, options.device)
    return 0


def _run_asv(options: argparse.Namespace) -> int:
    from rnnbench.history import asv_commands

    try:
        return asv_commands.COMMANDS[options.command](options.others)
    except asv_commands.Failed as reason:
        return complain(reason)
    except asv_commands.Ended as ended:
        complain(f"ended by {ended.signal.name}: what was recorded before is as it was")
        return 128 + ended.signal


def _interleave(options: argparse.Namespace) -> int:
    return interleave.run(options.grid, options.machine, options.environment, options.device)


def _selftest(options: argparse.Namespace) -> int:
    """Time the same code and slowed copies of it, and print and store what asv finds."""
    from rnnbench.history import selftest

    device = os.environ.get("RNNBENCH_DEVICE", "cpu")
    machine.save(options.machine, device)
    try:
        verdicts = selftest.measure(
            options.machine, options.grid, options.variants, device, tell=lambda line: print(line, flush=True)
        )
    except selftest.Failed as reason:
        return complain(reason)
    print(selftest.table(verdicts))
    print(selftest.sentence(verdicts))
    selftest.save(verdicts, options.results / options.machine)
    return 0
