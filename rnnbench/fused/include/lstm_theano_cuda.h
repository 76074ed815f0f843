/* Connects Theano's arrays on the GPU with lstm_cuda.h: it makes the results, and reports mistakes to Python.
 *
 * 1. Libraries. libgpuarray has opened the driver and cuBLAS, and lends its stream. No header of CUDA is needed.
 * 2. Products, by cuBLAS; on tensor cores also with float32's accuracy.
 * 3. Graphs. A call starts several kernels. A call that comes again with the same addresses is recorded as a CUDA
 *    graph, and from then on the host starts it as a whole.
 * 4. Contexts. A context of libgpuarray has a stream, cuBLAS, a workspace and graphs. All operations share it.
 * 5. The two calls that Theano's operations make.
 */
#ifndef RNNBENCH_FUSED_LSTM_THEANO_CUDA_H
#define RNNBENCH_FUSED_LSTM_THEANO_CUDA_H

#include <dlfcn.h>

#include <cstdint>
#include <map>
#include <memory>

namespace rnnbench_fused {

using namespace rnnbench_fused_cuda;

/* ---- 1. Libraries ----------------------------------------------------------------------------------------------- */

/* A library that is loaded already, or can be. A function that it lacks makes it unusable. */
class Library {
  public:
    explicit Library(const char *name) : handle_(dlopen(name, RTLD_NOW)) {}

    template <typename Function> void find(const char *name, Function *&function) {
        function = handle_ ? reinterpret_cast<Function *>(dlsym(handle_, name)) : nullptr;
        complete_ = complete_ && function;
    }
    bool complete() const { return complete_; }

  private:
    void *handle_;
    bool complete_ = true;
};

/* libgpuarray's own functions for CUDA. ext_cuda.h declares them, but needs cuda.h. */
struct GpuArrayCuda {
    void (*enter)(gpucontext *), (*exit)(gpucontext *);
    void *(*stream)(gpucontext *);
    int (*wait)(gpudata *, int), (*record)(gpudata *, int);

    GpuArrayCuda() {
        find("cuda_enter", enter), find("cuda_exit", exit), find("cuda_get_stream", stream);
        find("cuda_wait", wait), find("cuda_record", record);
    }

  private:
    template <typename Function> void find(const char *name, Function *&function) {
        function = reinterpret_cast<Function *>(gpuarray_get_extension(name));
    }
};

inline const GpuArrayCuda &gpuarray_cuda() {
    static const GpuArrayCuda functions;
    return functions;
}

/* Makes a context the current one of this thread. */
class Entered {
  public:
    explicit Entered(gpucontext *context) : context_(context) { gpuarray_cuda().enter(context_); }
    ~Entered() { gpuarray_cuda().exit(context_); }
    Entered(const Entered &) = delete;
    Entered &operator=(const Entered &) = delete;

  private:
    gpucontext *context_;
};

/* ---- 2. Products ------------------------------------------------------------------------------------------------ */

class Blas {
  public:
    Blas() : library_("libcublas.so") {  // libgpuarray opens it by this name too
        library_.find("cublasCreate_v2", create_);
        library_.find("cublasSetStream_v2", set_stream_);
        library_.find("cublasSetWorkspace_v2", set_workspace_);
        library_.find("cublasSetMathMode", set_math_mode_);
        library_.find("cublasSgemm_v2", sgemm_);
        library_.find("cublasGetStatusString", status_string_);
    }

    /* Start cuBLAS in the current context. Returns false and sets `error` if that fails. */
    bool start(std::string &error) {
        if (!library_.complete()) {
            error = "libcublas.so can't be opened, or is older than cuBLAS 11.4: install a newer one";
            return false;
        }
        return succeeds(create_(&handle_), "cublasCreate", error);
    }

    /* Its work goes to this stream. cuBLAS gets a workspace, so that a recorded call allocates nothing. */
    bool use(void *stream, void *workspace, size_t bytes, std::string &error) {
        return succeeds(set_stream_(handle_, stream), "cublasSetStream", error) &&
               succeeds(set_workspace_(handle_, workspace, bytes), "cublasSetWorkspace", error);
    }

