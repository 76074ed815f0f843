"""Compare every variant with the reference, on a grid's shapes and on odd networks drawn at random."""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from rnnbench import variants
from rnnbench.measure import failures
from rnnbench.network import reference
from rnnbench.network.contract import Network, Unavailable
from rnnbench.network.shapes import Shape
from rnnbench.network.workload import KINDS, Weights, Workload

# A narrower network's gradients can cancel to almost nothing, and TF32's few digits are then too few. docs/method.md
# has the figures.
_LEAST_HIDDEN = 8
_LARGEST = Shape(batch=40, seq=20, hidden=72, depth=3)
_LARGEST_INPUT = 80

# Inputs at which a gate saturates, or that are no usual numbers.
_EXTREMES = (1e4, math.inf, math.nan, 1e-40)
_EXTREMES_SHAPE = Shape(batch=5, seq=4, hidden=9, depth=2)

# The fields of a workload that describe the network beside its shape.
_NETWORK = ("kind", "input_size", "bidirectional", "least_length", "precision")


class Check(NamedTuple):
    """The errors of one variant at one workload."""

    variant: str
    work: Workload
    tolerance: float  # of the outputs
    gradient_tolerance: float
    # By number and parameter. (0, "outputs") is for the outputs, from 1 on the number is that of an entry of
    # work.weights.
    errors: dict[tuple[int, str], float]
    reason: str | None = None  # why the variant can't compute this workload here
    extreme: float | None = None  # the value of some inputs, if they were not drawn as usual
    failure: str | None = None  # what happened if it failed

    @property
    def fault(self) -> str | None:
        """A sentence that says which error exceeds the tolerance, or what failed; None if nothing is wrong."""
        network = _described(self.work)
        if self.failure:
            return f"{self.variant} failed at {network}: {self.failure}"
        for (number, name), error in self.errors.items():
            tolerance = self.gradient_tolerance if number else self.tolerance
            if not error <= tolerance:  # NaN is a fault too
                what = f"the gradient of {name} in {self._place(number - 1)}" if number else f"its {name}"
                inputs = "" if self.extreme is None else f", with inputs of ±{self.extreme:g}"
                where = f"{self.variant} is wrong at {network}{inputs}"
                return f"{where}: {what} has the error {error:.2e}, over {tolerance:g}"
        return None

    def largest(self, name: str) -> float:
        """Return the largest error of a parameter over all layers, or of the outputs. NaN in any of them gives NaN.

        Raises ValueError if the parameter wasn't checked, because the variant doesn't train.
        """
        return float(np.max([error for (_, parameter), error in self.errors.items() if parameter == name]))

    def _place(self, index: int) -> str:
        layer, direction = divmod(index, self.work.directions)
        return f"layer {layer + 1}{', backward' if direction else ''}"


def draw(count: int, seed: int) -> list[Workload]:
    """Return `count` odd networks with log-uniform sizes. Equal seeds give equal networks.

    Each four in a row have every kind. Half of the networks have inputs of another size than the hidden states, half
    are bidirectional, and half have sequences of unequal lengths.
    """
    random = np.random.RandomState(seed)
    bounds = np.log((1, 1, _LEAST_HIDDEN, 1, 1)), np.log(np.add((*_LARGEST, _LARGEST_INPUT), 1))
    kinds = itertools.cycle(random.permutation(list(KINDS)))
    works = []
    for _ in range(count):
        *sizes, input_size = map(int, np.exp(random.uniform(*bounds)))
        shape = Shape(*sizes)
        least_length = int(random.randint(1, shape.seq + 1))
        other, bidirectional, unequal = random.randint(2, size=3).astype(bool)
        works.append(
            Workload(
                *shape,
                seed=seed,
                kind=str(next(kinds)),
                input_size=input_size if other else shape.hidden,
                bidirectional=bool(bidirectional),
                least_length=least_length if unequal else None,
            )
        )
    return works


