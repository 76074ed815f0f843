/* Connects Theano's arrays with lstm.h: it checks their sizes, makes the results, and reports mistakes to Python. */
#ifndef RNNBENCH_FUSED_LSTM_THEANO_H
#define RNNBENCH_FUSED_LSTM_THEANO_H

#include <Python.h>

#include <climits>
#include <initializer_list>
#include <string>
#include <vector>

#include <numpy/arrayobject.h>

namespace rnnbench_fused {

typedef std::vector<npy_intp> Shape;

inline std::string written(const Shape &shape) {
    std::string text = "(";
    for (size_t axis = 0; axis < shape.size(); ++axis)
        text += (axis ? ", " : "") + std::to_string(shape[axis]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

inline Shape shape_of(PyArrayObject *array) {
    return Shape(PyArray_DIMS(array), PyArray_DIMS(array) + PyArray_NDIM(array));
}

/* Holds an array that the caller gave, or a contiguous copy of it if it isn't contiguous. */
class Given {
  public:
    /* A null pointer stands for zeros: data() is then null too. `copied` asks for a copy in any case. */
    explicit Given(PyArrayObject *array, bool copied = false) : array_(nullptr) {
        if (array)
            array_ = copied ? (PyArrayObject *)PyArray_NewCopy(array, NPY_CORDER) : PyArray_GETCONTIGUOUS(array);
        failed_ = array && !array_;
    }
    ~Given() { Py_XDECREF(array_); }
    Given(const Given &) = delete;
    Given &operator=(const Given &) = delete;

    bool failed() const { return failed_; }  // there was no memory for the copy; Python's error is set

    template <typename Real> Real *data() const { return array_ ? static_cast<Real *>(PyArray_DATA(array_)) : nullptr; }

  private:
    PyArrayObject *array_;
    bool failed_;
};

/* Return whether an array has the expected shape. If not, set Python's error to a sentence that says so. */
inline bool is_shaped(PyArrayObject *array, const char *name, const char *meaning, const Shape &expected) {
    if (!array || shape_of(array) == expected)
        return true;
    PyErr_Format(PyExc_ValueError, "lstm: %s has the shape %s, and it must have %s: it is %s", name,
                 written(shape_of(array)).c_str(), written(expected).c_str(), meaning);
    return false;
}

/* Make *result an array of this shape. It reuses the array of the previous call if that fits. */
inline bool make(PyArrayObject **result, const Shape &shape, int type) {
    if (*result && shape_of(*result) == shape && PyArray_ISCARRAY(*result) && PyArray_TYPE(*result) == type)
        return true;
    Py_XDECREF(*result);
    *result = (PyArrayObject *)PyArray_EMPTY(int(shape.size()), const_cast<npy_intp *>(shape.data()), type, 0);
    return *result != nullptr;
}

template <typename Real> constexpr int numpy_type = sizeof(Real) == sizeof(npy_float) ? NPY_FLOAT : NPY_DOUBLE;

/* The sizes of a layer. They come from the shapes of the inputs and of U. */
struct Sizes {
    npy_intp seq, batch, input, hidden;

    Sizes(PyArrayObject *inputs, PyArrayObject *U)
        : seq(PyArray_DIM(inputs, 0)), batch(PyArray_DIM(inputs, 1)), input(PyArray_DIM(inputs, 2)),
          hidden(PyArray_DIM(U, 0)) {}

    int threads() const { return worthwhile_threads(seq, batch, input, hidden); }
    Shape over_time(npy_intp width) const { return {seq, batch, width}; }

    /* Return whether the shapes of all arrays fit together. If not, set Python's error. */
    bool fit(PyArrayObject *W, PyArrayObject *U, PyArrayObject *state, PyArrayObject *cell) const {
        if (hidden > INT_MAX / gate_count || input > INT_MAX || (batch && seq > INT_MAX / batch)) {
            PyErr_Format(PyExc_ValueError, "lstm: %zd steps of %zd rows of %zd inputs and %zd units are too many",
                         seq, batch, input, hidden);
            return false;
        }
        const npy_intp width = gate_count * hidden;
        const char *const initial = "(batch, hidden), with the batch of the inputs and the hidden of U";
        return is_shaped(U, "U", "(hidden, 4*hidden), and hidden is the first of its own sizes", {hidden, width}) &&
               is_shaped(W, "W", "(input, 4*hidden), with the input of the inputs and the hidden of U",
                         {input, width}) &&
               is_shaped(state, "h0", initial, {batch, hidden}) &&
               is_shaped(cell, "c0", initial, {batch, hidden});
    }
};

/* All layers share this memory: Python's GIL lets only one compute at a time. */
inline Memory &memory() {
    static Memory kept;
    return kept;
}

struct ForwardArrays {
    PyArrayObject *inputs, *W, *U, *b, *h0, *c0;    // given; h0 and c0 may be null
    PyArrayObject **states, **gates, **cells;       // made; gates and cells may be null
};

/* Compute the layer. If that fails, set Python's error and return false. */
template <typename Real> bool run_forward(const ForwardArrays &arrays) {
    const Sizes sizes(arrays.inputs, arrays.U);
    if (!sizes.fit(arrays.W, arrays.U, arrays.h0, arrays.c0) ||
        !is_shaped(arrays.b, "b", "(4*hidden,), with the hidden of U", {gate_count * sizes.hidden}))
        return false;
    const int type = numpy_type<Real>;
    if (!make(arrays.states, sizes.over_time(sizes.hidden), type) ||
        (arrays.gates && !make(arrays.gates, sizes.over_time(gate_count * sizes.hidden), type)) ||
        (arrays.cells && !make(arrays.cells, sizes.over_time(sizes.hidden), type)))
        return false;
    const Given inputs(arrays.inputs), W(arrays.W), U(arrays.U), b(arrays.b), h0(arrays.h0), c0(arrays.c0);
    for (const Given *each : {&inputs, &W, &U, &b, &h0, &c0})
        if (each->failed())
            return false;
    Forward<Real> layer;
    layer.seq = sizes.seq, layer.batch = sizes.batch, layer.input = sizes.input, layer.hidden = sizes.hidden;
    layer.inputs = inputs.data<Real>(), layer.W = W.data<Real>(), layer.U = U.data<Real>(), layer.b = b.data<Real>();
    layer.initial_state = h0.data<Real>(), layer.initial_cell = c0.data<Real>();
    layer.states = static_cast<Real *>(PyArray_DATA(*arrays.states));
    layer.gates = arrays.gates ? static_cast<Real *>(PyArray_DATA(*arrays.gates)) : nullptr;
    layer.cells = arrays.cells ? static_cast<Real *>(PyArray_DATA(*arrays.cells)) : nullptr;
    try {
        forward(layer, memory(), sizes.threads());
    } catch (const std::bad_alloc &) {
        PyErr_NoMemory();
        return false;
    }
    return true;
}

struct BackwardArrays {
    PyArrayObject *gates, *cells, *states, *d_states, *inputs, *W, *U, *h0, *c0;  // given; h0 and c0 may be null
    bool gates_are_ours;                                                          // and may be overwritten
    PyArrayObject **d_inputs, **d_W, **d_U, **d_b, **d_h0, **d_c0;                // made, except those that are null
};

/* Compute the gradients. If that fails, set Python's error and return false. */
template <typename Real> bool run_backward(const BackwardArrays &arrays) {
    const Sizes sizes(arrays.inputs, arrays.U);
    const Shape over_time = sizes.over_time(sizes.hidden), state = {sizes.batch, sizes.hidden};
    const npy_intp width = gate_count * sizes.hidden;
    if (!sizes.fit(arrays.W, arrays.U, arrays.h0, arrays.c0) ||
        !is_shaped(arrays.states, "its result", "(seq, batch, hidden)", over_time) ||
        !is_shaped(arrays.gates, "the array of gates", "(seq, batch, 4*hidden)", sizes.over_time(width)) ||
        !is_shaped(arrays.cells, "the array of cells", "(seq, batch, hidden)", over_time) ||
        !is_shaped(arrays.d_states, "the gradient of its result", "(seq, batch, hidden)", over_time))
        return false;
    const struct {
        PyArrayObject **array;
        Shape shape;
    } results[] = {{arrays.d_inputs, sizes.over_time(sizes.input)}, {arrays.d_W, {sizes.input, width}},
                   {arrays.d_U, {sizes.hidden, width}}, {arrays.d_b, {width}},
                   {arrays.d_h0, state}, {arrays.d_c0, state}};
    for (const auto &result : results)
        if (result.array && !make(result.array, result.shape, numpy_type<Real>))
            return false;
    const Given inputs(arrays.inputs), W(arrays.W), U(arrays.U), h0(arrays.h0), c0(arrays.c0), states(arrays.states);
    const Given gates(arrays.gates, !arrays.gates_are_ours), cells(arrays.cells), d_states(arrays.d_states);
    for (const Given *each : {&inputs, &W, &U, &h0, &c0, &states, &gates, &cells, &d_states})
        if (each->failed())
            return false;
    const auto data = [](PyArrayObject **array) {
        return array ? static_cast<Real *>(PyArray_DATA(*array)) : nullptr;
    };
    Backward<Real> layer;
    layer.seq = sizes.seq, layer.batch = sizes.batch, layer.input = sizes.input, layer.hidden = sizes.hidden;
    layer.inputs = inputs.data<Real>(), layer.W = W.data<Real>(), layer.U = U.data<Real>();
    layer.initial_state = h0.data<Real>(), layer.initial_cell = c0.data<Real>();
    layer.states = states.data<Real>(), layer.cells = cells.data<Real>(), layer.d_states = d_states.data<Real>();
    layer.gates = gates.data<Real>();
    layer.d_inputs = data(arrays.d_inputs), layer.d_W = data(arrays.d_W), layer.d_U = data(arrays.d_U);
    layer.d_b = data(arrays.d_b);
    layer.d_initial_state = data(arrays.d_h0), layer.d_initial_cell = data(arrays.d_c0);
    try {
        backward(layer, memory(), sizes.threads());
    } catch (const std::bad_alloc &) {
        PyErr_NoMemory();
        return false;
    }
    return true;
}

}  // namespace rnnbench_fused

#endif
