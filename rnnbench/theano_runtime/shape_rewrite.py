"""Tells Theano that an array has the same shape on the GPU as on the host.

Without this the gradient of a loop copies an array to the host at each call, to ask for its sizes.
"""

from __future__ import annotations

from typing import Any

from theano.compile.ops import Shape_i
from theano.gof import local_optimizer
from theano.gpuarray.basic_ops import HostFromGpu
from theano.gpuarray.opt import register_opt


@register_opt("fast_compile")  # type: ignore[untyped-decorator]
@local_optimizer([Shape_i])  # type: ignore[untyped-decorator]
def size_without_a_copy(node: Any) -> Any:
    """Return the size of what a copy was made from, in the place of the copy's."""
    copy = node.inputs[0].owner
    if copy is not None and isinstance(copy.op, HostFromGpu):
        return [node.op(copy.inputs[0])]
    return None
