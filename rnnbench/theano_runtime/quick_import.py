"""Import Theano without the large modules that it imports and hardly uses. docs/method.md has the figures."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

# Parts of SciPy that Theano uses in functions only. SciPy then imports them itself.
_LATER = ("scipy.special", "scipy.stats", "scipy.sparse")
# Theano does without its old names in this one if they are missing, as they are in every SciPy that it runs with here.
_MISSING = "scipy.signal.signaltools"


@contextlib.contextmanager
def stand_ins() -> Iterator[None]:
    """Let empty modules stand for large ones, while Theano is imported, and keep the root logger as it is."""
    modules: dict[str, ModuleType | None] = {}
    try:
        importlib.import_module("scipy.linalg.blas")  # Theano uses it at once
    except ModuleNotFoundError:
        pass  # Theano does without SciPy
    else:
        if "__getattr__" in vars(sys.modules["scipy"]):  # SciPy before 1.9 imports no part of itself
            modules |= {name: ModuleType(name) for name in _LATER}
            modules[_MISSING] = None
    if sys.version_info >= (3, 12):
        modules["distutils"] = _distutils()
    added = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(added)  # type: ignore[arg-type]  # None makes the import fail
    root = logging.getLogger()
    its_class = type(root)
    try:
        yield
    finally:
        # numpy.distutils gives the root logger a class that ignores the filters of other programs.
        root.__class__ = its_class
        # A later import of setuptools warns if its distutils is there already.
        for name in [name for name in sys.modules if name in added or name.partition(".")[0] in added]:
            del sys.modules[name]


def _distutils() -> ModuleType:
    """Return the package that Python 3.12 dropped, from setuptools, but without importing all of setuptools."""
    package = ModuleType("distutils")
    spec = importlib.util.find_spec("setuptools")
    assert spec is not None  # theano_runtime.find has looked for it
    package.__path__ = [str(Path(location, "_distutils")) for location in spec.submodule_search_locations or ()]
    return package
