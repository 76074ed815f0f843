"""The filters that select a grid's shapes among the benchmarks that asv finds."""

import itertools
import re

import pytest
from asv_runner.discovery import disc_benchmarks
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnbench.history.benchmark_names import asv_filter, asv_filters, class_prefix, group_of, names_of
from rnnbench.network.models import FAMILIES, MODELS
from rnnbench.network.shapes import GRIDS, Shape
from rnnbench.variants import VARIANTS

grids = pytest.mark.parametrize("grid", GRIDS)


@pytest.fixture(scope="module")
def found():
    return list(disc_benchmarks("benchmarks"))


@pytest.fixture(scope="module")
def benchmarks(found):
    """All benchmarks of LSTMs that asv finds, as pairs of name and shape."""
    pairs = {
        (benchmark.name, Shape(*sizes))
        for benchmark in found
        for sizes in itertools.product(*benchmark._params)
        if group_of(benchmark.name) == "lstm"
    }
    assert len(pairs) > 36
    return pairs


def matches(grid, name, shape):
    # asv.benchmarks.Benchmarks matches --bench in this way.
    return re.search(asv_filter(grid), f"{name}{tuple(shape)}") is not None


def selected(grid, benchmarks):
    return {(name, shape) for name, shape in benchmarks if matches(grid, name, shape)}


@grids
def test_a_filter_selects_exactly_its_grids_shapes(grid, benchmarks):
    picked = {(name, shape) for name, shape in selected(grid, benchmarks) if "Build" not in name}
    assert picked == {(name, shape) for name, shape in benchmarks if shape in GRIDS[grid] and "Build" not in name}


@grids
@pytest.mark.parametrize("cache", ["Warm", "Cold"])
def test_builds_are_timed_once_for_each_depth_and_quick_has_no_cold_ones(grid, cache, benchmarks):
    builds = {name for name, _ in benchmarks if f"{cache}Build" in name}
    assert builds
    depths = [] if (grid, cache) == ("quick", "Cold") else sorted({shape.depth for shape in GRIDS[grid]})
    picked = selected(grid, benchmarks)
    for build in builds:
        shapes = [shape for name, shape in picked if name == build]
        assert sorted(shape.depth for shape in shapes) == depths
        assert set(shapes) <= set(GRIDS[grid])


@pytest.mark.parametrize(
    "names", [["scan"], ["cudnn", "torch_tf32"], ["torch", "torch_loop"], list(VARIANTS)], ids=" ".join
)
def test_a_filter_selects_only_the_named_variants(names, benchmarks):
    pattern = re.compile(asv_filter("quick", names))
    classes = {name.split(".")[1] for name, shape in benchmarks if pattern.search(f"{name}{tuple(shape)}")}
    kinds = ("LSTM", "WarmBuild", "Memory", "Accuracy")
    expected = {class_prefix(name) + kind for name in names for kind in kinds}
    assert classes == expected | {f"{class_prefix(name)}Device" for name in names if "cuda" in VARIANTS[name].devices}


@grids
def test_a_filter_for_the_cpu_selects_all_but_the_times_that_only_gpus_have(grid, benchmarks):
    for names in ([], ["scan"]):
        every, on_the_cpu = (re.compile(asv_filter(grid, names, device)) for device in ("cuda", "cpu"))
        for name, shape in benchmarks:
            one = f"{name}{tuple(shape)}"
            assert bool(on_the_cpu.search(one)) == (bool(every.search(one)) and not name.startswith("device."))


@grids
def test_the_filters_of_all_shapes_together_select_what_the_grids_filter_does(grid, benchmarks):
    scan_benchmarks = [(name, shape) for name, shape in benchmarks if "Scan" in name]
    filters = asv_filters(grid, ["scan"])
    assert len(filters) == len(GRIDS[grid])
    picked = []
    for pattern, expected_shape in zip(filters, GRIDS[grid], strict=True):
        matching = [(name, shape) for name, shape in scan_benchmarks if re.search(pattern, f"{name}{tuple(shape)}")]
        assert {shape for _, shape in matching} == {expected_shape}
        picked += matching
    pattern = re.compile(asv_filter(grid, ["scan"]))
    assert sorted(picked) == sorted(
        (name, shape) for name, shape in scan_benchmarks if pattern.search(f"{name}{tuple(shape)}")
    )


sizes = st.one_of(st.sampled_from([1, 3, 30, 32, 100, 128, 200, 512, 1024]), st.integers(1, 2000))


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(GRIDS)), st.builds(Shape, sizes, sizes, sizes, sizes))
def test_a_filter_matches_a_shape_if_it_is_in_the_grid(grid, shape):
    assert matches(grid, "lstm.ScanLSTM.time_forward", shape) == (shape in GRIDS[grid])


@grids
@pytest.mark.parametrize("longer", ["1{}", "{}0"])
def test_a_longer_size_with_the_digits_of_a_grids_size_is_not_selected(grid, longer):
    for shape in GRIDS[grid]:
        for name, size in shape._asdict().items():
            other = shape._replace(**{name: int(longer.format(size))})
            assert not matches(grid, "lstm.ScanLSTM.time_forward", other)


def test_an_unknown_grid_is_refused():
    with pytest.raises(ValueError, match="grid='huge': it must be one of quick, seed, full, models"):
        asv_filter("huge")


def selected_names(found, pattern):
    """Return the benchmarks that a pattern selects, with their parameters, as asv writes them."""
    every = (f"{one.name}({', '.join(values)})" for one in found for values in itertools.product(*one.params))
    return {name for name in every if re.search(pattern, name)}


def test_a_filter_of_models_selects_their_benchmarks_alone(found):
    methods = ("Model.time_forward", "Model.time_train", "Accuracy.track_outputs", "Accuracy.track_gradients")
    expected = {f"models.Torch{method}('{model}')" for method in methods for model in MODELS}
    assert selected_names(found, asv_filter("models", ["torch"], "cpu")) == expected
    on_gpus = {f"models.TorchDevice.track_{call}('{model}')" for call in ("forward", "train") for model in MODELS}
    assert selected_names(found, asv_filter("models", ["torch"], "cuda")) == expected | on_gpus
    assert selected_names(found, asv_filter("serving", ["torch"], "cpu")) == {
        f"models.Torch{method}('serving')" for method in methods
    }
    one_by_one = [selected_names(found, pattern) for pattern in asv_filters("models", ["torch"], "cpu")]
    assert [len(names) for names in one_by_one] == [len(methods)] * len(MODELS)
    assert set.union(*one_by_one) == expected


@pytest.mark.parametrize("network", FAMILIES)
def test_a_familys_filter_selects_no_other_networks(network, found):
    names = selected_names(found, asv_filter("quick", network=network))
    assert {group_of(name) for name in names} <= {network}
    name = f"{network}.Scan{network.upper()}.time_train"
    for one in (f"{name}(32, 30, 512, 1)", f"{network}.ScanLSTM.time_train(32, 30, 128, 1)"):
        assert bool(re.search(asv_filter("quick", ["scan"], network=network), one)) == (name in one)
    assert not re.search(asv_filter("quick", network=network), f"{name}(32, 30, 1024, 1)")


def test_the_names_of_a_group_are_those_that_asv_finds(found):
    of_torch = {one.name for one in found if re.match(r"models\.Torch(Model|Device|Accuracy)\.", one.name)}
    assert set(names_of("models", ["torch"])) == of_torch
