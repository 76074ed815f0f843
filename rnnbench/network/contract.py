"""The contract of every variant: the network that it builds, and the exception for one that can't run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from rnnbench.network.workload import Weights


class Unavailable(Exception):
    """A variant can't run here. The message says why and what to do."""


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
        """Return all hidden states of the last layer: float32, (seq, batch, hidden). This call is never timed."""

    def gradients(self) -> Weights:
        """Return one dict per layer, {"W", "U", "b"}: float32, in the weights' shapes. This call is never timed."""
