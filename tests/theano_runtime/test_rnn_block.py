"""Test Theano's RNNBlock on today's cuDNN, on a GPU: every cell, direction and input mode."""

import importlib

import numpy as np
import pytest

from rnnbench import reference, theano_runtime

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

BATCH, SEQ, HIDDEN, DEPTH = 3, 5, 8, 2
TOLERANCES = {"float32": 1e-5, "float16": 2e-2}

forms = [
    pytest.mark.parametrize("mode", ["rnn_relu", "rnn_tanh", "lstm", "gru"]),
    pytest.mark.parametrize("direction", ["unidirectional", "bidirectional"]),
    pytest.mark.parametrize("inputs", ["linear", "skip"]),
]


def every_form(test):
    for form in forms:
        test = form(test)
    return test


@pytest.fixture(scope="module")
def theano():
    if reason := theano_runtime.unavailable("cuda"):
        pytest.skip(reason)
    return theano_runtime.prepare("cuda")


class Block:
    """An RNNBlock with random data. Every data type gets the same data, rounded."""

    def __init__(self, theano, dtype, mode, direction, inputs, all_outputs=True):
        rnn = importlib.import_module("rnnbench.theano_runtime.rnn")
        self._block = rnn.Block(dtype, HIDDEN, DEPTH, mode, inputs, direction)
        random = np.random.RandomState(0)
        directions = 2 if direction == "bidirectional" else 1

        def draw(*shape):
            return random.uniform(-0.5, 0.5, shape).astype(dtype)

        state = DEPTH * directions, BATCH, HIDDEN
        size = self._block.get_param_size([BATCH, HIDDEN])
        arrays = [draw(size), draw(SEQ, BATCH, HIDDEN), draw(*state), *([draw(*state)] if mode == "lstm" else [])]
        self._given = [theano.shared(array) for array in arrays]
        outputs = self._block.apply(*self._given)[: None if all_outputs else 1]
        shapes = [(SEQ, BATCH, HIDDEN * directions), *[state] * (len(outputs) - 1)]
        self._directions = [draw(*shape) for shape in shapes]
        loss = sum((output * direction).sum() for output, direction in zip(outputs, self._directions, strict=True))
        self._forward = theano.function([], outputs)
        self._backward = theano.function([], theano.grad(loss, self._given))

    def outputs(self):
        return [np.array(array) for array in self._forward()]

    def gradients(self):
        return [np.array(array) for array in self._backward()]

    def loss(self):
        return sum(
            (output * direction).sum() for output, direction in zip(self.outputs(), self._directions, strict=True)
        )

    def move(self, steps):
        """Add an array to each input: the parameters, the sequence and the initial states."""
        for shared, step in zip(self._given, steps, strict=True):
            shared.set_value(shared.get_value() + step)


@every_form
@pytest.mark.parametrize("all_outputs", [True, False], ids=["all-outputs", "states-alone"])
def test_the_gradients_are_the_slopes_of_the_loss(theano, mode, direction, inputs, all_outputs):
    block = Block(theano, "float64", mode, direction, inputs, all_outputs)
    gradients = block.gradients()
    random = np.random.RandomState(1)
    for index, gradient in enumerate(gradients):
        assert gradient.any()
        steps = [np.zeros(other.shape) for other in gradients]
        steps[index] = 1e-6 * random.normal(size=gradient.shape)
        block.move(steps)
        above = block.loss()
        block.move([-2 * step for step in steps])
        below = block.loss()
        block.move(steps)
        # A ReLU may bend between the two points, so the difference is only close to the gradient.
        assert (above - below) / 2 == pytest.approx((gradient * steps[index]).sum(), rel=1e-5, abs=1e-11)


@every_form
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_shorter_types_agree_with_float64(theano, mode, direction, inputs, dtype):
    short, exact = (Block(theano, kind, mode, direction, inputs) for kind in (dtype, "float64"))
    for computed, correct in zip(short.outputs() + short.gradients(), exact.outputs() + exact.gradients(), strict=True):
        assert computed.dtype == dtype
        assert reference.error(computed, correct) < TOLERANCES[dtype]
