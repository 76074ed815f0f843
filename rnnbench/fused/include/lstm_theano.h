/* Connects Theano's arrays on the CPU with lstm.h: it makes the results, and reports mistakes to Python. */
#ifndef RNNBENCH_FUSED_LSTM_THEANO_H
#define RNNBENCH_FUSED_LSTM_THEANO_H

#include <Python.h>

#include <numpy/arrayobject.h>

namespace rnnbench_fused {

template <> inline Shape shape_of(PyArrayObject *array) {
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

template <typename Real> constexpr int numpy_type = sizeof(Real) == sizeof(npy_float) ? NPY_FLOAT : NPY_DOUBLE;

/* Make *result an array of this shape. It reuses the array of the previous call if that fits. */
template <typename Real> bool make(PyArrayObject **result, const Shape &shape) {
    const int type = numpy_type<Real>;
    if (*result && shape_of(*result) == shape && PyArray_ISCARRAY(*result) && PyArray_TYPE(*result) == type)
        return true;
    Py_XDECREF(*result);
    *result = (PyArrayObject *)PyArray_EMPTY(int(shape.size()), const_cast<npy_intp *>(shape.data()), type, 0);
    return *result != nullptr;
}

inline int threads(const LayerSizes &sizes) {
    return worthwhile_threads(sizes.seq, sizes.batch, sizes.input, sizes.hidden);
}

/* All layers share this memory: Python's GIL lets only one compute at a time. */
inline Memory &memory() {
    static Memory kept;
    return kept;
}

/* Compute the layer. If that fails, set Python's error and return false. */
template <typename Real> bool run_forward(const ForwardArrays<PyArrayObject> &arrays) {
    if (!arrays.fit() || !arrays.make_results(make<Real>))
        return false;
    const LayerSizes sizes = arrays.sizes();
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
        forward(layer, memory(), threads(sizes));
    } catch (const std::bad_alloc &) {
        PyErr_NoMemory();
        return false;
    }
    return true;
}

/* Compute the gradients. If that fails, set Python's error and return false. */
template <typename Real> bool run_backward(const BackwardArrays<PyArrayObject> &arrays) {
    if (!arrays.fit() || !arrays.make_results(make<Real>))
        return false;
    const LayerSizes sizes = arrays.sizes();
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
        backward(layer, memory(), threads(sizes));
    } catch (const std::bad_alloc &) {
        PyErr_NoMemory();
        return false;
    }
    return true;
}

}  // namespace rnnbench_fused

#endif
