/* Checks and times the CUDA layer without Theano. Needs an NVIDIA GPU, cuBLAS and NVRTC.
 *
 *     cuda_harness check           compare many sizes with a float64 layer on the CPU; ends with status 1 if one differs
 *     cuda_harness random COUNT    the same for COUNT random sizes: about 11 calls each
 *     cuda_harness products        the same for products on Hopper's tensor cores, of many sizes
 *     cuda_harness time            time the shapes of the seed grid
 *     cuda_harness sweep           time every plan of these shapes, beside what the model says
 *     cuda_harness plans COUNT     what the model says of an H100, without a GPU
 *     cuda_harness compile PROCESSES PLANS   compile the kernels of these sizes into the folder CUBINS, for an H100, without a GPU
 *     cuda_harness plan SEQ BATCH HIDDEN KIND TEXT   time the plan whose name has this text; KIND: 0 forward, 1 kept, 2 backward
 *     cuda_harness one SEQ BATCH INPUTS HIDDEN    check one size
 *
 * The environment variable PRODUCTS says how it multiplies: float32 without it, 3xtf32 or tf32 on tensor cores.
 * tests/fused/cuda_harness.sh builds and runs it. CUBLAS names the library of cuBLAS if the usual names don't load.
 */
#define RNNBENCH_LSTM_LIMIT "50000000ull"  // a deadlock ends soon
#include "lstm_cuda_source.h"
#include "lstm_cuda.h"

#include <cmath>
#include <cstdlib>
#include <functional>
#include <random>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

using namespace rnnbench_fused_cuda;

static void *cuda_library = dlopen("libcuda.so.1", RTLD_NOW);

/* Call a function of CUDA's driver by its name; end the program if it fails. */
template <typename... Types> static void cuda(const char *name, Types... values) {
    auto function = reinterpret_cast<int (*)(Types...)>(dlsym(cuda_library, name));
    const int status = function ? function(values...) : -1;
    if (status != 0) {
        std::printf("%s failed with %d\n", name, status);
        std::exit(2);
    }
}

static void stop(const std::string &problem) {
    if (!problem.empty()) {
        std::printf("%s\n", problem.c_str());
        std::exit(2);
    }
}

struct Array {
    unsigned long long place = 0;
    size_t count = 0;
    explicit Array(size_t count) : count(count) {
        cuda("cuMemAlloc_v2", &place, count * 4 + 256);
        poison();
    }
    ~Array() { reinterpret_cast<int (*)(unsigned long long)>(dlsym(cuda_library, "cuMemFree_v2"))(place); }  // at exit, CUDA may be gone
    Array(const Array &) = delete;
    float *data() const { return reinterpret_cast<float *>(place); }
    void poison() {  // with NaN
        cuda("cuMemsetD32_v2", place, 0xffffffffu, count + 64);
        cuda("cuCtxSynchronize");
    }
    void write(const std::vector<float> &values) { cuda("cuMemcpyHtoD_v2", place, (const void *)values.data(), values.size() * 4); }
    std::vector<float> read() const {
        std::vector<float> values(count);
        cuda("cuMemcpyDtoH_v2", (void *)values.data(), place, count * 4);
        return values;
    }
    /* Whether nothing was written behind the end. */
    bool end_is_intact() const {
        unsigned behind[64];
        cuda("cuMemcpyDtoH_v2", (void *)behind, place + count * 4, sizeof behind);
        return std::all_of(behind, behind + 64, [](unsigned word) { return word == 0xffffffffu; });
    }
};

struct Cublas {
    void *handle = nullptr;
    int (*set_mode)(void *, int), (*set_stream)(void *, void *);
    int (*sgemm)(void *, int, int, int, int, int, const float *, const float *, int, const float *, int, const float *, float *, int);
};
static Cublas cublas;
static void *stream;
static std::unique_ptr<Array> workspace_array;

static bool multiply(void *, Products products, bool transpose_a, bool transpose_b, long m, long n, long k, float alpha,
                     const float *a, long lda, const float *b, long ldb, float beta, float *c, long ldc, std::string &error) {
    cublas.set_mode(cublas.handle, products == Products::tf32 ? 3 : 0);
    const int status = cublas.sgemm(cublas.handle, transpose_b, transpose_a, int(n), int(m), int(k), &alpha, b, int(ldb), a, int(lda), &beta, c, int(ldc));
    if (status)
        error = "cuBLAS failed with " + std::to_string(status);
    return status == 0;
}

static void *workspace(void *, size_t bytes) {
    if (!workspace_array || workspace_array->count * 4 < bytes) {
        workspace_array.reset();
        workspace_array.reset(new Array((bytes + 3) / 4));
    }
    return workspace_array->data();
}

