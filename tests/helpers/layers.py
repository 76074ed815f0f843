"""What the tests of rnnbench.fused.lstm on the CPU and on the GPU share: arguments, and the layer in NumPy."""

import numpy as np

NAMES = ("inputs", "W", "U", "b", "h0", "c0")

# An argument, a shape that doesn't fit a layer of 2 steps, 3 rows, 4 inputs and 5 units, and the sentence about it.
WRONG_SIZES = [
    ("W", (6, 20), "W has the shape (6, 20), and it must have (4, 20)"),
    ("W", (4, 19), "W has the shape (4, 19), and it must have (4, 20)"),
    ("U", (5, 21), "U has the shape (5, 21), and it must have (5, 20)"),
    ("b", (5,), "b has the shape (5,), and it must have (20,)"),
    ("h0", (2, 5), "h0 has the shape (2, 5), and it must have (3, 5)"),
    ("c0", (3, 6), "c0 has the shape (3, 6), and it must have (3, 5)"),
]


def draw(seq, batch, width, hidden, dtype="float32", scale=1.0, seed=3):
    """Return the six arguments' values by name."""
    random = np.random.RandomState(seed)
    shapes = {
        "inputs": (seq, batch, width),
        "W": (width, 4 * hidden),
        "U": (hidden, 4 * hidden),
        "b": (4 * hidden,),
        "h0": (batch, hidden),
        "c0": (batch, hidden),
    }
    bounds = {"W": (width + 1) ** -0.5, "U": (hidden + 1) ** -0.5}
    return {
        name: (scale * bounds.get(name, 1.0) * random.standard_normal(shape)).astype(dtype)
        for name, shape in shapes.items()
    }


def correct(inputs, W, U, b, h0=None, c0=None):
    """Return the states in NumPy's float64."""
    inputs, W, U, b = (np.asarray(array, np.float64) for array in (inputs, W, U, b))
    shape = inputs.shape[1], len(U)
    state, cell = (np.zeros(shape) if array is None else np.asarray(array, np.float64) for array in (h0, c0))
    states = np.empty((len(inputs), *shape))
    for step, one in enumerate(inputs):
        with np.errstate(over="ignore", invalid="ignore"):
            i, f, g, o = np.split(one @ W + state @ U + b, 4, axis=1)
            i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
            cell = f * cell + i * np.tanh(g)
            state = o * np.tanh(cell)
        states[step] = state
    return states


def symbols(theano, names=NAMES, dtype="float32"):
    """Return a Theano variable for each argument, by name."""
    dimensions = {"inputs": 3, "b": 1}
    return {name: theano.tensor.TensorType(dtype, (False,) * dimensions.get(name, 2))(name) for name in names}


def nodes(function):
    """Return a compiled function's nodes that compute layers or their gradients, in the order in which they run."""
    return [node for node in function.maker.fgraph.toposort() if "Lstm" in type(node.op).__name__]
