"""The commands that time a grid on many machines: sweep, gather."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rnnbench.cli.arguments import Commands, add_device, add_networks, add_results, complain, examples, variant
from rnnbench.cli.arguments import machine as machine_name
from rnnbench.cluster import gather, plan, progress, submit, sweep
from rnnbench.cluster.submit import Settings
from rnnbench.cluster.sweep import Sweep
from rnnbench.history import NotFound, nodes, work_tree

_WATCH_SECONDS = 5
_SHOWN_TASKS = 10


def register(commands: Commands) -> None:
    """Add these commands to the parser."""
    command = commands.add_parser(
        "sweep",
        help="time what is missing from a grid on many machines, by Slurm",
        description="Submit a job for each shape of a grid that lacks figures at the commit HEAD. A job times all "
        "implementations of its shape in turn on one GPU. Call it again to submit what is still missing. "
        "docs/cluster.md explains it.",
        **examples(
            "rnnbench sweep seed --machine h100 --device cuda --partition gpu --watch",
            "rnnbench sweep full torch cudnn --machine h100 --device cuda --dry-run",
            "rnnbench sweep quick --machine my-machine --executor local",
            "rnnbench sweep --watch",
        ),
    )
    add_networks(command, "grid", help="what to time; all: every grid of every network, and all models", also=plan.ALL)
    command.add_argument(
        "variants",
        nargs="*",
        type=variant,
        metavar="variant",
        help="time only these implementations (default: all that are made for the device)",
    )
    command.add_argument(
        "--machine",
        type=machine_name,
        metavar="NAME",
        help="the name of this class of machines; the figures of all its nodes go to results/NAME",
    )
    add_device(command, default="cpu", help="the device to time (default: %(default)s)")
    command.add_argument(
        "--environment",
        action="append",
        type=_interpreter,
        metavar="existing:PYTHON",
        help="an interpreter to time in, at a path that all nodes have; repeat this option for each (default: the one "
        "that runs this command)",
    )
    command.add_argument(
        "--executor", choices=submit.EXECUTORS, help="slurm (default), or local for this machine's GPUs"
    )
    command.add_argument("--partition", help="Slurm's partition")
    command.add_argument("--account", help="Slurm's account")
    command.add_argument("--minutes", type=_positive, help="the most time for one shape (default: 60)")
    command.add_argument(
        "--running",
        type=_positive,
        metavar="COUNT",
        help="the most jobs at once (default: 256 on Slurm, one for each GPU on this machine)",
    )
    command.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="a TOML file with executor, partition, account, minutes and running, and a table sbatch with further "
        "options of sbatch",
    )
    command.add_argument("--dry-run", action="store_true", help="submit nothing; show the jobs and their expected time")
    command.add_argument(
        "--watch",
        action="store_true",
        help="show what is done, running and failed, and the time left, until all has ended; without a grid, of the "
        "newest sweep",
    )
    add_results(command)
    command.set_defaults(run=_sweep)

    merge = commands.add_parser(
        "gather",
        help="merge the figures of rnnbench sweep into the results",
        description="Merge the figures of all jobs that are done into the results. It may be called at any time, and "
        "repeated: it loses and doubles nothing.",
        **examples("rnnbench gather", "rnnbench gather --machine h100"),
    )
    merge.add_argument("--machine", type=machine_name, metavar="NAME", help="only the sweeps of this machine")
    add_results(merge)
    merge.set_defaults(run=_gather)


def _interpreter(name: str) -> str:
    if not name.startswith("existing:"):
        raise argparse.ArgumentTypeError(f"{name}: it must be existing:/path/to/python, which every node can start")
    return name


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: it must be an integer of 1 or more")
    return int(text)


def _sweep(options: argparse.Namespace) -> int:
    if options.grid is None:
        if not options.watch:
            raise NotFound("name a grid to time, or give --watch alone to see how far the newest sweep is")
        return _watch(sweep.find(options.machine)[-1])
    if options.machine is None:
        raise NotFound("name the class of machines with --machine NAME: its figures go to results/NAME")
    settings = _settings(options)
    implementations = tuple(options.variants) or plan.made_for(options.device)
    environments = tuple(options.environment or [f"existing:{sys.executable}"])
    wanted = list(plan.grids(options.grid, options.network))
    commit = sweep.head()
    folder = sweep.HOME.resolve() / f"{options.machine}-{commit[:8]}"
    chosen_canary = plan.canary(wanted, implementations, environments)
    found = Sweep(folder, options.machine, commit, options.device, chosen_canary)
    for changed in work_tree.changed("HEAD", "existing"):
        complain(f"uncommitted changes in {changed}/ are not timed: commit them first")
    if not options.dry_run:
        found = found.create(Path.cwd(), options.results)
    if found.device != options.device:
        raise NotFound(f"{folder} is a sweep on {found.device}: choose another --machine for --device {options.device}")
    missing = plan.missing(found, wanted, implementations, environments, options.results)
    if options.dry_run:
        print("\n".join(_preview(found, missing, settings)))
        return 0
    now = progress.look(found)
    # What waits for a process of another machine is for the first that claims it: so machines share the work.
    in_work = {*now.running, *(now.waiting if settings.executor == "slurm" else ())}
    missing = [task for task in missing if task.name not in in_work]
    if not missing:
        print("Nothing is missing that isn't measured or in work already.")
    elif settings.executor == "slurm":
        submit.slurm(found, missing, settings)
        print(f"Submitted {len(missing)} shapes. To see how far they are: rnnbench sweep --watch")
    else:
        submit.local(found, missing, settings, tell=lambda line: print(line, flush=True))
    return _watch(found) if options.watch or settings.executor == "local" else 0


def _settings(options: argparse.Namespace) -> Settings:
    """Return the settings of the file, if one is named, with those of the command line before them."""
    known = {field.name for field in fields(Settings)}
    content: dict[str, Any] = {}
    if options.settings:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        try:
            content = tomllib.loads(options.settings.read_text())
        except ValueError as reason:
            raise NotFound(f"{options.settings} isn't TOML: {reason}") from reason
    if unknown := sorted(content.keys() - known):
        raise NotFound(f"{options.settings} has {unknown[0]}: it may have {', '.join(sorted(known))}")
    try:
        submit.check_settings(content)
    except ValueError as reason:
        raise NotFound(f"{options.settings} can't be used: {reason}") from reason
    given = {name: value for name, value in vars(options).items() if name in known and value is not None}
    return Settings(**{**content, **given})


def _preview(found: Sweep, missing: Sequence[plan.Task], settings: Settings) -> list[str]:
    """Return what would be submitted, as text."""
    seconds = plan.expected_seconds(found, missing)
    lines = [
        f"{found.machine} at {found.commit[:8]} lacks figures at {len(missing)} shapes. Expected: "
        f"{progress.duration(seconds)} on one {'GPU' if found.device == 'cuda' else 'machine'}."
    ]
    if missing and settings.executor == "slurm":
        lines.append("The array has a job for each shape, with these options of sbatch, as submitit names them:")
        lines += [f"  {name}: {value}" for name, value in submit.parameters(found, settings).items()]
    lines += [f"  {task.name}" for task in missing[:_SHOWN_TASKS]]
    if len(missing) > _SHOWN_TASKS:
        lines.append(f"  and {len(missing) - _SHOWN_TASKS} more")
    if missing:
        lines.append(f"Implementations: {', '.join(missing[0].implementations)}")
        lines.append(f"Environments, in turn: {', '.join(missing[0].environments)}")
    return lines


def _watch(found: Sweep) -> int:
    """Print a sweep's progress whenever it changes, until all has ended; return 1 if a shape failed or is lost."""
    shown = None
    while True:
        now = progress.look(found)
        counts = now.counts
        if counts != shown:
            print("\n".join(progress.lines(found, now)), flush=True)
            shown = counts
        if now.is_over:
            return 1 if now.failed or now.lost else 0
        time.sleep(_WATCH_SECONDS)


def _gather(options: argparse.Namespace) -> int:
    status = 0
    for found in sweep.find(options.machine):
        merged = gather.gather(found, options.results)
        for sentence in merged.left_out:
            status = complain(sentence)
        print(
            f"{found.machine} at {found.commit[:8]}: {merged.figures} figures were new, of {merged.tasks} shapes done. "
            f"They are in {options.results / found.machine}."
        )
        for sentence in nodes.sentences(nodes.read(options.results / found.machine)):
            print(sentence)
    return status
