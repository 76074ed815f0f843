"""The LSTM layer on the CPU: two Theano operations whose C++ code is in include/lstm.h.

Imports Theano: import it after `theano_runtime.prepare()`.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from theano.compile import optdb
from theano.gof import Apply, Op, TopoOptimizer, local_optimizer
from theano.gradient import DisconnectedType
from theano.tensor import as_tensor_variable, cast, zeros
from theano.tensor.blas import ldflags
from theano.tensor.opt import register_canonicalize, register_specialize

INCLUDE = Path(__file__).parent / "include"
# Each module contains the text of these files. A path would differ between environments, so each would compile anew.
_CODE = "\n".join((INCLUDE / name).read_text() for name in ("lstm.h", "lstm_arrays.h", "lstm_theano.h"))

_C_TYPES = {"float32": "float", "float64": "double"}
_PARAMETERS = {"inputs": 3, "W": 2, "U": 2, "b": 1, "h0": 2, "c0": 2}  # and their numbers of dimensions
PRODUCTS = ("float32", "3xtf32", "tf32")  # how a GPU may compute the products of float32 arrays


def layer(inputs: Any, W: Any, U: Any, b: Any, h0: Any, c0: Any, products: str) -> Any:
    """Return the graph of a layer's hidden states. `rnnbench.fused.lstm` describes the arguments."""
    if products not in PRODUCTS:
        raise ValueError(f"lstm: products is {products!r}, but it must be one of {', '.join(PRODUCTS)}")
    given = dict(zip(_PARAMETERS, (inputs, W, U, b, h0, c0), strict=True))
    arguments = {name: as_tensor_variable(value) for name, value in given.items() if value is not None}
    _check(arguments)
    inputs, U = arguments["inputs"], arguments["U"]
    if len(arguments) == len(_PARAMETERS) - 1:  # one of the two is zero
        arguments = {name: arguments.get(name, zeros((inputs.shape[1], U.shape[0]), inputs.dtype)) for name in given}
    # This form also returns what a gradient needs. A rewrite below replaces it if nobody takes a gradient.
    return Lstm(keeps=True, products=products)(*arguments.values())[0]


def _check(arguments: dict[str, Any]) -> None:
    """Raise TypeError if an argument has a wrong type or number of dimensions."""
    expected = arguments["inputs"].dtype
    for name, argument in arguments.items():
        if argument.dtype not in _C_TYPES:
            raise TypeError(f"lstm: {name} is {argument.dtype}, but it must be float32 or float64")
        if argument.dtype != expected:
            raise TypeError(
                f"lstm: {name} is {argument.dtype}, but inputs is {expected}: all arguments must have one type"
            )
        if argument.ndim != _PARAMETERS[name]:
            raise TypeError(f"lstm: {name} has {argument.ndim} dimensions, but it must have {_PARAMETERS[name]}")


class _Compiled(Op):  # type: ignore[misc]
    """The base of both operations: it tells Theano how to compile their C++ code."""

    array = "PyArrayObject"  # the type of their arrays in C++

    def option(self, node: Any) -> str:
        """Return the template argument of the C++ function that computes a node."""
        return _C_TYPES[node.inputs[0].dtype]

    def call(self, function: str, node: Any, arguments: list[str], fail: str) -> str:
        """Return C++ code that calls run_forward or run_backward, and stops if that reports an error."""
        return f"""
            {{
                using namespace rnnbench_fused;
                const {function.capitalize()}Arrays<{self.array}> arrays = {{{", ".join(arguments)}}};
                if (!run_{function}<{self.option(node)}>(arrays))
                    {fail}
            }}
        """

    def c_code_cache_version(self) -> tuple[Any, ...]:
        return 1, zlib.crc32(_CODE.encode())

    def c_support_code(self) -> str:
        return _CODE

    def c_compile_args(self) -> list[str]:
        return ["-pthread", *ldflags(libs=False, flags=True)]

    def c_libraries(self) -> list[str]:
        return ldflags()

    def c_lib_dirs(self) -> list[str]:
        return ldflags(libs=False, libs_dir=True)

    def c_header_dirs(self) -> list[str]:
        return ldflags(libs=False, include_dir=True)

    def perform(self, node: Any, inputs: Any, output_storage: Any, params: Any = None) -> None:
        raise NotImplementedError(f"{self} has only C++ code: let Theano compile it (its flags cxx and linker)")


