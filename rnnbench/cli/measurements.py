"""The commands that time, prepare timing, or call asv: filter, machine, run, publish, interleave, selftest."""

from __future__ import annotations

import argparse

from rnnbench import variants
from rnnbench.cli.arguments import (
    Commands,
    add_device,
    add_grid,
    add_networks,
    add_results,
    add_variants,
    complain,
    environments_device,
    examples,
)
from rnnbench.cli.arguments import machine as machine_name
from rnnbench.history import benchmark_names, interleave, machine
from rnnbench.measure import state
from rnnbench.network.shapes import GRIDS

# `rnnbench run --help` and `rnnbench publish --help` print this text before asv's own help.
_ASV_INTRODUCTIONS = {
    "run": """\
rnnbench run times benchmarks and records their results. It takes the arguments of asv run, and adds safety:
- It works on a copy of the results. If it is interrupted, or the disk is full, earlier results stay unchanged.
- Only one run at a time works in a checkout. A second one waits.
- It skips broken results files and names them.
- With --strict a figure in doubt doesn't replace an earlier one that isn't.
The environment variable RNNBENCH_DEVICE=cuda times the GPU instead of the CPU. Example:
  rnnbench run --machine NAME --record-samples --bench "$(rnnbench filter quick)" 'HEAD^!'

The help of asv run:
""",
    "publish": """\
rnnbench publish writes the dashboard, a website, from the results. It takes the arguments of asv publish, and adds
safety:
- The old dashboard stays until the new one is complete.
- Only one publish at a time works in a checkout. A second one waits.
- It skips broken results files and names them.
Example:
  rnnbench publish

The help of asv publish:
""",
}


def register(commands: Commands) -> None:
    """Add these commands to the parser."""
    pattern = commands.add_parser(
        "filter",
        help="print the pattern that selects a grid's benchmarks for rnnbench run --bench",
        description="Print a regular expression that selects the benchmarks of a grid. Give it to the option --bench "
        "of rnnbench run.",
        **examples(
            "rnnbench filter seed",
            "rnnbench filter quick scan torch --network gru",
            "rnnbench filter models --theano",
        ),
    )
    add_networks(pattern, "grid", help="the shapes to time")
    add_variants(pattern, help="time only these implementations (default: all)")
    pattern.add_argument(
        "--theano",
        action="store_true",
        help="time all of Theano's implementations that are made for the device",
    )
    add_device(pattern, default="cpu", help="the device to time; only cuda has device times (default: %(default)s)")
    pattern.set_defaults(run=_print_filter)

    describe = commands.add_parser(
        "machine",
        help="describe this machine to asv, before the first run",
        description="Describe this machine in ~/.asv-machine.json, where rnnbench run looks for it. Call this before "
        "the first run. On a CPU it measures the peak rates, unless results/NAME has them already. It also warns "
        "about all that makes timings doubtful now.",
        **examples("rnnbench machine my-machine", "rnnbench machine my-gpu --device cuda --strict"),
    )
    describe.add_argument("name", type=machine_name, help="a name for this machine; its results go to results/NAME")
    add_device(
        describe,
        default="cpu",
        help="the device to be timed; cuda adds the GPU, its driver, CUDA and cuDNN (default: %(default)s)",
    )
    describe.add_argument(
        "--strict",
        action="store_true",
        help="fail if timings would be doubtful now: the CPU is busy or the GPU throttled, for example",
    )
    describe.set_defaults(run=_describe)

    # asv parses the arguments of these two commands, and prints the help on them.
    for name, summary in (
        ("run", "time benchmarks: like asv run (same arguments), but an interrupted run damages no earlier results"),
        ("publish", "write the dashboard: like asv publish (same arguments), but the old one stays until it is done"),
    ):
        command = commands.add_parser(name, add_help=False, help=summary)
        command.set_defaults(run=_run_asv, takes_others=True)

    turns = commands.add_parser(
        "interleave",
        help="time a grid at HEAD in several environments that take turns",
        description="Time a grid at the commit HEAD in several environments, for example Theano's and the other "
        "frameworks'. The environments take turns at each shape. So a machine that slows down over time slows them "
        "all alike. Call rnnbench machine first.",
        **examples(
            "rnnbench interleave seed --machine my-machine --environment virtualenv:3.11 \\",
            "    --environment peers:3.11",
        ),
    )
    add_networks(turns, "grid", help="the shapes to time")
    turns.add_argument(
        "--machine", required=True, type=machine_name, metavar="NAME", help="the name given to rnnbench machine"
    )
    add_device(turns, default="cpu", help="the device to time (default: %(default)s)")
    turns.add_argument(
        "--environment",
        action="append",
        required=True,
        type=_environment,
        metavar="NAME",
        help="an environment to time in; repeat this option for each. virtualenv:3.11 has Theano, peers:3.11 has the "
        "other frameworks, theano-pymc:3.11 has Theano-PyMC, existing:/path/to/python3 has what is installed for that "
        "Python",
    )
    turns.set_defaults(run=_interleave)

    selftest = commands.add_parser(
        "selftest",
        help="measure the smallest slowdown that this machine can detect",
        description="Time the same code several times, and copies that are slowed on purpose. Print how often asv and "
        "rnnbench compare call each of them changed, and the smallest slowdown that they detect reliably. Store the "
        "figures in results/NAME/, in selftest.csv and selftest-compare.csv, for rnnbench report. The environment "
        "variable RNNBENCH_DEVICE=cuda tests the GPU.",
        **examples(
            "rnnbench selftest --machine my-machine scan fused",
            "rnnbench selftest --machine my-machine fused --only compare",
        ),
    )
    add_variants(selftest, help="time only these implementations (default: all that can run here)")
    selftest.add_argument(
        "--machine",
        required=True,
        type=machine_name,
        metavar="NAME",
        help="a name for this machine; the figures go to results/NAME",
    )
    add_grid(selftest, "--grid", default="quick", help="time the shapes of this grid (default: %(default)s)")
    selftest.add_argument(
        "--only", choices=("asv", "compare"), help="test only asv, or only rnnbench compare (default: both)"
    )
    add_results(selftest)
    selftest.set_defaults(run=_selftest)


