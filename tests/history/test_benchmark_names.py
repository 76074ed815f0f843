"""The filters that pick a grid's shapes out of what asv finds."""

import itertools
import re

import pytest
from asv_runner.discovery import disc_benchmarks
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnbench.history.benchmark_names import asv_filter, asv_filters, class_prefix
from rnnbench.network.shapes import GRIDS, Shape
from rnnbench.variants import VARIANTS

grids = pytest.mark.parametrize("grid", GRIDS)


@pytest.fixture(scope="module")
def benchmarks():
    """Every benchmark's name and shape, as asv finds them."""
    found = {
        (benchmark.name, Shape(*sizes))
        for benchmark in disc_benchmarks("benchmarks")
        for sizes in itertools.product(*benchmark._params)
    }
    assert len(found) > 36
    return found


def matches(grid, name, shape):
    # What asv.benchmarks.Benchmarks does with --bench.
    return re.search(asv_filter(grid), f"{name}{tuple(shape)}") is not None


def picked_of(grid, benchmarks):
    return {(name, shape) for name, shape in benchmarks if matches(grid, name, shape)}


@grids
def test_a_filter_picks_its_shapes_and_no_others(grid, benchmarks):
    picked = {(name, shape) for name, shape in picked_of(grid, benchmarks) if "Build" not in name}
    assert picked == {(name, shape) for name, shape in benchmarks if shape in GRIDS[grid] and "Build" not in name}


@grids
@pytest.mark.parametrize("cache", ["Warm", "Cold"])
def test_a_build_is_timed_once_a_depth_and_with_a_cold_cache_not_in_quick(grid, cache, benchmarks):
    builds = {name for name, _ in benchmarks if f"{cache}Build" in name}
    assert builds
    depths = [] if (grid, cache) == ("quick", "Cold") else sorted({shape.depth for shape in GRIDS[grid]})
    picked = picked_of(grid, benchmarks)
    for build in builds:
        shapes = [shape for name, shape in picked if name == build]
        assert sorted(shape.depth for shape in shapes) == depths
        assert set(shapes) <= set(GRIDS[grid])


@pytest.mark.parametrize(
    "names", [["scan"], ["cudnn", "torch_tf32"], ["torch", "torch_loop"], list(VARIANTS)], ids=" ".join
)
def test_a_filter_picks_the_variants_that_are_named(names, benchmarks):
    pattern = re.compile(asv_filter("quick", names))
    classes = {name.split(".")[1] for name, shape in benchmarks if pattern.search(f"{name}{tuple(shape)}")}
    kinds = ("LSTM", "WarmBuild", "Memory", "Accuracy")
    assert classes == {class_prefix(name) + kind for name in names for kind in kinds}


@grids
def test_a_shapes_filters_pick_together_what_the_grids_does(grid, benchmarks):
    of_scan = [(name, shape) for name, shape in benchmarks if "Scan" in name]
    filters = asv_filters(grid, ["scan"])
    assert len(filters) == len(GRIDS[grid])
    picked = []
    for pattern, of_filter in zip(filters, GRIDS[grid], strict=True):
        found = [(name, shape) for name, shape in of_scan if re.search(pattern, f"{name}{tuple(shape)}")]
        assert {shape for _, shape in found} == {of_filter}
        picked += found
    pattern = re.compile(asv_filter(grid, ["scan"]))
    assert sorted(picked) == sorted((name, shape) for name, shape in of_scan if pattern.search(f"{name}{tuple(shape)}"))


sizes = st.one_of(st.sampled_from([1, 3, 30, 32, 100, 128, 200, 512, 1024]), st.integers(1, 2000))


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(GRIDS)), st.builds(Shape, sizes, sizes, sizes, sizes))
def test_a_filter_matches_a_shape_if_it_is_in_the_grid(grid, shape):
    assert matches(grid, "lstm.ScanLSTM.time_forward", shape) == (shape in GRIDS[grid])


@grids
@pytest.mark.parametrize("longer", ["1{}", "{}0"])
def test_a_size_that_contains_a_grids_is_another(grid, longer):
    for shape in GRIDS[grid]:
        for name, size in shape._asdict().items():
            other = shape._replace(**{name: int(longer.format(size))})
            assert not matches(grid, "lstm.ScanLSTM.time_forward", other)


def test_an_unknown_grid_is_refused():
    with pytest.raises(ValueError, match="grid='huge': it must be one of quick, seed, full"):
        asv_filter("huge")
