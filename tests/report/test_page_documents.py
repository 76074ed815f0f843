"""Tests of the repository's documents as pages: where their links lead."""

import re

import pytest

from rnnbench.report import page_documents

TEMPLATE = "<title>TITLE</title>\nBODY"


@pytest.fixture
def repository(tmp_path):
    """Return a folder with two documents, one of which has links of all kinds."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "CONTRIBUTING.md").write_text("# Contribute\n\n## Set up\n\n[how](docs/method.md)\n")
    links = "[a](../CONTRIBUTING.md#set-up), [b](../rnnbench/clock.py), [c](https://example.org/a.md), [d](#method)"
    (tmp_path / "docs" / "method.md").write_text(f"# Method\n\n{links}\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n")
    return tmp_path


@pytest.mark.parametrize(
    ("address", "code"),
    [("https://host.org/me/it", {"b": "https://host.org/me/it/blob/HEAD/rnnbench/clock.py"}), ("", {})],
)
def test_links_lead_to_pages_or_to_the_repository(repository, tmp_path, address, code):
    html = tmp_path / "html"
    html.mkdir()
    assert page_documents.write(repository, html, TEMPLATE, address) == ["CONTRIBUTING.html", "method.html"]
    method = (html / "docs" / "method.html").read_text()
    links = {text: link for link, text in re.findall(r'<a href="([^"]*)">(.*?)</a>', method)}
    assert links == {"a": "CONTRIBUTING.html#set-up", "c": "https://example.org/a.md", "d": "#method"} | code
    assert "<title>Method</title>" in method
    assert "<td>2</td>" in method
    assert 'id="set-up"' in (html / "docs" / "CONTRIBUTING.html").read_text()
    assert '<a href="method.html">how</a>' in (html / "docs" / "CONTRIBUTING.html").read_text()


def test_a_repository_without_documents_has_no_pages(tmp_path):
    assert page_documents.write(tmp_path, tmp_path, TEMPLATE, "") == []
    assert not (tmp_path / page_documents.FOLDER).exists()