static Device device;

static Products products_wanted() {
    const char *const given = std::getenv("PRODUCTS");
    const std::string name = given ? given : "float32";
    if (name != "float32" && name != "3xtf32" && name != "tf32")
        stop("PRODUCTS is " + name + ": it must be float32, 3xtf32 or tf32");
    return name == "float32" ? Products::float32 : name == "3xtf32" ? Products::tf32x3 : Products::tf32;
}
static const Products products = products_wanted();

static void start() {
    void *context;
    cuda("cuInit", 0u);
    cuda("cuDevicePrimaryCtxRetain", &context, 0);
    cuda("cuCtxSetCurrent", context);
    cuda("cuStreamCreate", &stream, 1u);
    void *library = nullptr;
    const char *named = std::getenv("CUBLAS");
    for (const char *name : {named ? named : "libcublas.so.13", "libcublas.so.12", "libcublas.so"})
        if (!library)
            library = dlopen(name, RTLD_NOW);
    if (!library)
        stop(std::string("no cuBLAS: ") + dlerror());
    reinterpret_cast<int (*)(void **)>(dlsym(library, "cublasCreate_v2"))(&cublas.handle);
    *reinterpret_cast<void **>(&cublas.set_mode) = dlsym(library, "cublasSetMathMode");
    *reinterpret_cast<void **>(&cublas.set_stream) = dlsym(library, "cublasSetStream_v2");
    *reinterpret_cast<void **>(&cublas.sgemm) = dlsym(library, "cublasSgemm_v2");
    if (!cublas.handle)
        stop("cublasCreate failed");
    cublas.set_stream(cublas.handle, stream);
    device.stream = stream;
    device.context_of_caller = nullptr;
    device.multiply = multiply;
    device.workspace = workspace;
    if (const char *path = std::getenv("NVRTC"))
        device.nvrtc_path = path;
    if (const char *folder = std::getenv("CUBINS"))
        device.cache_folder = folder;
}

static void synchronize() { cuda("cuStreamSynchronize", stream); }

static std::mt19937_64 generator(1);

static std::vector<float> normal(size_t count, double scale) {
    std::normal_distribution<float> distribution(0, float(scale));
    std::vector<float> values(count);
    for (float &value : values)
        value = distribution(generator);
    return values;
}

/* c (m, n) += a (m, k) · b (k, n), or aᵀ (k, m), bᵀ (n, k); float64 on the CPU. */
static void product(bool turn_a, bool turn_b, long m, long n, long k, const double *a, const double *b, double *c) {
    std::vector<double> copy;
    if (turn_b) {  // rows of b are read as a whole
        copy.resize(size_t(k) * n);
#pragma omp parallel for
        for (long row = 0; row < k; ++row)
            for (long column = 0; column < n; ++column)
                copy[row * n + column] = b[column * k + row];
        b = copy.data();
    }
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (long first = 0; first < m; first += 8)
        for (long left = 0; left < n; left += 256) {
            const long rows = std::min(8L, m - first), columns = std::min(256L, n - left);
            for (long j = 0; j < k; ++j)
                for (long r = 0; r < rows; ++r) {
                    const double factor = turn_a ? a[j * m + first + r] : a[(first + r) * k + j];
                    double *const to = c + (first + r) * n + left;
                    const double *const from = b + j * n + left;
                    for (long column = 0; column < columns; ++column)
                        to[column] += factor * from[column];
                }
        }
}

using Doubles = std::vector<double>;
static Doubles doubles(const std::vector<float> &values) { return Doubles(values.begin(), values.end()); }

/* A layer with random numbers, on the GPU and, in float64, on the CPU. */
struct Layer {
    Sizes sizes;
    bool initial;
    size_t rows, width, cells;
    std::vector<float> x, W, U, b, h0, c0, d_y;
    Array gpu_x, gpu_W, gpu_U, gpu_b, gpu_h0, gpu_c0, gpu_d_y, states, gates, kept_cells, d_x, dW, dU, db, dh0, dc0;
    Doubles want_states, want_dx, want_dW, want_dU, want_db, want_dh0, want_dc0;
    double least_dU = 0;  // with one unit, dU has four sums. They may cancel, down to where rounding is all that is left

