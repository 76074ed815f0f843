"""Let Theano-PyMC 1.1.2 run `scan`, which was written for Theano 1.0.5: give its modules and classes the old names.

It is a second Theano, by the developers of PyMC. It is imported as theano too. An operation of Theano 1.0.5 needs more
than names there: its methods and rewrites take other arguments. So `fused` doesn't run in it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import sys
from types import ModuleType

# Theano's settings that differ: the two would take each other's compiled modules.
SETTINGS = {
    "compiledir_format": "compiledir_%(theano_version)s-%(short_platform)s-%(processor)s-%(python_version)s",
}

# Modules that it only moved, by their old names.
_MOVED = {
    "theano.gof.cc": "theano.link.c.basic",
    "theano.gof.cmodule": "theano.link.c.cmodule",
    "theano.scan_module": "theano.scan",
}


@functools.cache
def is_installed() -> bool:
    """Return whether the package that is imported as theano is Theano-PyMC."""
    try:
        importlib.metadata.version("Theano-PyMC")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def give_old_names() -> None:
    """Add Theano 1.0.5's names of the modules and classes that rnnbench uses. Call it after the import of theano."""
    _add("theano.gof", ModuleType("theano.gof"))
    # What Theano 1.0.5 calls COp has another name, and another class is called COp.
    operation = ModuleType("theano.gof.op")
    operation.COp = importlib.import_module("theano.graph.op").ExternalCOp  # type: ignore[attr-defined]
    _add("theano.gof.op", operation)
    for old, new in _MOVED.items():
        _add(old, importlib.import_module(new))


def _add(name: str, module: ModuleType) -> None:
    parent, _, child = name.rpartition(".")
    sys.modules[name] = module
    setattr(sys.modules[parent], child, module)
