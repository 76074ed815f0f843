"""Describe the things that Theano needs, found or missing: each is a Piece."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

_CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Piece:
    """One thing that Theano needs, such as a library: where it is, or why it can't be used."""

    name: str
    path: Path | None = None  # the file or folder; for headers, the first folder
    version: str | None = None
    includes: tuple[Path, ...] = ()  # folders of headers; for pygpu, its package
    cuda: int | None = None  # the major version of CUDA that it is built for; for a driver, the newest it runs
    reason: str | None = None  # why it can't be used; None if it can
    install: str | None = None  # the command that installs it, if it is missing


def problem(pieces: tuple[Piece, ...]) -> str | None:
    """Return one line for the first piece that can't be used, with the reason and how to install it. Else None."""
    for piece in pieces:
        if piece.reason is not None:
            return f"{piece.reason}: {piece.install}" if piece.install else piece.reason
    return None


def first_line(problem: Exception) -> str:
    """Return the first line of an exception's message, which may be pages long."""
    return str(problem).partition("\n")[0][:300]


def install_command(extra: str) -> str:
    """Return the command that installs an extra of setup.py for this Python, from the checkout if there is one.

    It names Theano's extra too where Theano is installed. Without its pins pip would install a setuptools and a NumPy
    that Theano can't use.
    """
    extras = ["theano", extra] if extra != "theano" and importlib.util.find_spec("theano") else [extra]
    project = str(_CHECKOUT) if (_CHECKOUT / "setup.py").is_file() else "rnnbench"
    command = [sys.executable, "-m", "pip", "install", f"{project}[{','.join(extras)}]"]
    return shlex.join(command)
