"""The parts of README.md and docs/ that are written from results/ and the registry.

Such a part stands between `<!-- KIND: MACHINE@COMMIT WORDS -->` and `<!-- end -->`. Without @COMMIT it is of the
machine's newest commit with figures. The word network=gru, network=rnn or network=models shows these networks instead
of LSTMs. The kinds are:

    table            the times of the calls; WORDS are the variants that it shows, or all
    ranking          the fastest implementation at each shape
    answer           the result in a sentence
    summary          a row for each implementation
    picture          the summary as a drawing; the word is its file, beside the document
    selftest         what rnnbench compare finds on the machine; it has neither @COMMIT nor words
    implementations  the registry's rows; it has neither machine nor words
    models           the named networks, likewise
"""

from __future__ import annotations

import itertools
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from rnnbench.history import NotFound, live_selftest
from rnnbench.network import models
from rnnbench.report import formats, picture, summary, tables
from rnnbench.report.tables import CALLS, Report
from rnnbench.variants import THEANO, VARIANTS

_MARKED = re.compile(
    r"(?P<mark><!-- (?P<kind>\w+)(?:: (?P<machine>[^\s@]+)(?:@(?P<commit>\w+))?(?P<words>(?: \S+)*))? -->\n)"
    r".*?(?P<end><!-- end -->)",
    re.DOTALL,
)


def rewrite(document: Path, results: Path) -> dict[Path, bytes]:
    """Return the files that a document needs, by their paths: the document with its marked parts, and its pictures.

    Needs tabulate and, for a picture, matplotlib. Raises NotFound for a document without marks, an unknown
    mark, and a machine or commit without results.
    """
    text = document.read_text(encoding="utf-8")
    pictures: dict[Path, bytes] = {}

    def written(mark: re.Match[str]) -> str:
        kind, machine, words = mark["kind"], mark["machine"], (mark["words"] or "").split()
        if kind in _OF_NO_MACHINE:
            return f"{mark['mark']}{_OF_NO_MACHINE[kind]()}\n{mark['end']}"
        if kind == _SELFTEST and machine is not None:
            return f"{mark['mark']}{_selftest(results / machine)}\n{mark['end']}"
        group = next((word.removeprefix(_NETWORK) for word in words if word.startswith(_NETWORK)), "lstm")
        words = [word for word in words if not word.startswith(_NETWORK)]
        is_known = kind in _WRITTEN or (kind == "picture" and len(words) == 1)
        if machine is None or group not in models.GROUPS or not is_known:
            raise NotFound(f"{document} has a mark that means nothing: {mark['mark'].strip()}")
        report = tables.make(results, machine, mark["commit"], group=group)
        if kind == "picture":
            pictures[document.parent / words[0]] = _drawn(report)
            return f"{mark['mark']}![{_alternative(report)}]({words[0]})\n{mark['end']}"
        if words:
            report = report._replace(rows=[row for row in report.rows if row.figure.variant in words])
        return f"{mark['mark']}{_WRITTEN[kind](report)}\n{mark['end']}"

    rewritten, count = _MARKED.subn(written, text)
    if not count:
        raise NotFound(f"{document} has nothing to write: mark a place with <!-- table: MACHINE --> and <!-- end -->")
    return {document: rewritten.encode(), **pictures}


def _drawn(report: Report) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".svg") as file:
        picture.save(report, Path(file.name))
        return Path(file.name).read_bytes()


def _alternative(report: Report) -> str:
    """Return the picture's text for those who can't see it."""
    return f"Time of each implementation as a multiple of the fastest. {summary.answer(report)}".replace("`", "")


def _implementations() -> str:
    yes = {True: "yes", False: ""}
    twins = {row.name: row.twins() for row in VARIANTS.values()}
    rows = [
        [
            f"`{row.name}`",
            row.description,
            "Theano" if THEANO in row.environments else "peer",
            *(yes[device in row.devices] for device in ("cpu", "cuda")),
            ", ".join(f"`_{twin.name.rpartition('_')[2]}`" for twin in twins[row.name]),
            f"`{row.extra}`" if row.extra else "",
        ]
        for row in VARIANTS.values()
        if row not in itertools.chain(*twins.values())
    ]
    headings = ["implementation", "what it is", "kind", "CPU", "GPU", "twins", "extra"]
    return _table(headings, rows)


def _models() -> str:
    yes = {True: "yes", False: ""}
    rows = []
    for name, (shape, _, source) in models.MODELS.items():
        work = models.workload(name)
        lengths = "" if work.least_length is None else f"{work.least_length} to {work.seq}"
        sizes = (shape.batch, shape.seq, work.input_size, shape.hidden, shape.depth)
        rows.append([f"`{name}`", work.kind, *map(str, sizes), yes[work.bidirectional], lengths, source])
    sizes_headings = ["batch", "seq", "inputs", "hidden", "depth"]
    return _table(["model", "kind", *sizes_headings, "both directions", "lengths", "where it comes from"], rows)


def _selftest(folder: Path) -> str:
    """Return a row for each slowdown: how the comparisons of all figures together ended."""
    found = live_selftest.read(folder)
    if not found:
        raise NotFound(f"{folder} has no {live_selftest.FILE}: rnnbench selftest --machine {folder.name} writes it")
    lines = []
    for slowdown in sorted({row.slowdown for row in found}):
        rows = [row for row in found if row.slowdown == slowdown]
        compared, slower, faster, unsure = (
            sum(getattr(row, name) for row in rows) for name in ("compared", "slower", "faster", "unsure")
        )
        took = sorted({round(row.took) for row in rows})
        counts = [compared, slower, faster, compared - slower - faster - unsure, unsure]
        lines.append(
            [
                f"{slowdown:.0%} slower" if slowdown else "the same code",
                f"{100 * live_selftest.least(slowdown):g}%",
                *(f"{count:,}" for count in counts),
                f"{took[0]} to {took[-1]} s" if len(took) > 1 else f"{took[0]} s",
            ]
        )
    ends = ["comparisons", "called slower", "called faster", "no change that matters", "not sure yet", "median time"]
    return _table(["the second version is", "`--least`", *ends], lines)


def _summary(report: Report) -> str:
    rows = [row for row in report.rows if row.figure.quantity in CALLS]
    notes = [*formats.unchecked(report), *formats.doubts(rows)]
    return "\n".join([_table(*summary.table(report)), *(["", *(f"- {note}" for note in notes)] if notes else [])])


def _table(headings: list[str], rows: list[list[str]]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headings, "pipe", disable_numparse=True)


_NETWORK = "network="
_SELFTEST = "selftest"
_OF_NO_MACHINE: dict[str, Callable[[], str]] = {"implementations": _implementations, "models": _models}
_WRITTEN: dict[str, Callable[[Report], str]] = {
    "table": formats.markdown_times,
    "ranking": formats.markdown_ranking,
    "answer": summary.answers,
    "summary": _summary,
}
