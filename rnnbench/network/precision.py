"""The precisions in which variants compute, read from their names."""

from __future__ import annotations

import functools

# As accurate as float32, on tensor cores: each product is the sum of three products in TF32.
THREE_TF32 = "3xtf32"
# Each precision, and how reports write the variants that compete in it.
PRECISIONS = {
    "float32": "strict float32",
    THREE_TF32: "float32 or 3xTF32",
    "tf32": "TF32",
    "float16": "float16",
    "bfloat16": "bfloat16",
}
# The end of the names of the variants that compute in a precision. Other variants compute in strict float32.
ENDS = {THREE_TF32: "3xtf32", "tf32": "tf32", "float16": "fp16", "bfloat16": "bf16"}
# The precisions of the variants that compete in each precision, if there is a variant of its own.
RIVALS = {precision: (precision,) for precision in PRECISIONS} | {THREE_TF32: ("float32", THREE_TF32)}


# Reports ask for the same few names many times.
@functools.cache
def of_variant(name: str, stored_in: str = "float32") -> str:
    """Return the precision of a variant's products, one of PRECISIONS. Unknown names give float32.

    A variant from outside may have another name: the type that it stores its data in then says the precision.
    """
    if stored_in != "float32":
        return stored_in
    return next((precision for precision, end in ENDS.items() if name.endswith(end)), "float32")


def three_tf32_rate(float32: float, tf32: float) -> float:
    """Return the peak rate of products as three in TF32, given the peak rates of float32 and TF32.

    Some products may be computed in strict float32 instead.
    """
    return max(float32, tf32 / 3)
