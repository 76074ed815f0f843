/* Checks the shapes of the arrays that Theano gives to a layer. The layers on the CPU and on the GPU share this file:
 * `Array` is PyArrayObject or PyGpuArrayObject. */
#ifndef RNNBENCH_FUSED_LSTM_ARRAYS_H
#define RNNBENCH_FUSED_LSTM_ARRAYS_H

#include <Python.h>

#include <climits>
#include <string>
#include <vector>

namespace rnnbench_fused {

typedef std::vector<Py_ssize_t> Shape;

template <typename Array> Shape shape_of(Array *array);  // defined beside each kind of array

inline std::string written(const Shape &shape) {
    std::string text = "(";
    for (size_t axis = 0; axis < shape.size(); ++axis)
        text += (axis ? ", " : "") + std::to_string(shape[axis]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

/* Return whether an array has the expected shape. If not, set Python's error to a sentence that says so. */
template <typename Array>
bool is_shaped(Array *array, const char *name, const char *meaning, const Shape &expected) {
    if (!array || shape_of(array) == expected)
        return true;
    PyErr_Format(PyExc_ValueError, "lstm: %s has the shape %s, and it must have %s: it is %s", name,
                 written(shape_of(array)).c_str(), written(expected).c_str(), meaning);
    return false;
}

/* The sizes of a layer. They come from the shapes of the inputs and of U. */
struct LayerSizes {
    Py_ssize_t seq, batch, input, hidden;

    template <typename Array>
    LayerSizes(Array *inputs, Array *U)
        : seq(shape_of(inputs)[0]), batch(shape_of(inputs)[1]), input(shape_of(inputs)[2]), hidden(shape_of(U)[0]) {}

    Py_ssize_t width() const { return 4 * hidden; }  // of the four gates
    Shape over_time(Py_ssize_t size) const { return {seq, batch, size}; }
    Shape state() const { return {batch, hidden}; }

    /* Return whether the shapes of all arrays fit together. If not, set Python's error. */
    template <typename Array> bool fit(Array *W, Array *U, Array *h0, Array *c0) const {
        if (hidden > INT_MAX / 4 || input > INT_MAX || (batch && seq > INT_MAX / batch)) {
            PyErr_Format(PyExc_ValueError, "lstm: %zd steps of %zd rows of %zd inputs and %zd units are too many",
                         seq, batch, input, hidden);
            return false;
        }
        const char *const initial = "(batch, hidden), with the batch of the inputs and the hidden of U";
        return is_shaped(U, "U", "(hidden, 4*hidden), and hidden is the first of its own sizes", {hidden, width()}) &&
               is_shaped(W, "W", "(input, 4*hidden), with the input of the inputs and the hidden of U",
                         {input, width()}) &&
               is_shaped(h0, "h0", initial, state()) && is_shaped(c0, "c0", initial, state());
    }
};

template <typename Array> struct ForwardArrays {
    Array *inputs, *W, *U, *b, *h0, *c0;    // given; h0 and c0 may be null
    Array **states, **gates, **cells;       // made; gates and cells may be null

    LayerSizes sizes() const { return LayerSizes(inputs, U); }

    bool fit() const {
        return sizes().fit(W, U, h0, c0) && is_shaped(b, "b", "(4*hidden,), with the hidden of U", {sizes().width()});
    }

    /* Calls make(array, shape) for each result until one returns false. */
    template <typename Make> bool make_results(const Make &make) const {
        const LayerSizes of = sizes();
        return make(states, of.over_time(of.hidden)) && (!gates || make(gates, of.over_time(of.width()))) &&
               (!cells || make(cells, of.over_time(of.hidden)));
    }
};

template <typename Array> struct BackwardArrays {
    Array *gates, *cells, *states, *d_states, *inputs, *W, *U, *h0, *c0;  // given; h0 and c0 may be null
    bool gates_are_ours;                                                  // and may be overwritten
    Array **d_inputs, **d_W, **d_U, **d_b, **d_h0, **d_c0;                // made, except those that are null

    LayerSizes sizes() const { return LayerSizes(inputs, U); }

    bool fit() const {
        const LayerSizes of = sizes();
        const Shape over_time = of.over_time(of.hidden);
        return of.fit(W, U, h0, c0) && is_shaped(states, "its result", "(seq, batch, hidden)", over_time) &&
               is_shaped(gates, "the array of gates", "(seq, batch, 4*hidden)", of.over_time(of.width())) &&
               is_shaped(cells, "the array of cells", "(seq, batch, hidden)", over_time) &&
               is_shaped(d_states, "the gradient of its result", "(seq, batch, hidden)", over_time);
    }

    /* Calls make(array, shape) for each result until one returns false. */
    template <typename Make> bool make_results(const Make &make) const {
        const LayerSizes of = sizes();
        const struct {
            Array **array;
            Shape shape;
        } results[] = {{d_inputs, of.over_time(of.input)}, {d_W, {of.input, of.width()}},
                       {d_U, {of.hidden, of.width()}}, {d_b, {of.width()}}, {d_h0, of.state()}, {d_c0, of.state()}};
        for (const auto &result : results)
            if (result.array && !make(result.array, result.shape))
                return false;
        return true;
    }
};

}  // namespace rnnbench_fused

#endif
