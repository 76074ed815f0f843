"""Make Theano find the modules that an earlier process compiled.

Theano's own keys for some modules differ from process to process, so each process would compile these again.
"""

from __future__ import annotations

import contextlib
import zlib
from typing import Any

from theano.gof.cc import CLinker
from theano.gof.cmodule import KeyData
from theano.gof.op import COp

_key_of_theano, _save_of_theano = CLinker.cmodule_key, KeyData.save_pkl


def repair() -> None:
    """Make Theano give each module the same key in every process."""
    COp.c_code_cache_version = _code_version
    CLinker.cmodule_key = _module_key
    KeyData.save_pkl = _save_keys


def _save_keys(module: Any) -> None:
    """Save the keys of a module, unless another process has removed its folder: this process has loaded it already."""
    with contextlib.suppress(FileNotFoundError):
        _save_of_theano(module)


def _code_version(op: Any) -> tuple[Any, ...]:
    """Return a version computed from an operation's code. Theano's uses hash(), which differs in each process."""
    version: tuple[Any, ...] = (zlib.crc32("\0".join(op.func_codes).encode()),)
    if hasattr(op, "params_type"):
        version += (op.params_type.c_code_cache_version(),)
    return version


def _module_key(linker: Any) -> tuple[tuple[Any, ...], Any]:
    """Return (version, signature) of a module.

    Theano's own function returns an empty version if an operation has no properties, and such a
    module isn't cached between processes. This function then asks each operation.
    """
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
    """Return an operation's version."""
    # DnnVersion has none. It needs none, because the compiler flags in the key name the path of our
    # cuDNN folder. It is matched by name, since its module compiles it during the import.
    if type(node.op).__name__ == "DnnVersion":
        return (1,)
    return node.op.c_code_cache_version_apply(node)
