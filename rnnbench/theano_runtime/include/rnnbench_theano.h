/* g++ reads this header before every C++ file that Theano compiles (g++ -include). It is precompiled.
 *
 * Theano 1.0.5 was written for Python up to 3.8. Today's compilers and Python reject some of the
 * code that it generates, and run some of it slowly. Each part below says what breaks without it.
 */
#ifndef RNNBENCH_THEANO_H
#define RNNBENCH_THEANO_H

/* glibc declares the vector forms of exp and tanh only under this macro. Without it they run one
 * element at a time. -ffast-math sets it too, but also breaks NaN, infinities and subnormal numbers. */
#pragma push_macro("__FAST_MATH__")
#undef __FAST_MATH__
#define __FAST_MATH__ 1
#include <math.h>
#pragma pop_macro("__FAST_MATH__")

/* Theano compiles small test programs without Python's include path. They must compile too. */
#if __has_include(<Python.h>)

/* Python 3.11 rejects the "s#" formats in Theano's code without this macro, and Theano defines it
 * too late. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <frameobject.h>

#if PY_VERSION_HEX >= 0x030B0000
/* Cython 0.28 generated the C file of the scan loop in 2018. Without these three macros the file
 * uses members of structs that Python 3.11 hides. */
#define CYTHON_FAST_PYCALL 0
#define CYTHON_FAST_THREAD_STATE 0
#define CYTHON_USE_EXC_INFO_STACK 0

/* The scan loop sets the line number of a frame. Python 3.11 keeps the frame's struct in an internal
 * header, so the scan loop doesn't compile without this copy. It ends at the line number. */
struct _frame {
    PyObject_HEAD
    PyFrameObject *f_back;
    struct _PyInterpreterFrame *f_frame;
    PyObject *f_trace;
    int f_lineno;
};

/* The scan loop calls PyCode_New with its old arguments, and Python 3.11 wants more. An empty code
 * object is enough, because it only names a function in tracebacks. */
#define PyCode_New(arguments, keyword_only, locals, stack, flags, code, constants, names,          \
                   variables, free, cells, file, function, line, table)                          \
    PyCode_NewEmpty(PyUnicode_AsUTF8(file), PyUnicode_AsUTF8(function), line)
#endif

#if PY_VERSION_HEX >= 0x030C0000
/* Python 3.12 changed the members of an int. Without this macro the scan loop reads the old ones. */
#define CYTHON_USE_PYLONG_INTERNALS 0

/* Python 3.12 dropped this function. A string's length is what the scan loop wants from it. */
#define PyUnicode_GET_SIZE PyUnicode_GET_LENGTH
#endif

#if PY_VERSION_HEX >= 0x030D0000
/* Python 3.13 added an argument to this function: whether it raises an exception. */
#define _PyLong_AsByteArray(number, bytes, size, little_endian, is_signed)                        \
    _PyLong_AsByteArray(number, bytes, size, little_endian, is_signed, 1)
#endif

/* At each step the scan loop tests `new.data == old.data` to see whether an output uses the memory
 * that it offered. Python 3 then compares all elements, which is slow. Comparing the two addresses
 * gives the same answer. docs/method.md has the figures. */
static inline PyObject *rnnbench_compare(PyObject *a, PyObject *b, int operation) {
    if (operation == Py_EQ && PyMemoryView_Check(a) && PyMemoryView_Check(b))
        return PyBool_FromLong(PyMemoryView_GET_BUFFER(a)->buf == PyMemoryView_GET_BUFFER(b)->buf);
    return PyObject_RichCompare(a, b, operation);
}
#define PyObject_RichCompare rnnbench_compare

/* PyPI's OpenBLAS puts this prefix before every name. Without these macros Theano's matrix products
 * find no BLAS. */
#ifdef RNNBENCH_OPENBLAS
#define sgemm_ scipy_sgemm_
#define dgemm_ scipy_dgemm_
#define sgemv_ scipy_sgemv_
#define dgemv_ scipy_dgemv_
#define sger_ scipy_sger_
#define dger_ scipy_dger_
#define sdot_ scipy_sdot_
#define ddot_ scipy_ddot_
#endif

/* NumPy 2 hides the size of a data type from code that could also run with NumPy 1. NumPy 1.23
 * doesn't read this macro. */
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION

/* Every module that Theano compiles includes these. Precompiling them makes it compile faster.
 * docs/method.md has the figures. */
#if __has_include(<numpy/arrayobject.h>) && defined(NPY_NO_DEPRECATED_API)
#include <algorithm>
#include <iostream>
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>
#include <vector>

#if NPY_ABI_VERSION >= 0x02000000
/* NumPy 2 dropped these names. They tell Theano that this is Python 3. */
#define NPY_PY3K 1
#define PyInt_Check PyLong_Check
#define PyInt_AsLong PyLong_AsLong
#define PyInt_FromLong PyLong_FromLong

/* NumPy 2 has another number for "all axes". Theano uses the old one in no other meaning. */
#undef NPY_MAXDIMS
#define NPY_MAXDIMS NPY_RAVEL_AXIS
#endif
#endif

#endif /* Python.h */
#endif
