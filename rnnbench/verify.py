"""Compare every variant with the reference, on a grid's shapes and on odd shapes drawn at random."""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from rnnbench import variants
from rnnbench.measure import failures
from rnnbench.network import reference
from rnnbench.network.contract import Network, Unavailable
from rnnbench.network.shapes import Shape
from rnnbench.network.workload import Weights, Workload

# A narrower network's gradients can cancel to almost nothing, and TF32's few digits are then too few. docs/method.md
# has the figures.
_LEAST_HIDDEN = 8
_LARGEST = Shape(batch=40, seq=20, hidden=72, depth=3)


# Inputs at which a gate saturates, or that are no usual numbers.
_EXTREMES = (1e4, math.inf, math.nan, 1e-40)
_EXTREMES_SHAPE = Shape(batch=5, seq=4, hidden=9, depth=2)


class Check(NamedTuple):
    """The errors of one variant at one shape."""

    variant: str
    shape: Shape
    tolerance: float
    errors: dict[tuple[int, str], float]  # by layer (from 1) and parameter; (0, "outputs") for the outputs
    reason: str | None = None  # why the variant can't run this shape here
    extreme: float | None = None  # the value of some inputs, if they were not drawn as usual
    failure: str | None = None  # what happened if it failed

    @property
    def fault(self) -> str | None:
        """A sentence that says which error exceeds the tolerance, or what failed; None if nothing is wrong."""
        sizes = ", ".join(f"{size}={value}" for size, value in self.shape._asdict().items())
        if self.failure:
            return f"{self.variant} failed at {sizes}: {self.failure}"
        for (layer, name), error in self.errors.items():
            if not error <= self.tolerance:  # NaN is a fault too
                what = f"the gradient of {name} in layer {layer}" if layer else f"its {name}"
                inputs = "" if self.extreme is None else f", with inputs of ±{self.extreme:g}"
                where = f"{self.variant} is wrong at {sizes}{inputs}"
                return f"{where}: {what} has the error {error:.2e}, over {self.tolerance:g}"
        return None

    def largest(self, name: str) -> float:
        """Return the largest error of a parameter over all layers, or of the outputs. NaN in any of them gives NaN.

        Raises ValueError if the parameter wasn't checked, because the variant doesn't train.
        """
        return float(np.max([error for (_, parameter), error in self.errors.items() if parameter == name]))


def draw(count: int, seed: int) -> list[Shape]:
    """Return `count` odd shapes with log-uniform sizes. Equal seeds give equal shapes."""
    random = np.random.RandomState(seed)
    least = Shape(batch=1, seq=1, hidden=_LEAST_HIDDEN, depth=1)
    bounds = np.log(least), np.log(np.add(_LARGEST, 1))
    return [Shape(*map(int, np.exp(random.uniform(*bounds)))) for _ in range(count)]


def checks(names: Iterable[str], shapes: Iterable[Shape], seed: int, device: str) -> Iterator[Check]:
    """Yield a check of each named variant at each shape. The seed determines the data."""
    names = list(names)
    for shape in shapes:
        work = Workload(*shape, seed=seed)
        expected = None
        for name in names:
            tolerance = variants.VARIANTS[name].tolerance
            try:
                network = variants.build(name, work, device)
                expected = expected or (reference.outputs(work), reference.gradients(work))
                found = errors(network, *expected, trains=variants.VARIANTS[name].trains)
            except Unavailable as reason:  # a call may find that it can't run these sizes; Theano adds pages to that
                yield Check(name, shape, tolerance, {}, str(reason).partition("\n")[0])
                continue
            except Exception as problem:
                what = failures.sentence(problem) or f"{type(problem).__name__}: {str(problem).partition(chr(10))[0]}"
                yield Check(name, shape, tolerance, {}, failure=what)
                continue
            yield Check(name, shape, tolerance, found)
            # Theano's graphs are reference cycles that function.compiled froze. Free their memory before the next one.
            del network
            gc.unfreeze()
            gc.collect()


def extreme_checks(names: Iterable[str], device: str) -> Iterator[Check]:
    """Yield a check of each named variant with some inputs of ±1e4, ±infinity, NaN and ±1e-40, one of these at a time.

    The outputs must be within the tolerance and NaN where the reference is. Gradients can be too small for float32, so
    they must only be finite where the reference is, and NaN where it is.
    """
    names = list(names)
    for value in _EXTREMES:
        work = Workload(*_EXTREMES_SHAPE)
        work.inputs[1::2, 0, ::2], work.inputs[1::2, 1, ::2] = value, -value
        with np.errstate(all="ignore"):
            outputs, gradients = reference.outputs(work), reference.gradients(work)
        for name in names:
            if not (variants.VARIANTS[name].keeps_nan or math.isfinite(value)):
                continue
            tolerance = variants.VARIANTS[name].tolerance
            try:
                network = variants.build(name, work, device)
            except Unavailable as reason:
                yield Check(name, _EXTREMES_SHAPE, tolerance, {}, str(reason), extreme=value)
                continue
            computed = network.outputs()
            found = {(0, "outputs"): _error(np.nan_to_num(computed), np.nan_to_num(outputs))}
            if not np.array_equal(np.isnan(computed), np.isnan(outputs)):
                found[0, "outputs"] = math.inf
            trained = network.gradients() if variants.VARIANTS[name].trains else []
            for layer, (arrays, expected) in enumerate(zip(trained, gradients, strict=False), start=1):
                for parameter, array in expected.items():
                    same = np.array_equal(np.isfinite(arrays[parameter]), np.isfinite(array))
                    found[layer, parameter] = 0.0 if same else math.inf
            yield Check(name, _EXTREMES_SHAPE, tolerance, found, extreme=value)


def errors(
    network: Network, outputs: np.ndarray, gradients: Weights, trains: bool = True
) -> dict[tuple[int, str], float]:
    """Return the errors of a network's outputs and gradients against the reference's, as in `Check.errors`.

    A network that doesn't train has no gradients to check.
    An array that is missing, unexpected or of another shape has an infinite error.
    """
    result = {(0, "outputs"): _error(network.outputs(), outputs)}
    nothing: dict[str, np.ndarray] = {}
    layers = itertools.zip_longest(network.gradients(), gradients, fillvalue=nothing) if trains else ()
    for layer, (computed, expected) in enumerate(layers, start=1):
        for name in {**expected, **computed}:
            result[layer, name] = _error(computed.get(name), expected.get(name))
    return result


def _error(computed: np.ndarray | None, expected: np.ndarray | None) -> float:
    if computed is None or expected is None or np.shape(computed) != np.shape(expected):
        return math.inf
    return reference.error(computed, expected)


def table(checks: Iterable[Check]) -> str:
    """Return a plain-text table of each check's largest errors. Checks that couldn't run are left out."""
    names = ["outputs", "W", "U", "b"]
    rows = []
    for check in checks:
        if not check.errors:
            continue
        checked = {name for _, name in check.errors}
        largest = [f"{check.largest(name):.1e}" if name in checked else "n/a" for name in names]
        batch, seq, hidden, depth = check.shape
        rows.append([depth, f"{batch} × {seq}", hidden, check.variant, *largest, f"{check.tolerance:g}"])
    headings = ["depth", "batch × seq", "hidden", "implementation", *names, "tolerance"]
    alignment = ["right"] * 3 + ["left"] + ["right"] * 5
    return tabulate(rows, headings, "simple", disable_numparse=True, colalign=alignment)