    /* C = alpha·op(A)·op(B) + beta·C. cuBLAS stores columns, so it is given the transposed product. */
    bool multiply(bool tf32, bool transpose_a, bool transpose_b, long m, long n, long k, float alpha, const float *a,
                  long lda, const float *b, long ldb, float beta, float *c, long ldc, std::string &error) {
        const int mode = tf32 ? 3 : 0;  // CUBLAS_TF32_TENSOR_OP_MATH, CUBLAS_DEFAULT_MATH
        if (mode != mode_ && !succeeds(set_math_mode_(handle_, mode), "cublasSetMathMode", error))
            return false;
        mode_ = mode;
        return succeeds(sgemm_(handle_, transpose_b, transpose_a, int(n), int(m), int(k), &alpha, b, int(ldb), a,
                               int(lda), &beta, c, int(ldc)),
                        "cublasSgemm", error);
    }

  private:
    bool succeeds(int status, const char *function, std::string &error) {
        if (status != 0)
            error = std::string("lstm: ") + function + " failed: " + status_string_(status);
        return status == 0;
    }

    Library library_;
    void *handle_ = nullptr;
    int mode_ = 0;
    int (*create_)(void **);
    int (*set_stream_)(void *, void *);
    int (*set_workspace_)(void *, void *, size_t);
    int (*set_math_mode_)(void *, int);
    int (*sgemm_)(void *, int, int, int, int, int, const float *, const float *, int, const float *, int,
                  const float *, float *, int);
    const char *(*status_string_)(int);
};

/* The kernel of split_cuda.cu, which a product of three parts needs. */
class Splitter {
  public:
    /* Compile the kernel for the current context's GPU, at the first call. Returns "" or a sentence. */
    std::string start(const std::string &nvrtc_path, const std::string &architecture) {
        if (kernel_)
            return "";
        const Driver &driver = Driver::get();
        const Compiler compiler(nvrtc_path);
        if (!compiler.error.empty())
            return compiler.error;
        const std::string option = "--gpu-architecture=" + architecture;
        const char *const options[] = {option.c_str()};
        void *program = nullptr, *module = nullptr;
        size_t size = 0;
        std::string code;
        if (compiler.nvrtcCreateProgram(&program, rnnbench_split_cuda_source, "split_cuda.cu", 0, nullptr, nullptr) == 0 &&
            compiler.nvrtcCompileProgram(program, 1, options) == 0 && compiler.nvrtcGetCUBINSize(program, &size) == 0) {
            code.resize(size);
            compiler.nvrtcGetCUBIN(program, &code[0]);
        }
        compiler.nvrtcDestroyProgram(&program);
        if (code.empty())
            return "lstm: NVRTC can't compile split_cuda.cu";
        const std::string problem = driver.check(driver.cuModuleLoadData(&module, code.data()), "cuModuleLoadData");
        if (!problem.empty())
            return problem;
        return driver.check(driver.cuModuleGetFunction(&kernel_, module, "split"), "cuModuleGetFunction");
    }

    /* Make a copy in three parts of an array of rows × columns, on a stream. The parts lie side by side, or if `stacked`
     * one under the other. Returns "" or a sentence. */
    std::string split(void *stream, const float *from, long stride, long rows, long columns, float *to, bool stacked,
                      int small_part) const {
        const Driver &driver = Driver::get();
        long long from_stride = stride, to_stride = stacked ? columns : 3 * columns;
        long long part_stride = stacked ? rows * columns : columns;
        int row_count = int(rows), column_count = int(columns);
        void *parameters[] = {&from, &from_stride, &row_count, &column_count, &to, &to_stride, &part_stride, &small_part};
        LaunchConfig config = {};
        config.grid[0] = unsigned((columns + 255) / 256), config.grid[1] = unsigned(std::min(rows, 65535L));
        config.grid[2] = 1;
        config.block[0] = 256, config.block[1] = config.block[2] = 1;
        config.stream = stream;
        return driver.check(driver.cuLaunchKernelEx(&config, kernel_, parameters, nullptr), "cuLaunchKernelEx of split");
    }

  private:
    void *kernel_ = nullptr;
};

/* ---- 3. Graphs -------------------------------------------------------------------------------------------------- */

typedef std::vector<uint64_t> Key;  // of a call: all of its sizes and addresses

class Graphs {
  public:
    Graphs() : library_("libcuda.so.1") {
        library_.find("cuStreamCreate", create_stream_);
        library_.find("cuStreamBeginCapture_v2", begin_);
        library_.find("cuStreamEndCapture", end_);
        library_.find("cuGraphInstantiateWithFlags", instantiate_);
        library_.find("cuGraphDestroy", destroy_graph_);
        library_.find("cuGraphLaunch", launch_);
        library_.find("cuGraphExecDestroy", destroy_);
    }

