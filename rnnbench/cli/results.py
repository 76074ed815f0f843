"""The commands that show what was measured: report, history, readme, preview."""

from __future__ import annotations

import argparse
import functools
import http.server
from pathlib import Path

from rnnbench.cli.arguments import Commands, add_grid, add_results
from rnnbench.history import NotFound, files
from rnnbench.measure.state import Doubtful

_FORMATS = ("text", "markdown", "csv", "json")


def register(commands: Commands) -> None:
    """Add these commands to the parser."""
    report = commands.add_parser("report", help="show what a machine measured at a commit")
    shown = report.add_mutually_exclusive_group()
    shown.add_argument("--format", choices=_FORMATS, default="text")
    shown.add_argument("--plot", type=_image, metavar="FILE", help="draw how time grows, to a .png or .svg")
    shown.add_argument("--export", choices=["rnn-benchmarks"], help="in the form of that repository's tables")
    report.add_argument("--strict", action="store_true", help="refuse figures of a busy or throttled machine")
    report.add_argument("--against", metavar="COMMIT|MACHINE|titan-x", help="compare with these figures")
    report.set_defaults(run=_report)

    history = commands.add_parser("history", help="list what has results, and what is missing from a grid")
    add_grid(history, "--grid", help="say what is missing, and how to measure it")
    history.set_defaults(run=_show_history)

    readme = commands.add_parser("readme", help="write the marked tables of Markdown files from the results")
    readme.add_argument("file", type=Path)
    readme.set_defaults(run=_rewrite)

    preview = commands.add_parser("preview", help="serve the dashboard to this machine alone")
    preview.add_argument("--html", type=Path, default="html", metavar="FOLDER", help="asv's html_dir")
    preview.add_argument("--port", type=_port, default=8080)
    preview.set_defaults(run=_serve)

    for command in (report, history):
        command.add_argument("--machine", help="a name in the results")
        command.add_argument("--commit", help="a hash or its beginning; the newest with results unless named")
    for command in (report, history, readme):
        add_results(command)


def _image(name: str) -> Path:
    if not name.endswith((".png", ".svg")):
        raise argparse.ArgumentTypeError(f"{name}: its name must end with .png or .svg")
    return Path(name)


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 1 to 65535")
    return int(text)


def _report(options: argparse.Namespace) -> int:
    from rnnbench.report import export, formats, plot, tables

    report = tables.make(options.results, options.machine, options.commit, options.against)
    if options.strict and (doubts := formats.doubts(report)):
        raise Doubtful(f"{report.facts['machine']} at {report.commit[:8]} is refused: {' '.join(doubts)}")
    if options.plot:
        plot.save(report, options.plot)
    elif options.export:
        print(export.rnn_benchmarks(report), end="")
    else:
        print(formats.FORMATS[options.format](report), end="")
    return 0


def _show_history(options: argparse.Namespace) -> int:
    from rnnbench.report import gaps

    print(gaps.listing(options.results, options.machine, options.commit, options.grid), end="")
    return 0


def _rewrite(options: argparse.Namespace) -> int:
    from rnnbench.report import readme

    text = options.file.read_text(encoding="utf-8")
    files.write(options.file, readme.rewrite(text, options.results).encode())
    return 0


def _serve(options: argparse.Namespace) -> int:
    """Serve a folder on the loopback, where no other machine reaches it, until the process is interrupted."""
    if not (options.html / "index.html").is_file():
        raise NotFound(f"there is no dashboard in {options.html}: make publish writes it")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(options.html))
    with http.server.ThreadingHTTPServer(("127.0.0.1", options.port), handler) as server:
        print(
            f"The dashboard is at http://127.0.0.1:{options.port}, for this machine alone; Ctrl-C ends it.", flush=True
        )
        server.serve_forever()
    return 0
