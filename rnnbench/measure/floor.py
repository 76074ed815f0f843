"""The floor: the least time that a machine's peak rates allow for a call."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

from rnnbench.network import precision
from rnnbench.network.models import workload
from rnnbench.network.shapes import Shape
from rnnbench.network.workload import PRECISIONS, Workload

# The fact that holds the peak rate of each precision. Both 16-bit types have the same rate.
_PEAKS = {
    "float32": "float32_flops",
    "tf32": "tf32_flops",
    "float16": "float16_flops",
    "bfloat16": "float16_flops",
}
# All facts that a floor depends on.
_RATES = (*dict.fromkeys(_PEAKS.values()), "memory_bandwidth")


class Floor(NamedTuple):
    """The least time of a call on a whole batch, and the peak rate that sets it."""

    seconds: float
    bound: str  # "compute" or "memory"


def floor(shape: Shape, quantity: str, variant: str, facts: Mapping[str, str], network: str = "lstm") -> Floor | None:
    """Return the floor of a "forward" or "train" time; None if the machine's facts lack a peak rate.

    The floor is the greater of operations / peak FLOP/s and bytes / bandwidth. `facts` are machine.json's:
    "float32_flops", "tf32_flops" and "float16_flops" in operations per second, and "memory_bandwidth" in bytes per
    second. The variant's name says its precision. `network` is a family or a model.
    """
    return _floor(network, shape, quantity, precision.of_variant(variant), tuple(facts.get(name) for name in _RATES))


def floor_of(work: Workload, quantity: str, variant: str, facts: Mapping[str, str]) -> Floor | None:
    """Return the floor of a workload in the precision of a variant, as `floor` does."""
    return _bound(work, quantity, precision.of_variant(variant, work.precision), facts)


# Reports ask for the same few floors many times.
@functools.cache
def _floor(network: str, shape: Shape, quantity: str, computed_in: str, rates: tuple[str | None, ...]) -> Floor | None:
    stored_in = computed_in if computed_in in PRECISIONS else "float32"
    work = dataclasses.replace(workload(network, shape), precision=stored_in)
    return _bound(work, quantity, computed_in, {name: rate for name, rate in zip(_RATES, rates, strict=True) if rate})


def _bound(work: Workload, quantity: str, computed_in: str, facts: Mapping[str, str]) -> Floor | None:
    peak, bandwidth = _peak(computed_in, facts), _rate(facts.get("memory_bandwidth"))
    if peak is None or bandwidth is None:
        return None
    operations, moved = {
        "forward": (work.forward_flops, work.forward_bytes),
        "train": (work.train_flops, work.train_bytes),
    }[quantity]
    return max(Floor(operations / peak, "compute"), Floor(moved / bandwidth, "memory"))


def _peak(computed_in: str, facts: Mapping[str, str]) -> float | None:
    """Return the peak rate of products in a precision; None if the facts lack it."""
    if computed_in != precision.THREE_TF32:
        return _rate(facts.get(_PEAKS[computed_in]))
    strict, tf32 = (_rate(facts.get(_PEAKS[each])) for each in ("float32", "tf32"))
    return precision.three_tf32_rate(strict, tf32) if strict and tf32 else None


def _rate(text: str | None) -> float | None:
    try:
        rate = float(text or "")
    except ValueError:
        return None
    return rate if math.isfinite(rate) and rate > 0 else None