    /* Run call(stream), which returns "" or a sentence, on a stream. The first time it runs as it is. The second time it
     * is recorded. If it can't be recorded, it always runs as it is. */
    template <typename Call> std::string run(const Key &key, void *stream, const Call &call) {
        const auto known = graphs_.find(key);
        if (known == graphs_.end()) {
            if (graphs_.size() == most)
                clear();
            const std::string problem = call(stream);
            if (problem.empty())
                graphs_[key] = Graph();
            return problem;
        }
        Graph graph = known->second;
        if (!graph.tried) {
            graph.executable = record(call);
            graph.tried = true;
            graphs_[key] = graph;  // not through `known`: a call whose workspace moves clears all graphs
        }
        if (!graph.executable)
            return call(stream);
        const int status = launch_(graph.executable, stream);
        return status ? "lstm: starting a CUDA graph failed with CUDA error " + std::to_string(status) : "";
    }

    /* Forget all graphs: the workspace that they use has moved. */
    void clear() {
        for (const auto &each : graphs_)
            if (each.second.executable)
                destroy_(each.second.executable);
        graphs_.clear();
    }

  private:
    struct Graph {
        bool tried = false;
        void *executable = nullptr;
    };

    /* Return a call's graph, or null. Recording runs nothing. */
    template <typename Call> void *record(const Call &call) {
        const unsigned non_blocking = 1;
        const int relaxed = 2;
        if (!library_.complete() || (!aside_ && create_stream_(&aside_, non_blocking) != 0) ||
            begin_(aside_, relaxed) != 0)
            return nullptr;
        const std::string problem = call(aside_);
        void *graph = nullptr, *executable = nullptr;
        if (end_(aside_, &graph) == 0 && problem.empty() && instantiate_(&executable, graph, 0) != 0)
            executable = nullptr;
        if (graph)
            destroy_graph_(graph);
        return executable;
    }

    static const size_t most = 64;  // calls whose addresses don't come again must not pile up

    Library library_;
    void *aside_ = nullptr;  // the stream for recording
    std::map<Key, Graph> graphs_;
    int (*create_stream_)(void **, unsigned);
    int (*begin_)(void *, int);
    int (*end_)(void *, void **);
    int (*instantiate_)(void **, void *, unsigned long long);
    int (*destroy_graph_)(void *);
    int (*launch_)(void *, void *);
    int (*destroy_)(void *);
};

/* ---- 4. Contexts ------------------------------------------------------------------------------------------------ */

/* Memory of the GPU that grows and isn't given back. It comes from libgpuarray, which keeps freed memory for others. */
class Room {
  public:
    /* Return at least this many bytes, aligned for every kernel; null if the GPU has no such memory left. `has_moved` is
     * set if they lie elsewhere than before. */
    void *at_least(size_t bytes, gpucontext *context, bool &has_moved) {
        if (bytes + alignment > bytes_ || !buffer_) {
            has_moved = true;
            if (buffer_)
                gpudata_release(buffer_);  // work that still uses it comes before later work on the same stream
            bytes_ = bytes + alignment;
            buffer_ = gpudata_alloc(context, bytes_, nullptr, 0, nullptr);
        }
        if (!buffer_)
            return nullptr;
        const uintptr_t start = *reinterpret_cast<uintptr_t *>(buffer_);  // libgpuarray promises this
        return reinterpret_cast<void *>((start + alignment - 1) / alignment * alignment);
    }

  private:
    static const size_t alignment = 256;
    gpudata *buffer_ = nullptr;
    size_t bytes_ = 0;
};

/* What the layers of one context share. It lives as long as the process. */
class Context {
  public:
    /* Return the state of a context. The first call makes it. If that fails, set Python's error and return null. */
    static Context *of(PyGpuContextObject *context) {
        // Each operation is a library of its own. This map is one for all, so it must be visible outside of them.
        static std::map<gpucontext *, std::unique_ptr<Context>> *const all =
            new std::map<gpucontext *, std::unique_ptr<Context>>;  // not freed: at the process's end CUDA may be gone
        std::unique_ptr<Context> &one = (*all)[context->ctx];
        if (!one) {
            std::unique_ptr<Context> fresh(new Context(context->ctx));
            if (!fresh->start())
                return nullptr;
            one = std::move(fresh);
        }
        return one.get();
    }

