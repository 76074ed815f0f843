"""The commands that show results: report, history, readme, preview."""

from __future__ import annotations

import argparse
import errno
import functools
import http.server
import platform
from pathlib import Path

from rnnbench.cli.arguments import Commands, add_networks, add_results, complain, examples, image, variant
from rnnbench.history import NotFound, files
from rnnbench.measure.state import Doubtful
from rnnbench.network.models import GROUPS

_FORMATS = ("text", "markdown", "csv", "json")
_TABLES = ("summary", "ranking", "against", "times", "builds", "memory", "accuracy", "growth", "software")
_CALLS = ("train", "forward")


def register(commands: Commands) -> None:
    """Add these commands to the parser."""
    report = commands.add_parser(
        "report",
        help="show the times, errors and memory that a machine measured at a commit",
        description="Show what a machine measured at a commit. The answer comes first: which implementation is the "
        "fastest, at which shapes, and by how much. Then come all times, builds, memory, accuracy and software.",
        **examples(
            "rnnbench report --table summary ranking",
            "rnnbench report --machine h100 --against titan-x --call train",
            "rnnbench report --variants scan torch --table times",
            "rnnbench report --network models --machine h100",
            "rnnbench report --plot growth.svg",
        ),
    )
    output = report.add_mutually_exclusive_group()
    output.add_argument(
        "--format", choices=_FORMATS, default="text", help="print the tables in this format (default: %(default)s)"
    )
    output.add_argument(
        "--plot",
        type=image,
        metavar="FILE",
        help="instead of printing, draw how the time grows with each size, into a .png or .svg file",
    )
    output.add_argument(
        "--export",
        choices=["rnn-benchmarks"],
        help="print Markdown tables in the form of github.com/glample/rnn-benchmarks",
    )
    output.add_argument(
        "--summary",
        action="store_true",
        help="print the summary alone, and below a CPU's that of the GPU machine with the newest results",
    )
    report.add_argument(
        "--table",
        nargs="+",
        choices=_TABLES,
        default=[],
        metavar="TABLE",
        help=f"as text, print only these tables: {', '.join(_TABLES)} (default: all)",
    )
    report.add_argument(
        "--network",
        choices=tuple(GROUPS),
        default="lstm",
        help="show these networks; models are those of docs/models.md (default: %(default)s)",
    )
    report.add_argument("--call", choices=_CALLS, help="show only the train step, or only the forward pass")
    report.add_argument(
        "--variants",
        nargs="+",
        type=variant,
        metavar="VARIANT",
        help="show only these implementations; rnnbench variants lists them (default: all)",
    )
    report.add_argument(
        "--strict",
        action="store_true",
        help="fail if any figure is doubtful: the CPU was busy or the GPU throttled, for example",
    )
    report.add_argument(
        "--against",
        metavar="COMMIT|MACHINE|titan-x",
        help="also compare with this commit or machine; titan-x means the figures published in 2016",
    )
    report.add_argument(
        "--machine",
        help="the machine's name in the results (default: this host, or the machine with the newest results if this "
        "host has none)",
    )
    report.add_argument(
        "--commit",
        help="the commit: a hash or its beginning, a branch, a tag, HEAD (default: the newest commit with results)",
    )
    report.set_defaults(run=_report)

    history = commands.add_parser(
        "history",
        help="list the commits and machines that have results, and what is missing from a grid",
        description="List the commits, machines and environments that have results. With --grid, also list what each "
        "machine has not measured yet.",
        **examples(
            "rnnbench history",
            "rnnbench history --grid seed --machine h100",
            "rnnbench history --grid quick --network gru",
        ),
    )
    add_networks(
        history,
        "--grid",
        help="list what is missing from this grid, and the command that measures it; without --commit, at each "
        "machine's newest commit",
    )
    history.add_argument("--machine", help="list only this machine (default: all)")
    history.add_argument("--commit", help="list only this commit: a hash, a branch, a tag, HEAD (default: all)")
    history.set_defaults(run=_show_history)

    readme = commands.add_parser(
        "readme",
        help="write the marked tables and pictures of Markdown files from the results",
        description="Write the parts of Markdown files that stand between a mark such as <!-- table: MACHINE --> and "
        "<!-- end -->. rnnbench/report/documents.py lists the marks.",
        **examples("rnnbench readme README.md docs/results-h100.md"),
    )
    readme.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a Markdown file; its pictures lie beside it"
    )
    readme.set_defaults(run=_rewrite)

    preview = commands.add_parser(
        "preview",
        help="show the dashboard at http://127.0.0.1:8080",
        description="Serve the dashboard to a browser on this machine, until Ctrl-C. Other machines can't reach it. "
        "Write the dashboard first, with make publish.",
        **examples("rnnbench preview --port 8081"),
    )
    preview.add_argument(
        "--html", type=Path, default="html", metavar="FOLDER", help="the dashboard's folder (default: %(default)s)"
    )
    preview.add_argument(
        "--port", type=_port, default=8080, help="serve at http://127.0.0.1:PORT (default: %(default)s)"
    )
    preview.set_defaults(run=_serve)

    for command in (report, history, readme):
        add_results(command)


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a port: it must be an integer from 1 to 65535")
    return int(text)


def _report(options: argparse.Namespace) -> int:
    from rnnbench.report import export, formats, plot, summary, tables, terminal

    report = tables.make(options.results, options.machine, options.commit, options.against, options.network)
    report = tables.choose(report, options.variants, options.call)
    if options.strict and (doubts := formats.doubts(report.rows)):
        raise Doubtful(f"{report.facts['machine']} at {report.commit[:8]} is refused: {' '.join(doubts)}")
    if options.plot:
        plot.save(report, options.plot)
    elif options.export:
        print(export.rnn_benchmarks(report), end="")
    elif options.format != "text":
        print(formats.FORMATS[options.format](report), end="")
    else:
        has_none = options.summary and "gpu" not in report.facts
        on_gpu = summary.fullest_with_gpu(options.results, report.group) if has_none else None
        sections = ["summary"] if options.summary else options.table
        terminal.show(report, terminal.console(), sections, on_gpu)
        if options.machine is None and report.facts["machine"] != platform.node():
            complain(f"no results of this host, {platform.node()}, were found: those of another machine are shown")
    return 0


def _show_history(options: argparse.Namespace) -> int:
    from rnnbench.report import gaps

    print(gaps.listing(options.results, options.machine, options.commit, options.grid, options.network), end="")
    return 0


def _rewrite(options: argparse.Namespace) -> int:
    from rnnbench.report import documents

    for document in options.files:
        for path, content in documents.rewrite(document, options.results).items():
            files.write(path, content)
    return 0


def _serve(options: argparse.Namespace) -> int:
    """Serve a folder on the loopback interface until the process is interrupted. No other machine can reach it."""
    if not (options.html / "index.html").is_file():
        raise NotFound(f"there is no dashboard in {options.html}: write it with make publish")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(options.html))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), handler)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise NotFound(f"port {options.port} is taken: name another one with --port") from error
    with server:
        print(
            f"The dashboard is at http://127.0.0.1:{options.port}, for this machine only. Ctrl-C stops it.", flush=True
        )
        server.serve_forever()
    return 0
