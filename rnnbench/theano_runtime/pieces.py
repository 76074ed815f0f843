"""Describe the things that Theano needs, found or missing: each is a Piece."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
