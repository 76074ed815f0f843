"""Publish the repository's documents beside the results page, so that its words can be looked up without a network."""

from __future__ import annotations

import os
import re
from pathlib import Path

FOLDER = "docs"

_RELATIVE_LINK = re.compile(r'<a href="(?![a-z]+:)(?P<file>[^"#]+)(?P<place>#[^"]*|)">(?P<text>.*?)</a>', re.DOTALL)


def write(repository: Path, html: Path, template: str, address: str) -> list[str]:
    """Write CONTRIBUTING.md and docs/*.md as pages; return the names of the pages.

    Links between the documents lead to their pages. Links to other files lead to the repository's `address`; without
    an address they become text.
    """
    from markdown import Markdown

    candidates = [repository / "CONTRIBUTING.md", *sorted((repository / "docs").glob("*.md"))]
    documents = [path for path in candidates if path.is_file()]
    pages = {path.name: f"{path.stem}.html" for path in documents}
    if pages:
        (html / FOLDER).mkdir()
    converter = Markdown(extensions=["tables", "toc", "fenced_code", "sane_lists"])
    for path in documents:
        body = converter.reset().convert(path.read_text(encoding="utf-8"))

        def linked(link: re.Match[str], folder: Path = path.parent) -> str:
            name = Path(link["file"]).name
            if name in pages:
                return f'<a href="{pages[name]}{link["place"]}">{link["text"]}</a>'
            inside = os.path.relpath(folder / link["file"], repository)
            return f'<a href="{address}/blob/HEAD/{inside}">{link["text"]}</a>' if address else link["text"]

        body = _RELATIVE_LINK.sub(linked, body)
        title = re.search(r"<h1[^>]*>(.*?)</h1>", body)
        text = template.replace("TITLE", title[1] if title else path.stem).replace("BODY", body)
        (html / FOLDER / pages[path.name]).write_text(text, encoding="utf-8")
    return list(pages.values())
