"""The names of asv's benchmarks: how they are made, read and selected."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence

from rnnbench.network.shapes import GRIDS, Shape

# What a benchmark measures, by its module, the end of its class's name, and its method. What the
# class's name begins with is the variant.
_QUANTITIES = {
    ("lstm", "LSTM", "time_forward"): "forward",
    ("lstm", "LSTM", "time_train"): "train",
    ("compile", "WarmBuild", "timeraw_forward"): "build_forward_warm",
    ("compile", "WarmBuild", "timeraw_train"): "build_train_warm",
    ("compile", "ColdBuild", "timeraw_forward"): "build_forward_cold",
    ("compile", "ColdBuild", "timeraw_train"): "build_train_cold",
    ("memory", "Memory", "track_train"): "memory",
    ("accuracy", "Accuracy", "track_outputs"): "error_outputs",
    ("accuracy", "Accuracy", "track_gradients"): "error_gradients",
}
QUANTITIES = tuple(_QUANTITIES.values())


def class_prefix(name: str) -> str:
    """Return what the names of a variant's benchmarks begin with: cudnn_tf32's with CudnnTF32."""
    return "".join("TF32" if part == "tf32" else part.capitalize() for part in name.split("_"))


@functools.cache
def describe(benchmark: str) -> tuple[str, str]:
    """Return the variant and the quantity that a benchmark's name says: lstm.CudnnTF32LSTM.time_train is
    ("cudnn_tf32", "train").

    Raises ValueError for a name that isn't one of ours.
    """
    module, _, rest = benchmark.partition(".")
    owner, _, method = rest.partition(".")
    for (in_module, kind, by_method), quantity in _QUANTITIES.items():
        prefix = owner.removesuffix(kind)
        if (
            (module, method) == (in_module, by_method)
            and owner.endswith(kind)
            and re.fullmatch("[A-Z][A-Za-z0-9]*", prefix)
        ):
            return re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", prefix).lower(), quantity
    raise ValueError("no benchmark has this name")


def asv_filter(grid: str, variants: Iterable[str] = ()) -> str:
    """Return the regular expression with which `asv run --bench` times a grid's shapes and no others.

    How long a build takes depends on little but the depth, so builds are timed once a depth; those
    from an empty cache take a minute or more each, and aren't in the quick grid. Of the variants
    those that are named are timed, or all.

    Raises ValueError for an unknown grid.
    """
    shapes = _shapes(grid)
    return _pattern(grid, shapes, _once_a_depth(shapes), variants)


def asv_filters(grid: str, variants: Iterable[str] = ()) -> list[str]:
    """Return what asv_filter does as an expression for each shape, in the grid's order."""
    shapes = _shapes(grid)
    built = _once_a_depth(shapes)
    return [_pattern(grid, [shape], [shape] if shape in built else [], variants) for shape in shapes]


def _shapes(grid: str) -> tuple[Shape, ...]:
    if grid not in GRIDS:
        raise ValueError(f"grid={grid!r}: it must be one of {', '.join(GRIDS)}")
    return GRIDS[grid]


def _once_a_depth(shapes: Sequence[Shape]) -> list[Shape]:
    return list({shape.depth: shape for shape in reversed(shapes)}.values())


def _pattern(grid: str, shapes: Iterable[Shape], built: Iterable[Shape], variants: Iterable[str]) -> str:
    # asv matches against "module.Class.method(32, 30, 128, 1)"; what follows a class's prefix is its kind.
    prefixes = "|".join(map(class_prefix, variants))
    among = rf"^(?=[a-z]+\.({prefixes})(LSTM|[A-Z][a-z]+|[A-Z][a-z]+Build)\.)" if prefixes else "^"
    patterns = [rf"{among}(?!.*Build).*{_any_of(shapes)}"]
    if built:
        builds = "WarmBuild" if grid == "quick" else "Build"
        patterns.append(rf"{among}.*{builds}.*{_any_of(built)}")
    return "|".join(patterns)


def _any_of(shapes: Iterable[Shape]) -> str:
    return rf"\(({'|'.join(', '.join(map(str, shape)) for shape in shapes)})\)$"
