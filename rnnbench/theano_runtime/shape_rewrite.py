"""Tell Theano that an array on the GPU has the same shape as its copy on the host.

Without this rewrite the gradient of a loop copies an array to the host at each call, only to read its shape.
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
    """Replace the size of a copy on the host by the size of the array on the GPU. Return None for other nodes."""
    copy = node.inputs[0].owner
    if copy is not None and isinstance(copy.op, HostFromGpu):
        return [node.op(copy.inputs[0])]
    return None