    Layer(Sizes sizes, bool initial)
        : sizes(sizes), initial(initial), rows(sizes.seq * sizes.batch), width(4 * sizes.hidden), cells(sizes.batch * sizes.hidden),
          x(normal(rows * sizes.inputs, 1)), W(normal(sizes.inputs * width, 1 / std::sqrt(double(sizes.inputs + 1)))),
          U(normal(sizes.hidden * width, 1 / std::sqrt(double(sizes.hidden)))), b(normal(width, 0.5)), h0(normal(cells, 0.5)),
          c0(normal(cells, 1)), d_y(normal(rows * sizes.hidden, 1)), gpu_x(x.size()), gpu_W(W.size()), gpu_U(U.size()), gpu_b(width),
          gpu_h0(cells), gpu_c0(cells), gpu_d_y(d_y.size()), states(rows * sizes.hidden), gates(rows * width),
          kept_cells(rows * sizes.hidden), d_x(x.size()), dW(W.size()), dU(U.size()), db(width), dh0(cells), dc0(cells) {
        gpu_x.write(x), gpu_W.write(W), gpu_U.write(U), gpu_b.write(b), gpu_h0.write(h0), gpu_c0.write(c0), gpu_d_y.write(d_y);
    }

    void reference() {
        const long seq = sizes.seq, batch = sizes.batch, hidden = sizes.hidden;
        const Doubles x = doubles(this->x), W = doubles(this->W), U = doubles(this->U), h0 = initial ? doubles(this->h0) : Doubles(cells);
        Doubles gates(rows * width), all_cells((seq + 1) * cells);
        want_states.assign((seq + 1) * cells, 0);
        std::copy(h0.begin(), h0.end(), want_states.begin());
        if (initial)
            std::copy(c0.begin(), c0.end(), all_cells.begin());
        for (size_t row = 0; row < rows; ++row)
            std::copy(b.begin(), b.end(), gates.begin() + row * width);
        product(false, false, rows, width, sizes.inputs, x.data(), W.data(), gates.data());
        auto sigmoid = [](double value) { return 1 / (1 + std::exp(-value)); };
        for (long t = 0; t < seq; ++t) {
            double *const a = gates.data() + t * 4 * cells;
            product(false, false, batch, width, hidden, want_states.data() + t * cells, U.data(), a);
#pragma omp parallel for
            for (long row = 0; row < batch; ++row)
                for (long unit = 0; unit < hidden; ++unit) {
                    double *const gate = a + row * width + unit;
                    const size_t place = t * cells + row * hidden + unit;
                    gate[0] = sigmoid(gate[0]), gate[hidden] = sigmoid(gate[hidden]);
                    gate[2 * hidden] = std::tanh(gate[2 * hidden]), gate[3 * hidden] = sigmoid(gate[3 * hidden]);
                    all_cells[place + cells] = gate[hidden] * all_cells[place] + gate[0] * gate[2 * hidden];
                    want_states[place + cells] = gate[3 * hidden] * std::tanh(all_cells[place + cells]);
                }
        }
        Doubles d_h(cells), d_c(cells);
        for (long t = seq - 1; t >= 0; --t) {
            double *const a = gates.data() + t * 4 * cells;
#pragma omp parallel for
            for (long row = 0; row < batch; ++row)
                for (long unit = 0; unit < hidden; ++unit) {
                    double *const gate = a + row * width + unit;
                    const size_t place = row * hidden + unit;
                    const double i = gate[0], f = gate[hidden], g = gate[2 * hidden], o = gate[3 * hidden];
                    const double curve = std::tanh(all_cells[(t + 1) * cells + place]), d_state = d_h[place] + d_y[t * cells + place];
                    const double d_cell = d_c[place] + d_state * o * (1 - curve * curve);
                    gate[0] = d_cell * g * i * (1 - i), gate[hidden] = d_cell * all_cells[t * cells + place] * f * (1 - f);
                    gate[2 * hidden] = d_cell * i * (1 - g * g), gate[3 * hidden] = d_state * curve * o * (1 - o);
                    d_c[place] = d_cell * f;
                }
            std::fill(d_h.begin(), d_h.end(), 0);
            product(false, true, batch, hidden, width, a, U.data(), d_h.data());
        }
        want_dh0 = d_h, want_dc0 = d_c;
        want_dW.assign(W.size(), 0), want_dU.assign(U.size(), 0), want_dx.assign(x.size(), 0), want_db.assign(width, 0);
        product(true, false, sizes.inputs, width, rows, x.data(), gates.data(), want_dW.data());
        product(true, false, hidden, width, rows, want_states.data(), gates.data(), want_dU.data());
        if (hidden == 1) {
            Doubles sizes(width);
            for (size_t row = 0; row < rows; ++row)
                for (size_t column = 0; column < width; ++column)
                    sizes[column] += std::abs(want_states[row] * gates[row * width + column]);
            for (double size : sizes)
                least_dU += size * size / 64;
            least_dU = std::sqrt(least_dU);  // an eighth of the norm without the signs
        }
        product(false, true, rows, sizes.inputs, width, gates.data(), W.data(), want_dx.data());
        for (size_t row = 0; row < rows; ++row)
            for (size_t column = 0; column < width; ++column)
                want_db[column] += gates[row * width + column];
        want_states.erase(want_states.begin(), want_states.begin() + cells);
    }

