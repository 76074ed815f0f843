"""Which cells are timed: the full grid, its published and its small parts, and asv's filter for each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rnnbench.variants import class_prefix


class Cell(NamedTuple):
    """The sizes of a workload, in the order of every benchmark's parameters."""

    batch: int
    seq: int
    hidden: int
    depth: int


PARAMS = ((32, 128), (30, 100, 200), (128, 512, 1024), (1, 3))
PARAM_NAMES = Cell._fields

GRIDS: dict[str, tuple[Cell, ...]] = {
    # A first look: one layer, sizes at which a CPU answers at once.
    "quick": (Cell(32, 30, 128, 1), Cell(128, 30, 128, 1), Cell(32, 30, 512, 1)),
    # The ten cells of the tables published in 2016.
    "seed": (
        *(Cell(batch, 30, hidden, 1) for batch in (32, 128) for hidden in (128, 512, 1024)),
        *(Cell(128, seq, hidden, 3) for seq in (30, 200) for hidden in (512, 1024)),
    ),
    "full": tuple(Cell(*sizes) for sizes in itertools.product(*PARAMS)),
}


def asv_filter(grid: str, variants: Iterable[str] = ()) -> str:
    """Return the regular expression with which `asv run --bench` times a grid's cells and no others.

    How long a build takes depends on little but the depth, so builds are timed once a depth; those
    from an empty cache take a minute or more each, and aren't in the quick grid. Of the variants
    those that are named are timed, or all.

    Raises ValueError for an unknown grid.
    """
    cells = _cells(grid)
    return _pattern(grid, cells, _once_a_depth(cells), variants)


def asv_filters(grid: str, variants: Iterable[str] = ()) -> list[str]:
    """Return what asv_filter does as an expression for each cell, in the grid's order."""
    cells = _cells(grid)
    built = _once_a_depth(cells)
    return [_pattern(grid, [cell], [cell] if cell in built else [], variants) for cell in cells]


def _cells(grid: str) -> tuple[Cell, ...]:
    if grid not in GRIDS:
        raise ValueError(f"grid={grid!r}: it must be one of {', '.join(GRIDS)}")
    return GRIDS[grid]


def _once_a_depth(cells: Sequence[Cell]) -> list[Cell]:
    return list({cell.depth: cell for cell in reversed(cells)}.values())


def _pattern(grid: str, cells: Iterable[Cell], built: Iterable[Cell], variants: Iterable[str]) -> str:
    # asv matches against "module.Class.method(32, 30, 128, 1)"; what follows a class's prefix is its kind.
    prefixes = "|".join(map(class_prefix, variants))
    among = rf"^(?=[a-z]+\.({prefixes})(LSTM|[A-Z][a-z]+|[A-Z][a-z]+Build)\.)" if prefixes else "^"
    patterns = [rf"{among}(?!.*Build).*{_any_of(cells)}"]
    if built:
        builds = "WarmBuild" if grid == "quick" else "Build"
        patterns.append(rf"{among}.*{builds}.*{_any_of(built)}")
    return "|".join(patterns)


def _any_of(cells: Iterable[Cell]) -> str:
    return rf"\(({'|'.join(', '.join(map(str, cell)) for cell in cells)})\)$"
