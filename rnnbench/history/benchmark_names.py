"""Make, read and select the names of asv's benchmarks."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence

from rnnbench.network import models
from rnnbench.network.models import ALL_MODELS, Subject

# The suffix of a class name and its method → the quantity that it measures. The rest of the class name is the variant.
_TIMES = {"time_forward": "forward", "time_train": "train"}
_DEVICE_TIMES = {"track_forward": "device_forward", "track_train": "device_train"}
_ERRORS = {"track_outputs": "error_outputs", "track_gradients": "error_gradients"}
# Of each module, the group of networks that it measures, and its classes. The most asked for first.
_CLASSES = {
    "lstm": ("lstm", {"LSTM": _TIMES}),
    "device": ("lstm", {"Device": _DEVICE_TIMES}),
    "compile": (
        "lstm",
        {
            "WarmBuild": {"timeraw_forward": "build_forward_warm", "timeraw_train": "build_train_warm"},
            "ColdBuild": {"timeraw_forward": "build_forward_cold", "timeraw_train": "build_train_cold"},
        },
    ),
    "memory": ("lstm", {"Memory": {"track_train": "memory"}}),
    "accuracy": ("lstm", {"Accuracy": _ERRORS}),
    "gru": ("gru", {"GRU": _TIMES, "Device": _DEVICE_TIMES, "Accuracy": _ERRORS}),
    "rnn": ("rnn", {"RNN": _TIMES, "Device": _DEVICE_TIMES, "Accuracy": _ERRORS}),
    "models": (ALL_MODELS, {"Model": _TIMES, "Device": _DEVICE_TIMES, "Accuracy": _ERRORS}),
}
MODULES = tuple(_CLASSES)
QUANTITIES = tuple(
    dict.fromkeys(
        quantity for _, classes in _CLASSES.values() for methods in classes.values() for quantity in methods.values()
    )
)
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
    for suffix, methods in _CLASSES.get(module, ("", {}))[1].items():
        prefix = class_name.removesuffix(suffix)
        if method in methods and class_name.endswith(suffix) and re.fullmatch("[A-Z][A-Za-z0-9]*", prefix):
            return _WORDS.sub("_", prefix).lower(), methods[method]
    raise ValueError("no benchmark has this name")


def method(benchmark: str, version: str, date: int) -> str:
    """Return what to compare instead of a benchmark's version at a commit of this date, in ms since 1970."""
    changed, earlier = _UNVERSIONED_CHANGES.get((benchmark.partition(".")[0], version), (0, version))
    return earlier if date < changed else version


def group_of(benchmark: str) -> str:
    """Return the group of networks, one of models.GROUPS, that a benchmark of this repository measures."""
    return _CLASSES[benchmark.partition(".")[0]][0]


def names_of(group: str, variants: Iterable[str]) -> list[str]:
    """Return the names of the benchmarks that a group of networks can have, for these variants."""
    return [
        f"{module}.{class_prefix(variant)}{suffix}.{method}"
        for module, (measured, classes) in _CLASSES.items()
        for suffix, methods in classes.items()
        for variant in variants
        for method in methods
        if measured == group
    ]


def asv_filter(grid: str, variants: Iterable[str] = (), device: str = "cuda", network: str = "lstm") -> str:
    """Return a regular expression that makes `asv run --bench` time exactly the shapes of a grid.

    `network` is a family. The grid "models" has all models instead, and a model's name that model. The pattern selects
    the named variants, or all variants if none is named. For the device "cpu" it selects no device times, which only a
    GPU has. Only the LSTM has builds. They depend mainly on the depth, so one shape for each depth is built. Builds
    with an empty compile cache are slow, so the quick grid has none.

    Raises ValueError for an unknown grid.
    """
    group, subjects = _subjects(grid, network)
    return _pattern(grid, group, subjects, _built(group, subjects), variants, device)


def asv_filters(grid: str, variants: Iterable[str] = (), device: str = "cuda", network: str = "lstm") -> list[str]:
    """Return one regular expression for each shape or model, in the grid's order.

    Together they select what asv_filter does. Raises ValueError for an unknown grid.
    """
    group, subjects = _subjects(grid, network)
    built = _built(group, subjects)
    return [_pattern(grid, group, [one], [one] if one in built else [], variants, device) for one in subjects]


def selected(grid: str, network: str = "lstm") -> dict[Subject, tuple[str, ...]]:
    """Return the quantities that asv_filter selects at each shape or model of a grid, in the grid's order.

    Raises ValueError for an unknown grid.
    """
    group, subjects = _subjects(grid, network)
    built = set(_built(group, subjects))
    everywhere: list[str] = []
    builds: list[str] = []
    for measured, classes in _CLASSES.values():
        for suffix, methods in classes.items() if measured == group else ():
            if not suffix.endswith("Build"):
                everywhere += methods.values()
            elif suffix.endswith(_builds(grid)):
                builds += methods.values()
    return {subject: (*everywhere, *(builds if subject in built else ())) for subject in subjects}


def parameters(subject: Subject) -> str:
    """Return the parameters of the benchmarks of a subject, as asv writes them."""
    network, shape = subject
    return repr(network) if models.group(network) == ALL_MODELS else ", ".join(map(str, shape))


def _subjects(grid: str, network: str) -> tuple[str, tuple[Subject, ...]]:
    group = models.group_of(grid, network)
    if grid in models.MODELS:
        return group, ((grid, models.MODELS[grid].shape),)
    grids = models.grids(group)
    if grid not in grids:
        raise ValueError(f"grid={grid!r}: it must be one of {', '.join([*grids, ALL_MODELS])}")
    return group, grids[grid]


def _built(group: str, subjects: Sequence[Subject]) -> list[Subject]:
    """Return the subjects whose builds are timed: one for each depth of the LSTM."""
    return list({shape.depth: (network, shape) for network, shape in reversed(subjects) if group == "lstm"}.values())


def _pattern(
    grid: str,
    group: str,
    subjects: Iterable[Subject],
    built: Sequence[Subject],
    variants: Iterable[str],
    device: str,
) -> str:
    # asv matches the expression against "module.Class.method(32, 30, 128, 1)".
    prefixes = "|".join(map(class_prefix, variants))
    modules = [module for module, (measured, _) in _CLASSES.items() if measured == group]
    suffixes = dict.fromkeys(suffix for module in modules for suffix in _CLASSES[module][1])
    # A class name is a variant's prefix and a suffix. Without the suffix "Torch" would select TorchLoopLSTM too.
    named = rf"({prefixes})({'|'.join(suffixes)})\." if prefixes else ""
    start = rf"^(?=({'|'.join(modules)})\.{named})" + ("" if device == "cuda" else r"(?!.*Device\.)")
    patterns = [rf"{start}(?!.*Build).*{_any_of(subjects)}"]
    if built:
        patterns.append(rf"{start}.*{_builds(grid)}.*{_any_of(built)}")
    return "|".join(patterns)


def _builds(grid: str) -> str:
    """Return the ending of the classes that time a grid's builds."""
    return "WarmBuild" if grid == "quick" else "Build"


def _any_of(subjects: Iterable[Subject]) -> str:
    return rf"\(({'|'.join(map(parameters, subjects))})\)$"