    ForwardCall forward_call(bool keep) {
        ForwardCall call = {sizes, products, gpu_x.data(), gpu_W.data(), gpu_U.data(), gpu_b.data(), initial ? gpu_h0.data() : nullptr,
                            initial ? gpu_c0.data() : nullptr, states.data(), keep ? gates.data() : nullptr, keep ? kept_cells.data() : nullptr};
        return call;
    }

    BackwardCall backward_call(bool inputs_too) {
        BackwardCall call = {sizes, products, gates.data(), kept_cells.data(), states.data(), gpu_d_y.data(), gpu_x.data(), gpu_W.data(),
                             gpu_U.data(), initial ? gpu_h0.data() : nullptr, initial ? gpu_c0.data() : nullptr,
                             inputs_too ? d_x.data() : nullptr, dW.data(), dU.data(), db.data(), initial ? dh0.data() : nullptr,
                             initial ? dc0.data() : nullptr};
        return call;
    }
};

/* ‖values − wanted‖ / ‖wanted‖. least: what the second norm is taken for, at least. */
static double error_of(const Array &array, const Doubles &wanted, double least = 0) {
    const std::vector<float> values = array.read();
    double difference = 0, size = least * least;
    for (size_t place = 0; place < values.size(); ++place) {
        difference += (values[place] - wanted[place]) * (values[place] - wanted[place]);
        size += wanted[place] * wanted[place];
    }
    if (!array.end_is_intact())
        return NAN;
    return values.empty() || (size == 0 && difference == 0) ? 0 : std::sqrt(difference / size);
}

static void poison_workspace() {
    if (workspace_array)
        workspace_array->poison();
}

static std::string plan_of(bool backward, bool keep, const Sizes &sizes) {
    return state_of(device).chosen.at(std::make_tuple(backward, keep, products, sizes.hidden, sizes.batch)).plan.text();
}

/* A way, and the rows and columns of its tiles. */
using Shape = std::tuple<Way, int, int>;
static Shape shape_of(const Plan &plan) {
    return plan.way == Way::tiles ? Shape(plan.way, plan.pass_rows, plan.tile_columns) : Shape(plan.way, 0, 0);
}

/* Let the three kernels of this size be the cheapest of a way, with tiles of this shape where there are such plans. Returns
 * whether the way has plans. */
static bool take_way(const Sizes &sizes, const Shape &shape) {
    State &state = state_of(device);
    for (int kind = 0; kind < 3; ++kind) {
        bool found = false;
        for (bool exactly : {true, false})
            for (const Plan &plan : plans(state.gpu, kind == 2, kind == 1, products, sizes.hidden, sizes.batch)) {
                Kernel kernel;
                int resident = 0;
                if (found || plan.way != std::get<0>(shape) || (exactly && shape_of(plan) != shape))
                    continue;
                stop(load_kernel(device, state, plan, kernel, resident));
                found = resident >= (plan.cluster ? 1 : plan.groups);
                if (found)
                    state.chosen[std::make_tuple(kind == 2, kind == 1, products, sizes.hidden, sizes.batch)] = kernel;
            }
        if (!found)
            return false;
    }
    return true;
}

