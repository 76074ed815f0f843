"""The shapes that asv times, and the grids made of them."""

from __future__ import annotations

import itertools
from typing import NamedTuple


class Shape(NamedTuple):
    """The sizes of a workload, in the order of every benchmark's parameters."""

    batch: int
    seq: int
    hidden: int
    depth: int


PARAMS = ((32, 128), (30, 100, 200), (128, 512, 1024), (1, 3))
PARAM_NAMES = Shape._fields

GRIDS: dict[str, tuple[Shape, ...]] = {
    # For a first try: one layer, and sizes that a CPU computes quickly.
    "quick": (Shape(32, 30, 128, 1), Shape(128, 30, 128, 1), Shape(32, 30, 512, 1)),
    # The ten shapes published in 2016.
    "seed": (
        *(Shape(batch, 30, hidden, 1) for batch in (32, 128) for hidden in (128, 512, 1024)),
        *(Shape(128, seq, hidden, 3) for seq in (30, 200) for hidden in (512, 1024)),
    ),
    "full": tuple(Shape(*sizes) for sizes in itertools.product(*PARAMS)),
}
