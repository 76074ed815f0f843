"""The precisions in which variants compute, and how they compute their products, read from their names."""

from __future__ import annotations

import functools

# Each precision, and how it is written in reports. The variants of a precision compete with each other.
PRECISIONS = {"float32": "float32", "tf32": "TF32", "float16": "float16", "bfloat16": "bfloat16"}
# As accurate as float32, on tensor cores: each product is the sum of three products in TF32.
THREE_TF32 = "3xtf32"
# How products are computed, each with the end of the names of its variants. Others compute in strict float32.
ENDS = {"float32": "", THREE_TF32: "3xtf32", "tf32": "tf32", "float16": "fp16", "bfloat16": "bf16"}


# Reports ask for the same few names many times.
@functools.cache
def arithmetic(name: str, stored_in: str = "float32") -> str:
    """Return how a variant computes its products, one of ENDS. Unknown names give float32.

    A variant from outside may have another name: the type that it stores its data in then says the precision.
    """
    if stored_in != "float32":
        return stored_in
    return next((arithmetic for arithmetic, end in ENDS.items() if end and name.endswith(end)), "float32")


def of_variant(name: str, stored_in: str = "float32") -> str:
    """Return the precision of a variant's results, one of PRECISIONS; see `arithmetic`."""
    computed_in = arithmetic(name, stored_in)
    return "float32" if computed_in == THREE_TF32 else computed_in


def three_tf32_rate(float32: float, tf32: float) -> float:
    """Return the peak rate of products as three in TF32, given the peak rates of float32 and TF32.

    Some products may be computed in strict float32 instead.
    """
    return max(float32, tf32 / 3)