/* Compare a layer with its reference. Returns whether all errors are small. */
static bool check_way(Layer &layer, double limit, bool quiet) {
    const Sizes &sizes = layer.sizes;
    const bool initial = layer.initial;
    bool unsupported = false, good = true;
    std::string line;
    char text[200];
    auto compare = [&](const char *name, const Array &array, const Doubles &wanted, double least = 0) {
        const double error = error_of(array, wanted, least);
        good = good && error < limit;
        std::snprintf(text, sizeof text, " %s %.1e", name, error);
        line += text;
    };
    for (bool keep : {false, true}) {
        layer.states.poison(), layer.gates.poison(), layer.kept_cells.poison();
        poison_workspace();
        synchronize();
        stop(forward(device, layer.forward_call(keep), unsupported));
        synchronize();
        compare(keep ? "kept" : "states", layer.states, layer.want_states);
    }
    poison_workspace();
    stop(backward(device, layer.backward_call(true), unsupported));
    synchronize();
    const std::string problem = failure(device);
    compare("dx", layer.d_x, layer.want_dx), compare("dW", layer.dW, layer.want_dW), compare("dU", layer.dU, layer.want_dU, layer.least_dU);
    compare("db", layer.db, layer.want_db);
    if (initial)
        compare("dh0", layer.dh0, layer.want_dh0), compare("dc0", layer.dc0, layer.want_dc0);
    good = good && problem.empty() && layer.gates.end_is_intact() && layer.kept_cells.end_is_intact();
    if (!quiet || !good)
        std::printf("%s %ldx%ldx%ldx%ld%s:%s %s\n    %s | %s\n", good ? "good" : "WRONG", sizes.seq, sizes.batch, sizes.inputs, sizes.hidden,
                    initial ? " h0" : "", line.c_str(), problem.c_str(), plan_of(false, false, sizes).c_str(), plan_of(true, false, sizes).c_str());
    std::fflush(stdout);
    return good;
}

/* Compare one size with the reference, by each way that can do it. Returns whether all errors are small. */
static bool check(Sizes sizes, bool initial, double limit, bool quiet = false) {
    Layer layer(sizes, initial);
    layer.reference();
    bool good = true;
    std::set<Shape> shapes;
    for (bool backward : {false, true})
        for (const Plan &plan : plans(state_of(device).gpu, backward, false, products, sizes.hidden, sizes.batch))
            shapes.insert(shape_of(plan));
    for (const Shape &shape : shapes)
        if (take_way(sizes, shape))
            good = check_way(layer, limit, quiet) && good;
    state_of(device).chosen.clear();
    return check_way(layer, limit, quiet) && good;  // the model's choice
}

/* Without a product, a step's turns follow each other as fast as can be. Then a warp that still waits for its
 * instructions must not miss its own. */
static bool check_turns(double limit) {
    bool unsupported = false;
    Layer layer({1, 96, 25, 513}, false);
    layer.reference();
    take_way(layer.sizes, Shape(Way::tiles, 16, 32));
    const Array large(size_t(64) << 20);  // to write it takes all of the L2 cache
    std::string problem;
    for (int call = 0; call < 1000 && problem.empty(); ++call) {
        cuda("cuMemsetD32Async", large.place, 0u, large.count, stream);
        synchronize();
        stop(forward(device, layer.forward_call(true), unsupported));
        synchronize();
        problem = failure(device);
    }
    const bool good = problem.empty() && error_of(layer.states, layer.want_states) < limit;
    std::printf("%s 1000 calls of one step %s\n    %s\n", good ? "good" : "WRONG", problem.c_str(),
                plan_of(false, true, layer.sizes).c_str());
    return good;
}

