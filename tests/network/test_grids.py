"""The grids, and the filters that pick their cells out of what asv finds."""

import itertools
import re

import pytest
from asv_runner.discovery import disc_benchmarks
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnbench.network.grids import GRIDS, PARAM_NAMES, PARAMS, Cell, asv_filter, asv_filters
from rnnbench.variants import VARIANTS, class_prefix

grids = pytest.mark.parametrize("grid", GRIDS)


@pytest.fixture(scope="module")
def benchmarks():
    """Every benchmark's name and cell, as asv finds them."""
    found = {
        (benchmark.name, Cell(*sizes))
        for benchmark in disc_benchmarks("benchmarks")
        for sizes in itertools.product(*benchmark._params)
    }
    assert len(found) > 36
    return found


def matches(grid, name, cell):
    # What asv.benchmarks.Benchmarks does with --bench.
    return re.search(asv_filter(grid), f"{name}{tuple(cell)}") is not None


def test_the_quick_grid():
    assert GRIDS["quick"] == ((32, 30, 128, 1), (128, 30, 128, 1), (32, 30, 512, 1))


def test_the_seed_grid_is_the_published_tables():
    one_layer = {(batch, 30, hidden, 1) for batch in (32, 128) for hidden in (128, 512, 1024)}
    three_layers = {(128, seq, hidden, 3) for seq in (30, 200) for hidden in (512, 1024)}
    assert set(GRIDS["seed"]) == one_layer | three_layers
    assert len(GRIDS["seed"]) == 10


def test_the_full_grid_is_every_combination():
    assert PARAMS == ((32, 128), (30, 100, 200), (128, 512, 1024), (1, 3))
    assert PARAM_NAMES == ("batch", "seq", "hidden", "depth")
    assert len(GRIDS["full"]) == len(set(GRIDS["full"])) == 36
    assert set(GRIDS["full"]) == set(itertools.product(*PARAMS))


@grids
def test_every_cell_is_one_of_asvs(grid):
    assert set(GRIDS[grid]) <= set(GRIDS["full"])


def picked_of(grid, benchmarks):
    return {(name, cell) for name, cell in benchmarks if matches(grid, name, cell)}


@grids
def test_a_filter_picks_its_cells_and_no_others(grid, benchmarks):
    picked = {(name, cell) for name, cell in picked_of(grid, benchmarks) if "Build" not in name}
    assert picked == {(name, cell) for name, cell in benchmarks if cell in GRIDS[grid] and "Build" not in name}


@grids
@pytest.mark.parametrize("cache", ["Warm", "Cold"])
def test_a_build_is_timed_once_a_depth_and_with_a_cold_cache_not_in_quick(grid, cache, benchmarks):
    builds = {name for name, _ in benchmarks if f"{cache}Build" in name}
    assert builds
    depths = [] if (grid, cache) == ("quick", "Cold") else sorted({cell.depth for cell in GRIDS[grid]})
    picked = picked_of(grid, benchmarks)
    for build in builds:
        cells = [cell for name, cell in picked if name == build]
        assert sorted(cell.depth for cell in cells) == depths
        assert set(cells) <= set(GRIDS[grid])


@pytest.mark.parametrize(
    "names", [["scan"], ["cudnn", "torch_tf32"], ["torch", "torch_loop"], list(VARIANTS)], ids=" ".join
)
def test_a_filter_picks_the_variants_that_are_named(names, benchmarks):
    pattern = re.compile(asv_filter("quick", names))
    classes = {name.split(".")[1] for name, cell in benchmarks if pattern.search(f"{name}{tuple(cell)}")}
    kinds = ("LSTM", "WarmBuild", "Memory", "Accuracy")
    assert classes == {class_prefix(name) + kind for name in names for kind in kinds}


@grids
def test_a_cells_filters_pick_together_what_the_grids_does(grid, benchmarks):
    of_scan = [(name, cell) for name, cell in benchmarks if "Scan" in name]
    filters = asv_filters(grid, ["scan"])
    assert len(filters) == len(GRIDS[grid])
    picked = []
    for pattern, of_filter in zip(filters, GRIDS[grid], strict=True):
        found = [(name, cell) for name, cell in of_scan if re.search(pattern, f"{name}{tuple(cell)}")]
        assert {cell for _, cell in found} == {of_filter}
        picked += found
    pattern = re.compile(asv_filter(grid, ["scan"]))
    assert sorted(picked) == sorted((name, cell) for name, cell in of_scan if pattern.search(f"{name}{tuple(cell)}"))


sizes = st.one_of(st.sampled_from([1, 3, 30, 32, 100, 128, 200, 512, 1024]), st.integers(1, 2000))


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(GRIDS)), st.builds(Cell, sizes, sizes, sizes, sizes))
def test_a_filter_matches_a_cell_if_it_is_in_the_grid(grid, cell):
    assert matches(grid, "lstm.ScanLSTM.time_forward", cell) == (cell in GRIDS[grid])


@grids
@pytest.mark.parametrize("longer", ["1{}", "{}0"])
def test_a_size_that_contains_a_grids_is_another(grid, longer):
    for cell in GRIDS[grid]:
        for name, size in cell._asdict().items():
            other = cell._replace(**{name: int(longer.format(size))})
            assert not matches(grid, "lstm.ScanLSTM.time_forward", other)


def test_an_unknown_grid_is_refused():
    with pytest.raises(ValueError, match="grid='huge': it must be one of quick, seed, full"):
        asv_filter("huge")
