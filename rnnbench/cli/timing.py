"""The command time: check and time implementations against each other at any network, without asv."""

from __future__ import annotations

import argparse
import json
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rnnbench import variants
from rnnbench.cli.arguments import (
    Commands,
    add_device,
    as_shape,
    complain,
    environments_device,
    examples,
    image,
    implementation,
)
from rnnbench.history import machine
from rnnbench.live.process import Code, Failed, Process
from rnnbench.live.timing import Timing, measure, resized
from rnnbench.measure import state
from rnnbench.network import models, precision
from rnnbench.network.workload import KINDS, Workload

if TYPE_CHECKING:
    from rnnbench.report import timed

# What --sweep can vary, and its field of a Workload.
_SWEPT = {"batch": "batch", "seq": "seq", "hidden": "hidden", "depth": "depth", "inputs": "input_size"}
_ACCURATE = precision.RIVALS[precision.THREE_TF32]  # the precisions that are as accurate as float32
_FOLDER = Path(__file__).parents[2]  # the folder that holds this package


def register(commands: Commands) -> None:
    """Add this command to the parser."""
    command = commands.add_parser(
        "time",
        help="check and time implementations at any network, and say which is the fastest",
        description="Check implementations against the float64 reference, time them in processes that take turns, and "
        "say which one is the fastest. A NETWORK is a shape, BATCHxSEQxHIDDEN or BATCHxSEQxHIDDENxDEPTH, or the name "
        f"of a model: {', '.join(models.MODELS)}. An IMPLEMENTATION is a name or the path of a .py file; without one, "
        "all that compute in float32 and can run here are timed.",
        **examples(
            "rnnbench time 32x30x512",
            "rnnbench time 64x50x256x2 --kind gru --inputs 80 --bidirectional --device cuda",
            "rnnbench time rnnt-encoder torch jax_scan",
            "rnnbench time 32x30x64 torch --sweep hidden=64:2048 --plot hidden.svg",
        ),
    )
    command.add_argument("network", type=_network, metavar="NETWORK", help="the network to time")
    command.add_argument(
        "what",
        nargs="*",
        type=_implementation_or_network,
        metavar="IMPLEMENTATION|NETWORK",
        help="what to time at it, and more networks",
    )
    command.add_argument("--kind", choices=tuple(KINDS), help="the kind of network (default: lstm)")
    command.add_argument("--inputs", type=_size, metavar="N", help="the features of an input (default: hidden)")
    command.add_argument(
        "--bidirectional", action="store_true", default=None, help="read the sequences in both directions"
    )
    command.add_argument(
        "--lengths",
        type=_size,
        metavar="LEAST",
        help="give the sequences unequal lengths, from LEAST to SEQ steps (default: all have SEQ)",
    )
    add_device(command, help="the device to run on (default: the environment variable RNNBENCH_DEVICE, or cpu)")
    command.add_argument(
        "--sweep", type=_sweep, metavar="SIZE=FROM:TO", help=f"double a size from FROM to TO: {', '.join(_SWEPT)}"
    )
    command.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="PATH",
        help="also time what this Python interpreter can run and this one can't; it needs NumPy, not rnnbench",
    )
    output = command.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON instead of a table")
    output.add_argument("--csv", action="store_true", help="print CSV instead of a table")
    command.add_argument("--plot", type=image, metavar="FILE", help="also draw the times into a .png or .svg file")
    # argparse leaves over the words that stand behind an option.
    command.set_defaults(run=_time, takes_others=True, refuse=command.error)


def _network(text: str) -> Workload:
    """Return the workload of a shape or a model; raise ArgumentTypeError if the text names neither."""
    if shape := as_shape(text):
        return Workload(*shape)
    if text in models.MODELS:
        return models.workload(text)
    raise argparse.ArgumentTypeError(
        f"{text}: it must be a shape such as 32x30x128, or one of {', '.join(models.MODELS)}"
    )


def _implementation_or_network(text: str) -> str | Workload:
    # A word that names both an implementation and a model names the model only as the first argument.
    try:
        return implementation(text)
    except argparse.ArgumentTypeError as problem:
        try:
            return _network(text)
        except argparse.ArgumentTypeError:
            raise argparse.ArgumentTypeError(f"{problem}; or a network: {text!r} is none") from problem


def _size(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text}: it must be an integer from 1 to 999999")
    return int(text)


def _sweep(text: str) -> tuple[str, list[int]]:
    """Return the field of a Workload and its values that a text such as hidden=64:2048 names."""
    match = re.fullmatch(r"(\w+)=([1-9]\d{0,5}):([1-9]\d{0,5})", text, re.ASCII)
    if not match or match[1] not in _SWEPT or int(match[2]) > int(match[3]):
        raise argparse.ArgumentTypeError(
            f"{text}: it must be a size, its first and its last value, such as hidden=64:2048; the sizes are "
            f"{', '.join(_SWEPT)}"
        )
    values = [int(match[2])]
    while 2 * values[-1] <= int(match[3]):
        values.append(2 * values[-1])
    return _SWEPT[match[1]], values


