"""Find out why a figure is missing.

asv stores null for a failure and NaN for n/a, but no reason. This module applies the rules by which the benchmarks
refuse a shape. Other reasons are only in the run's output.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from rnnbench import variants
from rnnbench.network.models import Subject, subjects, workload

FAILED = "it should have run, but it failed; asv doesn't store the error, but the run's output shows it"

_MADE_FOR = {"cpu": "CPUs", "cuda": "NVIDIA GPUs"}


def reason(variant: str, subject: Subject, facts: Mapping[str, str]) -> str | None:
    """Return the rule that keeps a machine from running a variant at a subject, as a phrase; None if no rule does.

    The facts are those of machine.json. A machine whose facts name a GPU was timed on cuda.
    """
    device = _device(facts)
    if variant in variants.VARIANTS and variants.made_for_another(variant, device):
        devices = " and ".join(_MADE_FOR[name] for name in variants.VARIANTS[variant].devices)
        return f"made for {devices}, but this machine was timed on its {'GPU' if device == 'cuda' else 'CPU'}"
    return unsupported(variant, subject) or too_large(subject, facts)


def unsupported(variant: str, subject: Subject) -> str | None:
    """Return why a variant can't compute a subject on any machine, else None."""
    return variants.supports(variant, workload(*subject)) if variant in variants.VARIANTS else None


def too_large(subject: Subject, facts: Mapping[str, str]) -> str | None:
    """Return why the memory of a machine that was timed on its CPU is too small for a subject, else None."""
    try:
        memory = float(facts["ram"])
    except (KeyError, ValueError):
        return None
    return variants.too_large(workload(*subject), _device(facts), memory)


def _device(facts: Mapping[str, str]) -> str:
    """Return the device that was timed: a machine whose facts name a GPU was timed on cuda."""
    return "cuda" if "gpu" in facts else "cpu"


def of_variants(facts: Mapping[str, str], group: str = "lstm") -> dict[str, list[str]]:
    """Return the variants that a machine can't run at any subject of a group of networks, by the reason."""
    variants_by_reason: dict[str, list[str]] = defaultdict(list)
    first, *others = subjects(group)
    for variant in variants.VARIANTS:
        common = reason(variant, first, facts)
        if common and all(reason(variant, subject, facts) == common for subject in others):
            variants_by_reason[common].append(variant)
    return variants_by_reason
