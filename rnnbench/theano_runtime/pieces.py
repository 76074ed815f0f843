"""A piece: one thing that Theano needs, found or missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Piece:
    """One thing that Theano needs: where it is, or why it can't be used."""

    name: str
    path: Path | None = None  # the file, or the first folder of headers
    version: str | None = None
    includes: tuple[Path, ...] = ()  # the folders of its headers
    cuda: int | None = None  # the major version of CUDA that it is made for, or can run
    reason: str | None = None  # why it can't be used; None if it can
    install: str | None = None  # the command that brings it, where it is missing


def problem(pieces: tuple[Piece, ...]) -> str | None:
    """Return why the first piece that can't be used can't, in one line, with what to do; None if all can."""
    for piece in pieces:
        if piece.reason is not None:
            return f"{piece.reason}: {piece.install}" if piece.install else piece.reason
    return None
