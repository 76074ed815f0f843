/* Runs lstm.h by itself, in odd shapes, and compares it with plain loops. test_sanitizers.py compiles it.
 *
 * It prints a line for each mistake, and the largest errors at the end. */
#include "lstm.h"

#include <algorithm>
#include <cstdio>
#include <random>
#include <vector>

using namespace rnnbench_fused;

/* BLAS by its definition: column-major, c = alpha·op(a)·op(b) + beta·c. */
template <typename Real>
void plain_gemm(char ta, char tb, int m, int n, int k, Real alpha, const Real *a, int lda, const Real *b, int ldb,
                Real beta, Real *c, int ldc) {
    for (int column = 0; column < n; ++column)
        for (int row = 0; row < m; ++row) {
            double sum = 0;
            for (int depth = 0; depth < k; ++depth)
                sum += double(ta == 'N' ? a[row + size_t(depth) * lda] : a[depth + size_t(row) * lda]) *
                       (tb == 'N' ? b[depth + size_t(column) * ldb] : b[column + size_t(depth) * ldb]);
            Real &to = c[row + size_t(column) * ldc];
            to = alpha * sum + (beta == 0 ? 0 : beta * to);
        }
}

void sgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k, const float *alpha, const float *a,
            const int *lda, const float *b, const int *ldb, const float *beta, float *c, const int *ldc) {
    plain_gemm(*ta, *tb, *m, *n, *k, *alpha, a, *lda, b, *ldb, *beta, c, *ldc);
}

void dgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k, const double *alpha,
            const double *a, const int *lda, const double *b, const int *ldb, const double *beta, double *c,
            const int *ldc) {
    plain_gemm(*ta, *tb, *m, *n, *k, *alpha, a, *lda, b, *ldb, *beta, c, *ldc);
}

static int mistakes = 0;
static std::mt19937 generator(1);

template <typename Real> std::vector<Real> draw(size_t count, double scale = 1) {
    std::normal_distribution<double> normal(0, scale);
    std::vector<Real> numbers(count);
    for (Real &number : numbers)
        number = Real(normal(generator));
    return numbers;
}

template <typename Real> void compare(const char *name, const std::vector<Real> &found, const std::vector<double> &correct) {
    double difference = 0, norm = 0;
    for (size_t place = 0; place < correct.size(); ++place) {
        difference += (found[place] - correct[place]) * (found[place] - correct[place]);
        norm += correct[place] * correct[place];
    }
    if (!(difference <= norm * (sizeof(Real) == 4 ? 1e-11 : 1e-26) || difference == 0)) {
        std::printf("%s has the error %g\n", name, std::sqrt(difference / norm));
        ++mistakes;
    }
}

