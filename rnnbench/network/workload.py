"""The workload: the network, its sizes, its data and its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

# Each kind's gates, in their order in W, U and b. lstm: input, forget, cell candidate, output. gru: reset, update,
# candidate; the reset gate is applied after the product, as cuDNN and PyTorch do.
KINDS = {"lstm": "ifgo", "gru": "rzn", "rnn_tanh": "h", "rnn_relu": "h"}
# The types of the data, weights and results, and their bytes.
PRECISIONS = {"float32": 4, "float16": 2, "bfloat16": 2}
GATES = len(KINDS["lstm"])
FLOAT = np.float32

Weights = list[dict[str, np.ndarray]]


@dataclass(frozen=True)
class Workload:
    """A recurrent network of `depth` layers, and the data that it is trained on.

    Equal networks and seeds give equal data with every NumPy version.

    `kind` is one of KINDS. The input has `input_size` features, or `hidden` if that is None. In a bidirectional layer
    a second direction reads the sequence from its end, and the outputs of both stand side by side, so the next layer
    has 2·hidden inputs. If `least_length` is None, all sequences have seq steps. Otherwise the seed draws their
    lengths from least_length to seq; outputs after a sequence's end are 0. `precision` is one of PRECISIONS.

    Raises ValueError if a size isn't an integer of 1 or more, if the seed isn't an integer from 0 to 2**32 - 1, if
    least_length isn't an integer from 1 to seq, or if the kind, bidirectional or the precision is none of those named.
    """

    batch: int
    seq: int
    hidden: int
    depth: int
    seed: int = 0
    kind: str = field(default="lstm", kw_only=True)
    input_size: int = field(default=None, kw_only=True)  # type: ignore[assignment]  # None becomes `hidden`
    bidirectional: bool = field(default=False, kw_only=True)
    least_length: int | None = field(default=None, kw_only=True)
    precision: str = field(default="float32", kw_only=True)

    def __post_init__(self) -> None:
        if self.input_size is None:
            object.__setattr__(self, "input_size", self.hidden)
        for name in ("batch", "seq", "hidden", "depth", "input_size"):
            _check_integer(name, getattr(self, name), least=1, most=None)
        _check_integer("seed", self.seed, least=0, most=2**32 - 1)
        if self.least_length is not None:
            _check_integer("least_length", self.least_length, least=1, most=self.seq)
        _check_among("kind", self.kind, tuple(KINDS))
        _check_among("bidirectional", self.bidirectional, (False, True))
        _check_among("precision", self.precision, tuple(PRECISIONS))

    @property
    def directions(self) -> int:
        """The number of directions in which each layer reads the sequence: 1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """The features of an output: the hidden states of all directions."""
        return self.directions * self.hidden

    @cached_property
    def lengths(self) -> np.ndarray:
        """The steps of each sequence: int64, (batch,), the longest first, and at least one of seq steps."""
        lengths = np.full(self.batch, self.seq)
        if self.least_length is not None:
            lengths[1:] = self._random(stream=3).randint(self.least_length, self.seq + 1, self.batch - 1)
        return np.sort(lengths)[::-1].astype(np.int64)

    @cached_property
    def mask(self) -> np.ndarray:
        """1 where a sequence has a step, 0 after its end: float32, (seq, batch, 1)."""
        return (np.arange(self.seq)[:, None, None] < self.lengths[:, None]).astype(FLOAT)

    @cached_property
    def inputs(self) -> np.ndarray:
        """The input sequence: float32, (seq, batch, input_size), standard normal, also after a sequence's end."""
        return self._rounded(self._normal(0, self.input_size))

    @cached_property
    def targets(self) -> np.ndarray:
        """The sequence that the loss compares the outputs with: float32, (seq, batch, output_size), standard normal.

        It is 0 after a sequence's end, where the outputs are 0 too.
        """
        return self._rounded(self._normal(1, self.output_size) * self.mask)

    @cached_property
    def weights(self) -> Weights:
        """One dict for each direction of each layer, float32: layer 1 forward, layer 1 backward, layer 2 forward, ...

        W is (inputs, gates·hidden), U (hidden, gates·hidden), b (gates·hidden). gru has c (hidden) too: the bias that
        is added to the candidate's product with the state, before the reset gate is applied. They are drawn uniformly
        from ±1/√hidden, as initial weights usually are.
        """
        random = self._random(stream=2)
        bound = self.hidden**-0.5
        return [
            {
                name: self._rounded(random.uniform(-bound, bound, shape).astype(FLOAT))
                for name, shape in self._parameter_shapes(layer).items()
            }
            for layer in range(self.depth)
            for _ in range(self.directions)
        ]

    @property
    def loss_size(self) -> int:
        """The number of outputs that the loss is a mean of: those of all steps that the sequences have."""
        return self._steps * self.output_size

    @property
    def loss_scale(self) -> float:
        """The power of two by which an implementation multiplies its loss, and by which it divides its gradients.

        In float16 the gradients of a mean of many outputs are too small for its range. In the other types it is 1.
        """
        return 2.0 ** (self.loss_size.bit_length() - 1) if self.precision == "float16" else 1.0

    @property
    def forward_flops(self) -> int:
        """The fewest floating-point operations of the forward pass's matrix products.

        A layer multiplies its inputs by W at each step of a sequence. It multiplies its states by U at each step but
        the first, whose state is zero. Element-wise operations aren't counted.
        """
        return sum(self._input_flops) + self.depth * self._recurrent_flops

    @property
    def train_flops(self) -> int:
        """The fewest floating-point operations of a train step's matrix products, forward and backward.

        In the backward pass a layer takes as many for W's gradient as for the inputs' product, as many for U's gradient
        and for the states' gradients as for the states' product, and again as many for its inputs' gradients. The first
        layer needs no gradients of its inputs.
        """
        backward = sum(self._input_flops) + 2 * self.depth * self._recurrent_flops + sum(self._input_flops[1:])
        return self.forward_flops + backward

    @property
    def forward_bytes(self) -> int:
        """The fewest bytes that a forward pass moves.

        It reads the inputs and weights once, and writes the outputs once.
        """
        return (self._data + self._parameters) * PRECISIONS[self.precision]

    @property
    def train_bytes(self) -> int:
        """The fewest bytes that a train step moves.

        It reads the inputs, targets and weights once, and writes the gradients once.
        """
        return (self._data + 2 * self._parameters) * PRECISIONS[self.precision]

    @property
    def least_memory(self) -> int:
        """The fewest bytes that a train step holds: data, weights, gradients, and what each layer keeps of its steps.

        A layer keeps its states, its gates, and the cells of lstm or the candidate's product with the state of gru.
        """
        kept_per_state = {"lstm": GATES + 2, "gru": 5}.get(self.kind, 1)
        kept = self._steps * self.output_size * self.depth * kept_per_state
        return (self._data + 2 * self._parameters + kept) * PRECISIONS[self.precision]

    @property
    def _gates_size(self) -> int:
        return len(KINDS[self.kind]) * self.hidden

    @property
    def _steps(self) -> int:
        return self.batch * self.seq if self.least_length is None else int(self.lengths.sum())

    @property
    def _layer_inputs(self) -> list[int]:
        return [self.input_size] + [self.output_size] * (self.depth - 1)

    @property
    def _input_flops(self) -> list[int]:
        """The operations of each layer's product of inputs and W. A multiply-add is two operations."""
        return [2 * self.directions * self._steps * inputs * self._gates_size for inputs in self._layer_inputs]

    @property
    def _recurrent_flops(self) -> int:
        """The operations of a layer's products of states and U."""
        return 2 * self.directions * (self._steps - self.batch) * self.hidden * self._gates_size

    @property
    def _data(self) -> int:
        return self._steps * (self.input_size + self.output_size)

    @property
    def _parameters(self) -> int:
        shapes = [shape for layer in range(self.depth) for shape in self._parameter_shapes(layer).values()]
        return self.directions * sum(math.prod(shape) for shape in shapes)

    def _parameter_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {
            "W": (self._layer_inputs[layer], self._gates_size),
            "U": (self.hidden, self._gates_size),
            "b": (self._gates_size,),
        }
        return {**shapes, "c": (self.hidden,)} if self.kind == "gru" else shapes

    def _rounded(self, array: np.ndarray) -> np.ndarray:
        """Return a float32 array rounded to the nearest numbers of the precision, ties to even."""
        if self.precision == "float16":
            return array.astype(np.float16).astype(FLOAT)
        if self.precision == "bfloat16":  # the upper half of a float32
            bits = array.astype(FLOAT).view(np.uint32)
            return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(FLOAT)
        return array

    def _normal(self, stream: int, features: int) -> np.ndarray:
        return self._random(stream).standard_normal((self.seq, self.batch, features)).astype(FLOAT)

    def _random(self, stream: int) -> np.random.RandomState:
        # RandomState draws the same numbers in all NumPy versions; default_rng may not.
        return np.random.RandomState([self.seed, stream])


def _check_integer(name: str, value: Any, least: int, most: int | None) -> None:
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if is_integer and value >= least and (most is None or value <= most):
        return
    allowed = f"an integer of {least} or more" if most is None else f"an integer from {least} to {most}"
    raise ValueError(f"{name}={value!r}: it must be {allowed}")


def _check_among(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if not any(type(value) is type(one) and value == one for one in allowed):
        raise ValueError(f"{name}={value!r}: it must be one of {', '.join(map(str, allowed))}")
