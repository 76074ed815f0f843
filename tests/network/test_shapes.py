"""The shapes and grids that are timed."""

import itertools

import pytest

from rnnbench.network.shapes import GRIDS, PARAM_NAMES, PARAMS


def test_the_quick_grid():
    assert GRIDS["quick"] == ((32, 30, 128, 1), (128, 30, 128, 1), (32, 30, 512, 1))


def test_the_seed_grid_has_the_published_shapes():
    one_layer = {(batch, 30, hidden, 1) for batch in (32, 128) for hidden in (128, 512, 1024)}
    three_layers = {(128, seq, hidden, 3) for seq in (30, 200) for hidden in (512, 1024)}
    assert set(GRIDS["seed"]) == one_layer | three_layers
    assert len(GRIDS["seed"]) == 10


def test_the_full_grid_is_every_combination():
    assert PARAMS == ((32, 128), (30, 100, 200), (128, 512, 1024), (1, 3))
    assert PARAM_NAMES == ("batch", "seq", "hidden", "depth")
    assert len(GRIDS["full"]) == len(set(GRIDS["full"])) == 36
    assert set(GRIDS["full"]) == set(itertools.product(*PARAMS))


@pytest.mark.parametrize("grid", GRIDS)
def test_asv_times_every_shape_of_every_grid(grid):
    assert set(GRIDS[grid]) <= set(GRIDS["full"])
