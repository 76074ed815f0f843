"""Make, read and select the names of asv's benchmarks."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence

from rnnbench.network.shapes import GRIDS, Shape

# A benchmark's module, the suffix of its class name, and its method → the quantity that it measures.
# The rest of the class name is the variant.
_QUANTITIES = {
    ("lstm", "LSTM", "time_forward"): "forward",
    ("lstm", "LSTM", "time_train"): "train",
    ("device", "Device", "track_forward"): "device_forward",
    ("device", "Device", "track_train"): "device_train",
    ("compile", "WarmBuild", "timeraw_forward"): "build_forward_warm",
    ("compile", "WarmBuild", "timeraw_train"): "build_train_warm",
    ("compile", "ColdBuild", "timeraw_forward"): "build_forward_cold",
    ("compile", "ColdBuild", "timeraw_train"): "build_train_cold",
    ("memory", "Memory", "track_train"): "memory",
    ("accuracy", "Accuracy", "track_outputs"): "error_outputs",
    ("accuracy", "Accuracy", "track_gradients"): "error_gradients",
}
QUANTITIES = tuple(_QUANTITIES.values())
# The benchmarks' modules, the most asked for first.
MODULES = tuple(dict.fromkeys(module for module, _, _ in _QUANTITIES))
# The parts of variants' names that aren't written as words, and where a prefix is split into parts.
_AS_WRITTEN = {"tf32": "TF32", "3xtf32": "3xTF32", "fp16": "FP16", "bf16": "BF16"}
_WORDS = re.compile("(?<=[a-z0-9])(?=3xTF32)|(?<=[a-z0-9])(?<!3x)(?=[A-Z])")
# The commits that changed how a module's benchmarks are timed, but didn't raise their version: date, in ms since 1970,
# and what the figures of earlier commits have as their version.
_UNVERSIONED_CHANGES = {("lstm", "1"): (1795393830000, "1 before 87a56911")}  # the warm-up
ON_GPUS = ("device_train", "device_forward")  # only GPUs have these


def class_prefix(name: str) -> str:
    """Return the prefix of a variant's benchmark classes, e.g. CudnnTF32 for cudnn_tf32."""
    return "".join(_AS_WRITTEN.get(part) or part.capitalize() for part in name.split("_"))


@functools.cache
def describe(benchmark: str) -> tuple[str, str]:
    """Return a benchmark's variant and quantity, e.g. ("cudnn_tf32", "train") for lstm.CudnnTF32LSTM.time_train.

    Raises ValueError if no benchmark of this repository can have this name.
    """
    module, _, rest = benchmark.partition(".")
    class_name, _, method = rest.partition(".")
    for (known_module, suffix, known_method), quantity in _QUANTITIES.items():
        prefix = class_name.removesuffix(suffix)
        if (
            (module, method) == (known_module, known_method)
            and class_name.endswith(suffix)
            and re.fullmatch("[A-Z][A-Za-z0-9]*", prefix)
        ):
            return _WORDS.sub("_", prefix).lower(), quantity
    raise ValueError("no benchmark has this name")


def method(benchmark: str, version: str, date: int) -> str:
    """Return what to compare instead of a benchmark's version at a commit of this date, in ms since 1970."""
    changed, earlier = _UNVERSIONED_CHANGES.get((benchmark.partition(".")[0], version), (0, version))
    return earlier if date < changed else version


def asv_filter(grid: str, variants: Iterable[str] = (), device: str = "cuda") -> str:
    """Return a regular expression that makes `asv run --bench` time exactly the shapes of a grid.

    It selects the named variants, or all variants if none is named. For the device "cpu" it selects no device times,
    which only a GPU has. Build times depend mainly on the depth, so it
    selects one shape for each depth to time builds. Builds with an empty compile cache are slow, so the quick grid
    has none.

    Raises ValueError for an unknown grid.
    """
    shapes = _shapes(grid)
    return _pattern(grid, shapes, _one_for_each_depth(shapes), variants, device)


def asv_filters(grid: str, variants: Iterable[str] = (), device: str = "cuda") -> list[str]:
    """Return one regular expression for each shape, in the grid's order; together they select what asv_filter does.

    Raises ValueError for an unknown grid.
    """
    shapes = _shapes(grid)
    build_shapes = _one_for_each_depth(shapes)
    return [_pattern(grid, [shape], [shape] if shape in build_shapes else [], variants, device) for shape in shapes]


def _shapes(grid: str) -> tuple[Shape, ...]:
    if grid not in GRIDS:
        raise ValueError(f"grid={grid!r}: it must be one of {', '.join(GRIDS)}")
    return GRIDS[grid]


def _one_for_each_depth(shapes: Sequence[Shape]) -> list[Shape]:
    return list({shape.depth: shape for shape in reversed(shapes)}.values())


def _pattern(
    grid: str, shapes: Iterable[Shape], build_shapes: Iterable[Shape], variants: Iterable[str], device: str
) -> str:
    # asv matches the expression against "module.Class.method(32, 30, 128, 1)".
    prefixes = "|".join(map(class_prefix, variants))
    # A class name is a variant's prefix and one of these suffixes. Without them "Torch" would select TorchLoopLSTM too.
    start = "^" if device == "cuda" else r"^(?!device\.)"
    classes = rf"{start}(?=[a-z]+\.({prefixes})(LSTM|[A-Z][a-z]+|[A-Z][a-z]+Build)\.)" if prefixes else start
    patterns = [rf"{classes}(?!.*Build).*{_any_of(shapes)}"]
    if build_shapes:
        builds = "WarmBuild" if grid == "quick" else "Build"
        patterns.append(rf"{classes}.*{builds}.*{_any_of(build_shapes)}")
    return "|".join(patterns)


def _any_of(shapes: Iterable[Shape]) -> str:
    return rf"\(({'|'.join(', '.join(map(str, shape)) for shape in shapes)})\)$"