class Lstm(_Compiled):
    """An LSTM layer. It computes the hidden states from inputs, W, U, b and, if given, h0 and c0.

    With `keeps` it also returns what the gradient needs: the gates (seq, batch, 4·hidden) and the cells
    (seq, batch, hidden). `products` is for the GPU: the CPU computes all products in the arrays' type.
    """

    __props__ = ("keeps", "products")

    def __init__(self, keeps: bool, products: str) -> None:
        self.keeps = keeps
        self.products = products

    def make_node(self, *arguments: Any) -> Any:
        inputs, U = arguments[0], arguments[2]
        known = (*inputs.broadcastable[:2], U.broadcastable[0])
        states = inputs.type.clone(broadcastable=known)
        gates = inputs.type.clone(broadcastable=(*known[:2], False))
        results = [states(), gates(), states()] if self.keeps else [states()]
        return Apply(self, list(arguments), results)

    def infer_shape(self, node: Any, shapes: Any) -> list[tuple[Any, ...]]:
        seq, batch = shapes[0][:2]
        hidden = shapes[2][0]
        states = (seq, batch, hidden)
        return [states, (seq, batch, 4 * hidden), states] if self.keeps else [states]

    def c_code(self, node: Any, name: str, inputs: list[str], outputs: list[str], sub: dict[str, str]) -> str:
        given = [*inputs, *_NONE[len(inputs) : 6]]
        made = [*(f"&{output}" for output in outputs), *_NONE[len(outputs) : 3]]
        return self.call("forward", node, [*given, *made], sub["fail"])

    def L_op(self, arguments: Any, results: Any, d_results: Any) -> list[Any]:  # noqa: N802, Theano's name
        """Return the graphs of the arguments' gradients, given the gradient of the states."""
        if any(not isinstance(kept.type, DisconnectedType) for kept in d_results[1:]):
            raise NotImplementedError("lstm: the gates and cells that it keeps have no gradient")
        d_states = d_results[0]
        if isinstance(d_states.type, DisconnectedType):
            return [DisconnectedType()() for _ in arguments]
        states, gates, cells = results if self.keeps else Lstm(True, self.products)(*arguments)
        inputs, W, U, _, *initial = arguments
        gradient = LstmGradient(tuple(_PARAMETERS)[: len(arguments)], self.products)
        given = (gates, cells, states, cast(d_states, states.dtype), inputs, W, U, *initial)
        return gradient(*given, return_list=True)


class LstmGradient(_Compiled):
    """The gradients of an LSTM layer.

    Its arguments are the gates, cells and states that Lstm has computed, the gradient of the states, and Lstm's
    arguments except b. `wanted` names the gradients that are computed. With `inplace` it overwrites the gates.
    """

    __props__ = ("wanted", "products", "inplace")

    def __init__(self, wanted: tuple[str, ...], products: str, inplace: bool = False) -> None:
        self.wanted = wanted
        self.products = products
        self.inplace = inplace
        if inplace:
            self.destroy_map = {0: [0]}

    def make_node(self, gates: Any, cells: Any, states: Any, d_states: Any, *arguments: Any) -> Any:
        names = [name for name in _PARAMETERS if name != "b"]
        types = {name: argument.type for name, argument in zip(names, arguments, strict=False)}
        types["b"] = gates.type.clone(broadcastable=(False,))
        kept = [gates, cells, states, d_states]
        return Apply(self, [*kept, *arguments], [types[name]() for name in self.wanted])

    def infer_shape(self, node: Any, shapes: Any) -> list[tuple[Any, ...]]:
        (_, batch, width), cells = shapes[:2]
        state = (batch, cells[2])
        known = {"inputs": shapes[4], "W": shapes[5], "U": shapes[6], "b": (width,), "h0": state, "c0": state}
        return [known[name] for name in self.wanted]

    def c_code(self, node: Any, name: str, inputs: list[str], outputs: list[str], sub: dict[str, str]) -> str:
        made = dict(zip(self.wanted, outputs, strict=True))
        given = [*inputs, *_NONE[len(inputs) : 9]]
        results = [f"&{made[name]}" if name in made else "NULL" for name in _PARAMETERS]
        return self.call("backward", node, [*given, "true" if self.inplace else "false", *results], sub["fail"])


_NONE = ["NULL"] * 9  # the C++ code for an array that is absent


@register_specialize  # type: ignore[untyped-decorator]
@register_canonicalize("fast_compile")  # type: ignore[untyped-decorator]
@local_optimizer([Lstm])  # type: ignore[untyped-decorator]
def keep_nothing_without_a_gradient(node: Any) -> Any:
    """Replace a layer whose gates and cells nobody reads by one that doesn't return them."""
    if not isinstance(node.op, Lstm) or not node.op.keeps or any(kept.clients for kept in node.outputs[1:]):
        return None
    return {node.outputs[0]: Lstm(False, node.op.products)(*node.inputs)}


@register_specialize  # type: ignore[untyped-decorator]
@register_canonicalize("fast_compile")  # type: ignore[untyped-decorator]
@local_optimizer([LstmGradient])  # type: ignore[untyped-decorator]
def leave_out_unwanted_gradients(node: Any) -> Any:
    """Compute only the gradients that somebody reads."""
    if not isinstance(node.op, LstmGradient):
        return None
    read = {name: output for name, output in zip(node.op.wanted, node.outputs, strict=True) if output.clients}
    if not read or len(read) == len(node.op.wanted):
        return None
    fewer = LstmGradient(tuple(read), node.op.products, node.op.inplace)(*node.inputs, return_list=True)
    return dict(zip(read.values(), fewer, strict=True))


@local_optimizer(None, inplace=True)  # type: ignore[untyped-decorator]
def write_over_the_gates(node: Any) -> Any:
    """Let the gradient overwrite the gates. Theano refuses this if another operation still reads them."""
    if not isinstance(node.op, LstmGradient) or node.op.inplace:
        return None
    return type(node.op)(node.op.wanted, node.op.products, inplace=True)(*node.inputs, return_list=True)


# It runs with Theano's in-place rewrites for BLAS, and before those for element-wise operations.
optdb.register("rnnbench_lstm_inplace", TopoOptimizer(write_over_the_gates), 70.0, "fast_run", "inplace")
