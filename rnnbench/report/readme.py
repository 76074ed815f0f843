"""The README's tables, written from results/ between the marks `<!-- table: MACHINE -->` and `<!-- end -->`.

`ranking:` in place of `table:` shows the best of each shape. MACHINE@COMMIT shows that commit instead of the newest
with results, and variants named after it are the only ones shown.
"""

from __future__ import annotations

import re
from pathlib import Path

from rnnbench.history import NotFound
from rnnbench.report import formats, tables

_MARKED = re.compile(
    r"(<!-- (?P<kind>table|ranking): (?P<machine>[^\s@]+)(@(?P<commit>\w+))?(?P<variants>(?: \w+)*) -->\n)"
    r".*?(?P<end><!-- end -->)",
    re.DOTALL,
)
_DRAWN = {"table": formats.markdown_times, "ranking": formats.markdown_ranking}


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
        return f"{mark[1]}{_DRAWN[mark['kind']](report)}\n{mark['end']}"

    return _MARKED.sub(drawn, text)
