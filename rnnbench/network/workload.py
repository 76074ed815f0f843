"""What is computed: the sizes, the data and the weights of one cell of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

GATES = 4  # input, forget, cell candidate, output: the order in W, U and b
FLOAT = np.float32

Weights = list[dict[str, np.ndarray]]


@dataclass(frozen=True)
class Workload:
    """An LSTM of `depth` layers and the data that it is trained on; inputs are as wide as `hidden`.

    Equal sizes and seeds give equal data, on every NumPy version.

    Raises ValueError for a size that isn't an integer of 1 or more and for a seed that isn't one
    from 0 to 2**32 - 1.
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
        """What the outputs are compared with: float32, (seq, batch, hidden), standard normal."""
        return self._normal(stream=1)

    @cached_property
    def weights(self) -> Weights:
        """One dict a layer: W and U (hidden, 4·hidden), b (4·hidden), float32, gates i, f, g, o.

        Uniform in ±1/√hidden, the usual initial weights of an LSTM.
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

        A layer takes seq products of its inputs with W and seq - 1 of its states with U, since the
        first state is zero. The element-wise part is left out.
        """
        return self._product_flops * self.depth * (2 * self.seq - 1)

    @property
    def train_flops(self) -> int:
        """The fewest floating-point operations of the matrix products of forward and backward.

        Backward, a layer takes seq products for W's gradient, seq - 1 each for U's and for the
        states', and seq for its inputs', which nobody asks of the first layer.
        """
        backward = self.depth * (self.seq + 2 * (self.seq - 1)) + (self.depth - 1) * self.seq
        return self.forward_flops + self._product_flops * backward

    @property
    def forward_bytes(self) -> int:
        """The fewest bytes that a forward pass moves: inputs and weights read, outputs written, once each."""
        return (2 * self._states + self._parameters) * np.dtype(FLOAT).itemsize

    @property
    def train_bytes(self) -> int:
        """The fewest bytes that a train step moves: inputs, targets, weights read, gradients written, once each."""
        return (2 * self._states + 2 * self._parameters) * np.dtype(FLOAT).itemsize

    @property
    def least_memory(self) -> int:
        """The bytes that a train step holds at least: data, weights, gradients, every layer's states and gates."""
        kept = self._states * self.depth * (GATES + 2)
        return (2 * self._states + 2 * self._parameters + kept) * np.dtype(FLOAT).itemsize

    @property
    def _product_flops(self) -> int:
        """Of (batch, hidden) with (hidden, 4·hidden), at two operations for each multiply and add."""
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
        # RandomState's stream is frozen for all NumPy versions; default_rng's may change between them.
        return np.random.RandomState([self.seed, stream])


def _check_integer(name: str, value: Any, least: int, most: int | None) -> None:
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if is_integer and value >= least and (most is None or value <= most):
        return
    allowed = f"an integer of {least} or more" if most is None else f"an integer from {least} to {most}"
    raise ValueError(f"{name}={value!r}: it must be {allowed}")
