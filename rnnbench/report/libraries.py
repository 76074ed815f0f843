"""Copy the JavaScript and CSS libraries of asv's pages into the published folder.

asv's own pages load them from public servers. libraries.json lists them by npm package: the files, the checksum of
each file, and the address in asv's page that the file replaces. The checksum is the one in asv's page if npm has the
same bytes. Two packages differ: npm has flot's source, which the page loads minified, and a later release of
stupidtable.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rnnbench import theano_runtime
from rnnbench.history import files
from rnnbench.network.contract import Unavailable

FOLDER = "libraries"

# These limits end the fetch soon if a server doesn't answer.
_NPM = ("npm", "pack", "--loglevel=error", "--ignore-scripts", "--fetch-retries=0", "--fetch-timeout=20000")
_LIMIT = 120


class LibrariesMissing(Exception):
    """The libraries aren't in the cache and can't be fetched; the message says why."""


class Library(NamedTuple):
    """A file of an npm package."""

    package: str  # name@version
    path: str
    integrity: str  # "ALGORITHM-CHECKSUM", as in the HTML attribute `integrity`
    address: str | None  # the address in asv's page that it replaces; None if only another library loads it

    @property
    def place(self) -> str:
        """The path of the file within the cache and within the published folder."""
        return f"{self.package}/{self.path}"

    def accepts(self, data: bytes) -> bool:
        """Return whether the data has the checksum of the file."""
        algorithm, _, checksum = self.integrity.partition("-")
        return base64.b64encode(hashlib.new(algorithm, data).digest()).decode() == checksum


def pinned() -> list[Library]:
    """Return the files that asv's pages need, from libraries.json."""
    packages = json.loads(Path(__file__).with_name("libraries.json").read_text())
    return [
        Library(package, path, row["integrity"], row.get("instead_of"))
        for package, files in packages.items()
        for path, row in files.items()
    ]


def carry(page: Path) -> None:
    """Copy the libraries beside asv's page, and make the page load them from there.

    They come from the user's cache, or else from npm's registry, which fills the cache. Raises LibrariesMissing, and
    changes nothing, if neither has them.
    """
    libraries = _load()
    text = page.read_text(encoding="utf-8")
    for library, data in libraries.items():
        files.write(page.parent / FOLDER / library.place, data)
        if library.address:
            address = re.escape(library.address)
            # A local file needs neither attribute, and browsers check `integrity` only if CORS allows the access.
            remote = rf'"{address}" integrity="[^"]*" crossorigin="anonymous"( referrerpolicy="[^"]*")?'
            text = re.sub(remote, f'"{FOLDER}/{library.place}"', text)
    page.write_text(text, encoding="utf-8")


def _load() -> dict[Library, bytes]:
    try:
        cache = theano_runtime.cache() / FOLDER
    except Unavailable as reason:
        raise LibrariesMissing(str(reason)) from reason
    libraries = pinned()
    try:
        return _checked({library: (cache / library.place).read_bytes() for library in libraries})
    except (LibrariesMissing, OSError):
        fetched = _checked(_fetch(libraries))
    with contextlib.suppress(OSError):  # a cache that can't be written costs time only
        for library, data in fetched.items():
            files.write(cache / library.place, data)
    return fetched


def _checked(contents: Mapping[Library, bytes]) -> dict[Library, bytes]:
    for library, data in contents.items():
        if not library.accepts(data):
            raise LibrariesMissing(f"{library.place} doesn't have the checksum that libraries.json demands")
    return dict(contents)


def _fetch(libraries: list[Library]) -> dict[Library, bytes]:
    """Fetch the files with npm, because it knows the user's registry, proxy and certificates."""
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
    """Return the first error that npm printed: a code such as ENOTFOUND."""
    first_error = re.search(r"^npm (?:error|ERR!) (?:code )?(.+)$", printed, re.MULTILINE)
    return first_error[1] if first_error else "npm gives no reason"


def _unpack(library: Library, folder: Path) -> bytes:
    name, _, version = library.package.rpartition("@")
    with tarfile.open(folder / f"{name}-{version}.tgz") as package:
        file = package.extractfile(f"package/{library.path}")
        assert file is not None, f"{library.place} is a folder"
        return file.read()
