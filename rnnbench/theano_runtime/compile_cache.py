"""Makes Theano find again what it compiled: without this it compiles a dozen modules in every process."""

from __future__ import annotations

import zlib
from typing import Any

from theano.gof.cc import CLinker
from theano.gof.op import COp

_key_of_theano = CLinker.cmodule_key


def repair() -> None:
    """Give every module a key that holds from one process to the next."""
    COp.c_code_cache_version = _code_version
    CLinker.cmodule_key = _module_key


def _code_version(op: Any) -> tuple[Any, ...]:
    """Return a version from an operation's code; Theano's uses hash(), which differs in each process."""
    version: tuple[Any, ...] = (zlib.crc32("\0".join(op.func_codes).encode()),)
    if hasattr(op, "params_type"):
        version += (op.params_type.c_code_cache_version(),)
    return version


def _module_key(linker: Any) -> tuple[tuple[Any, ...], Any]:
    """Return (version, signature); Theano takes an operation without properties for one without a version."""
    version, signature = _key_of_theano(linker)
    if not version:
        nodes = linker.fgraph.toposort()
        versions = [_node_version(node) for node in nodes]
        versions += [
            variable.type.c_code_cache_version() for node in nodes for variable in (*node.inputs, *node.outputs)
        ]
        version = tuple(versions) if all(versions) else ()
    return version, signature


def _node_version(node: Any) -> Any:
    """Return an operation's version; Theano's that reads cuDNN's has none, but flags name the path of ours."""
    if type(node.op).__name__ == "DnnVersion":  # by its name: its module compiles it while it is imported
        return (1,)
    return node.op.c_code_cache_version_apply(node)