/* The median of the times of many calls, µs on the GPU. */
static double time_of(const std::function<void()> &call, int repeats = 30) {
    static void *begin = nullptr, *end = nullptr;
    if (!begin) {
        cuda("cuEventCreate", &begin, 0u);
        cuda("cuEventCreate", &end, 0u);
    }
    for (int warm = 0; warm < 3; ++warm)
        call();
    std::vector<float> times;
    for (int repeat = 0; repeat < repeats; ++repeat) {
        cuda("cuEventRecord", begin, stream);
        call();
        cuda("cuEventRecord", end, stream);
        cuda("cuEventSynchronize", end);
        float milliseconds;
        cuda("cuEventElapsedTime", &milliseconds, begin, end);
        times.push_back(milliseconds * 1000);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

/* The arguments of a kernel alone, for a plan: x·W is what lies in `gates`. */
static Arguments arguments_of(Layer &layer, const Plan &plan) {
    Arguments arguments = {};
    const size_t counters_at = (plan.exchange_bytes() + 255) / 256 * 256, sums_at = counters_at + (plan.counter_count() * 4 + 255) / 256 * 256;
    const long groups = ceiling(layer.sizes.batch, plan.rows);
    char *const space = static_cast<char *>(workspace(nullptr, sums_at + groups * layer.width * 4));
    arguments.U = layer.gpu_U.data(), arguments.bias = layer.gpu_b.data();
    arguments.gates = layer.gates.data(), arguments.cells = layer.kept_cells.data();
    arguments.states = plan.backward ? layer.gpu_d_y.data() : layer.states.data();
    arguments.exchange = reinterpret_cast<float *>(space), arguments.counters = reinterpret_cast<unsigned *>(space + counters_at);
    arguments.bias_sums = plan.backward ? reinterpret_cast<float *>(space + sums_at) : nullptr;
    arguments.failure = state_of(device).failures_on_gpu + plan.backward;
    arguments.end_cell = plan.backward ? nullptr : layer.dc0.data();
    arguments.seq = int(layer.sizes.seq), arguments.batch = int(layer.sizes.batch);
    return arguments;
}

static double time_plan(Layer &layer, const Plan &plan, int repeats = 20) {
    Kernel kernel;
    int resident = 0;
    stop(load_kernel(device, state_of(device), plan, kernel, resident));
    if (!plan.cluster && resident < plan.groups)
        return NAN;
    const Arguments arguments = arguments_of(layer, plan);
    return time_of([&] { stop(clear_messages(device, plan, arguments)), stop(launch(device, state_of(device), kernel, products, arguments, false)); }, repeats);
}

static void time_shape(Sizes sizes) {
    Layer layer(sizes, false);
    bool unsupported = false;
    auto forward_of = [&](bool keep) { stop(forward(device, layer.forward_call(keep), unsupported)); };
    auto backward_of = [&](bool inputs) { stop(backward(device, layer.backward_call(inputs), unsupported)); };
    const double alone = time_of([&] { forward_of(false); });
    const double train = time_of([&] { forward_of(true), backward_of(false); });
    const double deep = time_of([&] { forward_of(true), backward_of(true); });
    State &state = state_of(device);
    auto time_product = [&](bool transpose, long m, long k, const Array &factors, const Array &to) {
        return time_of([&] {
            stop(multiply(device, state, {products, transpose, false, m, long(layer.width), k, layer.gpu_x.data(), factors.data(), 0, to.data()}, "a product"));
        });
    };
    const double in = time_product(false, layer.rows, sizes.inputs, layer.gpu_W, layer.gates);
    const double weights = time_product(true, sizes.inputs, layer.rows, layer.gates, layer.dW);
    double steps[3], starts[3];
    for (int kind = 0; kind < 3; ++kind) {
        const Plan &plan = state.chosen.at(std::make_tuple(kind == 2, kind == 1, products, sizes.hidden, sizes.batch)).plan;
        steps[kind] = time_plan(layer, plan);
        layer.sizes.seq = 1;
        starts[kind] = time_plan(layer, plan);
        layer.sizes.seq = sizes.seq;
    }
    synchronize();
    stop(failure(device));
    std::printf("%4ld x %3ld x %4ld: forward %7.1f us (%.2f an example), train %7.1f (%.2f), train with d_x %7.1f; x.W %.1f, dW %.1f; "
                "us a step: forward %.2f, kept %.2f, backward %.2f; one step: %.1f, %.1f, %.1f\n    %s | %s\n",
                sizes.batch, sizes.seq, sizes.hidden, alone, alone / sizes.batch, train, train / sizes.batch, deep, in, weights,
                steps[0] / sizes.seq, steps[1] / sizes.seq, steps[2] / sizes.seq, starts[0], starts[1], starts[2], plan_of(false, false, sizes).c_str(), plan_of(true, false, sizes).c_str());
    std::fflush(stdout);
}

static void sweep(Sizes sizes, int most) {
    Layer layer(sizes, false);
    State &state = state_of(device);
    for (int kind = 0; kind < 2; ++kind) {
        const std::vector<Plan> all = plans(state.gpu, kind == 1, false, products, sizes.hidden, sizes.batch);
        for (int number = 0; number < std::min(most, int(all.size())); ++number) {
            // Finite numbers for the kernels to work on.
            layer.gates.write(normal(layer.gates.count, 0.1)), layer.kept_cells.write(normal(layer.kept_cells.count, 0.5));
            const double time = time_plan(layer, all[number], 10);
            synchronize();
            const std::string problem = failure(device);
            std::printf("%ldx%ldx%ld %6.2f us a step, model %6.2f: %s %s\n", sizes.batch, sizes.seq, sizes.hidden, time / sizes.seq,
                        all[number].cost / 1980, all[number].text().c_str(), problem.c_str());
            std::fflush(stdout);
        }
    }
}

/* Compare lstm_product with float64, for each order of its factors and division of K. Around the arrays lies NaN. */
static bool check_product(long m, long n, long k) {
    State &state = state_of(device);
    bool all_good = true;
    if (state.gpu.major != 9)
        return all_good;  // other GPUs have no such kernel
    for (int order = 0; order < 3; ++order)
        for (float beta : {0.f, 1.f}) {
            // What lies side by side comes in fours. The other sizes may be odd.
            const bool turn_a = order == 1, turn_b = order == 2;
            const long rows = turn_a ? ceiling(m, 4) * 4 : m, depth = turn_a ? k + 1 : k;
            const std::vector<float> a = normal(rows * depth, 1), b = normal(n * depth, 1), before = normal(rows * n, 1);
            Array gpu_a(a.size()), gpu_b(b.size()), gpu_c(before.size());
            gpu_a.write(a), gpu_b.write(b);
            const Product product = {Products::tf32x3, turn_a, turn_b, rows, n, depth, gpu_a.data(), gpu_b.data(), beta, gpu_c.data()};
            const ProductKernel *kernel = nullptr;
            stop(load_product(device, state, product, kernel));
            Doubles want = beta != 0 ? doubles(before) : Doubles(before.size());
            ::product(turn_a, turn_b, rows, n, depth, doubles(a).data(), doubles(b).data(), want.data());
            for (const auto &each : kernel->resident) {
                const int blocks = each.first;
                if (blocks > product.steps())
                    break;
                std::vector<float> first;
                bool good = true;
                double error = 0;
                for (int again = 0; again < 5; ++again) {  // the same bits each time
                    beta != 0 ? gpu_c.write(before) : gpu_c.poison();
                    cuda("cuCtxSynchronize");  // the copies are on another stream
                    stop(launch_product(device, state.gpu, *kernel, product, blocks));
                    synchronize();
                    if (again == 0)
                        first = gpu_c.read(), error = error_of(gpu_c, want);
                    good = good && error < 5e-7 && gpu_c.read() == first;
                }
                std::printf("product %ld x %ld x %ld, order %d, beta %g, %d blocks: error %.1e %s\n", rows, n, depth, order, beta, blocks, error, good ? "good" : "WRONG");
                all_good = all_good && good;
            }
        }
    return all_good;
}

/* The sizes of `check`. */
static const Sizes checked[] = {
    {1, 1, 1, 1}, {3, 7, 5, 17}, {4, 33, 10, 37}, {5, 100, 64, 100}, {30, 32, 128, 128}, {7, 128, 128, 128}, {4, 129, 20, 130},
    {6, 300, 30, 250}, {3, 33, 70, 320}, {30, 32, 512, 512}, {9, 128, 64, 512}, {3, 300, 40, 512}, {4, 7, 9, 513}, {3, 33, 50, 700},
    {3, 100, 30, 1000}, {30, 32, 128, 1024}, {6, 128, 100, 1024}, {2, 300, 8, 1024}, {1, 1, 3, 1024}, {2, 1, 4, 512}, {200, 5, 6, 96}, {3, 150, 9, 768}, {2, 700, 5, 530}, {3, 9, 11, 1100}, {3, 5, 20, 2050},
    {25, 128, 512, 512},    // x.W is computed in two products
    {34, 128, 1024, 128}};  // so is the inputs' gradient
/* The sizes of `products`: m, n, k. The last ones have many tiles, and more than one for a block. */
static const long checked_products[][3] = {{1, 4, 4},       {128, 128, 32},   {100, 132, 100},  {129, 260, 36}, {257, 4, 1000},
                                           {60, 132, 2052}, {332, 516, 4100}, {3000, 700, 128}, {2500, 1024, 256}};
static const Sizes timed[] = {{30, 32, 512, 512}, {30, 128, 512, 512}, {30, 32, 1024, 1024}, {30, 128, 1024, 1024}, {30, 32, 128, 128}, {30, 128, 128, 128}, {200, 128, 512, 512}};

/* The sizes of `random`. Each hidden size needs kernels of its own, so there are few. */
static const long drawn_hidden[] = {1, 7, 33, 64, 128, 200, 333, 513, 600, 1024}, most_drawn_batch = 150;

static Gpu h100() {
    Gpu gpu = {132, 9, 0, 232448, true, {}};
    for (int size = 1; size <= 16; ++size)
        gpu.resident[size] = assumed_clusters(gpu, size);
    return gpu;
}

/* Compile the likely kernels of all sizes into the cache's folder, with `processes` processes. It needs no GPU. */
static int compile_all(int processes, int most) {
    std::map<std::vector<std::string>, std::string> wanted;
    State state;
    state.gpu = h100();
    auto add = [&](const Sizes &sizes, int most) {
        for (int kind = 0; kind < 3; ++kind) {
            const std::vector<Plan> all = plans(state.gpu, kind == 2, kind == 1, products, sizes.hidden, sizes.batch);
            for (int number = 0; number < std::min(most, int(all.size())); ++number)
                wanted[all[number].options()] = all[number].text();
            std::set<Shape> shapes;
            for (const Plan &plan : all)
                if (shapes.insert(shape_of(plan)).second)  // the cheapest of this shape
                    wanted[plan.options()] = plan.text();
        }
    };
    for (const Sizes &sizes : checked)
        add(sizes, 1);
    for (const Sizes &sizes : timed)
        add(sizes, most);
    for (long hidden : drawn_hidden)
        for (long batch = 1; batch <= most_drawn_batch; ++batch)
            add({1, batch, 1, hidden}, 1);
    if (const char *path = std::getenv("NVRTC"))
        device.nvrtc_path = path;
    device.cache_folder = std::getenv("CUBINS");
    for (int child = 0; child < processes; ++child)
        if (fork() == 0) {
            int number = 0;
            for (const auto &entry : wanted)
                if (number++ % processes == child) {
                    std::string code;
                    const std::string problem = machine_code(device, state, entry.first, code);
                    if (!problem.empty())
                        std::printf("%s\n%s\n", entry.second.c_str(), problem.c_str());
                }
            std::fflush(stdout);
            _exit(0);
        }
    while (wait(nullptr) > 0) {
    }
    std::printf("%d kernels\n", int(wanted.size()));
    return 0;
}

int main(int count, char **words) {
    const std::string what = count > 1 ? words[1] : "";
    if (what == "plans") {
        const Gpu gpu = h100();
        for (const Sizes &sizes : timed)
            for (int kind = 0; kind < 2; ++kind) {
                const std::vector<Plan> all = plans(gpu, kind == 1, false, products, sizes.hidden, sizes.batch);
                for (int number = 0; number < std::min(count > 2 ? std::atoi(words[2]) : 5, int(all.size())); ++number)
                    std::printf("%ldx%ldx%ld model %6.2f us a step: %s\n", sizes.batch, sizes.seq, sizes.hidden, all[number].cost / 1980, all[number].text().c_str());
            }
        return 0;
    }
    if (what == "compile")
        return compile_all(count > 2 ? std::atoi(words[2]) : 1, count > 3 ? std::atoi(words[3]) : 1);
    start();
    State &state = state_of(device);
    stop(state.error);
    if (what == "time" || what == "sweep") {
        for (const Sizes &sizes : timed)
            what == "time" ? time_shape(sizes) : sweep(sizes, count > 2 ? std::atoi(words[2]) : 40);
        for (const auto &entry : state.gpu.resident)
            std::printf("clusters of %d: %d; ", entry.first, entry.second);
        std::printf("\n");
        return 0;
    }
    if (what == "plan" && count > 6) {
        Layer layer({std::atol(words[2]), std::atol(words[3]), std::atol(words[4]), std::atol(words[4])}, false);
        layer.gates.write(normal(layer.gates.count, 0.1)), layer.kept_cells.write(normal(layer.kept_cells.count, 0.5));
        for (const Plan &plan : plans(state.gpu, std::atoi(words[5]) == 2, std::atoi(words[5]) == 1, products, std::atol(words[4]), std::atol(words[3])))
            if (plan.text().find(words[6]) != std::string::npos) {
                const double time = time_plan(layer, plan, 5);
                std::printf("%6.2f us a step: %s\n", time / std::atol(words[2]), plan.text().c_str());
                break;
            }
        return 0;
    }
    bool good = true;
    const double limit = products == Products::tf32 ? 2e-3 : 2e-6;
    if (what == "one" && count > 5) {
        good = check({std::atol(words[2]), std::atol(words[3]), std::atol(words[4]), std::atol(words[5])}, true, limit);
    } else if (what == "random" && count > 2) {
        for (long number = 0; number < std::atol(words[2]); ++number) {
            auto draw = [&](long least, long most) { return least + long(generator() % (most - least + 1)); };
            const long hidden = drawn_hidden[draw(0, 99) < 90 ? draw(0, 6) : draw(7, 9)];
            good = check({draw(1, 4), draw(1, most_drawn_batch), draw(1, 60), hidden}, draw(0, 1), limit, true) && good;
        }
        std::printf("%s random sizes: %s\n", words[2], good ? "all good" : "NOT all good");
    } else if (what == "products") {
        for (const auto &sizes : checked_products)
            good = check_product(sizes[0], sizes[1], sizes[2]) && good;
    } else if (what == "check") {
        for (const Sizes &sizes : checked)
            for (int initial = 0; initial < 2; ++initial)
                if (initial || sizes.seq > 5)
                    good = check(sizes, initial, limit) && good;
        good = check_turns(limit) && good;
    } else {
        std::printf("see the beginning of cuda_harness.cpp\n");
        return 2;
    }
    std::printf("%s\n", good ? "all good" : "NOT all good");
    return good ? 0 : 1;
}