def _environment(name: str) -> str:
    kinds = ("existing", *sorted({kind for row in variants.VARIANTS.values() for kind in row.environments}))
    if not name.startswith(tuple(f"{kind}:" for kind in kinds)):
        raise argparse.ArgumentTypeError(f"{name}: it must begin with one of {', '.join(f'{kind}:' for kind in kinds)}")
    return name


def _print_filter(options: argparse.Namespace) -> int:
    theanos = variants.installable(variants.THEANO, options.device) if options.theano else []
    names = [*options.variants, *theanos]
    print(benchmark_names.asv_filter(options.grid, names, options.device, options.network))
    return 0


def _describe(options: argparse.Namespace) -> int:
    """Describe this machine to asv, and print why its timings would be doubtful; return 1 if --strict forbids that."""
    doubts = state.judge(state.now(options.device)).values()
    for sentence in doubts:
        complain(sentence)
    if doubts and options.strict:
        return 1
    machine.save(options.name, options.device)
    return 0


def _run_asv(options: argparse.Namespace) -> int:
    from rnnbench.history import asv_commands

    if {"-h", "--help"} & set(options.others):
        print(_ASV_INTRODUCTIONS[options.command])
    try:
        return asv_commands.COMMANDS[options.command](options.others)
    except asv_commands.Failed as reason:
        return complain(reason)
    except asv_commands.Ended as ended:
        complain(f"stopped by {ended.signal.name}: all earlier results are unchanged")
        return 128 + ended.signal


def _interleave(options: argparse.Namespace) -> int:
    return interleave.run(options.grid, options.machine, options.environment, options.device, options.network)


def _selftest(options: argparse.Namespace) -> int:
    """Time the same code and slowed copies of it; print and store which of them are called changed."""
    tests = {"asv": _test_asv, "compare": _test_compare}
    chosen = [options.only] if options.only else list(tests)
    return 1 if any(tests[name](options, environments_device()) for name in chosen) else 0


def _test_asv(options: argparse.Namespace, device: str) -> int:
    from rnnbench.history import selftest

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


def _test_compare(options: argparse.Namespace, device: str) -> int:
    from rnnbench.history import live_selftest
    from rnnbench.live.process import Failed

    names = options.variants or [name for name, reason in variants.available(device).items() if reason is None]
    try:
        rows = live_selftest.measure(names, GRIDS[options.grid], device, tell=lambda line: print(line, flush=True))
    except Failed as reason:
        return complain(reason)
    print(live_selftest.table(rows))
    print(live_selftest.sentence(rows))
    live_selftest.save(rows, options.results / options.machine)
    return 0
