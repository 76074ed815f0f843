"""The contract of every variant: the networks that it supports, the network that it builds, and why it can't run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from rnnbench.network.workload import Weights, Workload


class Unavailable(Exception):
    """A variant can't run here. The message says why and what to do."""


def unsupported(
    work: Workload,
    kinds: Sequence[str] = ("lstm",),
    *,
    other_inputs: bool = False,
    bidirectional: bool = False,
    unequal_lengths: bool = False,
    precisions: Sequence[str] = ("float32",),
) -> str | None:
    """Return the first reason in one line why a variant with these abilities can't compute a workload, else None.

    `other_inputs` means inputs of another size than the hidden states. A variant's file defines `supports(work)` by
    this function. Without `supports` it computes only what this function's defaults allow.
    """
    if work.kind not in kinds:
        return f"it doesn't compute {work.kind}, only {' and '.join(kinds)}"
    if work.input_size != work.hidden and not other_inputs:
        return "its inputs must be as wide as its hidden states"
    if work.bidirectional and not bidirectional:
        return "it doesn't compute bidirectional networks"
    if work.least_length is not None and not unequal_lengths:
        return "it doesn't compute sequences of unequal lengths"
    if work.precision not in precisions:
        return f"it doesn't compute in {work.precision}, only in {' and '.join(precisions)}"
    return None


class Network(Protocol):
    """The network of one workload in one framework, built once and called many times.

    `forward` and `train` are each compiled at the first access. So a caller who needs only one of them doesn't wait
    for the other.
    """

    @property
    def forward(self) -> Callable[[], object]:
        """Return the function that computes all hidden states of the last layer.

        Its result stays on the device. The function may return before the work is done.
        """

    @property
    def train(self) -> Callable[[], object]:
        """Return the function that computes the loss and its gradients for every parameter.

        Its result stays on the device. The function may return before the work is done.
        """

    def synchronize(self) -> None:
        """Return when the device has finished all of its work."""

    def outputs(self) -> np.ndarray:
        """Return all hidden states of the last layer: float32, (seq, batch, output_size). This call is never timed."""

    def gradients(self) -> Weights:
        """Return a list like the workload's weights: float32, in the weights' shapes. This call is never timed."""
