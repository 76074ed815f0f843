"""Why a shape has no figure, as far as results tell: asv stores null for a failure and NaN for n/a, but no reason.

What the benchmarks refuse by rule can be told afterwards too; the rest is in the run's output alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from rnnbench import variants
from rnnbench.network.shapes import GRIDS, Shape
from rnnbench.network.workload import Workload

FAILED = "it should have run; asv keeps no reason, but the run's output has the error"


def reason(variant: str, shape: Shape, facts: Mapping[str, str]) -> str | None:
    """Return why a machine can't run a shape, by the registry's rules; None where these don't forbid it.

    The facts are machine.json's: a machine that names a GPU was timed on cuda.
    """
    device = "cuda" if "gpu" in facts else "cpu"
    if variant in variants.VARIANTS and (other := variants.made_for_another(variant, device)):
        return f"{other}, and this machine was timed on {device}"
    try:
        memory = float(facts["ram"])
    except (KeyError, ValueError):
        return None
    return variants.too_large(Workload(*shape), device, memory)


def of_variants(facts: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the variants that a machine can't run in any shape, by the reason."""
    found: dict[str, list[str]] = defaultdict(list)
    for variant in variants.VARIANTS:
        reasons = {reason(variant, shape, facts) for shape in GRIDS["full"]}
        if len(reasons) == 1 and (of_all := reasons.pop()):
            found[of_all].append(variant)
    return found
