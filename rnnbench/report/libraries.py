"""The libraries that asv's pages load from public servers, carried in the published folder instead.

libraries.json names them: an npm package, its files, the checksum of each, and the address in asv's
page that a file stands for. Where npm's file has the same bytes the checksum is the page's own. Of
flot, npm has the source of what the page loads minified; of stupidtable, a later release.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rnnbench.history import files

FOLDER = "libraries"

# A server that doesn't answer must not hold a publish up for long.
_NPM = ("npm", "pack", "--loglevel=error", "--ignore-scripts", "--fetch-retries=0", "--fetch-timeout=20000")
_LIMIT = 120


class LibrariesMissing(Exception):
    """The libraries are neither in the cache nor to be had; the message says why."""


class Library(NamedTuple):
    """A file of an npm package."""

    package: str  # name@version
    path: str
    integrity: str  # the algorithm and the checksum, as in a page's integrity attribute
    address: str | None  # what it stands for in asv's page; None for what another library loads

    @property
    def place(self) -> str:
        """Where the file is in the cache and in the published folder."""
        return f"{self.package}/{self.path}"

    def accepts(self, data: bytes) -> bool:
        """Return whether these are the file's bytes."""
        algorithm, _, checksum = self.integrity.partition("-")
        return base64.b64encode(hashlib.new(algorithm, data).digest()).decode() == checksum


def pinned() -> list[Library]:
    """Return the libraries that asv's pages need."""
    packages = json.loads(Path(__file__).with_name("libraries.json").read_text())
    return [
        Library(package, path, row["integrity"], row.get("instead_of"))
        for package, files in packages.items()
        for path, row in files.items()
    ]


def carry(html: Path) -> None:
    """Put the libraries into a published folder and let its page load them from there.

    They come from the user's cache, or else from npm's registry and stay in the cache. Raises
    LibrariesMissing, having changed nothing, where neither has them.
    """
    libraries = _load()
    page = html / "index.html"
    text = page.read_text(encoding="utf-8")
    for library, data in libraries.items():
        files.write(html / FOLDER / library.place, data)
        if library.address:
            address = re.escape(library.address)
            # A checksum in the page would need the server's leave for other origins.
            remote = rf'"{address}" integrity="[^"]*" crossorigin="anonymous"( referrerpolicy="[^"]*")?'
            text = re.sub(remote, f'"{FOLDER}/{library.place}"', text)
    page.write_text(text, encoding="utf-8")


def _load() -> dict[Library, bytes]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "rnnbench", FOLDER)
    libraries = pinned()
    try:
        return _checked({library: (cache / library.place).read_bytes() for library in libraries})
    except (LibrariesMissing, OSError):
        found = _checked(_fetch(libraries))
    for library, data in found.items():
        files.write(cache / library.place, data)
    return found


def _checked(found: Mapping[Library, bytes]) -> dict[Library, bytes]:
    for library, data in found.items():
        if not library.accepts(data):
            raise LibrariesMissing(f"{library.place} isn't what its checksum in libraries.json says")
    return dict(found)


def _fetch(libraries: list[Library]) -> dict[Library, bytes]:
    """Return the files out of npm's packages. npm knows the user's registry, proxy and certificates."""
    if not shutil.which(_NPM[0]):
        raise LibrariesMissing("npm, which fetches them, isn't installed")
    packages = sorted({library.package for library in libraries})
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run([*_NPM, *packages], cwd=folder, check=True, capture_output=True, text=True, timeout=_LIMIT)
        except subprocess.TimeoutExpired as error:
            raise LibrariesMissing(f"npm took longer than {_LIMIT} s to fetch them") from error
        except subprocess.CalledProcessError as error:
            raise LibrariesMissing(f"npm can't fetch them ({_reason(error.stderr)})") from error
        return {library: _unpack(library, Path(folder)) for library in libraries}


def _reason(printed: str) -> str:
    """Return what npm says first of an error: a code such as ENOTFOUND."""
    said = re.search(r"^npm (?:error|ERR!) (?:code )?(.+)$", printed, re.MULTILINE)
    return said[1] if said else "it doesn't say why"


def _unpack(library: Library, folder: Path) -> bytes:
    name, _, version = library.package.rpartition("@")
    with tarfile.open(folder / f"{name}-{version}.tgz") as package:
        file = package.extractfile(f"package/{library.path}")
        assert file is not None, f"{library.place} is a folder"
        return file.read()