static double plain_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/* A layer and its gradients, computed by the header and by plain loops in double. */
template <typename Real> void check(long seq, long batch, long input, long hidden, bool initial, int threads) {
    const long width = 4 * hidden, states = batch * hidden;
    const auto x = draw<Real>(seq * batch * input), W = draw<Real>(input * width, 1 / std::sqrt(input + 1.)),
               U = draw<Real>(hidden * width, 1 / std::sqrt(hidden + 1.));
    const auto b = draw<Real>(width), h0 = draw<Real>(states), c0 = draw<Real>(states), dy = draw<Real>(seq * states);
    std::vector<Real> y(seq * states), lean(seq * states), gates(seq * batch * width), cells(seq * states);
    Memory memory;
    Forward<Real> layer = {seq, batch, input, hidden, x.data(), W.data(), U.data(), b.data(),
                           initial ? h0.data() : nullptr, initial ? c0.data() : nullptr, lean.data(), nullptr, nullptr};
    forward(layer, memory, threads);
    layer.states = y.data(), layer.gates = gates.data(), layer.cells = cells.data();
    forward(layer, memory, threads);

    // The plain loops, with arrays of (seq + 1) steps that begin with the initial state.
    std::vector<double> h((seq + 1) * states), c((seq + 1) * states), a(seq * batch * width);
    for (long place = 0; initial && place < states; ++place)
        h[place] = h0[place], c[place] = c0[place];
    for (long t = 0; t < seq; ++t)
        for (long row = 0; row < batch; ++row) {
            double *const g = a.data() + (t * batch + row) * width;
            for (long column = 0; column < width; ++column) {
                g[column] = b[column];
                for (long k = 0; k < input; ++k)
                    g[column] += double(x[(t * batch + row) * input + k]) * W[k * width + column];
                for (long k = 0; k < hidden; ++k)
                    g[column] += h[(t * batch + row) * hidden + k] * U[k * width + column];
                g[column] = column / hidden == 2 ? std::tanh(g[column]) : plain_sigmoid(g[column]);
            }
            for (long unit = 0; unit < hidden; ++unit) {
                const long place = t * states + row * hidden + unit;
                c[place + states] = g[hidden + unit] * c[place] + g[unit] * g[2 * hidden + unit];
                h[place + states] = g[3 * hidden + unit] * std::tanh(c[place + states]);
            }
        }
    const std::vector<double> result(h.begin() + states, h.end());
    compare("the result", y, result);
    compare("the result without what is kept", lean, result);

    std::vector<double> d_h(states), d_c(states), d_x(x.size()), d_W(W.size()), d_U(U.size()), d_b(width);
    for (long t = seq - 1; t >= 0; --t) {
        std::vector<double> before(states);
        for (long row = 0; row < batch; ++row) {
            const double *const g = a.data() + (t * batch + row) * width;
            std::vector<double> d(width);
            for (long unit = 0; unit < hidden; ++unit) {
                const long cell = row * hidden + unit, place = t * states + cell;
                const double i = g[unit], f = g[hidden + unit], n = g[2 * hidden + unit], o = g[3 * hidden + unit];
                const double squashed = std::tanh(c[place + states]), d_state = d_h[cell] + dy[place];
                const double d_cell = d_c[cell] + d_state * o * (1 - squashed * squashed);
                d[unit] = d_cell * n * i * (1 - i);
                d[hidden + unit] = d_cell * c[place] * f * (1 - f);
                d[2 * hidden + unit] = d_cell * i * (1 - n * n);
                d[3 * hidden + unit] = d_state * squashed * o * (1 - o);
                d_c[cell] = d_cell * f;
            }
            for (long column = 0; column < width; ++column) {
                d_b[column] += d[column];
                for (long k = 0; k < input; ++k) {
                    d_W[k * width + column] += d[column] * x[(t * batch + row) * input + k];
                    d_x[(t * batch + row) * input + k] += d[column] * W[k * width + column];
                }
                for (long k = 0; k < hidden; ++k) {
                    d_U[k * width + column] += d[column] * h[(t * batch + row) * hidden + k];
                    before[row * hidden + k] += d[column] * U[k * width + column];
                }
            }
        }
        d_h = before;
    }
    std::vector<Real> g_x(d_x.size(), 9), g_W(d_W.size(), 9), g_U(d_U.size(), 9), g_b(width, 9), g_h(states, 9), g_c(states, 9);
    Backward<Real> back = {seq, batch, input, hidden, x.data(), W.data(), U.data(), layer.initial_state,
                           layer.initial_cell, y.data(), cells.data(), dy.data(), gates.data(),
                           g_x.data(), g_W.data(), g_U.data(), g_b.data(), g_h.data(), g_c.data()};
    const auto kept = gates;
    backward(back, memory, threads);
    compare("the inputs' gradient", g_x, d_x);
    compare("W's gradient", g_W, d_W);
    compare("U's gradient", g_U, d_U);
    compare("b's gradient", g_b, d_b);
    compare("h0's gradient", g_h, d_h);
    compare("c0's gradient", g_c, d_c);
    gates = kept;
    std::vector<Real> alone(d_U.size(), 9);
    back.d_inputs = back.d_W = back.d_b = back.d_initial_state = back.d_initial_cell = nullptr;
    back.d_U = alone.data();
    backward(back, memory, threads);
    compare("U's gradient alone", alone, d_U);
}

