"""The precisions in which variants compute, read from their names."""

from __future__ import annotations

import functools

# Each precision, and how it is written in reports.
PRECISIONS = {"float32": "strict float32", "tf32": "TF32", "float16": "float16", "bfloat16": "bfloat16"}
# The end of the names of the variants that compute in a precision. Other variants compute in strict float32.
ENDS = {"tf32": "tf32", "float16": "fp16", "bfloat16": "bf16"}


# Reports ask for the same few names many times.
@functools.cache
def of_variant(name: str, stored_in: str = "float32") -> str:
    """Return the precision of a variant's products, one of PRECISIONS. Unknown names give float32.

    A variant from outside may have another name: the type that it stores its data in then says the precision.
    """
    if stored_in != "float32":
        return stored_in
    return next((precision for precision, end in ENDS.items() if name.endswith(end)), "float32")
