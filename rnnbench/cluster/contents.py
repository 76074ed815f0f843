"""What the files of a sweep hold: a schema for each kind, since anyone may have changed a file."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnnbench import variants
from rnnbench.history import NotFound, asv_files, figures

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_SECONDS = {"type": "number", "minimum": 0, "maximum": 1e300}


def _object(more: bool | dict[str, Any] = True, **fields: Any) -> dict[str, Any]:
    """Return the schema of an object that must have these fields, and may have more ones as `more` says."""
    return {"type": "object", "required": list(fields), "properties": fields, "additionalProperties": more}


_CANARY = [_TEXT, _TEXT, _TEXTS, _TEXTS]
# By the name of the file, or of its folder.
_SCHEMAS: dict[str, dict[str, Any]] = {
    "sweep.json": _object(
        more=False,
        machine=_TEXT,
        commit={"type": "string", "pattern": r"\A[0-9a-f]{40,64}\Z"},
        device={"enum": list(variants.DEVICES)},
        canary={"type": "array", "items": _CANARY, "minItems": len(_CANARY), "additionalItems": False},
    ),
    "gathered.json": _object(more={"type": "number"}),
    "submitted": _object(more=_TEXT),
    "available": _TEXTS,
    "done": _object(
        node=_TEXT,
        implementations=_TEXTS,
        grids={"type": "array", "items": {**_TEXTS, "minItems": 2, "maxItems": 2}},
        seconds=_SECONDS,
        failures=_object(more=_TEXT),
        runs={"type": "array"},
    ),
    "failed": _object(node=_TEXT, sentence=_TEXT),
    "unfit": _object(sentence=_TEXT),
    "canary": _object(
        more=False,
        **dict.fromkeys(("commit", "node", "gpu", "implementation", "parameters"), _TEXT),
        seconds={**_SECONDS, "exclusiveMinimum": 0},
    ),
}


def load(path: Path) -> Any:
    """Return the content of a file of a sweep. Raises NotFound, with what to do, if it isn't as a sweep writes it."""
    kind = path.name if path.name in _SCHEMAS else path.parent.name
    try:
        content = figures.parse(path)
        if kind in _SCHEMAS:
            asv_files.match(_checker(kind), content, "rnnbench sweep")
        else:
            asv_files.check(path.name, content)
        if isinstance(content, dict) and content.get("seconds") != content.get("seconds"):
            raise ValueError("its seconds are not a number")
        if kind == "sweep.json" and not asv_files.is_machine(content["machine"]):
            raise ValueError("its machine can't be a machine's name")
    except ValueError as reason:
        advice = "delete it, and call the same rnnbench sweep again"
        raise NotFound(f"{path} can't be used: {reason}. What to do: {advice}") from reason
    return content


@functools.cache
def _checker(kind: str) -> Callable[[Any], object]:
    import fastjsonschema

    return fastjsonschema.compile(_SCHEMAS[kind])