def checks(names: Iterable[str], works: Iterable[Workload], device: str) -> Iterator[Check]:
    """Yield a check of each named variant at each workload."""
    names = list(names)
    for work in map(replace, works):  # copies, whose data don't outlive their checks
        expected: dict[str, tuple[np.ndarray, Weights]] = {}  # by precision
        for name in names:
            row = variants.find(name)
            own = variants.workload(name, work)
            check = Check(name, replace(own), row.tolerance, row.tolerance, {})
            try:
                network = variants.build(name, own, device)
                if own.precision not in expected:
                    expected[own.precision] = reference.outputs(own), reference.gradients(own)
                found = errors(network, *expected[own.precision], trains=row.trains)
            except Unavailable as reason:  # a call may find that it can't run these sizes; Theano adds pages to that
                yield check._replace(reason=str(reason).partition("\n")[0])
                continue
            except Exception as problem:
                what = failures.sentence(problem) or f"{type(problem).__name__}: {str(problem).partition(chr(10))[0]}"
                yield check._replace(failure=what)
                continue
            yield check._replace(errors=found, gradient_tolerance=variants.gradient_tolerance(name, own))
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
        for name in names:
            row = variants.find(name)
            if not (row.keeps_nan or math.isfinite(value)):
                continue
            work = variants.workload(name, Workload(*_EXTREMES_SHAPE))
            work.inputs[1::2, 0, ::2], work.inputs[1::2, 1, ::2] = value, -value
            with np.errstate(all="ignore"):
                outputs, gradients = reference.outputs(work), reference.gradients(work)
            check = Check(name, replace(work), row.tolerance, row.tolerance, {}, extreme=value)
            try:
                network = variants.build(name, work, device)
            except Unavailable as reason:
                yield check._replace(reason=str(reason))
                continue
            with np.errstate(all="ignore"):
                computed = network.outputs()
                trained = network.gradients() if row.trains else []
            found = {(0, "outputs"): reference.error_or_infinity(np.nan_to_num(computed), np.nan_to_num(outputs))}
            if not np.array_equal(np.isnan(computed), np.isnan(outputs)):
                found[0, "outputs"] = math.inf
            for number, (arrays, expected) in enumerate(zip(trained, gradients, strict=False), start=1):
                for parameter, array in expected.items():
                    same = np.array_equal(np.isfinite(arrays[parameter]), np.isfinite(array))
                    found[number, parameter] = 0.0 if same else math.inf
            yield check._replace(errors=found)


def errors(
    network: Network, outputs: np.ndarray, gradients: Weights, trains: bool = True
) -> dict[tuple[int, str], float]:
    """Return the errors of a network's outputs and gradients against the reference's, as in `Check.errors`.

    A network that doesn't train has no gradients to check.
    An array that is missing, unexpected or of another shape has an infinite error.
    """
    result = {(0, "outputs"): reference.error_or_infinity(network.outputs(), outputs)}
    nothing: dict[str, np.ndarray] = {}
    layers = itertools.zip_longest(network.gradients(), gradients, fillvalue=nothing) if trains else ()
    for number, (computed, expected) in enumerate(layers, start=1):
        for name in {**expected, **computed}:
            result[number, name] = reference.error_or_infinity(computed.get(name), expected.get(name))
    return result


def table(checks: Iterable[Check]) -> str:
    """Return a plain-text table of each check's largest errors. Checks that couldn't run are left out."""
    checks = [check for check in checks if check.errors]
    names = ["outputs", "W", "U", "b", *(["c"] if any(check.work.kind == "gru" for check in checks) else [])]
    rows = []
    for check in checks:
        work, checked = check.work, {name for _, name in check.errors}
        largest = [f"{check.largest(name):.1e}" if name in checked else "n/a" for name in names]
        seq = f"{work.seq}" if work.least_length is None else f"{work.least_length}–{work.seq}"
        sizes = [work.depth, f"{work.batch} × {seq}", f"{work.input_size} → {work.hidden}"]
        kind = f"{work.kind}{', both directions' if work.bidirectional else ''}"
        looser = check.gradient_tolerance > check.tolerance
        tolerance = f"{check.tolerance:g}{f', gradients {check.gradient_tolerance:.2g}' if looser else ''}"
        rows.append([*sizes, kind, check.variant, *largest, tolerance])
    headings = ["depth", "batch × seq", "inputs → hidden", "network", "implementation", *names, "tolerance"]
    alignment = ["right"] * 3 + ["left"] * 2 + ["right"] * (len(names) + 1)
    return tabulate(rows, headings, "simple", disable_numparse=True, colalign=alignment)


def _described(work: Workload) -> str:
    """Return a workload's sizes, and what else makes it other than an LSTM of the grids."""
    shape = Shape(work.batch, work.seq, work.hidden, work.depth)
    usual = Workload(*shape, seed=work.seed)
    fields = [name for name in _NETWORK if getattr(work, name) != getattr(usual, name)]
    return ", ".join(f"{name}={getattr(work, name)}" for name in (*Shape._fields, *fields))