    /* Run call(device, unsupported), which returns "" or a sentence. Returns false with Python's error set if it does. */
    template <typename Call> bool run(const Key &key, const Call &call) {
        const Entered entered(context_);
        std::string problem = failure(device_);
        bool unsupported = false;
        if (problem.empty())
            problem = graphs_.run(key, gpuarray_cuda().stream(context_), [&](void *stream) {
                std::string error;
                void *const memory = room(for_blas_, blas_bytes);
                if (!memory)
                    return std::string("lstm: the GPU is out of memory: it has no room for cuBLAS");
                if (!blas_.use(stream, memory, blas_bytes, error))
                    return error;
                device_.stream = stream;
                return call(device_, unsupported);
            });
        if (problem.empty())
            return true;
        raise(problem, unsupported);
        return false;
    }

  private:
    explicit Context(gpucontext *context) : context_(context) {}

    bool start() {
        const Entered entered(context_);
        std::string error;
        if (!blas_.start(error)) {
            raise(error, true);
            return false;
        }
        device_.stream = gpuarray_cuda().stream(context_);
        device_.context_of_caller = this;
        device_.nvrtc_path = "libnvrtc.so";  // libgpuarray opens it by this name too
        device_.multiply = [](void *self, Products products, bool transpose_a, bool transpose_b, long m, long n, long k,
                              float alpha, const float *a, long lda, const float *b, long ldb, float beta, float *c,
                              long ldc, std::string &problem) {
            Context &one = *static_cast<Context *>(self);
            if (products == Products::tf32x3 && double(m) * n * k > 5e8)  // below, three parts aren't faster
                return one.multiply_in_parts(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc,
                                             problem);
            return one.blas_.multiply(products == Products::tf32, transpose_a, transpose_b, m, n, k, alpha, a, lda, b,
                                      ldb, beta, c, ldc, problem);
        };
        device_.workspace = [](void *self, size_t bytes) {
            Context &one = *static_cast<Context *>(self);
            return one.room(one.workspace_, bytes);
        };
        return meet_python();
    }

    /* Return memory; graphs that name its former place are forgotten. */
    void *room(Room &from, size_t bytes) {
        bool has_moved = false;
        void *const memory = from.at_least(bytes, context_, has_moved);
        if (has_moved)
            graphs_.clear();
        out_of_memory_ = !memory;
        return memory;
    }

    /* As Blas::multiply, with float32's accuracy on tensor cores, where lstm_cuda_product.cu can't do it; split_cuda.cu says
     * how. A tensor core adds up with less than float32's accuracy. So K is cut into pieces, and their products are added
     * up in float32. */
    bool multiply_in_parts(bool transpose_a, bool transpose_b, long m, long n, long k, float alpha, const float *a,
                           long lda, const float *b, long ldb, float beta, float *c, long ldc, std::string &error) {
        const long most = 512;
        float *const a_parts = static_cast<float *>(room(parts_, 3 * (m + n) * std::min(k, most) * sizeof(float)));
        float *const b_parts = a_parts + 3 * m * std::min(k, most);
        error = a_parts ? splitter_.start(device_.nvrtc_path, state_of(device_).gpu.architecture())
                        : "lstm: the GPU is out of memory: it has no room for a product in three parts";
        for (long begin = 0; begin < k && error.empty(); begin += most) {
            const long size = std::min(most, k - begin);
            error = transpose_a ? splitter_.split(device_.stream, a + begin * lda, lda, size, m, a_parts, true, 0)
                                : splitter_.split(device_.stream, a + begin, lda, m, size, a_parts, false, 0);
            if (error.empty())
                error = transpose_b ? splitter_.split(device_.stream, b + begin, ldb, n, size, b_parts, false, 1)
                                    : splitter_.split(device_.stream, b + begin * ldb, ldb, size, n, b_parts, true, 1);
            if (error.empty() &&
                !blas_.multiply(true, transpose_a, transpose_b, m, n, 3 * size, alpha, a_parts, transpose_a ? m : 3 * size,
                                b_parts, transpose_b ? 3 * size : n, begin ? 1 : beta, c, ldc, error))
                return false;
        }
        return error.empty();
    }

    /* Tell gpu.py how to ask for failures, and learn from it where compiled kernels are kept. */
    bool meet_python() {
        static PyMethodDef method = {"failure", reported_failure, METH_NOARGS, "Return a sentence, or nothing."};
        PyObject *const self = PyCapsule_New(this, nullptr, nullptr);
        PyObject *const failure = self ? PyCFunction_New(&method, self) : nullptr;
        PyObject *const module = failure ? PyImport_ImportModule("rnnbench.fused.gpu") : nullptr;
        PyObject *const folder = module ? PyObject_CallMethod(module, "start", "O", failure) : nullptr;
        const char *const text = folder ? PyUnicode_AsUTF8(folder) : nullptr;
        if (text)
            device_.cache_folder = text;
        Py_XDECREF(folder), Py_XDECREF(module), Py_XDECREF(failure), Py_XDECREF(self);
        return text != nullptr;
    }

