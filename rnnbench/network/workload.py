"""The workload: the sizes, the data and the weights of one shape."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

GATES = 4  # in W, U and b they are in this order: input, forget, cell candidate, output
FLOAT = np.float32

Weights = list[dict[str, np.ndarray]]


@dataclass(frozen=True)
class Workload:
    """An LSTM of `depth` layers, and the data that it is trained on. The input has `hidden` features.

    Equal sizes and seeds give equal data with every NumPy version.

    Raises ValueError if a size isn't an integer of 1 or more, or if the seed isn't an integer from 0 to 2**32 - 1.
    """

    batch: int
    seq: int
    hidden: int
    depth: int
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch", "seq", "hidden", "depth"):
            _check_integer(name, getattr(self, name), least=1, most=None)
        _check_integer("seed", self.seed, least=0, most=2**32 - 1)

    @cached_property
    def inputs(self) -> np.ndarray:
        """The input sequence: float32, (seq, batch, hidden), standard normal."""
        return self._normal(stream=0)

    @cached_property
    def targets(self) -> np.ndarray:
        """The sequence that the loss compares the outputs with: float32, (seq, batch, hidden), standard normal."""
        return self._normal(stream=1)

    @cached_property
    def weights(self) -> Weights:
        """One dict per layer, float32: W and U (hidden, 4·hidden), b (4·hidden), gates in the order i, f, g, o.

        They are drawn uniformly from ±1/√hidden, as an LSTM's initial weights usually are.
        """
        random = self._random(stream=2)
        bound = self.hidden**-0.5
        shapes = {
            "W": (self.hidden, GATES * self.hidden),
            "U": (self.hidden, GATES * self.hidden),
            "b": (GATES * self.hidden,),
        }
        return [
            {name: random.uniform(-bound, bound, shape).astype(FLOAT) for name, shape in shapes.items()}
            for _ in range(self.depth)
        ]

    @property
    def forward_flops(self) -> int:
        """The fewest floating-point operations of the forward pass's matrix products.

        A layer multiplies its inputs by W at seq steps. It multiplies its states by U at only seq - 1 steps, since the
        first state is zero. Element-wise operations aren't counted.
        """
        return self._product_flops * self.depth * (2 * self.seq - 1)

    @property
    def train_flops(self) -> int:
        """The fewest floating-point operations of a train step's matrix products, forward and backward.

        In the backward pass a layer takes seq products for W's gradient, seq - 1 for U's gradient, seq - 1 for the
        states' gradients, and seq for its inputs' gradients. The first layer needs no gradients of its inputs.
        """
        backward = self.depth * (self.seq + 2 * (self.seq - 1)) + (self.depth - 1) * self.seq
        return self.forward_flops + self._product_flops * backward

    @property
    def forward_bytes(self) -> int:
        """The fewest bytes that a forward pass moves.

        It reads the inputs and weights once, and writes the outputs once.
        """
        return (2 * self._states + self._parameters) * np.dtype(FLOAT).itemsize

    @property
    def train_bytes(self) -> int:
        """The fewest bytes that a train step moves.

        It reads the inputs, targets and weights once, and writes the gradients once.
        """
        return (2 * self._states + 2 * self._parameters) * np.dtype(FLOAT).itemsize

    @property
    def least_memory(self) -> int:
        """The fewest bytes that a train step holds: data, weights, gradients, and each layer's states and gates."""
        kept = self._states * self.depth * (GATES + 2)
        return (2 * self._states + 2 * self._parameters + kept) * np.dtype(FLOAT).itemsize

    @property
    def _product_flops(self) -> int:
        """The operations of one product of (batch, hidden) and (hidden, 4·hidden). A multiply-add is two operations."""
        return 2 * self.batch * self.hidden * GATES * self.hidden

    @property
    def _states(self) -> int:
        return self.seq * self.batch * self.hidden

    @property
    def _parameters(self) -> int:
        return self.depth * GATES * self.hidden * (2 * self.hidden + 1)

    def _normal(self, stream: int) -> np.ndarray:
        return self._random(stream).standard_normal((self.seq, self.batch, self.hidden)).astype(FLOAT)

    def _random(self, stream: int) -> np.random.RandomState:
        # RandomState draws the same numbers in all NumPy versions; default_rng may not.
        return np.random.RandomState([self.seed, stream])


def _check_integer(name: str, value: Any, least: int, most: int | None) -> None:
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if is_integer and value >= least and (most is None or value <= most):
        return
    allowed = f"an integer of {least} or more" if most is None else f"an integer from {least} to {most}"
    raise ValueError(f"{name}={value!r}: it must be {allowed}")
