"""Tests of the dashboard's libraries: they are pinned, fetched once, and refused if their checksum differs."""

import re
import sys
from pathlib import Path

import asv
import pytest
from helpers import ROOT

from rnnbench.report import libraries

STOCK_PAGE = Path(asv.__file__).with_name("www") / "index.html"
# npm's files of these packages differ from those that asv's page loads.
DIFFERENT = ("flot@0.8.3", "stupid-table-plugin@1.1.3")

# A program that packs a file for every library, as npm does. The content of each file is its own path.
NPM = f"""#!{sys.executable}
import io, sys, tarfile
sys.path.insert(0, {str(ROOT)!r})
from rnnbench.report import libraries
for package in [word for word in sys.argv[1:] if "@" in word]:
    name, _, version = package.rpartition("@")
    with tarfile.open(f"{{name}}-{{version}}.tgz", "w:gz") as archive:
        for library in libraries.pinned():
            if library.package == package:
                info = tarfile.TarInfo(f"package/{{library.path}}")
                info.size = len(library.place.encode())
                archive.addfile(info, io.BytesIO(library.place.encode()))
"""


@pytest.fixture
def html(tmp_path):
    folder = tmp_path / "html"
    folder.mkdir()
    (folder / "index.html").write_text(STOCK_PAGE.read_text())
    return folder


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Set the PATH to an empty folder, which is returned, and the cache to another one."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def install(folder, script):
    npm = folder / "npm"
    npm.write_text(script)
    npm.chmod(0o755)


@pytest.fixture
def working_npm(programs, monkeypatch):
    """Install an npm whose files pass, because a library accepts its own path as its content."""
    install(programs, NPM)
    monkeypatch.setattr(libraries.Library, "accepts", lambda library, data: data == library.place.encode())
    return programs


def remote_addresses(html):
    return re.findall(r'<(?:script|link)[^>]*"https://', (html / "index.html").read_text())


def test_every_library_of_asvs_page_is_pinned_by_the_pages_checksum():
    loaded = dict(re.findall(r'"(https://[^"]+)" integrity="([^"]+)"', STOCK_PAGE.read_text()))
    pinned = {library.address: library for library in libraries.pinned() if library.address}
    assert pinned.keys() == loaded.keys()
    for address, library in pinned.items():
        assert (library.integrity == loaded[address]) is (library.package not in DIFFERENT)


def test_the_page_loads_the_copied_libraries(html, working_npm):
    libraries.carry(html / "index.html")
    assert not remote_addresses(html)
    loaded = re.findall(rf'"({libraries.FOLDER}/[^"]+)"', (html / "index.html").read_text())
    assert len(loaded) == len(re.findall("integrity=", STOCK_PAGE.read_text()))
    assert all((html / path).is_file() for path in loaded)


def test_the_fonts_are_where_the_style_sheet_expects_them(html, working_npm):
    libraries.carry(html / "index.html")
    bootstrap = html / libraries.FOLDER / "bootstrap@3.1.1" / "dist"
    assert (bootstrap / "css" / "bootstrap.min.css").is_file()
    assert {path.suffix for path in (bootstrap / "fonts").iterdir()} == {".eot", ".svg", ".ttf", ".woff"}


def test_a_second_publish_needs_no_npm(html, working_npm):
    libraries.carry(html / "index.html")
    (working_npm / "npm").unlink()
    (html / "index.html").write_text(STOCK_PAGE.read_text())
    libraries.carry(html / "index.html")
    assert not remote_addresses(html)


def test_a_damaged_cache_is_fetched_again(html, working_npm, tmp_path):
    libraries.carry(html / "index.html")
    damaged = tmp_path / "cache" / "rnnbench" / libraries.FOLDER / libraries.pinned()[0].place
    damaged.write_text("damaged")
    libraries.carry(html / "index.html")
    assert damaged.read_text() == libraries.pinned()[0].place


def test_files_with_another_checksum_are_refused(html, programs):
    install(programs, NPM)
    with pytest.raises(libraries.LibrariesMissing, match="checksum"):
        libraries.carry(html / "index.html")
    assert (html / "index.html").read_text() == STOCK_PAGE.read_text()


def test_without_npm(html, programs):
    with pytest.raises(libraries.LibrariesMissing, match="npm, which fetches them, isn't installed"):
        libraries.carry(html / "index.html")
    assert (html / "index.html").read_text() == STOCK_PAGE.read_text()


def test_without_a_network(html, programs):
    install(programs, "#!/bin/sh\necho 'npm error code ENOTFOUND\nnpm error network' >&2\nexit 1\n")
    with pytest.raises(libraries.LibrariesMissing, match=r"npm can't fetch them \(ENOTFOUND\)"):
        libraries.carry(html / "index.html")
    assert (html / "index.html").read_text() == STOCK_PAGE.read_text()
