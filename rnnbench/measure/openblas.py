"""PyPI's OpenBLAS, which Theano's compiled code calls. It knows newer processors than the BLAS of an old NumPy."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_ROW_MAJOR, _AS_IT_LIES = 101, 111  # CBLAS's names are CblasRowMajor and CblasNoTrans


def load() -> ctypes.CDLL:
    """Load OpenBLAS into the process, so that modules compiled later find its functions, and return it.

    Raises ModuleNotFoundError if the package scipy-openblas32 isn't installed.
    """
    import scipy_openblas32

    folder = Path(scipy_openblas32.get_lib_dir())
    return ctypes.CDLL(str(next(folder.glob("libscipy_openblas.*"))), ctypes.RTLD_GLOBAL)


def multiply(library: ctypes.CDLL, left: np.ndarray, right: np.ndarray, product: np.ndarray) -> None:
    """Write left · right to product: square float32 matrices of one size, whose rows lie one after the other."""
    size = len(product)
    one, zero = ctypes.c_float(1), ctypes.c_float(0)
    matrices = [array.ctypes.data_as(ctypes.c_void_p) for array in (left, right, product)]
    library.scipy_cblas_sgemm(
        _ROW_MAJOR, _AS_IT_LIES, _AS_IT_LIES, size, size, size,
        one, matrices[0], size, matrices[1], size, zero, matrices[2], size,
    )  # fmt: skip
