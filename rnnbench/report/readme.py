"""The README's tables, written from results/ between the marks `<!-- table: MACHINE -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from pathlib import Path

from rnnbench.history import NotFound
from rnnbench.report import formats, tables

_MARKED = re.compile(r"(<!-- table: (?P<machine>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewrite(text: str, results: Path) -> str:
    """Return the text with each marked table as its machine's newest figures have it; needs tabulate.

    Raises NotFound for a machine without results, and for a text without marks.
    """
    if not _MARKED.search(text):
        raise NotFound("there is no table to write: mark its place with <!-- table: MACHINE --> and <!-- end -->")

    def drawn(mark: re.Match[str]) -> str:
        return f"{mark[1]}{formats.markdown_times(tables.make(results, mark['machine']))}\n{mark[3]}"

    return _MARKED.sub(drawn, text)
