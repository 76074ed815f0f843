/* An LSTM layer on a GPU: chooses, compiles and starts the kernels of lstm_cuda*.cu.
 *
 * forward() and backward() are the interface. They only put work on the caller's stream. cuBLAS, through the caller's
 * `multiply`, computes most products that need no recurrence; one kernel takes all steps.
 *
 * 1. Functions of CUDA's driver and of NVRTC, loaded when the first call needs them: no CUDA header is needed.
 * 2. Plans: how a kernel divides the work, and a model of the time that this takes. The cheapest plan is taken.
 * 3. Kernels: compiled for a plan and the GPU that is there, kept in memory and as files.
 * 4. Products: by cuBLAS, or on Hopper's tensor cores by lstm_cuda_product.cu.
 * 5. The two calls.
 *
 * The text of lstm_cuda.cu and of the four files that it names comes before this file, as
 * `static const char rnnbench_lstm_cuda_source[]`.
 */
#ifndef RNNBENCH_FUSED_LSTM_CUDA_H
#define RNNBENCH_FUSED_LSTM_CUDA_H

#include <dlfcn.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

/* A kernel that waits for longer than so many nanoseconds gives up. */
#ifndef RNNBENCH_LSTM_LIMIT
#define RNNBENCH_LSTM_LIMIT "2000000000ull"
#endif

namespace rnnbench_fused_cuda {

enum class Products { float32, tf32x3, tf32 };  // strict FMA, three TF32 products, one TF32 product

struct Sizes {
    long seq, batch, inputs, hidden;
};

/* All arrays are contiguous float32 in device memory, C order. A pointer may be null where it says "or null". */
struct ForwardCall {
    Sizes sizes;
    Products products;
    const float *inputs;     // (seq, batch, inputs)
    const float *W, *U, *b;  // (inputs, 4 hidden), (hidden, 4 hidden), (4 hidden); gates in the order i, f, g, o
    const float *h0, *c0;    // (batch, hidden), or null: zeros
    float *states;           // (seq, batch, hidden), written
    float *gates, *cells;    // (seq, batch, 4 hidden), (seq, batch, hidden), or null: not kept
};

struct BackwardCall {
    Sizes sizes;
    Products products;
    float *gates;  // as forward wrote it; overwritten with the gates' gradients
    const float *cells, *states, *d_states;
    const float *inputs, *W, *U;
    const float *h0, *c0;                        // or null
    float *d_inputs, *dW, *dU, *db, *dh0, *dc0;  // each or null: not wanted
};

/* What the caller provides. One Device stands for one place of use: the kernels' state is kept by its address. */
struct Device {
    void *stream;             // CUstream that all work goes to
    void *context_of_caller;  // handed to the two functions below
    /* C = alpha op(A) op(B) + beta C, row-major, leading dimensions in elements, on `stream`, in this precision. At
     * failure it returns false and sets `error`. It isn't called for what lstm_cuda_product.cu computes. */
    bool (*multiply)(void *context_of_caller, Products products, bool transpose_a, bool transpose_b, long m, long n,
                     long k, float alpha, const float *a, long lda, const float *b, long ldb, float beta, float *c,
                     long ldc, std::string &error);
    /* Device memory for the kernels' workspace: at least `bytes`, kept until a call with a larger number. Null at
     * failure. */
    void *(*workspace)(void *context_of_caller, size_t bytes);
    std::string nvrtc_path;    // library to dlopen for NVRTC, or "" for the usual names
    std::string cache_folder;  // compiled kernels are kept here, or "" for nowhere
};

/* ---- 1. CUDA's driver and NVRTC --------------------------------------------------------------------------------- */

struct LaunchAttribute {
    int id;
    char pad[4];
    union {
        int cooperative, early;
        struct {
            unsigned x, y, z;
        } cluster;
        char size[64];
    } value;
};

struct LaunchConfig {
    unsigned grid[3], block[3], shared_bytes;
    void *stream;
    LaunchAttribute *attributes;
    unsigned attribute_count;
};

struct Driver {
    enum { multiprocessors = 16, major = 75, minor = 76, cooperative = 95, shared_bytes = 97, clusters = 120 };
    enum { function_shared_bytes = 8, function_any_cluster_size = 14 };
    enum { launch_cooperative = 2, launch_cluster = 4, launch_early = 6 };
    int (*cuCtxGetDevice)(int *);
    int (*cuDeviceGetAttribute)(int *, int, int);
    int (*cuGetErrorString)(int, const char **);
    int (*cuModuleLoadData)(void **, const void *);
    int (*cuModuleGetFunction)(void **, void *, const char *);
    int (*cuFuncSetAttribute)(void *, int, int);
    int (*cuOccupancyMaxActiveBlocksPerMultiprocessor)(int *, void *, int, size_t);
    int (*cuOccupancyMaxActiveClusters)(int *, void *, const LaunchConfig *);
    int (*cuLaunchKernelEx)(const LaunchConfig *, void *, void **, void **);
    int (*cuMemsetD32Async)(unsigned long long, unsigned, size_t, void *);
    int (*cuMemcpyDtoDAsync_v2)(unsigned long long, unsigned long long, size_t, void *);
    int (*cuMemHostAlloc)(void **, size_t, unsigned);
    int (*cuMemHostGetDevicePointer_v2)(unsigned long long *, void *, unsigned);
    std::string error;

    /* The one table of functions. `error` says why it can't be used. */
    static Driver &get() {
        static Driver driver;
        return driver;
    }

    /* "" or the sentence for a failed call. */
    std::string check(int status, const char *call) const {
        if (status == 0)
            return "";
        const char *text = nullptr;
        cuGetErrorString(status, &text);
        return std::string("CUDA's ") + call + " failed: " + (text ? text : "unknown error");
    }

