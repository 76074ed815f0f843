/* Read before every C++ file that Theano compiles (g++ -include), and precompiled.
 *
 * Theano 1.0.5 knows Python up to 3.8: part of what it writes, today's compilers and Python refuse
 * or run slowly. Each part below says what breaks without it.
 */
#ifndef RNNBENCH_THEANO_H
#define RNNBENCH_THEANO_H

/* Without it exp and tanh run one element at a time: glibc declares their vector forms only under
 * this macro. -ffast-math would set it too, but also drops NaN, infinities and subnormal numbers. */
#pragma push_macro("__FAST_MATH__")
#undef __FAST_MATH__
#define __FAST_MATH__ 1
#include <math.h>
#pragma pop_macro("__FAST_MATH__")

/* Without the test Theano's probes don't compile: they come without Python's include path. */
#if __has_include(<Python.h>)

/* Without it Python 3.11 refuses the "s#" formats in Theano's code, which defines it too late. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <frameobject.h>

/* The scan loop's C file was written by Cython 0.28 in 2018. Without these three it reaches into
 * structs that Python 3.11 hides. */
#define CYTHON_FAST_PYCALL 0
#define CYTHON_FAST_THREAD_STATE 0
#define CYTHON_USE_EXC_INFO_STACK 0

/* Without it the scan loop doesn't compile: it sets the line number of a frame, whose struct Python
 * 3.11 keeps in an internal header. This is that struct as far as the number. */
struct _frame {
    PyObject_HEAD
    PyFrameObject *f_back;
    struct _PyInterpreterFrame *f_frame;
    PyObject *f_trace;
    int f_lineno;
};

/* Without it the scan loop doesn't compile: the function has taken more arguments since. The code
 * objects only name a function in tracebacks. */
#define PyCode_New(arguments, keyword_only, locals, stack, flags, code, constants, names,          \
                   variables, free, cells, file, function, line, table)                          \
    PyCode_NewEmpty(PyUnicode_AsUTF8(file), PyUnicode_AsUTF8(function), line)

/* Without it a scan on the CPU spends a third of its time comparing numbers: at each step it asks by
 * `new.data == old.data` whether an output lies in the memory it offered, and since Python 3 that
 * compares all elements. Where they lie is the answer it needs. */
static inline PyObject *rnnbench_compare(PyObject *a, PyObject *b, int operation) {
    if (operation == Py_EQ && PyMemoryView_Check(a) && PyMemoryView_Check(b))
        return PyBool_FromLong(PyMemoryView_GET_BUFFER(a)->buf == PyMemoryView_GET_BUFFER(b)->buf);
    return PyObject_RichCompare(a, b, operation);
}
#define PyObject_RichCompare rnnbench_compare

/* Without it Theano's products find no BLAS: PyPI's OpenBLAS carries this prefix on every name. */
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

/* What every module of Theano's includes: read once, precompiled, it halves the compile time. */
#if __has_include(<numpy/arrayobject.h>) && defined(NPY_NO_DEPRECATED_API)
#include <algorithm>
#include <iostream>
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>
#include <vector>
#endif

#endif /* Python.h */
#endif
