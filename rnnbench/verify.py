"""Whether every variant computes what the reference does: on a grid's shapes, and on odd ones drawn at random."""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from rnnbench import variants
from rnnbench.network import reference
from rnnbench.network.contract import Network, Unavailable
from rnnbench.network.shapes import Shape
from rnnbench.network.workload import Weights, Workload

# A narrower network's gradients can cancel to next to nothing, which TF32's few digits don't survive: in 1500 draws
# with products rounded to TF32 by hand, the largest error was 4.4e-3 at hidden 5 and 1.6e-3 at hidden 9.
_LEAST_HIDDEN = 8
_LARGEST = Shape(batch=40, seq=20, hidden=72, depth=3)


class Check(NamedTuple):
    """What was found of a variant in a shape."""

    variant: str
    shape: Shape
    tolerance: float
    errors: dict[tuple[int, str], float]  # by layer, from 1, and parameter; the outputs are (0, "outputs")
    reason: str | None = None  # why the shape can't run here

    @property
    def fault(self) -> str | None:
        """What is wrong, in a sentence; None where every error is within the tolerance."""
        for (layer, name), error in self.errors.items():
            if not error <= self.tolerance:  # NaN isn't
                sizes = ", ".join(f"{size}={value}" for size, value in self.shape._asdict().items())
                what = f"the gradient of {name} in layer {layer}" if layer else f"its {name}"
                return f"{self.variant} is wrong at {sizes}: {what} has the error {error:.2e}, over {self.tolerance:g}"
        return None

    def largest(self, name: str) -> float:
        """Return the largest error of a parameter over the layers, or of the outputs; NaN in any gives NaN."""
        return float(np.max([error for (_, parameter), error in self.errors.items() if parameter == name]))


def draw(count: int, seed: int) -> list[Shape]:
    """Return odd shapes, small sizes as often as large ones; the same for equal seeds."""
    random = np.random.RandomState(seed)
    least = Shape(batch=1, seq=1, hidden=_LEAST_HIDDEN, depth=1)
    bounds = np.log(least), np.log(np.add(_LARGEST, 1))
    return [Shape(*map(int, np.exp(random.uniform(*bounds)))) for _ in range(count)]


def checks(names: Iterable[str], shapes: Iterable[Shape], seed: int, device: str) -> Iterator[Check]:
    """Yield what is found of each variant in each shape, the data being drawn from the seed."""
    names = list(names)
    for shape in shapes:
        work = Workload(*shape, seed=seed)
        correct = None
        for name in names:
            tolerance = variants.VARIANTS[name].tolerance
            try:
                network = variants.build(name, work, device)
            except Unavailable as reason:
                yield Check(name, shape, tolerance, {}, str(reason))
                continue
            correct = correct or (reference.outputs(work), reference.gradients(work))
            yield Check(name, shape, tolerance, errors(network, *correct))
            # Theano's graphs are garbage in circles, and function.compiled keeps those from the collector.
            del network
            gc.unfreeze()
            gc.collect()


def errors(network: Network, outputs: np.ndarray, gradients: Weights) -> dict[tuple[int, str], float]:
    """Return the errors of a network's outputs and gradients against the reference's, as `Check` has them.

    What is missing or of another shape has an infinite error.
    """
    found = {(0, "outputs"): _error(network.outputs(), outputs)}
    nothing: dict[str, np.ndarray] = {}
    layers = itertools.zip_longest(network.gradients(), gradients, fillvalue=nothing)
    for layer, (computed, expected) in enumerate(layers, start=1):
        for name in {**expected, **computed}:
            found[layer, name] = _error(computed.get(name), expected.get(name))
    return found


def _error(computed: np.ndarray | None, expected: np.ndarray | None) -> float:
    if computed is None or expected is None or np.shape(computed) != np.shape(expected):
        return math.inf
    return reference.error(computed, expected)


def table(found: Iterable[Check]) -> str:
    """Return the largest errors of each variant in each shape that it ran in, as a terminal shows them."""
    names = ["outputs", "W", "U", "b"]
    rows = []
    for check in found:
        if not check.errors:
            continue
        largest = [f"{check.largest(name):.1e}" for name in names]
        batch, seq, hidden, depth = check.shape
        rows.append([depth, f"{batch} × {seq}", hidden, check.variant, *largest, f"{check.tolerance:g}"])
    headings = ["depth", "batch × seq", "hidden", "implementation", *names, "tolerance"]
    right = ["right"] * 3 + ["left"] + ["right"] * 5
    return tabulate(rows, headings, "simple", disable_numparse=True, colalign=right)