  private:
    Driver() {
        void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            error = "CUDA's driver library libcuda.so.1 can't be loaded; install NVIDIA's driver";
            return;
        }
#define RNNBENCH_LOAD(name)                                           \
    if (!(*reinterpret_cast<void **>(&name) = dlsym(library, #name))) \
        error = "CUDA's driver has no " #name "; install a driver for CUDA 12 or later";
        RNNBENCH_LOAD(cuCtxGetDevice)
        RNNBENCH_LOAD(cuDeviceGetAttribute)
        RNNBENCH_LOAD(cuGetErrorString)
        RNNBENCH_LOAD(cuModuleLoadData)
        RNNBENCH_LOAD(cuModuleGetFunction)
        RNNBENCH_LOAD(cuFuncSetAttribute)
        RNNBENCH_LOAD(cuOccupancyMaxActiveBlocksPerMultiprocessor)
        RNNBENCH_LOAD(cuOccupancyMaxActiveClusters)
        RNNBENCH_LOAD(cuLaunchKernelEx)
        RNNBENCH_LOAD(cuMemsetD32Async)
        RNNBENCH_LOAD(cuMemcpyDtoDAsync_v2)
        RNNBENCH_LOAD(cuMemHostAlloc)
        RNNBENCH_LOAD(cuMemHostGetDevicePointer_v2)
#undef RNNBENCH_LOAD
    }
};

/* Compile the kernels' text to machine code. Returns "" or what is wrong. */
struct Compiler {
    int (*nvrtcVersion)(int *, int *);
    int (*nvrtcCreateProgram)(void **, const char *, const char *, int, const char *const *, const char *const *);
    int (*nvrtcCompileProgram)(void *, int, const char *const *);
    int (*nvrtcGetProgramLogSize)(void *, size_t *);
    int (*nvrtcGetProgramLog)(void *, char *);
    int (*nvrtcGetCUBINSize)(void *, size_t *);
    int (*nvrtcGetCUBIN)(void *, char *);
    int (*nvrtcDestroyProgram)(void **);
    std::string error, version;

    explicit Compiler(const std::string &path) {
        void *library = nullptr;
        std::vector<std::string> names = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
        if (!path.empty())
            names = {path};
        for (size_t name = 0; name < names.size() && !library; ++name)
            library = dlopen(names[name].c_str(), RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            error = "NVRTC can't be loaded from " + names.back() + "; install the package nvidia-cuda-nvrtc";
            return;
        }
#define RNNBENCH_LOAD(name)                                           \
    if (!(*reinterpret_cast<void **>(&name) = dlsym(library, #name))) \
        error = "NVRTC has no " #name "; install NVRTC of CUDA 12 or later";
        RNNBENCH_LOAD(nvrtcVersion)
        RNNBENCH_LOAD(nvrtcCreateProgram)
        RNNBENCH_LOAD(nvrtcCompileProgram)
        RNNBENCH_LOAD(nvrtcGetProgramLogSize)
        RNNBENCH_LOAD(nvrtcGetProgramLog)
        RNNBENCH_LOAD(nvrtcGetCUBINSize)
        RNNBENCH_LOAD(nvrtcGetCUBIN)
        RNNBENCH_LOAD(nvrtcDestroyProgram)
#undef RNNBENCH_LOAD
        int major = 0, minor = 0;
        if (error.empty() && nvrtcVersion(&major, &minor) == 0)
            version = std::to_string(major) + "." + std::to_string(minor);
        // NVRTC looks for its second library by name only, and so doesn't find it in a folder of its own.
        Dl_info info;
        if (dladdr(reinterpret_cast<void *>(nvrtcVersion), &info) && info.dli_fname) {
            const std::string whole = info.dli_fname, folder = whole.substr(0, whole.rfind('/') + 1);
            dlopen((folder + "libnvrtc-builtins.so." + version).c_str(), RTLD_NOW | RTLD_LOCAL);
        }
    }

    std::string compile(const std::vector<std::string> &options, std::string &code) const {
        void *program = nullptr;
        if (nvrtcCreateProgram(&program, rnnbench_lstm_cuda_source, "lstm_cuda.cu", 0, nullptr, nullptr) != 0)
            return "NVRTC can't begin to compile lstm_cuda.cu";
        std::vector<const char *> texts;
        for (const std::string &option : options)
            texts.push_back(option.c_str());
        std::string problem;
        size_t size = 0;
        if (nvrtcCompileProgram(program, int(texts.size()), texts.data()) != 0) {
            std::string log;
            if (nvrtcGetProgramLogSize(program, &size) == 0 && size > 1) {
                log.resize(size);
                nvrtcGetProgramLog(program, &log[0]);
            }
            problem = "NVRTC can't compile lstm_cuda.cu: " + log;
        } else if (nvrtcGetCUBINSize(program, &size) != 0 || size == 0) {
            problem = "NVRTC has no machine code for lstm_cuda.cu";
        } else {
            code.resize(size);
            if (nvrtcGetCUBIN(program, &code[0]) != 0)
                problem = "NVRTC doesn't hand out its machine code for lstm_cuda.cu";
        }
        nvrtcDestroyProgram(&program);
        return problem;
    }
};

/* ---- 2. Plans --------------------------------------------------------------------------------------------------- */

constexpr int warps = 8, threads = 32 * warps, counter_stride = 32;  // the warps and threads that multiply

inline long ceiling(long number, long divisor) { return (number + divisor - 1) / divisor; }

/* The GPU, as far as a plan must know it. */
struct Gpu {
    int multiprocessors, major, minor, shared_bytes;  // shared_bytes: the most that a block can have
    bool clusters;
    std::map<int, int>
        resident;  // how many clusters of so many blocks fit at once: an estimate, later the driver's word

    /* Hopper's warps can hand registers to each other. That needs its own architecture's name. */
    bool moves_registers() const { return major == 9; }
    std::string architecture() const {
        return "sm_" + std::to_string(major * 10 + minor) + (moves_registers() ? "a" : "");
    }
};

/* How many clusters of so many blocks probably fit. A cluster lies in one of the chip's parts, which have 16 or 18
 * multiprocessors. */
inline int assumed_clusters(const Gpu &gpu, int size) {
    return std::max(1, int(gpu.multiprocessors / size * (size > 8 ? 0.9 : size > 2 ? 0.95 : 1)));
}

/* An option of the compiler that defines a macro. */
inline std::string define(const char *name, long value) { return std::string("-D") + name + "=" + std::to_string(value); }

/* The three ways: lstm_cuda_rows.cu, lstm_cuda_tiles.cu, lstm_cuda_steps.cu. */
enum class Way { rows, tiles, steps };

/* How a kernel divides the work. The names are those of the macros in the kernels' files. */
struct Plan {
    Way way;
    bool backward, keep;
    Products products;                             // tiles only: rows multiplies by FMA, and steps asks cuBLAS
    int hidden, blocks, units, pass_rows, stages;  // blocks: of a group; units: of a block
    bool cluster, set_registers;                   // rows only
    int gate_warps, k_lanes, register_chunks;      // rows only
    int vector, tiles, copies;                     // rows backward only
    int column_slices, k_slices, slice_tiles;      // tiles only
    int teams, tile_columns, tile_k, turn_tiles;   // tiles only
    int rows, groups, launches;                    // of the batch for a group; groups in a launch
    double cost;                                   // estimated clock ticks for a step

    int padded() const {
        return way == Way::tiles ? column_slices * (backward ? tile_columns : tile_columns / 4) : blocks * units;
    }
    /* Of tiles: how many parts of K a team's sums have in shared memory. With three teams there is room for two. */
    int sums_parts() const { return on_tensor_cores() ? 0 : teams == 2 ? 128 / tile_columns : 2; }
    bool on_tensor_cores() const { return products != Products::float32; }
    int rings() const { return on_tensor_cores() ? 1 : teams; }  // of stages
    int passes() const { return rows / pass_rows; }
    int slots() const { return backward ? tiles * vector * (k_lanes / copies) : 8; }
    int chunks() const { return backward ? units / k_lanes : int(ceiling(padded(), 4 * k_lanes * k_parts())); }
    int k_parts() const { return 64 / units; }  // forward only: warps that share a sum
    int register_count() const { return 4 * slots() * register_chunks; }

    /* Bytes of shared memory, in the order in which the kernel lays them out. */
    size_t shared_bytes() const {
        if (way == Way::steps)
            return 0;
        if (way == Way::tiles)  // barriers, weights, sums, stages
            return ((rings() * 2 * stages + teams * 2) * 8 + 127) / 128 * 128 +
                   4L * (slice_tiles * tile_k * tile_columns + teams * sums_parts() * pass_rows * tile_columns +
                         rings() * stages * (products == Products::tf32x3 ? 2 : 1) * pass_rows * tile_k);
        const long buffers = cluster ? 2 * passes() : stages, row_floats = chunks() * 4 * k_lanes * k_parts();
        const long head = (buffers * 2 * 8 + 4 * 8 + warps * 4 + 127) / 128 * 128 + rows * units * 4;
        const long weights = long(chunks() - register_chunks) * slots() * threads * 16;
        if (backward) {
            return head + 2 * pass_rows * units * 16 + weights +
                   std::max(buffers * blocks * pass_rows * units * 4,
                            2L * threads / copies * (4 * std::max(8, k_lanes) + 2) * 4);
        }
        return head + 2 * k_parts() * pass_rows * (4 * units + 8) * 4 + weights +
               std::max(buffers * pass_rows * row_floats * 4,
                        2L * (16 * k_lanes * units + 4 * k_lanes) * k_parts() * 4);
    }

    int block_threads() const {
        if (way == Way::tiles)
            return 128 * teams + (on_tensor_cores() ? 256 : 128);
        return threads + (way == Way::steps ? 0 : 32 * (gate_warps + (cluster ? 0 : 2)));
    }

    /* Bytes of memory through which the blocks exchange, and the counters' number. */
    size_t exchange_bytes() const {
        size_t numbers = 0;
        if (way == Way::tiles)  // published twice, partial sums, carried
            numbers = size_t(groups) * rows *
                      (padded() * ((backward ? 4 : 1) * 2 + 1) + (k_slices > 1 ? size_t(blocks) * tile_columns : 0));
        else if (way == Way::steps)
            numbers = backward ? size_t(2) * rows * hidden : 0;
        else if (!cluster)
            numbers = size_t(groups) * rows * padded() * (backward ? 2 * blocks : 4);
        return numbers * sizeof(float);
    }
    /* How many partial sums of the bias's gradient there are. */
    int bias_groups(long batch) const { return way == Way::steps ? 64 : int(ceiling(batch, rows)); }
    size_t counter_count() const {
        return way == Way::steps || cluster || sends_states() ? 0 : size_t(groups) * passes() * counter_stride;
    }
    /* Whether blocks send states through memory that is full of `missing` before: no counter says when they are there. */
    bool sends_states() const { return way == Way::rows && !backward && !cluster; }

    std::vector<std::string> options() const {
        std::vector<std::string> all = {define("ROWS", way == Way::rows),   define("TILES", way == Way::tiles),
                                        define("STEPS", way == Way::steps), define("FORWARD", !backward),
                                        define("BACKWARD", backward),       define("KEEP", keep),
                                        define("HIDDEN", hidden),           "-DLIMIT_NANOSECONDS=" RNNBENCH_LSTM_LIMIT};
        auto add = [&](std::initializer_list<std::string> more) { all.insert(all.end(), more); };
        if (way == Way::tiles)
            add({define("COLUMN_SLICES", column_slices), define("K_SLICES", k_slices),
                 define("SLICE_TILES", slice_tiles), define("STAGES", stages), define("PRODUCTS", int(products)),
                 define("TEAMS", teams), define("TILE_ROWS", pass_rows), define("TILE_COLUMNS", tile_columns),
                 define("TILE_K", tile_k), define("TURN_TILES", turn_tiles),
                 define("SUMS_PARTS", sums_parts())});
        if (way == Way::rows)
            add({define("CLUSTER", cluster), define("BLOCKS", blocks), define("UNITS", units),
                 define("REGISTER_CHUNKS", register_chunks), define("PASS_ROWS", pass_rows), define("STAGES", stages),
                 define("GATE_WARPS", gate_warps), define("SET_REGISTERS", set_registers)});
        if (way == Way::rows && backward)
            add({define("K_LANES", k_lanes), define("VECTOR", vector), define("ROW_TILES", tiles),
                 define("COPIES", copies)});
        return all;
    }

    std::string text() const {
        std::ostringstream out;
        out << (backward ? "backward" : keep ? "forward+" : "forward");
        if (way == Way::steps) {
            out << " steps";
            return out.str();
        }
        if (way == Way::tiles) {
            out << " tiles, " << column_slices << " columns x " << k_slices << " slices x " << slice_tiles
                << " tiles of " << pass_rows << "x" << tile_columns << "x" << tile_k
                << (products == Products::float32 ? "" : products == Products::tf32 ? " in TF32" : " in 3xTF32") << ", "
                << teams << " teams, groups " << groups << "x" << rows << " rows, stages " << stages;
            if (launches > 1)
                out << ", launches " << launches;
            return out.str();
        }
        out << (cluster ? " cluster" : " grid") << " of " << blocks << "x" << units << ", k " << k_lanes << "x"
            << chunks() << " (" << register_chunks << " in registers), groups " << groups << "x" << rows << " rows by "
            << pass_rows;
        if (!cluster)
            out << ", stages " << stages;
        if (launches > 1)
            out << ", launches " << launches;
        return out.str();
    }
};

/* Estimate the clock ticks that a plan needs for one step of the whole batch. The numbers were fitted to an H100's
 * times: see docs/fused.md. */
inline double estimate_rows(const Plan &plan, const Gpu &gpu) {
    const double rows = plan.pass_rows, slots = plan.slots(), chunks = plan.chunks(),
                 in_shared = chunks - plan.register_chunks;
    // Instructions of two warps, which share a quarter of a multiprocessor. Then ticks of the shared memory's port, for
    // the states, the weights and the shuffles of all warps: most of them add to the products' time.
    const double products = 2 * 4 * rows * slots * chunks;
    const double port = warps * ((plan.backward ? 2 : 4) * rows * chunks + 4 * in_shared * slots + rows * slots);
    // With more rows the compiler has no registers left to read ahead.
    const double crowded = in_shared > 0 && rows > 4 ? 1.08 : 1;
    // least: what the warps beside those that multiply need for a pass. travel: what its way to the other blocks takes.
    const double least = plan.cluster ? 0 : plan.backward ? 2400 : 1600;
    const double travel = plan.cluster ? 500 : plan.backward ? 4900 : 4000;
    const double pass = std::max((1.25 * products + 0.8 * port) * crowded + (plan.cluster ? 700 : 300), least);
    const double step = std::max(plan.passes() * pass, pass + travel);
    return step *
           (plan.cluster ? double(ceiling(plan.groups, std::max(1, gpu.resident.at(plan.blocks)))) : plan.launches);
}

inline double estimate_tiles(const Plan &plan) {
    // A pass's products take so many ticks at best. Alone, a team leaves more of them unused.
    const double best = double(plan.pass_rows) * plan.tile_columns * plan.slice_tiles * plan.tile_k / 128;
    const double rate = !plan.on_tensor_cores() ? 1.3 : plan.products == Products::tf32x3 ? 0.65 : 0.45;
    // The exchange and the gates, as far as nothing hides them.
    const double rest = plan.on_tensor_cores() ? (plan.backward ? 7800 : 5800) : plan.k_slices > 1 ? 2500 : 1500;
    const double one = plan.on_tensor_cores() ? rate * best + (plan.backward ? 16000 : 13500)
                                              : 1.3 * rate * best + (plan.k_slices > 1 ? 8600 : 4200),
                 more = plan.passes() * (rate * best + rest);
    return std::max(one, more) * plan.launches;
}

inline double estimate_steps(const Plan &plan, const Gpu &gpu, long batch) {
    // cuBLAS's product, its start, and a kernel that goes through memory.
    const double products = 4.0 * plan.hidden * plan.hidden * batch;
    return products / (gpu.multiprocessors * 128 * 0.69) + (plan.backward ? 40000 : 30000);
}

/* Append the plans of lstm_cuda_rows.cu for this size that fit the GPU. */
inline void add_rows_plans(std::vector<Plan> &all, const Gpu &gpu, bool backward, bool keep, long hidden, long batch) {
    for (int cluster = 0; cluster <= int(gpu.clusters); ++cluster)
        for (int units = 16; units <= 64; units *= 2)
            for (int pass_rows = 8; pass_rows >= 1; --pass_rows) {  // of equal plans, the one of fewer passes
                Plan plan = {};
                plan.backward = backward, plan.keep = keep, plan.cluster = cluster;
                plan.hidden = int(hidden), plan.units = units, plan.blocks = int(ceiling(hidden, units));
                plan.pass_rows = pass_rows, plan.stages = 2;
                plan.set_registers = gpu.moves_registers(), plan.gate_warps = !plan.set_registers ? 1 : cluster ? 4 : 2;
                if (units > 32 * plan.gate_warps)
                    continue;
                if (cluster && (plan.blocks > 16 || !gpu.resident.count(plan.blocks)))
                    continue;
                if (!cluster && plan.blocks > gpu.multiprocessors)
                    continue;
                if (backward) {
                    const int m = int(ceiling(plan.padded(), threads));
                    plan.copies = plan.padded() <= threads / 2 ? 2 : 1;
                    plan.vector = !cluster && m % 4 == 0 ? 4 : m % 2 == 0 ? 2 : 1;
                    plan.tiles = m / plan.vector;
                    if (pass_rows * units > 32 * plan.gate_warps)
                        continue;  // the gates' warps have registers for one item only
                    plan.k_lanes = plan.copies == 2 ? 16 : m == 1 ? 8 : m == 2 ? 4 : m <= 5 ? 2 : 1;
                } else {
                    plan.k_lanes = 8;
                }
                // So many registers can hold weights, beside the sums and what else a thread needs.
                const int most = plan.set_registers ? (backward ? 188 : 204) - pass_rows * plan.slots()
                                                    : std::min(112, 134 - pass_rows * (plan.slots() + 4));
                plan.register_chunks = std::min(plan.chunks(), most / (4 * plan.slots()));
                const bool all_in_registers = plan.register_chunks == plan.chunks();
                // Where other weights come from shared memory, reading them ahead needs registers too.
                if (!all_in_registers && plan.set_registers && !cluster && !backward)
                    --plan.register_chunks;
                if (plan.register_chunks < 1)
                    continue;
                if (pass_rows > 6 && !(all_in_registers && plan.set_registers))
                    continue;
                const long resident =
                    cluster ? std::max(1, gpu.resident.at(plan.blocks)) : gpu.multiprocessors / plan.blocks;
                long groups = std::min(resident, ceiling(batch, pass_rows));
                plan.rows = int(ceiling(ceiling(batch, groups), pass_rows) * pass_rows);
                while (plan.rows > pass_rows && plan.shared_bytes() > size_t(gpu.shared_bytes))
                    plan.rows -= pass_rows;
                if (plan.shared_bytes() > size_t(gpu.shared_bytes))
                    continue;
                groups = ceiling(batch, plan.rows);
                plan.groups = int(cluster ? groups : std::min(groups, resident));
                plan.launches = int(ceiling(groups, plan.groups));
                if (!cluster)  // as many stages as fit, up to what helps
                    while (plan.stages < 4) {
                        ++plan.stages;
                        if (plan.shared_bytes() > size_t(gpu.shared_bytes)) {
                            --plan.stages;
                            break;
                        }
                    }
                plan.cost = estimate_rows(plan, gpu);
                all.push_back(plan);
            }
}

/* Append the plans of lstm_cuda_tiles.cu. They need Hopper's bulk copies. Those on tensor cores need an instruction that no
 * later GPU has. */
inline void add_tiles_plans(std::vector<Plan> &all, const Gpu &gpu, bool backward, bool keep, Products products,
                            long hidden, long batch) {
    if (gpu.major < 9)
        return;
    struct Shape {
        Products products;
        int teams, rows, columns, k;  // of a tile
        int turn;  // after so many tiles the next team may begin: the best that was measured, or 0 for the fewest
    };
    std::vector<Shape> shapes = {{Products::float32, 2, 16, 32, 128, 7},
                                 {Products::float32, 2, 16, 64, 128, 4},
                                 {Products::float32, 3, 32, 32, 64, backward ? 8 : 5}};
    if (products != Products::float32 && gpu.major == 9)
        shapes.push_back({products, 2, 64, 64, 32, 0});
    for (const Shape &shape : shapes) {
        const bool by_fma = shape.products == Products::float32;
        const int together = by_fma ? 1 : 2;  // tiles
        const int column_units = backward ? shape.columns : shape.columns / 4;
        // Units fill columns of blocks, and K fills tiles.
        const int multiple = backward ? std::max(column_units, shape.k / 4) : shape.k * together;
        for (int k_slices = 1; k_slices <= (by_fma && !backward ? 1 : 16); k_slices *= 2) {
            Plan plan = {};
            plan.way = Way::tiles, plan.backward = backward, plan.keep = keep, plan.hidden = int(hidden);
            plan.products = shape.products;
            plan.teams = shape.teams, plan.pass_rows = shape.rows;
            plan.tile_columns = shape.columns, plan.tile_k = shape.k;
            plan.k_slices = k_slices, plan.units = column_units / k_slices;
            plan.column_slices = int(ceiling(hidden, multiple)) * multiple / column_units;
            plan.blocks = plan.column_slices * k_slices;
            const int all_tiles = plan.padded() * (backward ? 4 : 1) / shape.k;
            plan.slice_tiles = int(ceiling(all_tiles, k_slices));
            if (plan.units * shape.rows > (by_fma ? 256 : 512))
                continue;  // an owner's thread has at most two rows of one unit by FMA, and four on tensor cores
            if (plan.slice_tiles % together || plan.slice_tiles * (k_slices - 1) >= all_tiles)
                continue;  // a tile would be alone, or the last slice would have nothing to do
            plan.stages = 6;
            while (plan.stages > 2 && plan.shared_bytes() > size_t(gpu.shared_bytes))
                --plan.stages;
            if (plan.shared_bytes() > size_t(gpu.shared_bytes) || plan.blocks > gpu.multiprocessors)
                continue;
            // On tensor cores, the next turn's first two tiles must have free stages (see multiply).
            plan.turn_tiles = by_fma ? std::min(plan.slice_tiles, shape.turn)
                                     : std::max(2, int(ceiling(plan.slice_tiles + 2 - plan.stages, 2)) * 2);
            const long resident = gpu.multiprocessors / plan.blocks, rows = plan.pass_rows;
            plan.groups = int(std::min(resident, ceiling(batch, rows)));
            // More rows would need much memory.
            plan.rows = int(std::min(ceiling(ceiling(batch, plan.groups), rows) * rows, 512L));
            plan.launches = int(ceiling(batch, long(plan.groups) * plan.rows));
            plan.groups = int(std::min(long(plan.groups), ceiling(batch, plan.rows)));
            if (by_fma && plan.passes() < shape.teams)
                continue;  // a team would have nothing to do, and the rows' kernel is faster
            plan.cost = estimate_tiles(plan);
            all.push_back(plan);
        }
    }
}

/* All plans for this size on this GPU, the cheapest first. The last resort, cuBLAS at each step, is one of them. */
inline std::vector<Plan> plans(const Gpu &gpu, bool backward, bool keep, Products products, long hidden, long batch) {
    std::vector<Plan> all;
    add_rows_plans(all, gpu, backward, keep, hidden, batch);
    add_tiles_plans(all, gpu, backward, keep, products, hidden, batch);
    Plan steps = {};
    steps.way = Way::steps, steps.backward = backward, steps.keep = keep, steps.hidden = int(hidden);
    steps.rows = int(batch), steps.groups = steps.launches = 1;
    steps.cost = estimate_steps(steps, gpu, batch);
    all.push_back(steps);
    std::stable_sort(all.begin(), all.end(), [](const Plan &one, const Plan &other) { return one.cost < other.cost; });
    return all;
}

/* ---- 3. Kernels ------------------------------------------------------------------------------------------------- */

/* What the kernels get: the same as in lstm_cuda.cu. */
struct Arguments {
    const float *U;
    float *gates, *cells, *states;
    const float *bias, *first_state, *first_cell;
    float *end_state, *end_cell, *bias_sums, *exchange;
    unsigned *counters, *failure;
    int seq, batch, rows, begin, end;
};

struct Kernel {
    Plan plan;
    void *function, *add_up, *bias_sums;  // add_up: only with backward. bias_sums: only with backward in steps
};

/* lstm_product for one order of its factors. */
struct ProductKernel {
    void *function = nullptr;
    std::map<int, int> resident;  // how many clusters of so many blocks run at once, if any
};

/* What is kept for a Device. */
struct State {
    std::mutex mutex;
    std::string error;  // why this GPU can't be used
    Gpu gpu = {};
    std::unique_ptr<Compiler> compiler;
    std::map<std::vector<std::string>, Kernel> kernels;           // by the options
    std::map<std::tuple<bool, bool, Products, long, long>, Kernel> chosen;  // backward, keep, products, hidden, batch
    std::map<std::pair<bool, bool>, ProductKernel> products;      // by whether A and B are transposed
    bool starts_early = true;               // whether the driver lets a kernel start while the one before it ends
    volatile unsigned *failures = nullptr;  // [0] forward, [1] backward; memory of the host that the GPU sees
    unsigned *failures_on_gpu = nullptr;
};

inline State &state_of(Device &device) {
    static std::mutex mutex;
    static std::map<Device *, std::unique_ptr<State>> states;
    std::lock_guard<std::mutex> lock(mutex);
    std::unique_ptr<State> &state = states[&device];
    if (state)
        return *state;
    state.reset(new State());
    Driver &driver = Driver::get();
    state->error = driver.error;
    if (!state->error.empty())
        return *state;
    int number = 0, clusters = 0, cooperative = 0;
    Gpu &gpu = state->gpu;
    auto read = [&](int attribute, int &to) {
        if (state->error.empty())
            state->error = driver.check(driver.cuDeviceGetAttribute(&to, attribute, number), "cuDeviceGetAttribute");
    };
    state->error = driver.check(driver.cuCtxGetDevice(&number), "cuCtxGetDevice");
    read(Driver::multiprocessors, gpu.multiprocessors);
    read(Driver::major, gpu.major);
    read(Driver::minor, gpu.minor);
    read(Driver::shared_bytes, gpu.shared_bytes);
    read(Driver::cooperative, cooperative);
    read(Driver::clusters, clusters);
    gpu.clusters = clusters && gpu.major >= 9;
    if (state->error.empty() && (gpu.major < 8 || !cooperative))
        state->error = "the fused LSTM needs a GPU of compute capability 8.0 or later; this one has " +
                       std::to_string(gpu.major) + "." + std::to_string(gpu.minor);
    for (int size = 1; gpu.clusters && size <= 16; ++size)  // blocks of a cluster share a part of the chip
        gpu.resident[size] = assumed_clusters(gpu, size);
    void *memory = nullptr;
    unsigned long long address = 0;
    if (state->error.empty())
        state->error = driver.check(driver.cuMemHostAlloc(&memory, 64, 3), "cuMemHostAlloc");
    if (state->error.empty())
        state->error =
            driver.check(driver.cuMemHostGetDevicePointer_v2(&address, memory, 0), "cuMemHostGetDevicePointer");
    if (state->error.empty()) {
        std::memset(memory, 0, 64);
        state->failures = static_cast<unsigned *>(memory);
        state->failures_on_gpu = reinterpret_cast<unsigned *>(address);
    }
    return *state;
}

inline uint64_t hash(const std::string &text, uint64_t value = 14695981039346656037ull) {
    for (unsigned char letter : text)
        value = (value ^ letter) * 1099511628211ull;
    return value;
}

/* Set `code` to the machine code for these options, from the cache's file or from NVRTC. */
inline std::string machine_code(Device &device, State &state, const std::vector<std::string> &options,
                                std::string &code) {
    if (!state.compiler)
        state.compiler.reset(new Compiler(device.nvrtc_path));
    if (!state.compiler->error.empty())
        return state.compiler->error;
    std::vector<std::string> all = options;
    all.push_back("--gpu-architecture=" + state.gpu.architecture());
    all.push_back("--std=c++17");
    std::string path;
    if (!device.cache_folder.empty()) {
        std::string key = std::string(rnnbench_lstm_cuda_source) + state.compiler->version;
        for (const std::string &option : all)
            key += "\n" + option;
        char name[64];
        std::snprintf(name, sizeof name, "/lstm_cuda_%016llx.cubin", (unsigned long long)hash(key));
        path = device.cache_folder + name;
        std::ifstream file(path, std::ios::binary);
        std::stringstream text;
        if (file && text << file.rdbuf()) {
            const std::string whole = text.str();
            uint64_t expected = 0;
            if (whole.size() > sizeof expected) {
                std::memcpy(&expected, whole.data(), sizeof expected);
                code = whole.substr(sizeof expected);
                if (hash(code) == expected)
                    return "";
            }
        }
    }
    const std::string problem = state.compiler->compile(all, code);
    if (problem.empty() && !path.empty()) {  // written aside and renamed, so that nobody reads half a file
        const uint64_t sum = hash(code);
        std::ostringstream name;
        name << path << "." << static_cast<const void *>(&code) << "." << sum << ".new";
        std::ofstream file(name.str(), std::ios::binary);
        file.write(reinterpret_cast<const char *>(&sum), sizeof sum);
        file.write(code.data(), std::streamsize(code.size()));
        file.close();
        if (!file || std::rename(name.str().c_str(), path.c_str()) != 0)
            std::remove(name.str().c_str());
    }
    return problem;
}

/* For a kernel whose blocks don't wait for each other. */
inline LaunchConfig plain_config(long blocks, int block_threads, void *stream) {
    LaunchConfig config = {};
    config.grid[0] = unsigned(blocks), config.grid[1] = config.grid[2] = 1;
    config.block[0] = unsigned(block_threads), config.block[1] = config.block[2] = 1;
    config.stream = stream;
    return config;
}

/* early: the kernel may start while the one before it on the stream ends. The result needs the two attributes. */
inline LaunchConfig launch_config(const Plan &plan, int groups, bool early, void *stream,
                                  LaunchAttribute (&attributes)[2]) {
    LaunchConfig config = plain_config(groups * plan.blocks, plan.block_threads(), stream);
    config.shared_bytes = unsigned(plan.shared_bytes());
    attributes[0] = attributes[1] = LaunchAttribute();
    if (plan.cluster) {
        attributes[0].id = Driver::launch_cluster;
        attributes[0].value.cluster.x = unsigned(plan.blocks);
        attributes[0].value.cluster.y = attributes[0].value.cluster.z = 1;
    } else {
        attributes[0].id = Driver::launch_cooperative;  // starts only when all blocks can run at once
        attributes[0].value.cooperative = 1;
    }
    attributes[1].id = Driver::launch_early;
    attributes[1].value.early = 1;
    config.attributes = attributes;
    config.attribute_count = early ? 2 : 1;
    return config;
}

/* Compile and load the kernel of a plan. `resident` becomes how many groups can run at once. */
inline std::string load_kernel(Device &device, State &state, const Plan &plan, Kernel &kernel, int &resident) {
    const Driver &driver = Driver::get();
    const std::vector<std::string> options = plan.options();
    std::string problem;
    auto found = state.kernels.find(options);
    if (found == state.kernels.end()) {
        std::string code;
        problem = machine_code(device, state, options, code);
        void *module = nullptr;
        Kernel loaded = {};
        if (problem.empty())
            problem = driver.check(driver.cuModuleLoadData(&module, code.data()), "cuModuleLoadData");
        if (problem.empty())
            problem = driver.check(
                driver.cuModuleGetFunction(&loaded.function, module, plan.backward ? "lstm_backward" : "lstm_forward"),
                "cuModuleGetFunction");
        if (problem.empty() && plan.backward)
            problem =
                driver.check(driver.cuModuleGetFunction(&loaded.add_up, module, "lstm_add_up"), "cuModuleGetFunction");
        if (problem.empty() && plan.backward && plan.way == Way::steps)
            problem = driver.check(driver.cuModuleGetFunction(&loaded.bias_sums, module, "lstm_bias_sums"),
                                   "cuModuleGetFunction");
        if (problem.empty() && plan.way != Way::steps)
            problem = driver.check(
                driver.cuFuncSetAttribute(loaded.function, Driver::function_shared_bytes, state.gpu.shared_bytes),
                "cuFuncSetAttribute");
        if (problem.empty() && plan.cluster && plan.blocks > 8)
            problem = driver.check(driver.cuFuncSetAttribute(loaded.function, Driver::function_any_cluster_size, 1),
                                   "cuFuncSetAttribute");
        if (!problem.empty())
            return problem;
        found = state.kernels.emplace(options, loaded).first;
    }
    kernel = found->second;
    kernel.plan = plan;
    if (plan.way == Way::steps) {
        resident = plan.groups;
        return "";
    }
    LaunchAttribute attributes[2];
    const LaunchConfig config = launch_config(plan, plan.groups, false, nullptr, attributes);
    if (plan.cluster)
        return driver.check(driver.cuOccupancyMaxActiveClusters(&resident, kernel.function, &config),
                            "cuOccupancyMaxActiveClusters");
    problem = driver.check(driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(
                               &resident, kernel.function, plan.block_threads(), plan.shared_bytes()),
                           "cuOccupancyMaxActiveBlocksPerMultiprocessor");
    resident = resident * state.gpu.multiprocessors / plan.blocks;
    return problem;
}

/* Find the kernel for this size, by the model of its time. */
inline std::string choose(Device &device, State &state, bool backward, bool keep, Products products, const Sizes &sizes,
                          Kernel &kernel) {
    const auto key = std::make_tuple(backward, keep, products, sizes.hidden, sizes.batch);
    const auto found = state.chosen.find(key);
    if (found != state.chosen.end()) {
        kernel = found->second;
        return "";
    }
    for (;;) {
        bool knows_better = false;  // the driver, how many clusters fit: then the model is asked again
        for (const Plan &plan : plans(state.gpu, backward, keep, products, sizes.hidden, sizes.batch)) {
            int resident = 0;
            const std::string problem = load_kernel(device, state, plan, kernel, resident);
            if (!problem.empty())
                return problem;
            if (plan.cluster) {
                int &assumed = state.gpu.resident[plan.blocks];
                knows_better = resident != assumed && (resident < assumed || plan.groups > assumed);
                assumed = resident;
                if (resident == 0)
                    state.gpu.resident.erase(plan.blocks);
                if (knows_better)
                    break;
            }
            if (plan.cluster || resident >= plan.groups) {
                state.chosen[key] = kernel;
                return "";
            }  // else the GPU has less room than its description says, and the next plan is tried
        }
        if (!knows_better)
            return "lstm: no kernel fits this GPU; use the implementation cudnn";
    }
}

inline unsigned long long address(const void *pointer) { return reinterpret_cast<unsigned long long>(pointer); }

/* ---- 4. Products ------------------------------------------------------------------------------------------------ */

/* cuBLAS cuts a large product C = A·B into tiles of 128 × 256, and each multiprocessor takes one tile at a time. So the
 * tiles come in waves, and a last wave of few tiles costs almost a full one: on an H100, 400 tiles took 342 µs, and 384
 * took 280. docs/fused.md has more times. They were measured on Hopper, in strict float32, where C has at least 512 columns
 * and each number at least 512 products. At hidden 128 two products took longer than one. */
struct Waves {
    static constexpr long tile_rows = 128;
    const long across, tiles, whole, last;  // tiles beside each other, all, whole waves, and tiles in the last wave
    const bool matter;                      // whether these measurements hold

    Waves(const Gpu &gpu, Products products, long m, long n, long k)
        : across(ceiling(n, 256)), tiles(ceiling(m, tile_rows) * across), whole(tiles / gpu.multiprocessors),
          last(tiles % gpu.multiprocessors),
          matter(gpu.major == 9 && products == Products::float32 && std::min(n, k) >= 512) {}
};

/* How many rows of C, which is m × n, to compute first, in a product of their own; 0 if one product is as fast. The first
 * product gets the whole waves. For the few rows that are left, cuBLAS chooses smaller tiles. */
inline long rows_of_whole_waves(const Gpu &gpu, Products products, long m, long n, long k) {
    const Waves waves(gpu, products, m, n, k);
    if (!waves.matter || waves.last == 0 || 3 * waves.last > 2 * gpu.multiprocessors)
        return 0;
    return waves.whole * gpu.multiprocessors / waves.across * waves.tile_rows;
}

/* How many steps of `batch` rows to compute at once, where `most` have room: the largest number that fills whole waves, if
 * it is more than half of `most`. Otherwise `most`. */
inline long steps_of_whole_waves(const Gpu &gpu, Products products, long most, long batch, long n, long k) {
    if (!Waves(gpu, products, batch, n, k).matter)
        return most;
    for (long steps = most; 2 * steps > most; --steps)
        if (Waves(gpu, products, steps * batch, n, k).last == 0)
            return steps;
    return most;
}

/* What lstm_product gets. lstm_cuda_product.cu has the same. */
struct ProductArguments {
    const float *a, *b;
    float *c;
    long long a_stride, b_stride, c_stride;
    int m, n, k, tiles;
    float beta;
};

/* The tiles of lstm_product: how many rows and columns, numbers of K in a step, and steps that have room. */
constexpr int product_side = 128, product_depth = 32, product_stages = 3, product_threads = 512;
constexpr size_t product_bytes = product_stages * (4 * (product_depth / 4) * (product_side + 1) * 16 + 2 * 8);

/* C = op(A)·op(B) + beta C of whole arrays. C is m × n, and each of its numbers adds up k products. */
struct Product {
    Products products;
    bool transpose_a, transpose_b;
    long m, n, k;
    const float *a, *b;
    float beta;
    float *c;

    /* How many numbers lie in a row of A, of B and of C. */
    long a_columns() const { return transpose_a ? m : k; }
    long b_columns() const { return transpose_b ? k : n; }
    long c_columns() const { return n; }
    long tiles() const { return ceiling(m, product_side) * ceiling(n, product_side); }
    long steps() const { return ceiling(k, product_depth); }
    double size() const { return double(m) * n * k; }

    /* Whether lstm_product can compute it. It reads and writes four numbers at a time. With products of 6.3e7 a train step
     * took 7% longer than with cuBLAS. */
    bool suits_tensor_cores(const Gpu &gpu) const {
        auto are_fours = [](const float *array, long columns) {
            return reinterpret_cast<uintptr_t>(array) % 16 == 0 && columns % 4 == 0;
        };
        return products == Products::tf32x3 && gpu.major == 9 && size() >= 1e8 && are_fours(a, a_columns()) &&
               are_fours(b, b_columns()) && are_fours(c, c_columns());
    }

    /* About how many µs cuBLAS takes in strict float32, on an H200. */
    double estimate_cublas() const { return 12 + size() / 22.5e6; }
};

/* The launch of lstm_product by clusters of so many blocks. The result needs the attribute. */
inline LaunchConfig product_config(long clusters, int blocks, void *stream, LaunchAttribute &attribute) {
    LaunchConfig config = plain_config(clusters * blocks, product_threads, stream);
    config.shared_bytes = unsigned(product_bytes);
    attribute = LaunchAttribute();
    attribute.id = Driver::launch_cluster;
    attribute.value.cluster.x = unsigned(blocks);
    attribute.value.cluster.y = attribute.value.cluster.z = 1;
    config.attributes = &attribute;
    config.attribute_count = 1;
    return config;
}

/* The compiler's options for lstm_product. */
inline std::vector<std::string> product_options(bool transpose_a, bool transpose_b) {
    std::vector<std::string> all = {define("PRODUCT", 1), define("PRODUCTS", int(Products::tf32x3)),
                                    define("TRANSPOSE_A", transpose_a), define("TRANSPOSE_B", transpose_b),
                                    define("DEPTH", product_depth), define("STAGES", product_stages),
                                    "-DLIMIT_NANOSECONDS=" RNNBENCH_LSTM_LIMIT};
    for (const char *name : {"ROWS", "TILES", "STEPS", "FORWARD", "BACKWARD", "KEEP"})
        all.push_back(define(name, 0));
    return all;
}

/* Compile and load lstm_product, at the first call with this order of the factors. */
inline std::string load_product(Device &device, State &state, const Product &product, const ProductKernel *&kernel) {
    const auto key = std::make_pair(product.transpose_a, product.transpose_b);
    const auto found = state.products.find(key);
    if (found != state.products.end()) {
        kernel = &found->second;
        return "";
    }
    const Driver &driver = Driver::get();
    ProductKernel loaded;
    std::string code;
    std::string problem =
        machine_code(device, state, product_options(product.transpose_a, product.transpose_b), code);
    void *module = nullptr;
    if (problem.empty())
        problem = driver.check(driver.cuModuleLoadData(&module, code.data()), "cuModuleLoadData");
    if (problem.empty())
        problem =
            driver.check(driver.cuModuleGetFunction(&loaded.function, module, "lstm_product"), "cuModuleGetFunction");
    if (problem.empty())
        problem = driver.check(
            driver.cuFuncSetAttribute(loaded.function, Driver::function_shared_bytes, int(product_bytes)),
            "cuFuncSetAttribute");
    for (int blocks = 1; blocks <= 8 && problem.empty(); ++blocks) {
        int clusters = 0;
        LaunchAttribute attribute;
        const LaunchConfig config = product_config(1, blocks, nullptr, attribute);
        problem = driver.check(driver.cuOccupancyMaxActiveClusters(&clusters, loaded.function, &config),
                               "cuOccupancyMaxActiveClusters");
        if (clusters > 0)
            loaded.resident[blocks] = clusters;
    }
    if (problem.empty())
        kernel = &(state.products[key] = loaded);
    return problem;
}

/* Among how many blocks lstm_product should divide K, or 0 where cuBLAS should be faster. On an H200 a step takes 1.22 µs, and
 * a tile takes the time of about eight more steps. */
inline int divide(const std::map<int, int> &resident, const Product &product) {
    int best = 0;
    double least = product.estimate_cublas();
    for (const auto &each : resident) {
        const long waves = ceiling(product.tiles(), each.second);
        const double cost = 1.22 * double(waves * (ceiling(product.steps(), each.first) + 8));
        if (cost < least)
            best = each.first, least = cost;
    }
    return best;
}

/* Put lstm_product on the stream. blocks: among how many it divides K. */
inline std::string launch_product(const Device &device, const Gpu &gpu, const ProductKernel &kernel,
                                  const Product &product, int blocks) {
    // A block of a cluster has one tile. Without clusters it takes one tile after the other.
    const long tiles = product.tiles(), clusters = blocks > 1 ? tiles : std::min(tiles, long(gpu.multiprocessors));
    ProductArguments arguments = {product.a,           product.b,           product.c,           product.a_columns(),
                                  product.b_columns(), product.c_columns(), int(product.m),      int(product.n),
                                  int(product.k),      int(tiles),          product.beta};
    LaunchAttribute attribute;
    const LaunchConfig config = product_config(clusters, blocks, device.stream, attribute);
    void *parameters[] = {&arguments};
    return Driver::get().check(Driver::get().cuLaunchKernelEx(&config, kernel.function, parameters, nullptr),
                               "cuLaunchKernelEx of lstm_product");
}

/* Put a product on the stream. Returns "", or a sentence that says that `what` failed. */
inline std::string multiply(Device &device, State &state, const Product &product, const char *what) {
    std::string problem;
    if (product.suits_tensor_cores(state.gpu)) {
        const ProductKernel *kernel = nullptr;
        problem = load_product(device, state, product, kernel);
        if (!problem.empty())
            return problem;
        if (const int blocks = divide(kernel->resident, product))
            return launch_product(device, state.gpu, *kernel, product, blocks);
    }
    if (!device.multiply(device.context_of_caller, product.products, product.transpose_a, product.transpose_b, product.m,
                         product.n, product.k, 1, product.a, product.a_columns(), product.b, product.b_columns(),
                         product.beta, product.c, product.c_columns(), problem) &&
        problem.empty())
        problem = std::string("lstm: ") + what + " failed";
    return problem;
}

/* C = A·op(B) + beta C of whole arrays, op(B) being k × n. Returns "", or a sentence that says that `what` failed. */
inline std::string multiply_rows(Device &device, State &state, Products products, bool transpose_b, long m, long n,
                                 long k, const float *a, const float *b, float beta, float *c, const char *what) {
    const long first = rows_of_whole_waves(state.gpu, products, m, n, k);
    auto multiply_some = [&](long begin, long end) {
        return begin == end ? ""
                            : multiply(device, state,
                                       {products, false, transpose_b, end - begin, n, k, a + begin * k, b, beta,
                                        c + begin * n},
                                       what);
    };
    const std::string problem = multiply_some(0, first);
    return problem.empty() ? multiply_some(first, m) : problem;
}

/* ---- 5. The calls ----------------------------------------------------------------------------------------------- */

/* cuBLAS and a kernel at each step. `end_cell` is memory for the cells if no gates are kept. */
inline std::string launch_forward_steps(Device &device, State &state, const Kernel &kernel, Products products,
                                        Arguments arguments) {
    const long hidden = kernel.plan.hidden, batch = arguments.batch;
    const LaunchConfig config = plain_config(ceiling(batch * hidden, threads), threads, device.stream);
    void *parameters[] = {&arguments};
    std::string problem;
    for (arguments.begin = 0; arguments.begin < arguments.seq && problem.empty(); ++arguments.begin) {
        const long step = arguments.begin;
        const float *const before =
            step ? arguments.states + (step - 1) * batch * hidden : arguments.first_state;
        if (before)
            problem = multiply_rows(device, state, products, false, batch, 4 * hidden, hidden, before, arguments.U, 1,
                                    arguments.gates + step * batch * 4 * hidden, "a product of the recurrence");
        if (problem.empty())
            problem = Driver::get().check(
                Driver::get().cuLaunchKernelEx(&config, kernel.function, parameters, nullptr),
                "cuLaunchKernelEx of lstm_forward");
    }
    return problem;
}

/* The same backward. `exchange` is memory for the gradients of cells, and after them of states. */
inline std::string launch_backward_steps(Device &device, State &state, const Kernel &kernel, Products products,
                                         Arguments arguments) {
    const Driver &driver = Driver::get();
    const long hidden = kernel.plan.hidden, batch = arguments.batch;
    LaunchConfig config = plain_config(ceiling(batch * hidden, threads), threads, device.stream);
    void *parameters[] = {&arguments};
    float *const d_first_state = arguments.end_state;
    arguments.end_state = arguments.exchange + batch * hidden;
    std::string problem;
    for (arguments.begin = arguments.seq - 1; arguments.begin >= 0 && problem.empty(); --arguments.begin) {
        const long step = arguments.begin;
        problem = driver.check(driver.cuLaunchKernelEx(&config, kernel.function, parameters, nullptr),
                               "cuLaunchKernelEx of lstm_backward");
        float *const to = step ? arguments.end_state : d_first_state;
        if (to && problem.empty())
            problem = multiply_rows(device, state, products, true, batch, hidden, 4 * hidden,
                                    arguments.gates + step * batch * 4 * hidden, arguments.U, 0, to,
                                    "a product of the recurrence");
    }
    config = plain_config(ceiling(4 * hidden, threads), threads, device.stream);
    config.grid[1] = kernel.plan.bias_groups(batch);
    if (problem.empty())
        problem = driver.check(driver.cuLaunchKernelEx(&config, kernel.bias_sums, parameters, nullptr),
                               "cuLaunchKernelEx of lstm_bias_sums");
    return problem;
}

/* Prepare the memory through which the blocks of a kernel's next launch talk: no message is there, counters are zero. */
inline std::string clear_messages(Device &device, const Plan &plan, const Arguments &arguments) {
    const Driver &driver = Driver::get();
    if (plan.sends_states())
        return driver.check(driver.cuMemsetD32Async(address(arguments.exchange), 0xffffffffu,
                                                    plan.exchange_bytes() / sizeof(float), device.stream),
                            "cuMemsetD32Async");
    if (plan.counter_count() == 0)
        return "";
    return driver.check(driver.cuMemsetD32Async(address(arguments.counters), 0, plan.counter_count(), device.stream),
                        "cuMemsetD32Async");
}

/* Start a kernel for all groups of the batch, after clear_messages. early: what comes before it on the stream is the
 * product x·W. The kernel may start while that ends, loads U meanwhile, and itself waits for the product. */
inline std::string launch(Device &device, State &state, const Kernel &kernel, Products products, Arguments arguments,
                          bool early) {
    const Driver &driver = Driver::get();
    const Plan &plan = kernel.plan;
    arguments.rows = plan.rows;
    if (plan.way == Way::steps)
        return plan.backward ? launch_backward_steps(device, state, kernel, products, arguments)
                             : launch_forward_steps(device, state, kernel, products, arguments);
    for (int number = 0; number < plan.launches; ++number) {
        arguments.begin = number * plan.groups * plan.rows;
        arguments.end = std::min(arguments.batch, arguments.begin + plan.groups * plan.rows);
        std::string problem = number > 0 ? clear_messages(device, plan, arguments) : "";
        if (!problem.empty())
            return problem;
        auto start = [&](bool is_early) {
            LaunchAttribute attributes[2];
            const LaunchConfig config = launch_config(plan, int(ceiling(arguments.end - arguments.begin, plan.rows)),
                                                      is_early, device.stream, attributes);
            void *parameters[] = {&arguments};
            return driver.cuLaunchKernelEx(&config, kernel.function, parameters, nullptr);
        };
        const bool is_early = early && number == 0 && state.gpu.major >= 9 && state.starts_early;
        int status = start(is_early);
        if (status != 0 && is_early) {  // an older driver may refuse it
            state.starts_early = false;
            status = start(false);
        }
        problem = driver.check(status, plan.backward ? "cuLaunchKernelEx of lstm_backward"
                                                     : "cuLaunchKernelEx of lstm_forward");
        if (!problem.empty())
            return problem;
        if (arguments.bias_sums)
            arguments.bias_sums += size_t(plan.groups) * 4 * plan.hidden;
    }
    return "";
}

/* Takes parts of the workspace, 256 bytes aligned. */
class Workspace {
  public:
    size_t size = 0;
    size_t add(size_t bytes) {
        const size_t place = size;
        size += (bytes + 255) / 256 * 256;
        return place;
    }
};

/* x·W of a forward pass that keeps no gates takes at most so much of the workspace. */
constexpr size_t most_product_bytes = size_t(256) << 20;

/* Put the forward pass on the stream. Returns "" or one sentence: what is wrong, where, what to do. It sets
 * `unsupported` if this GPU can't be used. */
inline std::string forward(Device &device, const ForwardCall &call, bool &unsupported) {
    State &state = state_of(device);
    std::lock_guard<std::mutex> lock(state.mutex);
    unsupported = !state.error.empty();
    if (unsupported)
        return state.error;
    const Driver &driver = Driver::get();
    const Sizes &sizes = call.sizes;
    const size_t cells = size_t(sizes.batch) * sizes.hidden, step_gates = 4 * cells;
    if (sizes.seq == 0 || cells == 0)
        return "";
    const bool keep = call.gates != nullptr;
    Kernel kernel;
    std::string problem = choose(device, state, false, keep, call.products, sizes, kernel);
    if (!problem.empty())
        return problem;

    // x·W has room for `most` steps. If there are more, it takes `steps` at once, until `most` are left.
    const long most =
        keep ? sizes.seq : std::max(1L, std::min(sizes.seq, long(most_product_bytes / (step_gates * sizeof(float)))));
    const long steps = most == sizes.seq
                           ? most
                           : steps_of_whole_waves(state.gpu, call.products, most, sizes.batch, 4 * sizes.hidden,
                                                  sizes.inputs);
    Workspace parts;
    const size_t products_at = parts.add(keep ? 0 : most * step_gates * sizeof(float));
    const bool needs_cells = most < sizes.seq || (!keep && kernel.plan.way == Way::steps);
    const size_t cells_at = parts.add(needs_cells ? cells * sizeof(float) : 0);
    const size_t exchange_at = parts.add(kernel.plan.exchange_bytes());
    const size_t counters_at = parts.add(kernel.plan.counter_count() * sizeof(unsigned));
    char *workspace = nullptr;
    if (parts.size && !(workspace = static_cast<char *>(device.workspace(device.context_of_caller, parts.size))))
        return "lstm: the GPU has no " + std::to_string(parts.size) +
               " bytes left for the forward pass; use a smaller batch";

    Arguments arguments = {};
    arguments.U = call.U;
    arguments.bias = call.b;
    arguments.cells = call.cells;
    arguments.exchange = reinterpret_cast<float *>(workspace + exchange_at);
    arguments.counters = reinterpret_cast<unsigned *>(workspace + counters_at);
    arguments.failure = state.failures_on_gpu;
    arguments.batch = int(sizes.batch);
    arguments.end_cell = needs_cells ? reinterpret_cast<float *>(workspace + cells_at) : nullptr;
    for (long step = 0, count; step < sizes.seq; step += count) {
        count = sizes.seq - step <= most ? sizes.seq - step : steps;
        arguments.gates = keep ? call.gates : reinterpret_cast<float *>(workspace + products_at);
        arguments.states = call.states + step * cells;
        arguments.first_state = step ? arguments.states - cells : call.h0;
        arguments.first_cell = step ? arguments.end_cell : call.c0;
        arguments.seq = int(count);
        problem = clear_messages(device, kernel.plan, arguments);  // before the product, while which the kernel may start
        if (!problem.empty())
            return problem;
        if (sizes.inputs == 0)
            problem =
                driver.check(driver.cuMemsetD32Async(address(arguments.gates), 0, count * step_gates, device.stream),
                             "cuMemsetD32Async");
        else
            problem = multiply_rows(device, state, call.products, false, count * sizes.batch, 4 * sizes.hidden,
                                    sizes.inputs, call.inputs + step * sizes.batch * sizes.inputs, call.W, 0,
                                    arguments.gates, "the product of the inputs and W");
        if (problem.empty())
            problem = launch(device, state, kernel, call.products, arguments, sizes.inputs > 0);
        if (!problem.empty())
            return problem;
    }
    return "";
}

/* Put the backward pass on the stream. Returns as forward does. */
inline std::string backward(Device &device, const BackwardCall &call, bool &unsupported) {
    State &state = state_of(device);
    std::lock_guard<std::mutex> lock(state.mutex);
    unsupported = !state.error.empty();
    if (unsupported)
        return state.error;
    const Driver &driver = Driver::get();
    const Sizes &sizes = call.sizes;
    const long width = 4 * sizes.hidden, all_rows = sizes.seq * sizes.batch;
    const size_t cells = size_t(sizes.batch) * sizes.hidden;
    if (sizes.seq == 0 || cells == 0)
        return "";
    Kernel kernel;
    std::string problem = choose(device, state, true, false, call.products, sizes, kernel);
    if (!problem.empty())
        return problem;
    const int groups = kernel.plan.bias_groups(sizes.batch);
    Workspace parts;
    const size_t exchange_at = parts.add(kernel.plan.exchange_bytes());
    const size_t counters_at = parts.add(kernel.plan.counter_count() * sizeof(unsigned));
    const size_t bias_sums_at = parts.add(size_t(groups) * width * sizeof(float));
    char *const workspace = static_cast<char *>(device.workspace(device.context_of_caller, parts.size));
    if (!workspace)
        return "lstm: the GPU has no " + std::to_string(parts.size) +
               " bytes left for the backward pass; use a smaller batch";

    Arguments arguments = {};
    arguments.U = call.U;
    arguments.gates = call.gates;
    arguments.cells = const_cast<float *>(call.cells);      // only read
    arguments.states = const_cast<float *>(call.d_states);  // only read
    arguments.first_cell = call.c0;
    arguments.end_state = call.dh0;
    arguments.end_cell = call.dc0;
    arguments.bias_sums = groups == 1 && call.db ? call.db : reinterpret_cast<float *>(workspace + bias_sums_at);
    arguments.exchange = reinterpret_cast<float *>(workspace + exchange_at);
    arguments.counters = reinterpret_cast<unsigned *>(workspace + counters_at);
    arguments.failure = state.failures_on_gpu + 1;
    arguments.seq = int(sizes.seq);
    arguments.batch = int(sizes.batch);
    problem = clear_messages(device, kernel.plan, arguments);
    if (problem.empty())
        problem = launch(device, state, kernel, call.products, arguments, false);
    if (!problem.empty())
        return problem;
    if (call.db && groups > 1) {
        const LaunchConfig config = plain_config(ceiling(width, 128), 128, device.stream);
        float *to = call.db;
        int count = groups;
        void *parameters[] = {&arguments.bias_sums, &count, &to};
        problem = driver.check(driver.cuLaunchKernelEx(&config, kernel.add_up, parameters, nullptr),
                               "cuLaunchKernelEx of lstm_add_up");
        if (!problem.empty())
            return problem;
    }
    // to = fromᵀ·(gates' gradients from this step on) + beta·to
    auto multiply_gradients = [&](long inputs, long rows, const float *from, long step, float beta, float *to) {
        if (problem.empty() && inputs > 0)
            problem = multiply(device, state,
                               {call.products, true, false, inputs, width, rows, from, call.gates + step * 4 * cells,
                                beta, to},
                               "a product of the weights' gradients");
    };
    if (call.dW)
        multiply_gradients(sizes.inputs, all_rows, call.inputs, 0, 0, call.dW);
    if (call.dU) {
        const bool more_steps = sizes.seq > 1;
        if (more_steps)
            multiply_gradients(sizes.hidden, all_rows - sizes.batch, call.states, 1, 0, call.dU);
        else if (!call.h0)
            problem =
                driver.check(driver.cuMemsetD32Async(address(call.dU), 0, size_t(sizes.hidden) * width, device.stream),
                             "cuMemsetD32Async");
        if (call.h0)
            multiply_gradients(sizes.hidden, sizes.batch, call.h0, 0, more_steps ? 1.f : 0.f, call.dU);
    }
    if (call.d_inputs && sizes.inputs > 0 && problem.empty())
        problem = multiply_rows(device, state, call.products, true, all_rows, sizes.inputs, width, call.gates,
                                call.W, 0, call.d_inputs, "the product of the gates' gradients and W");
    return problem;
}

/* After a synchronisation: "" or the sentence of a kernel that gave up. It forgets the failure. */
inline std::string failure(Device &device) {
    State &state = state_of(device);
    if (!state.failures)
        return "";
    for (int kernel = 0; kernel < 2; ++kernel)
        if (state.failures[kernel]) {
            state.failures[kernel] = 0;
            return std::string("lstm: the GPU kernel ") + (kernel ? "lstm_backward" : "lstm_forward") +
                   " gave up: its thread blocks waited 2 s for each other; its results are NaN. Leave the GPU to this "
                   "program, or use the implementation cudnn";
        }
    return "";
}

}  // namespace rnnbench_fused_cuda

#endif