    static PyObject *reported_failure(PyObject *self, PyObject *) {
        Context *const context = static_cast<Context *>(PyCapsule_GetPointer(self, nullptr));
        const Entered entered(context->context_);
        return PyUnicode_FromString(failure(context->device_).c_str());
    }

    /* Set Python's error: Unavailable if no kernel can do it, else MemoryError or RuntimeError. */
    void raise(const std::string &problem, bool unsupported) const {
        PyObject *const module = unsupported ? PyImport_ImportModule("rnnbench.network.contract") : nullptr;
        PyObject *const kind = module ? PyObject_GetAttrString(module, "Unavailable") : nullptr;
        if (kind || !unsupported)
            PyErr_SetString(kind ? kind : out_of_memory_ ? PyExc_MemoryError : PyExc_RuntimeError, problem.c_str());
        Py_XDECREF(kind), Py_XDECREF(module);
    }

    static const size_t blas_bytes = 32 << 20;  // what NVIDIA advises for Hopper

    gpucontext *context_;
    Blas blas_;
    bool out_of_memory_ = false;  // at the last call of room()
    Splitter splitter_;
    Room workspace_, for_blas_, parts_;
    Graphs graphs_;
    Device device_;
};

/* ---- 5. The two calls ------------------------------------------------------------------------------------------- */

template <> inline Shape shape_of(PyGpuArrayObject *array) {
    return Shape(array->ga.dimensions, array->ga.dimensions + array->ga.nd);
}

inline bool is_contiguous(PyGpuArrayObject *array) { return GpuArray_CHKFLAGS(&array->ga, GA_CARRAY); }

/* The arrays of one call. libgpuarray has to know when the stream begins and ends to use them. */
class Arrays {
  public:
    explicit Arrays(PyGpuContextObject *context) : context_(context) {}
    Arrays(const Arrays &) = delete;
    Arrays &operator=(const Arrays &) = delete;
    ~Arrays() {
        for (const Used &each : used_) {
            gpuarray_cuda().record(each.array->ga.data, each.how);
            Py_DECREF(each.array);
        }
    }

    /* Make *result a contiguous array of this shape. It reuses the array of the previous call if that fits. */
    bool make(PyGpuArrayObject **result, const Shape &shape) const {
        if (*result && is_contiguous(*result) && shape_of(*result) == shape)
            return true;
        Py_XDECREF(*result);
        const std::vector<size_t> sizes(shape.begin(), shape.end());
        *result = pygpu_empty(unsigned(sizes.size()), sizes.data(), GA_FLOAT, GA_C_ORDER, context_, Py_None);
        return *result != nullptr;
    }

    /* The address of an array, or of a contiguous, aligned copy; null without an array. */
    const float *read(PyGpuArrayObject *array) { return use(array, false, GPUARRAY_CUDA_WAIT_READ); }

    /* The address of an array to read and to overwrite, or of a copy if it isn't ours. */
    float *overwrite(PyGpuArrayObject *array, bool ours) {
        return use(array, !ours, GPUARRAY_CUDA_WAIT_READ | GPUARRAY_CUDA_WAIT_WRITE);
    }

    /* The address of a result; null if it isn't wanted. */
    float *write(PyGpuArrayObject **result) {
        return use(result ? *result : nullptr, false, GPUARRAY_CUDA_WAIT_WRITE);
    }

    bool failed() const { return failed_; }  // Python's error is set

  private:
    struct Used {
        PyGpuArrayObject *array;
        int how;
    };

    float *use(PyGpuArrayObject *array, bool copied, int how) {
        if (!array || failed_)
            return nullptr;
        // The kernels read 16 bytes at a time. A part of another array may begin between such places.
        const bool is_aligned = how == GPUARRAY_CUDA_WAIT_WRITE || uintptr_t(PyGpuArray_DEV_DATA(array)) % 16 == 0;
        if (copied || !is_contiguous(array) || !is_aligned)
            array = pygpu_copy(array, GA_C_ORDER);
        else
            Py_INCREF(array);
        failed_ = !array;
        if (failed_)
            return nullptr;
        used_.push_back({array, how});
        gpuarray_cuda().wait(array->ga.data, how);
        return static_cast<float *>(PyGpuArray_DEV_DATA(array));
    }

