"""The README's tables, written from results/ between the marks `<!-- table: MACHINE -->` and `<!-- end -->`.

MACHINE@COMMIT shows that commit instead of the newest with results, and variants named after it are
the only ones shown.
"""

from __future__ import annotations

import re
from pathlib import Path

from rnnbench.history import NotFound
from rnnbench.report import formats, tables

_MARKED = re.compile(
    r"(<!-- table: (?P<machine>[^\s@]+)(@(?P<commit>\w+))?(?P<variants>(?: \w+)*) -->\n).*?(?P<end><!-- end -->)",
    re.DOTALL,
)


def rewrite(text: str, results: Path) -> str:
    """Return the text with each marked table as its machine's figures have it; needs tabulate.

    Raises NotFound for a machine or commit without results, and for a text without marks.
    """
    if not _MARKED.search(text):
        raise NotFound("there is no table to write: mark its place with <!-- table: MACHINE --> and <!-- end -->")

    def drawn(mark: re.Match[str]) -> str:
        report = tables.make(results, mark["machine"], mark["commit"])
        if wanted := mark["variants"].split():
            report = report._replace(rows=[row for row in report.rows if row.figure.variant in wanted])
        return f"{mark[1]}{formats.markdown_times(report)}\n{mark['end']}"

    return _MARKED.sub(drawn, text)
