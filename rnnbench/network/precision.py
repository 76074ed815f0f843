"""The precisions in which variants compute, read from their names."""

from __future__ import annotations

# The end of a variant's name, and the precision that it stands for. Other variants compute in strict float32.
_ENDS = {"tf32": "tf32", "fp16": "float16", "bf16": "bfloat16"}
PRECISIONS = ("float32", *_ENDS.values())


def of_variant(name: str) -> str:
    """Return the precision of a variant, one of PRECISIONS. Unknown names give float32."""
    return next((precision for end, precision in _ENDS.items() if name.endswith(end)), "float32")