    PyGpuContextObject *context_;
    std::vector<Used> used_;
    bool failed_ = false;
};

inline void append(Key &) {}
template <typename First, typename... Rest> void append(Key &key, First first, Rest... rest) {
    key.push_back((uint64_t)first);
    append(key, rest...);
}
template <typename... Parts> Key key_of(const Sizes &sizes, Parts... parts) {
    Key key;
    key.reserve(4 + sizeof...(parts));
    append(key, sizes.seq, sizes.batch, sizes.inputs, sizes.hidden, parts...);
    return key;
}

inline bool is_empty(const LayerSizes &sizes) { return !sizes.seq || !sizes.batch || !sizes.hidden; }

/* Fill results with zeros. If that fails, set Python's error and return false. */
inline bool clear(std::initializer_list<PyGpuArrayObject **> results) {
    for (PyGpuArrayObject **result : results)
        if (result && GpuArray_memset(&(*result)->ga, 0) != GA_NO_ERROR) {
            PyErr_SetString(PyExc_RuntimeError, "lstm: the GPU can't fill an array with zeros");
            return false;
        }
    return true;
}

/* Compute the layer. If that fails, set Python's error and return false. */
template <Products products> bool run_forward(const ForwardArrays<PyGpuArrayObject> &of) {
    PyGpuContextObject *const context = of.inputs->context;
    Arrays arrays(context);
    if (!of.fit() || !of.make_results([&](PyGpuArrayObject **result, const Shape &shape) {
            return arrays.make(result, shape);
        }))
        return false;
    const LayerSizes sizes = of.sizes();
    if (is_empty(sizes))
        return clear({of.states, of.gates, of.cells});
    ForwardCall call;
    call.sizes = {sizes.seq, sizes.batch, sizes.input, sizes.hidden};
    call.products = products;
    call.inputs = arrays.read(of.inputs), call.W = arrays.read(of.W), call.U = arrays.read(of.U);
    call.b = arrays.read(of.b), call.h0 = arrays.read(of.h0), call.c0 = arrays.read(of.c0);
    call.states = arrays.write(of.states), call.gates = arrays.write(of.gates), call.cells = arrays.write(of.cells);
    Context *const state = arrays.failed() ? nullptr : Context::of(context);
    return state && state->run(key_of(call.sizes, 0, products, call.inputs, call.W, call.U, call.b, call.h0, call.c0,
                                      call.states, call.gates, call.cells),
                               [&](Device &device, bool &unsupported) { return forward(device, call, unsupported); });
}

/* Compute the gradients. If that fails, set Python's error and return false. */
template <Products products> bool run_backward(const BackwardArrays<PyGpuArrayObject> &of) {
    PyGpuContextObject *const context = of.inputs->context;
    Arrays arrays(context);
    if (!of.fit() || !of.make_results([&](PyGpuArrayObject **result, const Shape &shape) {
            return arrays.make(result, shape);
        }))
        return false;
    const LayerSizes sizes = of.sizes();
    if (is_empty(sizes))
        return clear({of.d_inputs, of.d_W, of.d_U, of.d_b, of.d_h0, of.d_c0});
    BackwardCall call;
    call.sizes = {sizes.seq, sizes.batch, sizes.input, sizes.hidden};
    call.products = products;
    call.gates = arrays.overwrite(of.gates, of.gates_are_ours), call.cells = arrays.read(of.cells);
    call.states = arrays.read(of.states), call.d_states = arrays.read(of.d_states);
    call.inputs = arrays.read(of.inputs), call.W = arrays.read(of.W), call.U = arrays.read(of.U);
    call.h0 = arrays.read(of.h0), call.c0 = arrays.read(of.c0);
    call.d_inputs = arrays.write(of.d_inputs), call.dW = arrays.write(of.d_W), call.dU = arrays.write(of.d_U);
    call.db = arrays.write(of.d_b), call.dh0 = arrays.write(of.d_h0), call.dc0 = arrays.write(of.d_c0);
    Context *const state = arrays.failed() ? nullptr : Context::of(context);
    return state && state->run(key_of(call.sizes, 1, products, call.gates, call.cells, call.states, call.d_states,
                                      call.inputs, call.W, call.U, call.h0, call.c0, call.d_inputs, call.dW, call.dU,
                                      call.db, call.dh0, call.dc0),
                               [&](Device &device, bool &unsupported) { return backward(device, call, unsupported); });
}

}  // namespace rnnbench_fused

#endif
