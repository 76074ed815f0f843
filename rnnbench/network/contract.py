"""What every variant gives back, and how it says that it can't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from rnnbench.network.workload import Weights


class Unavailable(Exception):
    """A variant can't run here; the message says why and what to do."""


class Network(Protocol):
    """A workload's network in one framework, ready to be called again and again.

    forward and train are compiled when they are first looked up, so that a caller who needs one
    doesn't wait for the other.
    """

    @property
    def forward(self) -> Callable[[], object]:
        """Computes all hidden states of the last layer; they stay on the device, perhaps unfinished."""

    @property
    def train(self) -> Callable[[], object]:
        """Computes the loss's gradients for every parameter; they stay on the device, perhaps unfinished."""

    def synchronize(self) -> None:
        """Return when all of the device's work is done."""

    def outputs(self) -> np.ndarray:
        """Return all hidden states of the last layer: float32, (seq, batch, hidden). Never timed."""

    def gradients(self) -> Weights:
        """Return one dict a layer, {"W", "U", "b"}, float32, shaped as the weights. Never timed."""