/* Return the largest error of a function over many numbers, in units of the last place of the exact value. */
template <typename Real, typename Function, typename Exact> double largest_error(Function function, Exact exact) {
    std::vector<Real> xs;
    for (double exponent = sizeof(Real) == 4 ? -37 : -300; exponent < 38; exponent += 1e-4)
        if (const Real x = Real(std::pow(10, exponent)); x < (sizeof(Real) == 4 ? 85 : 700))
            xs.push_back(x), xs.push_back(-x);
    for (double x = -20; x < 20; x += 1e-4)
        xs.push_back(Real(x));
    while (xs.size() % lanes<Real>)
        xs.push_back(0);
    double largest = 0;
    for (size_t place = 0; place < xs.size(); place += lanes<Real>) {
        Real results[lanes<Real>];
        store<Real>(results, function(load<Real>(&xs[place])));
        for (int lane = 0; lane < lanes<Real>; ++lane) {
            const long double correct = exact((long double)xs[place + lane]);
            int exponent;
            std::frexp(Real(correct), &exponent);
            const long double ulp = std::ldexp(1.L, exponent - (Type<Real>::fraction + 1));
            if (correct != 0)
                largest = std::max(largest, double(std::fabs(results[lane] - correct) / ulp));
        }
    }
    return largest;
}

template <typename Real> void check_functions() {
    const double of_sigmoid = largest_error<Real>([](Vector<Real> x) { return value(sigmoid<Real>(x)); },
                                                  [](long double x) { return 1 / (1 + std::exp(-x)); });
    const double of_tanh = largest_error<Real>([](Vector<Real> x) { return value(rnnbench_fused::tanh<Real>(x)); },
                                               [](long double x) { return std::tanh(x); });
    std::printf("%zu bytes: sigmoid within %.2f ulp, tanh within %.2f ulp\n", sizeof(Real), of_sigmoid, of_tanh);
    mistakes += of_sigmoid > 3 || of_tanh > 3;
    const Real infinity = INFINITY, huge = sizeof(Real) == 4 ? Real(3e38) : Real(1e308);
    const Real limits[][3] = {{infinity, 1, 1}, {-infinity, 0, -1}, {huge, 1, 1}, {-huge, 0, -1}, {0, .5, 0}};
    for (const auto &limit : limits) {
        mistakes += value(sigmoid<Real>(all(limit[0])))[0] != limit[1];
        mistakes += value(rnnbench_fused::tanh<Real>(all(limit[0])))[0] != limit[2];
    }
    mistakes += !std::isnan(value(sigmoid<Real>(all(Real(NAN))))[0]) + !std::isnan(value(rnnbench_fused::tanh<Real>(all(Real(NAN))))[0]);
}

int main() {
    const long shapes[][4] = {{1, 1, 1, 1},   {3, 1, 5, 2},   {2, 7, 3, 5},   {4, 13, 37, 16}, {3, 5, 0, 17},
                              {2, 3, 4, 31},  {5, 2, 300, 33}, {2, 9, 8, 70}, {3, 1, 20, 130}, {2, 17, 5, 65},
                              {0, 3, 4, 5},   {3, 0, 4, 5},   {3, 4, 5, 0},   {40, 4, 3, 19}};
    for (const auto &shape : shapes)
        for (int threads = 1; threads <= 3; ++threads)
            for (const bool initial : {false, true}) {
                const int before = mistakes;
                check<float>(shape[0], shape[1], shape[2], shape[3], initial, threads);
                check<double>(shape[0], shape[1], shape[2], shape[3], initial, threads);
                if (mistakes > before)
                    std::printf("  at seq=%ld, batch=%ld, input=%ld, hidden=%ld, initial=%d, threads=%d\n", shape[0],
                                shape[1], shape[2], shape[3], initial, threads);
            }
    check_functions<float>();
    check_functions<double>();
    std::printf("%d mistakes, vectors of %d bytes\n", mistakes, vector_bytes);
    return mistakes > 0;
}
