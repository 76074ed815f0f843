"""Let Theano 1.0.5 run on Python 3.12 and 3.13 with NumPy 2: give back names, and change code that uses dropped ones.

`restore_names()` comes before Theano's import, and `change_theano()` after it. Neither changes anything on Python 3.11
with NumPy 1.23. What a macro of C can change is in include/rnnbench_theano.h.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

_NUMPY_2 = int(np.__version__.partition(".")[0]) >= 2

# Pairs of a text in the C file of the scan loop and its replacement on Python 3.12 and later, or with NumPy 2.
_ON_PYTHON_3_12 = (
    # Py_SIZE ends the process if it is asked for the size of an int. A comparison with 0 gives its sign.
    ("Py_SIZE(x) < 0", "PyObject_RichCompareBool(x, Py_False, Py_LT) == 1"),
    # A thread has no field for the traceback of its exception. Cython's branch for PyPy sets it by calls.
    ("#if CYTHON_COMPILING_IN_PYPY\n        PyObject *tmp_type", "#if 1\n        PyObject *tmp_type"),
)
# NumPy 2 names the whole structure of a data type otherwise. The short one lacks names, fields and subarray.
_ON_NUMPY_2 = (
    ("PyArray_Descr *", "_PyArray_LegacyDescr *"),
    ("PyDataType_HASSUBARRAY(__pyx_v_d)", "(__pyx_v_d->subarray != NULL)"),
)


def restore_names() -> None:
    """Add to Python's and NumPy's modules the names that Theano uses, where they are missing."""
    if sys.version_info >= (3, 12):
        _add("imp", find_module=importlib.util.find_spec)  # Theano looks for debuggers with it
        # Python 3.12 has no numpy.distutils. Theano asks it for the folder of NumPy's headers.
        _add("numpy.distutils", __path__=[])
        _add("numpy.distutils.misc_util", get_numpy_include_dirs=lambda: [np.get_include()])
    if _NUMPY_2:
        _add("numpy.linalg.linalg", LinAlgError=np.linalg.LinAlgError)
        for name, value in _numpy_1_names().items():
            setattr(np, name, value)


def change_theano(theano: ModuleType) -> None:
    """Change what Theano does, where NumPy 2 computes something else, or it uses what Python or NumPy has dropped."""
    _change_scan_loop(theano)
    if _NUMPY_2:
        theano._asarray = _wrapping(theano._asarray)  # type: ignore[attr-defined]
        # NumPy 2 has no PyArray_MapIter functions for C code. Without C code Theano calls numpy.add.at.
        del theano.tensor.subtensor.AdvancedIncSubtensor1.c_code


def _change_scan_loop(theano: ModuleType) -> None:
    """Make Theano compile a changed copy of the scan loop's C file, when it imports the scan loop."""
    replacements = (*(_ON_PYTHON_3_12 if sys.version_info >= (3, 12) else ()), *(_ON_NUMPY_2 if _NUMPY_2 else ()))
    compiler = theano.gof.cmodule.GCC_compiler
    compile_text = compiler.compile_str

    def compile_changed(module_name: str, src_code: str, *arguments: Any, **options: Any) -> Any:
        if module_name == "scan_perform":
            for text, replacement in replacements:
                src_code = src_code.replace(text, replacement)
        return compile_text(module_name, src_code, *arguments, **options)

    compiler.compile_str = staticmethod(compile_changed)


def _add(name: str, **content: object) -> None:
    """Add a module of this name and content, unless there is one."""
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        module = ModuleType(name)
        vars(module).update(content)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def _numpy_1_names() -> dict[str, object]:
    """Return the names that NumPy 2 dropped and Theano uses, with what they named."""

    class Cast(dict[Any, Callable[[Any], Any]]):
        def __missing__(self, kind: Any) -> Callable[[Any], Any]:
            return lambda value: np.asarray(value).astype(getattr(kind, "dtype", kind))

    return {
        "complex": complex,
        "product": np.prod,
        "cast": Cast(),
        "sctype2char": lambda kind: np.dtype(kind).char,
        "ComplexWarning": importlib.import_module("numpy.exceptions").ComplexWarning,
        # The axis that stands for all axes. The header gives it the same value in C++.
        "MAXDIMS": -(2**31),
    }


def _wrapping(convert: Callable[..., Any]) -> Callable[..., Any]:
    """Return Theano's conversion to an array with NumPy 1's rule for an int that the type can't hold.

    NumPy 1 wraps it, and Theano then takes the next larger type. NumPy 2 raises OverflowError, and Theano takes uint64.
    """

    def wrapping(value: Any, dtype: Any, order: Any = None) -> Any:
        try:
            return convert(value, dtype, order)
        except OverflowError:
            return convert(np.asarray(value, np.int64).astype(dtype), dtype, order)

    return wrapping
