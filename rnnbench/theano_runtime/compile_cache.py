"""Make Theano find the modules that an earlier process compiled, and forget those that another process has removed.

Theano's own keys for some modules differ from process to process, so each process would compile these again.
"""

from __future__ import annotations

import os.path
import zlib
from typing import Any

from theano.gof.cc import CLinker
from theano.gof.cmodule import ModuleCache
from theano.gof.op import COp

_key_of_theano, _find_of_theano = CLinker.cmodule_key, ModuleCache._get_from_hash


def repair() -> None:
    """Make Theano give each module the same key in every process, and look for a module's file before it is used."""
    COp.c_code_cache_version = _code_version
    CLinker.cmodule_key = _module_key
    ModuleCache._get_from_hash = _find


def _find(cache: Any, module_hash: str, *arguments: Any, **options: Any) -> Any:
    """Return the module with this hash, or None: then Theano compiles it.

    Theano would fail at a module that it has loaded if another process has removed its folder.
    """
    found = cache.module_hash_to_key_data.get(module_hash)
    if found and not os.path.exists(found.get_entry()):
        found.delete_keys_from(cache.entry_from_key)
        del cache.module_hash_to_key_data[module_hash]
        cache.module_from_name.pop(found.get_entry(), None)
        cache.loaded_key_pkl.discard(found.key_pkl)
    return _find_of_theano(cache, module_hash, *arguments, **options)


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