def _time(options: argparse.Namespace) -> int:
    """Time, and print what is known, also if that was interrupted. Return 1 if an implementation failed or is wrong."""
    from rnnbench.report import timed

    # The temporary folder is removed, and the processes end, when Python raises KeyboardInterrupt.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.plot:
        import matplotlib  # noqa: F401 - a missing package must not show after all the timing

    _add_others(options)
    device = options.device or environments_device()
    try:
        works = _works(options)
        codes, left_out = _codes([what for what in options.what if isinstance(what, str)], options.python, device)
    except (ValueError, Failed) as problem:
        return complain(problem)
    reasons = {(name, work): variants.supports(name, work) for work in works for name in codes}
    left_out |= {name: reason for (name, _), reason in reasons.items() if reason}
    timings = [Timing(name, variants.workload(name, work)) for (name, work), reason in reasons.items() if not reason]
    if not timings:
        for name, reason in left_out.items():
            complain(f"{name}: {reason}")
        return complain(f"nothing can be timed on {device}")

    report = timed.Report(timings, device)
    first = state.observe(device)
    is_interrupted = False
    try:
        with timed.progress(report) as tell:
            measure(timings, codes, device, tell)
        doubts = state.judge(state.between(first, state.observe(device)))
        # Several networks may have been built at once, so the number of busy processors says nothing.
        doubts.pop("threads", None)
        report = report._replace(
            doubts=list(doubts.values()), facts={key: str(rate) for key, rate in machine.peaks(device).items()}
        )
    except KeyboardInterrupt:
        is_interrupted = True
        complain("interrupted: these are the times so far")
    _print(report, options, left_out)
    if is_interrupted:
        return 128 + signal.SIGINT
    is_refused = any(name in options.what for name in left_out)
    return 1 if is_refused or any(each.problem or each.wrong for each in timings) else 0


def _add_others(options: argparse.Namespace) -> None:
    """Add the words that argparse left over to `what`; print a message and raise SystemExit if one isn't known."""
    for word in options.others:
        try:
            options.what.append(_implementation_or_network(word))
        except argparse.ArgumentTypeError as problem:
            options.refuse(f"unrecognized arguments: {word}" if word.startswith("-") else str(problem))


def _works(options: argparse.Namespace) -> list[Workload]:
    """Return the networks that the arguments name. Raises ValueError, with the reason, if there is no such network."""
    named = {
        "kind": options.kind,
        "input_size": options.inputs,
        "bidirectional": options.bidirectional,
        "least_length": options.lengths,
    }
    changes = {name: value for name, value in named.items() if value is not None}
    networks = [options.network, *(what for what in options.what if isinstance(what, Workload))]
    if options.sweep:
        name, values = options.sweep
        if len(networks) > 1:
            raise ValueError("--sweep takes one network")
        if name in changes:
            raise ValueError("--sweep inputs and --inputs exclude each other")
        networks = [resized(networks[0], **{name: value}) for value in values]
    return list(dict.fromkeys(replace(work, **changes) for work in networks))


def _codes(names: Sequence[str], pythons: Sequence[str], device: str) -> tuple[dict[str, Code], dict[str, str]]:
    """Return how each implementation is run, and why others can't be.

    Without names these are all for this device that are as accurate as float32.
    Raises Failed if an interpreter can't be used.
    """
    here = variants.available(device, names)
    if not names:
        rows = {name: variants.find(name) for name in here}
        here = {
            name: here[name]
            for name, row in rows.items()
            if row.fault or (device in row.devices and precision.of_variant(name, row.precision) in _ACCURATE)
        }
    codes = {name: Code(name, _FOLDER) for name, reason in here.items() if reason is None}
    for python in pythons:
        missing = [name for name in here if name not in codes]
        with Process(Code(python, _FOLDER, python=python)) as process:
            there = process.available(device, missing) if missing else {}
        codes |= {name: Code(name, _FOLDER, python=python) for name, reason in there.items() if reason is None}
    left_out = {name: reason for name, reason in here.items() if reason and name not in codes}
    if names or not left_out:
        return codes, left_out
    faults = {name: reason for name, reason in left_out.items() if variants.find(name).fault}
    others = ", ".join(name for name in left_out if name not in faults)
    return codes, faults | ({others: "rnnbench variants says what each needs here"} if others else {})


def _print(report: timed.Report, options: argparse.Namespace, left_out: Mapping[str, str]) -> None:
    from rnnbench.report import timed

    swept = options.sweep[0] if options.sweep else None
    if options.json:
        print(
            json.dumps({"answers": timed.answers(report), "rows": timed.rows(report), "left_out": left_out}, indent=1)
        )
    elif options.csv:
        for name, reason in left_out.items():
            complain(f"left out: {name} ({reason})")
        print(timed.as_csv(report), end="")
    else:
        timed.show(report, timed.console(), swept, left_out)
    if options.plot:
        timed.save_plot(report, options.plot, swept)
