"""The command line: rnnbench, or python -m rnnbench."""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import random
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from rnnbench import __version__, history, theano_runtime, variants
from rnnbench.history import asv_files, files, interleave, machine
from rnnbench.measure import failures, state
from rnnbench.network import grids
from rnnbench.network.contract import Unavailable

_FORMATS = ("text", "markdown", "csv", "json")
_OPTIONAL = ("asv", "fastjsonschema", "jiter", "matplotlib", "orjson", "tabulate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; what is wrong with its input is said in a line each.

    Wrong arguments exit with 2 and say what is allowed.
    """
    parser = _parser()
    options, others = parser.parse_known_args(arguments)
    if options.command in ("run", "publish"):
        options.arguments = others
    elif others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    with warnings.catch_warnings():
        warnings.simplefilter("default", history.ResultsWarning)
        warnings.showwarning = _show
        try:
            status = _do(options)
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            # Whoever reads has seen enough; at its end Python would write there once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            _complain("interrupted")
            return 128 + signal.SIGINT
        except (history.NotFound, state.Doubtful, Unavailable, UnicodeError, OSError) as reason:
            return _complain(reason)
        except ModuleNotFoundError as missing:
            if missing.name not in _OPTIONAL:
                raise
            return _complain(f"{missing.name} is missing: pip install {missing.name}")


def _do(options: argparse.Namespace) -> int:
    if options.command == "doctor":
        return _examine(options.device)
    if options.command in ("run", "publish"):
        return _asv(options.command, options.arguments)
    if options.command == "machine":
        return _describe(options)
    if options.command == "interleave":
        return interleave.run(options.grid, options.machine, options.environment, options.device)
    if options.command == "verify":
        return _verify(options)
    if options.command == "selftest":
        return _selftest(options)
    if options.command == "variants":
        _list_variants(options.device)
    elif options.command == "report":
        _report(options)
    elif options.command == "history":
        _show_history(options)
    elif options.command == "readme":
        _rewrite(options)
    elif options.command == "preview":
        _serve(options.html, options.port)
    else:
        print(grids.asv_filter(options.grid, options.variants))
    return 0


def _parser() -> argparse.ArgumentParser:
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
    pattern.add_argument("variants", nargs="*", type=_variant, metavar="variant", help="time these alone")

    turns = commands.add_parser("interleave", help="time a grid at HEAD in several environments in turn")
    turns.add_argument("grid", choices=tuple(grids.GRIDS))
    turns.add_argument("--machine", required=True, type=_machine, metavar="NAME", help="its name in results/")
    turns.add_argument("--device", choices=variants.DEVICES, default="cpu")
    turns.add_argument(
        "--environment",
        action="append",
        required=True,
        type=_environment,
        metavar="NAME",
        help="one of asv's: virtualenv:3.11 has Theano, peers:3.11 the other frameworks, "
        "existing:/path/to/python3 what is installed there; name several",
    )

    description = commands.add_parser("machine", help="tell asv what machine this is")
    description.add_argument("name", type=_machine, help="its name in results/")
    description.add_argument("--device", choices=variants.DEVICES, default="cpu", help="cuda adds the GPU's facts")
    description.add_argument("--strict", action="store_true", help="refuse a machine that is busy or throttled now")

    verifying = commands.add_parser("verify", help="check every variant's outputs and gradients against the reference")
    verifying.add_argument("variants", nargs="*", type=_variant, metavar="variant", help="check these alone")
    verifying.add_argument("--device", choices=variants.DEVICES, default="cpu")
    verifying.add_argument("--grid", choices=tuple(grids.GRIDS), default="quick", help="check these cells")
    verifying.add_argument(
        "--shapes", type=_integer, default=8, metavar="N", help="and so many odd ones, drawn at random"
    )
    verifying.add_argument("--seed", type=_integer, help="draw these and all data from it, as an earlier run did")

    testing = commands.add_parser("selftest", help="measure from which change on this machine's figures show it")
    testing.add_argument("variants", nargs="*", type=_variant, metavar="variant", help="time these alone")
    testing.add_argument("--machine", required=True, type=_machine, metavar="NAME", help="its name in the results")
    testing.add_argument("--grid", choices=tuple(grids.GRIDS), default="quick", help="time these cells")

    for name in ("run", "publish"):
        # asv's own parser takes their arguments, and has the help on them.
        commands.add_parser(name, add_help=False, help=f"asv {name}, whose arguments it takes, made safe")

    report = commands.add_parser("report", help="show what a machine measured at a commit")
    shown = report.add_mutually_exclusive_group()
    shown.add_argument("--format", choices=_FORMATS, default="text")
    shown.add_argument("--plot", type=_image, metavar="FILE", help="draw how time grows, to a .png or .svg")
    shown.add_argument("--export", choices=["rnn-benchmarks"], help="in the form of that repository's tables")
    report.add_argument("--strict", action="store_true", help="refuse figures of a busy or throttled machine")
    report.add_argument("--against", metavar="COMMIT|MACHINE|titan-x", help="compare with these figures")

    listed = commands.add_parser("history", help="list what has results, and what is missing from a grid")
    listed.add_argument("--grid", choices=tuple(grids.GRIDS), help="say what is missing, and how to measure it")

    preview = commands.add_parser("preview", help="serve the dashboard to this machine alone")
    preview.add_argument("--html", type=Path, default="html", metavar="FOLDER", help="asv's html_dir")
    preview.add_argument("--port", type=_port, default=8080)

    readme = commands.add_parser("readme", help="write a README's marked tables from the results")
    readme.add_argument("file", type=Path)

    for command in (report, listed):
        command.add_argument("--machine", help="a name in the results")
        command.add_argument("--commit", help="a hash or its beginning; the newest with results unless named")
    for command in (report, listed, readme, testing):
        command.add_argument("--results", type=Path, default="results", metavar="FOLDER", help="asv's results_dir")
    return parser


def _variant(name: str) -> str:
    if name not in variants.VARIANTS:
        raise argparse.ArgumentTypeError(f"{name}: it must be one of {', '.join(variants.VARIANTS)}")
    return name


def _environment(name: str) -> str:
    kinds = ("existing", *sorted({row.environment for row in variants.VARIANTS.values()}))
    if not name.startswith(tuple(f"{kind}:" for kind in kinds)):
        raise argparse.ArgumentTypeError(f"{name}: it must begin with one of {', '.join(f'{kind}:' for kind in kinds)}")
    return name


def _integer(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text}: it must be an integer from 0 to {2**32 - 1}")
    return int(text)


def _machine(name: str) -> str:
    if not asv_files.is_machine(name):
        raise argparse.ArgumentTypeError(f"{name!r} can't be a machine's name: it must do for a folder's")
    return name


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 1 to 65535")
    return int(text)


def _image(name: str) -> Path:
    if not name.endswith((".png", ".svg")):
        raise argparse.ArgumentTypeError(f"{name}: its name must end with .png or .svg")
    return Path(name)


def _asv(command: str, arguments: Sequence[str]) -> int:
    from rnnbench.history import asv_commands

    try:
        return asv_commands.COMMANDS[command](arguments)
    except asv_commands.Failed as reason:
        return _complain(reason)
    except asv_commands.Ended as ended:
        _complain(f"ended by {ended.signal.name}: what was recorded before is as it was")
        return 128 + ended.signal


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    _complain(message)


def _complain(reason: object) -> int:
    print(f"rnnbench: {history.printable(str(reason))}", file=sys.stderr)
    return 1


def _describe(options: argparse.Namespace) -> int:
    """Tell asv what machine this is, and say what makes its figures doubtful; return 1 if that is refused."""
    doubts = state.judge(state.now(options.device)).values()
    for sentence in doubts:
        _complain(sentence)
    if doubts and options.strict:
        return 1
    machine.save(options.name, options.device)
    return 0


def _report(options: argparse.Namespace) -> None:
    from rnnbench.report import export, formats, plot, tables

    report = tables.make(options.results, options.machine, options.commit, options.against)
    if options.strict and (doubts := formats.doubts(report)):
        raise state.Doubtful(f"{report.facts['machine']} at {report.commit[:8]} is refused: {' '.join(doubts)}")
    if options.plot:
        plot.save(report, options.plot)
    elif options.export:
        print(export.rnn_benchmarks(report), end="")
    else:
        print(formats.FORMATS[options.format](report), end="")


def _show_history(options: argparse.Namespace) -> None:
    from rnnbench.report import gaps

    print(gaps.listing(options.results, options.machine, options.commit, options.grid), end="")


def _rewrite(options: argparse.Namespace) -> None:
    from rnnbench.report import readme

    text = options.file.read_text(encoding="utf-8")
    files.write(options.file, readme.rewrite(text, options.results).encode())


def _serve(folder: Path, port: int) -> None:
    """Serve a folder on the loopback, where no other machine reaches it, until the process is interrupted."""
    if not (folder / "index.html").is_file():
        raise history.NotFound(f"there is no dashboard in {folder}: make publish writes it")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"The dashboard is at http://127.0.0.1:{port}, for this machine alone; Ctrl-C ends it.", flush=True)
        server.serve_forever()


def _list_variants(device: str) -> None:
    found = variants.available(device)
    width = max(map(len, found))
    for name, reason in found.items():
        print(f"{name:{width}}  {reason or f'runs on {device}'}")


def _verify(options: argparse.Namespace) -> int:
    """Print the errors of each variant that can run, up to the first that is wrong, and return 1 if one is."""
    from rnnbench import verify

    device, grid, shapes = options.device, options.grid, options.shapes
    seed = random.randrange(10**6) if options.seed is None else options.seed
    cells = [*grids.GRIDS[grid], *verify.draw(shapes, seed)]
    print(f"The {grid} grid and {shapes} odd shapes on {device}; for the same ones again: --seed {seed}")
    wanted = options.variants or variants.VARIANTS
    found = {name: reason for name, reason in variants.available(device).items() if name in wanted}
    for name, reason in found.items():
        if reason:
            print(f"{name} can't run: {reason}")
    names = [name for name, reason in found.items() if not reason]
    checks: list[verify.Check] = []
    problem = None
    try:
        for check in verify.checks(names, cells, seed, device):
            checks.append(check)
            if check.reason:
                print(f"{check.variant} can't run a cell: {check.reason}")
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
    return _complain(problem) if problem else 0


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
        return _complain(reason)
    print(selftest.table(verdicts))
    print(selftest.sentence(verdicts))
    selftest.save(verdicts, options.results / options.machine)
    return 0


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
