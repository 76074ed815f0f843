/* An LSTM layer on the CPU: forward and backward, in float and double.
 *
 * What it computes, for each step t and each row of the batch (x: inputs, h: states, c: cells):
 *
 *     a = x[t]·W + h[t-1]·U + b        four parts of `hidden` numbers each: i, f, g, o
 *     i = sigmoid(a_i)   f = sigmoid(a_f)   g = tanh(a_g)   o = sigmoid(a_o)
 *     c[t] = f·c[t-1] + i·g
 *     h[t] = o·tanh(c[t])
 *
 * All arrays are row-major and contiguous.
 *
 * How it computes that fast:
 * 1. Vectors: one type for AVX-512, AVX2 and everything else, with exp and tanh of our own.
 * 2. Blocks: a few rows times four vectors of numbers stay in registers while the product is added up.
 * 3. Packing: each call first copies the weights into the order in which the products read them.
 * 4. Threads: they stay alive between calls. Each thread takes its own rows of the batch through all steps and waits
 *    for nobody. If there are too few rows for that, a group of threads takes the same rows and splits the units. Only
 *    the threads of a group wait for each other.
 * 5. Forward: a block's gates stay in registers from the product through the nonlinearities to the new state.
 * 6. Backward: the gates' gradients overwrite the gates. Each weight gradient is one product at the end.
 */
#ifndef RNNBENCH_FUSED_LSTM_H
#define RNNBENCH_FUSED_LSTM_H

#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif
#ifdef __linux__
#include <sys/mman.h>
#endif
#include <pthread.h>
#include <sched.h>

extern "C" {
void sgemm_(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
            const int *, const float *, const int *, const float *, float *, const int *);
void dgemm_(const char *, const char *, const int *, const int *, const int *, const double *, const double *,
            const int *, const double *, const int *, const double *, double *, const int *);
#ifdef RNNBENCH_OPENBLAS
void scipy_openblas_set_num_threads(int);
int scipy_openblas_get_num_threads(void);
#endif
}

namespace rnnbench_fused {

#define RNNBENCH_INLINE inline __attribute__((always_inline))

/* ---- 1. Vectors ------------------------------------------------------------------------------------------------- */

#if defined(__AVX512F__)
constexpr int vector_bytes = 64, registers = 32;
#elif defined(__AVX__)
constexpr int vector_bytes = 32, registers = 16;
#elif defined(__aarch64__)
constexpr int vector_bytes = 16, registers = 32;
#else
constexpr int vector_bytes = 16, registers = 16;
#endif

/* What the functions below need to know of a type. A float is 1 sign, 8 exponent and 23 fraction bits. */
template <typename Real> struct Type;

template <> struct Type<float> {
    typedef float vector __attribute__((vector_size(vector_bytes)));
    typedef uint32_t bits __attribute__((vector_size(vector_bytes)));
    static constexpr int fraction = 23;
    static constexpr uint32_t one = 0x3f800000u, sign = 0x80000000u;
    static constexpr float shifter = 12582912.f;  // 1.5·2^23: adding it rounds to an integer, in the lowest bits
    static constexpr float ln2_high = 0.693145751953125f, ln2_low = 1.428606765330187e-06f;
    static constexpr float exp_least = -87.f, exp_most = 89.f, tanh_most = 20.f;
    static constexpr int terms = 7;
};

template <> struct Type<double> {
    typedef double vector __attribute__((vector_size(vector_bytes)));
    typedef uint64_t bits __attribute__((vector_size(vector_bytes)));
    static constexpr int fraction = 52;
    static constexpr uint64_t one = 0x3ff0000000000000u, sign = 0x8000000000000000u;
    static constexpr double shifter = 6755399441055744.;
    static constexpr double ln2_high = 0.693147180369123816490, ln2_low = 1.90821492927058770002e-10;
    static constexpr double exp_least = -708., exp_most = 710., tanh_most = 44.;
    static constexpr int terms = 13;
};

template <typename Real> using Vector = typename Type<Real>::vector;
template <typename Real> constexpr int lanes = vector_bytes / sizeof(Real);

/* A vector of equal numbers. Subtracting 0 changes no number, so only a broadcast is left. Adding 0 changes -0. */
template <typename Real> RNNBENCH_INLINE Vector<Real> all(Real value) { return value - Vector<Real>{}; }

/* Read or write a vector, or its first `count` lanes where it isn't `whole`. */
template <typename Real, bool whole = true>
RNNBENCH_INLINE Vector<Real> load(const Real *from, int count = lanes<Real>) {
    Vector<Real> value = {};
    if (whole)
        std::memcpy(&value, from, sizeof value);
    else
#ifdef __AVX512F__
        if (sizeof(Real) == 4)
            value = (Vector<Real>)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
        else
            value = (Vector<Real>)_mm512_maskz_loadu_pd((__mmask8)((1u << count) - 1), from);
#else
        for (int lane = 0; lane < lanes<Real>; ++lane)
            if (lane < count)
                value[lane] = from[lane];
#endif
    return value;
}

template <typename Real, bool whole = true>
RNNBENCH_INLINE void store(Real *to, Vector<Real> value, int count = lanes<Real>) {
    if (whole)
        std::memcpy(to, &value, sizeof value);
    else
#ifdef __AVX512F__
        if (sizeof(Real) == 4)
            _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)value);
        else
            _mm512_mask_storeu_pd(to, (__mmask8)((1u << count) - 1), (__m512d)value);
#else
        for (int lane = 0; lane < lanes<Real>; ++lane)
            if (lane < count)
                to[lane] = value[lane];
#endif
}

/* Make the compiler read a vector once into a register. It would otherwise read it anew for each row's product, and be
 * a quarter slower with few rows. */
template <typename Vector> RNNBENCH_INLINE void keep_in_register(Vector &vector) {
#if defined(__x86_64__)
    asm("" : "+v"(vector));
#elif defined(__aarch64__)
    asm("" : "+w"(vector));
#endif
}

/* e^x = scale·(1 + rest), where scale is a power of two and |rest| < 0.42; x lies within exp_least and exp_most. */
template <typename Real> struct Exponential { Vector<Real> scale, rest; };

template <typename Real> RNNBENCH_INLINE Exponential<Real> exponential(Vector<Real> x) {
    using Bits = typename Type<Real>::bits;
    const Vector<Real> shifted = x * Real(1.442695040888963407) + Type<Real>::shifter;
    const Vector<Real> whole = shifted - Type<Real>::shifter;
    const Vector<Real> r = (x - whole * Type<Real>::ln2_high) - whole * Type<Real>::ln2_low;
    // The Taylor series of (e^r - 1 - r)/r², whose first term left out is less than half a rounding error.
    constexpr Real inverse[] = {1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320, 1. / 362880,
                                1. / 3628800, 1. / 39916800, 1. / 479001600, 1. / 6227020800};
    Vector<Real> sum = all<Real>(inverse[Type<Real>::terms - 2]);
#pragma GCC unroll 16
    for (int term = Type<Real>::terms - 3; term >= 0; --term)
        sum = sum * r + inverse[term];
    const Bits exponent = ((Bits)shifted << Type<Real>::fraction) + Type<Real>::one;
    return {(Vector<Real>)exponent, sum * (r * r) + r};
}

/* A fraction that isn't divided yet. A product of two fractions then needs one division instead of two. */
template <typename Real> struct Fraction { Vector<Real> over, under; };

template <typename Real> RNNBENCH_INLINE Vector<Real> value(const Fraction<Real> &number) {
    return number.over / number.under;
}

/* If one divisor is infinite, so is their product. The result is then 0, which is correct. */
template <typename Real> RNNBENCH_INLINE Vector<Real> product(const Fraction<Real> &one, const Fraction<Real> &other) {
    return (one.over * other.over) / (one.under * other.under);
}

/* Within 2.5 ulp. NaN stays NaN: it fails both comparisons. */
template <typename Real> RNNBENCH_INLINE Fraction<Real> sigmoid(Vector<Real> x) {
    x = -x;
    x = x < Type<Real>::exp_least ? all(Type<Real>::exp_least) : x;
    x = x > Type<Real>::exp_most ? all(Type<Real>::exp_most) : x;
    const Exponential<Real> power = exponential<Real>(x);
    return {all(Real(1)), power.scale * (Real(1) + power.rest) + Real(1)};
}

/* Within 2.5 ulp, also near zero, where e^2x - 1 is `rest` itself. NaN stays NaN. */
template <typename Real> RNNBENCH_INLINE Fraction<Real> tanh(Vector<Real> x) {
    using Bits = typename Type<Real>::bits;
    const Bits sign = (Bits)x & Type<Real>::sign;
    Vector<Real> twice = (Vector<Real>)((Bits)x ^ sign) * Real(2);
    twice = twice > Type<Real>::tanh_most ? all(Type<Real>::tanh_most) : twice;
    const Exponential<Real> power = exponential<Real>(twice);
    const Vector<Real> less_one = power.scale * power.rest + (power.scale - Real(1));
    return {(Vector<Real>)((Bits)less_one | sign), less_one + Real(2)};
}

/* ---- 2. Blocks: a few rows times four vectors ------------------------------------------------------------------- */

constexpr int gate_count = 4;
constexpr int most_vectors = 4;
/* One register holds the weights, and one for each row holds its number. The other registers hold sums. */
constexpr int most_rows = registers == 32 ? 6 : 3;

/* A sum of more products than this is split into chains, which are added at the end. A longer chain rounds more: with
 * chains of 2048 the gradients' errors are twice as large. */
constexpr long chain = 256;

/* Set sums[r][v] to the product of a part of row r, its numbers `begin` to `end`, with the same part of a panel. */
template <typename Real, int rows, int vectors>
RNNBENCH_INLINE void multiply_chain(Vector<Real> (&sums)[rows][vectors], const Real *const (&row)[rows], long begin,
                                    long end, const Real *panel, const Real *next) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v)
            sums[r][v] = Vector<Real>{};
    for (long k = begin; k < end; ++k) {
        Vector<Real> number[rows];
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r)
            number[r] = all(row[r][k]);
        __builtin_prefetch(next + k * lanes<Real>, 0, 2);
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) {
            Vector<Real> weights = load<Real>(panel + (k * vectors + v) * lanes<Real>);
            keep_in_register(weights);
#pragma GCC unroll 8
            for (int r = 0; r < rows; ++r)
                sums[r][v] += number[r] * weights;
        }
    }
}

/* Set sums[r][v] to the product of row r with a panel, which is [depth][vectors] vectors.
 *
 * `next` is the panel that is read afterwards. The product also fetches a part of it into the cache. */
template <typename Real, int rows, int vectors>
RNNBENCH_INLINE void multiply(Vector<Real> (&sums)[rows][vectors], const Real *const (&row)[rows], long depth,
                              const Real *panel, const Real *next) {
    multiply_chain<Real, rows, vectors>(sums, row, 0, depth < chain ? depth : chain, panel, next);
    if (depth <= chain)
        return;
    Vector<Real> total[rows][vectors];  // in memory: there are no registers for it
    std::memcpy(total, sums, sizeof total);
    for (long begin = chain; begin < depth; begin += chain) {
        const long end = begin + chain < depth ? begin + chain : depth;
        multiply_chain<Real, rows, vectors>(sums, row, begin, end, panel, next);
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < vectors; ++v)
                total[r][v] += sums[r][v];
    }
    std::memcpy(sums, total, sizeof total);
}

/* Call body(std::integral_constant<int, wanted>) for a number from 1 to `most`. */
template <int most, typename Body> RNNBENCH_INLINE void with_constant(int wanted, const Body &body) {
    if constexpr (most == 1)
        body(std::integral_constant<int, 1>());
    else if (wanted == most)
        body(std::integral_constant<int, most>());
    else
        with_constant<most - 1>(wanted, body);
}

/* Splits `total` things into as few parts as possible. No part has more than `most`; their sizes differ by one. */
struct Split {
    long total, count;
    Split(long total, long most) : total(total), count((total + most - 1) / most) {}
    long begin(long part) const { return total * part / count; }
};

inline long ceiling(long number, long divisor) { return (number + divisor - 1) / divisor; }

/* ---- 3. Packing ------------------------------------------------------------------------------------------------- */

/* Memory that stays allocated between calls: fresh memory costs a page fault every 4 KiB. */
class Memory {
  public:
    ~Memory() { std::free(begin_); }

    /* Make room for so many bytes. The old contents are lost. Throws std::bad_alloc. */
    void reserve(size_t bytes) {
        used_ = 0;
        if (bytes <= size_)
            return;
        std::free(begin_);
        begin_ = nullptr;
        size_ = 0;
        const size_t page = size_t(2) << 20, size = (bytes + page - 1) / page * page;
        if (bytes > SIZE_MAX - page || posix_memalign(&begin_, page, size) != 0) {
            begin_ = nullptr;
            throw std::bad_alloc();
        }
        size_ = size;
#ifdef MADV_HUGEPAGE
        madvise(begin_, size, MADV_HUGEPAGE);
#endif
    }

    /* Return the next part of the memory, with room for so many numbers. */
    template <typename Real> Real *take(size_t count) {
        char *part = static_cast<char *>(begin_) + used_;
        used_ += bytes<Real>(count);
        return reinterpret_cast<Real *>(part);
    }

    /* The bytes that `take` uses: whole vectors and some padding. With it no two parts begin in the same sets of a
     * cache. */
    template <typename Real> static size_t bytes(size_t count) { return (count * sizeof(Real) + 127) / 64 * 64 + 320; }

  private:
    void *begin_ = nullptr;
    size_t size_ = 0, used_ = 0;
};

/* The distance between two panels, in numbers. It is longer than a panel, so that two panels don't compete for the same
 * sets of a cache. */
template <typename Real> long panel_stride(long panel) { return panel + 5 * 64 / long(sizeof(Real)); }

/* How many vectors hold the four gates of so few units. */
template <typename Real> int narrow_vectors(int units) { return int(ceiling(gate_count * units, lanes<Real>)); }

/* Copy rows `begin` to `end` of weights (depth, 4·hidden) into a panel [depth][gate][lane] for each block of units.
 * The last block may have fewer units than a vector has lanes. Its panel is [depth][gate][unit], in whole vectors.
 * The copy goes row by row, since the processor then fetches the weights ahead. */
template <typename Real>
void pack_gates(Real *packed, const Real *weights, long begin, long end, long depth, long hidden) {
    const long stride = panel_stride<Real>(depth * gate_count * lanes<Real>), whole = hidden / lanes<Real>;
    for (long row = begin; row < end; ++row)
        for (int gate = 0; gate < gate_count; ++gate) {
            const Real *const from = weights + (row * gate_count + gate) * hidden;
            Real *const to = packed + (row * gate_count + gate) * lanes<Real>;
            for (long block = 0; block < whole; ++block)
                store<Real>(to + block * stride, load<Real>(from + block * lanes<Real>));
        }
    const int rest = int(hidden % lanes<Real>), vectors = narrow_vectors<Real>(rest);
    if (rest == 0)
        return;
    for (long row = begin; row < end; ++row) {
        Real *const to = packed + whole * stride + row * vectors * lanes<Real>;
        store<Real>(to + (vectors - 1) * lanes<Real>, Vector<Real>{});
        for (int gate = 0; gate < gate_count; ++gate)
            std::memcpy(to + gate * rest, weights + (row * gate_count + gate) * hidden + whole * lanes<Real>,
                        rest * sizeof(Real));
    }
}

/* Copy rows first to first + count of U (hidden, 4·hidden), transposed, into a panel [4·hidden][width]. */
template <typename Real> void pack_rows(Real *panel, const Real *U, long hidden, long first, long count, long width) {
    const long depth = gate_count * hidden, tile = 16;
    for (long k = 0; k < depth; k += tile) {
        const long end = k + tile < depth ? k + tile : depth;
        for (long unit = 0; unit < width; ++unit)
            for (long column = k; column < end; ++column)
                panel[column * width + unit] = unit < count ? U[(first + unit) * depth + column] : Real(0);
    }
}

/* ---- 4. Threads ------------------------------------------------------------------------------------------------- */

/* Return how many threads to compute with: OMP_NUM_THREADS, as other libraries do, or the number of processors. */
inline int most_threads() {
    const char *const chosen = std::getenv("OMP_NUM_THREADS");
    const long number = chosen ? std::strtol(chosen, nullptr, 10) : 0;
    const long processors = std::thread::hardware_concurrency();
    return int(number > 0 && number < 1024 ? number : processors > 0 ? processors : 1);
}

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Wait until a condition holds. It doesn't sleep: to sleep and wake would take longer than the usual wait. */
template <typename Condition> RNNBENCH_INLINE void spin_until(const Condition &condition) {
    for (long spins = 0; !condition(); ++spins) {
        pause();
        if (spins > 4096)  // another program may have the other thread's processor
            sched_yield();
    }
}

/* Threads that wait for tasks. The caller works too: it takes each task that no thread has begun. So it doesn't wait
 * for a thread whose processor runs another program, as OpenMP would.
 *
 * Only one thread at a time may use the pool. Python's GIL ensures that. */
class Pool {
  public:
    /* The one pool of this process. All of Theano's modules share it: two pools would compete for the processors. */
    static Pool &shared() {
        if (!kept()) {
            kept() = new Pool;  // never deleted: its threads use it until the process ends
            // A forked child has the pool's memory, but none of its threads.
            pthread_atfork(nullptr, nullptr, [] { kept() = new Pool; });
        }
        return *kept();
    }

    /* Start threads until there are so many, the caller included. Return how many there are. */
    int ready(int wanted) {
        try {
            for (; started_ < wanted - 1; ++started_)
                std::thread(&Pool::work, this).detach();
        } catch (const std::system_error &) {  // the system gives no more
        }
        return started_ + 1 < wanted ? started_ + 1 : wanted;
    }

    /* Call body(task) for each task from 0 on; return when all are done. */
    template <typename Body> void run(int tasks, const Body &body) {
        if (tasks == 1)
            return body(0);
        body_ = &body;
        call_ = [](const void *one, int task) { (*static_cast<const Body *>(one))(task); };
        done_.store(0, std::memory_order_relaxed);
        ticket_.store((((ticket_.load() >> 32) + 1) << 32) | (uint64_t(tasks) << 16));
        if (sleeping_.load()) {
            const std::lock_guard<std::mutex> lock(mutex_);
            wake_.notify_all();
        }
        while (take_one()) {
        }
        spin_until([&] { return done_.load(std::memory_order_acquire) == tasks; });
    }

  private:
    static __attribute__((visibility("default"))) Pool *&kept() {
        static Pool *pool = nullptr;
        return pool;
    }

    /* Take the next task, if there is one, and do it. */
    bool take_one() {
        uint64_t ticket = ticket_.load(std::memory_order_acquire);
        do {
            if (!has_task(ticket))
                return false;
        } while (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel));
        // Nobody changes these two before this task is done.
        call_(body_, int(ticket & 0xffff));
        done_.fetch_add(1, std::memory_order_release);
        return true;
    }

    static bool has_task(uint64_t ticket) { return (ticket & 0xffff) < (ticket >> 16 & 0xffff); }

    /* The loop of each thread: it does tasks, and sleeps after a millisecond without one. */
    void work() {
        typedef std::chrono::steady_clock Clock;
        for (;;) {
            const Clock::time_point end = Clock::now() + std::chrono::milliseconds(1);
            while (take_one() || Clock::now() < end)
                for (int spins = 0; spins < 64 && !has_task(ticket_.load(std::memory_order_relaxed)); ++spins)
                    pause();
            std::unique_lock<std::mutex> lock(mutex_);
            ++sleeping_;
            wake_.wait(lock, [&] { return has_task(ticket_.load()); });
            --sleeping_;
        }
    }

    std::atomic<uint64_t> ticket_{0};  // the round, how many tasks it has, and which is next: 32, 16 and 16 bits
    char apart_[56];                   // each counter has a cache line of its own
    std::atomic<int> done_{0};
    char behind_[60];
    const void *body_ = nullptr;
    void (*call_)(const void *, int) = nullptr;
    int started_ = 0;
    std::atomic<int> sleeping_{0};
    std::mutex mutex_;
    std::condition_variable wake_;
};

/* Lets the threads of a group wait for each other. */
class Barrier {
  public:
    void wait(int members) {
        const int round = round_.load(std::memory_order_relaxed);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) == members - 1) {
            arrived_.store(0, std::memory_order_relaxed);
            round_.store(round + 1, std::memory_order_release);
            return;
        }
        spin_until([&] { return round_.load(std::memory_order_acquire) != round; });
    }

  private:
    std::atomic<int> arrived_{0};
    char apart_[60];  // each counter has a cache line of its own
    std::atomic<int> round_{0};
    char behind_[60];
};

/* The part of a layer that one thread computes: some rows of the batch, and some of their units. */
struct Share {
    long first_row, last_row;
    int group, part, parts;

    Share(int thread, int threads, long batch, size_t recurrent_bytes) {
        // Weights that don't fit in a core's cache take so long to read that a thread should use them for many rows.
        const long rows_worth = recurrent_bytes > (size_t(512) << 10) ? 8 : 1;
        long groups = batch / rows_worth;
        groups = groups < 1 ? 1 : groups > threads ? threads : groups;
        while (threads % groups)
            --groups;
        parts = int(threads / groups);
        group = thread / parts;
        part = thread % parts;
        first_row = batch * group / groups;
        last_row = batch * (group + 1) / groups;
    }

    long rows() const { return last_row - first_row; }
};

/* While an object of this class exists, BLAS computes in the thread that calls it. */
class SerialBlas {
#ifdef RNNBENCH_OPENBLAS
  public:
    SerialBlas() : before_(scipy_openblas_get_num_threads()) { scipy_openblas_set_num_threads(1); }
    ~SerialBlas() { scipy_openblas_set_num_threads(before_); }

  private:
    int before_;
#else
  public:
    SerialBlas() {}
#endif
};

/* Return how many threads to use for a layer. To wake a thread for too little work would cost more than it saves. */
inline int worthwhile_threads(double seq, double batch, double input, double hidden) {
    const double worth = 2 * seq * batch * gate_count * hidden * (input + hidden) / 1e5;
    return worth < 2 ? 1 : worth < most_threads() ? int(worth) : most_threads();
}

/* ---- 5. Forward ------------------------------------------------------------------------------------------------- */

template <typename Real> struct Forward {
    long seq, batch, input, hidden;
    const Real *inputs;             // (seq, batch, input)
    const Real *W, *U, *b;          // (input, 4·hidden), (hidden, 4·hidden), (4·hidden)
    const Real *initial_state;      // (batch, hidden); null stands for zeros
    const Real *initial_cell;       // likewise
    Real *states;                   // (seq, batch, hidden): the result
    Real *gates;                    // (seq, batch, 4·hidden), after their nonlinearities; null: not kept
    Real *cells;                    // (seq, batch, hidden); null: not kept
};

/* gates = b + inputs·W for some rows, of one block of units. */
template <typename Real, int rows>
void input_block(const Real *const (&row)[rows], Real *const (&gates)[rows], long input, long hidden, const Real *b,
                 const Real *panel, const Real *next) {
    Vector<Real> sums[rows][gate_count];
    multiply<Real, rows, gate_count>(sums, row, input, panel, next);
#pragma GCC unroll 8
    for (int gate = 0; gate < gate_count; ++gate) {
        const Vector<Real> bias = load<Real>(b + gate * hidden);
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r)
            store<Real>(gates[r] + gate * hidden, sums[r][gate] + bias);
    }
}

/* The product of some rows with the panel of a narrow block: one that has fewer units than a vector has lanes. */
template <typename Real> class Narrow {
  public:
    template <int rows>
    void multiply(const Real *const (&row)[rows], long depth, int units, const Real *panel, const Real *next) {
        with_constant<gate_count>(narrow_vectors<Real>(units), [&](auto constant) {
            constexpr int vectors = decltype(constant)::value;
            Vector<Real> sums[rows][vectors];
            rnnbench_fused::multiply<Real, rows, vectors>(sums, row, depth, panel, next);
            for (int r = 0; r < rows; ++r)
                for (int v = 0; v < vectors; ++v)
                    store<Real>(products_[r] + v * lanes<Real>, sums[r][v]);
        });
    }

    /* One gate of all units of a row. */
    Vector<Real> of(int row, int gate, int units) const {
        return load<Real, false>(products_[row] + gate * units, units);
    }

  private:
    Real products_[most_rows][gate_count * lanes<Real>];  // [row][gate][unit]
};

/* Pointers into the arrays of one step, at the first row and a block's first unit. */
template <typename Real> struct Step {
    const Real *before;    // states of the step before, from their first unit on; null stands for zeros
    const Real *cell;      // cells of the step before; null stands for zeros
    Real *gates, *new_cell, *new_state;
};

/* For one row and one vector of units: from the gates before their nonlinearities to the new cells and states. */
template <typename Real, bool whole, bool kept>
RNNBENCH_INLINE void step_units(const Step<Real> &step, const Vector<Real> (&sums)[gate_count], Real *gates, long place,
                                long hidden, int count) {
    const Fraction<Real> i = sigmoid<Real>(sums[0]), f = sigmoid<Real>(sums[1]);
    const Fraction<Real> g = tanh<Real>(sums[2]), o = sigmoid<Real>(sums[3]);
    Vector<Real> cell = {};
    if (step.cell)
        cell = value(f) * load<Real, whole>(step.cell + place, count);
    if (kept) {
        const Vector<Real> values[gate_count] = {value(i), value(f), value(g), value(o)};
        cell += values[0] * values[2];
        store<Real, whole>(step.new_state + place, values[3] * value(tanh<Real>(cell)), count);
#pragma GCC unroll 8
        for (int gate = 0; gate < gate_count; ++gate)
            store<Real, whole>(gates + gate * hidden, values[gate], count);
    } else {
        cell += product(i, g);
        store<Real, whole>(step.new_state + place, product(o, tanh<Real>(cell)), count);
    }
    store<Real, whole>(step.new_cell + place, cell, count);
}

/* One step of some rows and one block of units: from the inputs' part of the gates to the new cells and states. */
template <typename Real, int rows, bool kept>
void step_block(const Step<Real> &step, const Real *const (&row)[rows], long first, long hidden, const Real *panel,
                const Real *next) {
    Vector<Real> sums[rows][gate_count] = {};
    Real *const gates = step.gates + first * gate_count * hidden;
    if (step.before)
        multiply<Real, rows, gate_count>(sums, row, hidden, panel, next);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
        Real *const one = gates + r * gate_count * hidden;
#pragma GCC unroll 8
        for (int gate = 0; gate < gate_count; ++gate)
            sums[r][gate] += load<Real>(one + gate * hidden);
        step_units<Real, true, kept>(step, sums[r], one, (first + r) * hidden, hidden, lanes<Real>);
    }
}

/* The same for a narrow block. Its products are computed before; null stands for zeros. */
template <typename Real, bool kept>
void step_narrow(const Step<Real> &step, const Narrow<Real> *narrow, int rows, long first, long hidden, int units) {
    for (int r = 0; r < rows; ++r) {
        Real *const gates = step.gates + (first + r) * gate_count * hidden;
        Vector<Real> sums[gate_count];
        for (int gate = 0; gate < gate_count; ++gate) {
            sums[gate] = load<Real, false>(gates + gate * hidden, units);
            if (narrow)
                sums[gate] += narrow->of(r, gate, units);
        }
        step_units<Real, false, kept>(step, sums, gates, (first + r) * hidden, hidden, units);
    }
}

/* Call body(block) for each block of a thread's units. If steps alternate between upwards and downwards, each begins
 * with the blocks that the step before left in the cache. */
template <typename Body> RNNBENCH_INLINE void each_block(long begin, long end, bool upwards, const Body &body) {
    for (long place = begin; place < end; ++place)
        body(upwards ? place : begin + end - 1 - place);
}

/* Compute the layer, with up to so many threads. Throws std::bad_alloc. */
template <typename Real> void forward(const Forward<Real> &layer, Memory &memory, int threads) {
    Pool &pool = Pool::shared();
    threads = pool.ready(threads);
    const long seq = layer.seq, batch = layer.batch, input = layer.input, hidden = layer.hidden;
    if (seq == 0 || batch == 0 || hidden == 0)
        return;
    const long width = gate_count * hidden, blocks = ceiling(hidden, lanes<Real>);
    const long input_panel = panel_stride<Real>(input * gate_count * lanes<Real>);
    const long panel = panel_stride<Real>(hidden * gate_count * lanes<Real>);
    // If the weights are small, each thread packs its own copy. To read what another core has written takes longer.
    const bool own_copies = (input + hidden) * width * long(sizeof(Real)) <= 1l << 20;
    const long copies = own_copies ? threads : 1;
    const size_t recurrent_bytes = hidden * width * sizeof(Real);
    // The inputs' products are computed for a chunk of steps at once. A chunk has enough rows to use a panel of W many
    // times, and few enough to fit in the cache.
    long chunk = ceiling(64l * threads, batch);
    chunk = chunk > seq ? seq : chunk;
    memory.reserve(copies * (Memory::bytes<Real>(blocks * input_panel) + Memory::bytes<Real>(blocks * panel)) +
                   (layer.gates ? 0 : Memory::bytes<Real>(chunk * batch * width)) +
                   (layer.cells ? 0 : Memory::bytes<Real>(batch * hidden)));
    Real *const all_W = memory.take<Real>(copies * blocks * input_panel);
    Real *const all_U = memory.take<Real>(copies * blocks * panel);
    Real *const some_gates = layer.gates ? nullptr : memory.take<Real>(chunk * batch * width);
    Real *const one_cell = layer.cells ? nullptr : memory.take<Real>(batch * hidden);
    std::vector<Barrier> barriers(threads);

    if (!own_copies)
        pool.run(threads, [&](int task) {
            const long first = input * task / threads, second = hidden * task / threads;
            pack_gates(all_W, layer.W, first, input * (task + 1) / threads, input, hidden);
            pack_gates(all_U, layer.U, second, hidden * (task + 1) / threads, hidden, hidden);
        });
    pool.run(threads, [&](int task) {
        const Share share(task, threads, batch, recurrent_bytes);
        const long begin = blocks * share.part / share.parts, end = blocks * (share.part + 1) / share.parts;
        Real *const packed_W = all_W + (own_copies ? task * blocks * input_panel : 0);
        Real *const packed_U = all_U + (own_copies ? task * blocks * panel : 0);
        if (own_copies) {
            pack_gates(packed_W, layer.W, 0, input, input, hidden);
            pack_gates(packed_U, layer.U, 0, hidden, hidden, hidden);
        }
        for (long start = 0; start < seq; start += chunk) {
            const long steps = start + chunk < seq ? chunk : seq - start;
            Real *const gates = layer.gates ? layer.gates + start * batch * width : some_gates;
            const Split parts(steps * share.rows(), most_rows);
            each_block(begin, end, true, [&](long block) {
                const long unit = block * lanes<Real>;
                const int count = int(hidden - unit < lanes<Real> ? hidden - unit : lanes<Real>);
                const Real *here = packed_W + block * input_panel;
                const Real *following = block + 1 < end ? here + input_panel : packed_U + begin * panel;
                for (long part = 0; part < parts.count; ++part) {
                    const long first = parts.begin(part), number = parts.begin(part + 1) - first;
                    const Real *next = part < gate_count ? following + part * input * lanes<Real> : here;
                    with_constant<most_rows>(int(number), [&](auto constant) {
                        constexpr int rows = decltype(constant)::value;
                        const Real *row[rows];
                        Real *to[rows];
                        long step = first / share.rows(), one = first % share.rows();
                        for (int r = 0; r < rows; ++r) {
                            const long place = step * batch + share.first_row + one;
                            row[r] = layer.inputs + (start * batch + place) * input;
                            to[r] = gates + place * width + unit;
                            if (++one == share.rows())
                                ++step, one = 0;
                        }
                        if (count == lanes<Real>)
                            return input_block<Real, rows>(row, to, input, hidden, layer.b + unit, here, next);
                        Narrow<Real> narrow;
                        narrow.template multiply<rows>(row, input, count, here, next);
                        for (int r = 0; r < rows; ++r)
                            for (int gate = 0; gate < gate_count; ++gate)
                                store<Real, false>(to[r] + gate * hidden,
                                                   narrow.of(r, gate, count) +
                                                       load<Real, false>(layer.b + gate * hidden + unit, count),
                                                   count);
                    });
                }
            });
            const Split groups(share.rows(), most_rows);
            for (long t = start; t < start + steps; ++t) {
                const bool upwards = t % 2 == 0;
                const long states = batch * hidden;
                each_block(begin, end, upwards, [&](long block) {
                    const long unit = block * lanes<Real>;
                    const int count = int(hidden - unit < lanes<Real> ? hidden - unit : lanes<Real>);
                    const Real *here = packed_U + block * panel;
                    const bool last = upwards ? block + 1 == end : block == begin;
                    const Real *following = last ? here : upwards ? here + panel : here - panel;
                    Step<Real> step;
                    step.before = t > 0 ? layer.states + (t - 1) * states : layer.initial_state;
                    step.new_state = layer.states + t * states + unit;
                    step.gates = gates + (t - start) * batch * width + unit;
                    step.new_cell = (layer.cells ? layer.cells + t * states : one_cell) + unit;
                    step.cell = t > 0 ? (layer.cells ? step.new_cell - states : step.new_cell)
                                      : layer.initial_cell ? layer.initial_cell + unit : nullptr;
                    for (long part = 0; part < groups.count; ++part) {
                        const long first = share.first_row + groups.begin(part);
                        const long number = groups.begin(part + 1) - groups.begin(part);
                        const Real *next = part < gate_count ? following + part * hidden * lanes<Real> : here;
                        with_constant<most_rows>(int(number), [&](auto constant) {
                            constexpr int rows = decltype(constant)::value;
                            const Real *row[rows];
                            for (int r = 0; r < rows; ++r)
                                row[r] = step.before ? step.before + (first + r) * hidden : nullptr;
                            if (count == lanes<Real>)
                                return (layer.gates ? step_block<Real, rows, true> : step_block<Real, rows, false>)(
                                    step, row, first, hidden, here, next);
                            Narrow<Real> narrow;
                            if (step.before)
                                narrow.template multiply<rows>(row, hidden, count, here, next);
                            (layer.gates ? step_narrow<Real, true> : step_narrow<Real, false>)(
                                step, step.before ? &narrow : nullptr, rows, first, hidden, count);
                        });
                    }
                });
                if (share.parts > 1)
                    barriers[share.group].wait(share.parts);
            }
        }
    });
}

/* ---- 6. Backward ------------------------------------------------------------------------------------------------ */

template <typename Real> struct Backward {
    long seq, batch, input, hidden;
    const Real *inputs, *W, *U, *initial_state, *initial_cell;  // as in Forward
    const Real *states, *cells;                                 // what Forward has computed
    const Real *d_states;                                       // (seq, batch, hidden): the states' gradients
    Real *gates;  // (seq, batch, 4·hidden): Forward's gates, and afterwards their gradients before the nonlinearities
    // The results. Each has the shape of the array whose gradient it is. A null pointer means: not wanted.
    Real *d_inputs, *d_W, *d_U, *d_b, *d_initial_state, *d_initial_cell;
};

inline void gemm(const char *ta, const char *tb, const int *m, const int *n, const int *k, const float *alpha,
                 const float *a, const int *lda, const float *b, const int *ldb, const float *beta, float *c,
                 const int *ldc) {
    sgemm_(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

inline void gemm(const char *ta, const char *tb, const int *m, const int *n, const int *k, const double *alpha,
                 const double *a, const int *lda, const double *b, const int *ldb, const double *beta, double *c,
                 const int *ldc) {
    dgemm_(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

/* A row-major matrix in memory, or its transpose. */
template <typename Real> struct Matrix {
    const Real *begin;
    long stride;
    bool transposed;
};

/* c (m, n) = a (m, k) · b (k, n) + old·c, row-major. BLAS is column-major, so it computes the transpose of all this:
 * bᵀ·aᵀ. */
template <typename Real>
void product(long m, long n, long k, Matrix<Real> a, Matrix<Real> b, Real *c, long stride, Real old = 0) {
    if (m == 0 || n == 0)
        return;
    const int sizes[] = {int(n), int(m), int(k)}, strides[] = {int(b.stride), int(a.stride), int(stride)};
    const Real one = 1;
    gemm(b.transposed ? "T" : "N", a.transposed ? "T" : "N", &sizes[0], &sizes[1], &sizes[2], &one, b.begin,
         &strides[0], a.begin, &strides[1], &old, c, &strides[2]);
}

template <typename Real> void fill_zeros(Real *array, size_t count) {
    if (array)
        std::memset(array, 0, count * sizeof(Real));
}

/* Pointers into the arrays of one step of the backward pass, at the first row and a block's first unit. */
template <typename Real> struct BackwardStep {
    const Real *d_after;   // gradients of the following step's gates, from their first unit on; null stands for zeros
    const Real *d_state;   // gradients of this step's states
    const Real *cell, *cell_before;  // null stands for zeros
    Real *gates, *d_cell;  // d_cell: the cell's gradient from the following step, replaced by that for the step before
    Real *d_bias;          // added to: [gate][unit], the gates `bias_stride` apart
    bool is_last;          // d_cell holds nothing yet
};

/* One step back for some rows and one block of units: from the gates' gradients of the following step to those of this
 * step. */
template <typename Real, int rows, int vectors, bool whole>
void backward_block(const BackwardStep<Real> &step, long first, long hidden, long units, const Real *panel,
                    const Real *next, long bias_stride) {
    constexpr int width = lanes<Real>;
    const long row_width = gate_count * hidden;
    Vector<Real> sums[rows][vectors] = {};
    if (step.d_after) {
        const Real *row[rows];
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r)
            row[r] = step.d_after + (first + r) * row_width;
        multiply<Real, rows, vectors>(sums, row, row_width, panel, next);
    }
    // The sums go through memory. Otherwise the compiler would copy the code of the loop below for each vector.
    Real d_states[rows][vectors * width];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v)
            store<Real>(d_states[r] + v * width, sums[r][v]);
    for (int v = 0; v < vectors; ++v) {
        const int count = int(units - v * width < width ? units - v * width : width);
        Vector<Real> bias[gate_count] = {};
#pragma GCC unroll 2
        for (int r = 0; r < rows; ++r) {
            const long place = (first + r) * hidden + v * width;
            Real *const gates = step.gates + (first + r) * row_width + v * width;
            const Vector<Real> i = load<Real, whole>(gates, count), f = load<Real, whole>(gates + hidden, count);
            const Vector<Real> g = load<Real, whole>(gates + 2 * hidden, count);
            const Vector<Real> o = load<Real, whole>(gates + 3 * hidden, count);
            const Vector<Real> squashed = value(tanh<Real>(load<Real, whole>(step.cell + place, count)));
            const Vector<Real> d_state =
                load<Real>(d_states[r] + v * width) + load<Real, whole>(step.d_state + place, count);
            Vector<Real> d_cell = d_state * o * (Real(1) - squashed * squashed);
            if (!step.is_last)
                d_cell += load<Real, whole>(step.d_cell + place, count);
            Vector<Real> before = {};
            if (step.cell_before)
                before = load<Real, whole>(step.cell_before + place, count);
            const Vector<Real> d_gates[gate_count] = {
                d_cell * g * (i * (Real(1) - i)),
                d_cell * before * (f * (Real(1) - f)),
                d_cell * i * (Real(1) - g * g),
                d_state * squashed * (o * (Real(1) - o)),
            };
            store<Real, whole>(step.d_cell + place, d_cell * f, count);
#pragma GCC unroll 8
            for (int gate = 0; gate < gate_count; ++gate) {
                store<Real, whole>(gates + gate * hidden, d_gates[gate], count);
                bias[gate] += d_gates[gate];
            }
        }
        for (int gate = 0; gate < gate_count; ++gate) {
            Real *const sum = step.d_bias + gate * bias_stride + v * width;
            store<Real>(sum, load<Real>(sum) + bias[gate]);
        }
    }
}

/* to = d_after·Uᵀ for some rows and one block of units: the initial states' gradient. */
template <typename Real, int rows, int vectors>
void last_block(Real *to, const Real *d_after, long first, long hidden, long units, const Real *panel) {
    Vector<Real> sums[rows][vectors] = {};
    const Real *row[rows];
    for (int r = 0; r < rows; ++r)
        row[r] = d_after + (first + r) * gate_count * hidden;
    multiply<Real, rows, vectors>(sums, row, gate_count * hidden, panel, panel);
    for (int r = 0; r < rows; ++r)
        for (int v = 0; v < vectors; ++v) {
            const long left = units - v * lanes<Real>;
            store<Real, false>(to + (first + r) * hidden + v * lanes<Real>, sums[r][v],
                               int(left < lanes<Real> ? left : lanes<Real>));
        }
}

/* Compute the gradients, with up to so many threads. Throws std::bad_alloc. */
template <typename Real> void backward(const Backward<Real> &layer, Memory &memory, int threads) {
    Pool &pool = Pool::shared();
    threads = pool.ready(threads);
    const long seq = layer.seq, batch = layer.batch, input = layer.input, hidden = layer.hidden;
    const long width = gate_count * hidden, states = batch * hidden;
    if (seq == 0 || batch == 0 || hidden == 0) {
        fill_zeros(layer.d_inputs, seq * batch * input);
        fill_zeros(layer.d_W, input * width);
        fill_zeros(layer.d_U, hidden * width);
        fill_zeros(layer.d_b, width);
        fill_zeros(layer.d_initial_state, states);
        fill_zeros(layer.d_initial_cell, states);
        return;
    }
    const long most_units = most_vectors * lanes<Real>, blocks = ceiling(hidden, most_units);
    const long panel = width * most_units, bias_stride = blocks * most_units, biases = gate_count * bias_stride;
    // The biases' gradients are first added up within a step, then over the steps. That keeps rounding errors small.
    memory.reserve(Memory::bytes<Real>(blocks * panel) + Memory::bytes<Real>(states) +
                   2 * Memory::bytes<Real>(threads * biases));
    Real *const packed = memory.take<Real>(blocks * panel), *const d_cells = memory.take<Real>(states);
    Real *const step_biases = memory.take<Real>(threads * biases);
    Real *const sum_biases = memory.take<Real>(threads * biases);
    std::vector<Barrier> barriers(threads);
    const SerialBlas serial;

    pool.run(threads, [&](int task) {
        for (long block = task; block < blocks; block += threads) {
            const long left = hidden - block * most_units, units = left < most_units ? left : most_units;
            pack_rows(packed + block * panel, layer.U, hidden, block * most_units, units,
                      ceiling(units, lanes<Real>) * lanes<Real>);
        }
    });
    pool.run(threads, [&](int task) {
        const Share share(task, threads, batch, hidden * width * sizeof(Real));
        const long begin = blocks * share.part / share.parts, end = blocks * (share.part + 1) / share.parts;
        Real *const step_bias = step_biases + task * biases, *const sum_bias = sum_biases + task * biases;
        fill_zeros(step_bias, biases);
        fill_zeros(sum_bias, biases);
        const Split groups(share.rows(), most_rows);
        for (long t = seq - 1; t >= 0; --t) {
            const bool upwards = t % 2 == 0;
            each_block(begin, end, upwards, [&](long block) {
                const long unit = block * most_units;
                const long units = hidden - unit < most_units ? hidden - unit : most_units;
                const Real *here = packed + block * panel;
                const bool last = upwards ? block + 1 == end : block == begin;
                const Real *following = last ? here : upwards ? here + panel : here - panel;
                BackwardStep<Real> step;
                step.is_last = t == seq - 1;
                step.d_after = step.is_last ? nullptr : layer.gates + (t + 1) * batch * width;
                step.d_state = layer.d_states + t * states + unit;
                step.cell = layer.cells + t * states + unit;
                step.cell_before = t > 0                ? step.cell - states
                                   : layer.initial_cell ? layer.initial_cell + unit
                                                        : nullptr;
                step.gates = layer.gates + t * batch * width + unit;
                step.d_cell = d_cells + unit;
                step.d_bias = step_bias + unit;
                for (long part = 0; part < groups.count; ++part) {
                    const long first = share.first_row + groups.begin(part);
                    const long number = groups.begin(part + 1) - groups.begin(part);
                    const Real *next = part < gate_count ? following + part * width * lanes<Real> : here;
                    with_constant<most_rows>(int(number), [&](auto constant) {
                        constexpr int rows = decltype(constant)::value;
                        if (units == most_units)
                            backward_block<Real, rows, most_vectors, true>(step, first, hidden, units, here, next,
                                                                           bias_stride);
                        else
                            with_constant<most_vectors>(int(ceiling(units, lanes<Real>)), [&](auto vectors) {
                                backward_block<Real, rows, decltype(vectors)::value, false>(
                                    step, first, hidden, units, here, next, bias_stride);
                            });
                    });
                }
            });
            for (long place = 0; place < biases; place += lanes<Real>) {
                store<Real>(sum_bias + place, load<Real>(sum_bias + place) + load<Real>(step_bias + place));
                store<Real>(step_bias + place, Vector<Real>{});
            }
            if (share.parts > 1)
                barriers[share.group].wait(share.parts);
        }
        if (layer.d_initial_state)
            each_block(begin, end, true, [&](long block) {
                const long unit = block * most_units;
                const long units = hidden - unit < most_units ? hidden - unit : most_units;
                for (long part = 0; part < groups.count; ++part)
                    with_constant<most_rows>(int(groups.begin(part + 1) - groups.begin(part)), [&](auto rows) {
                        with_constant<most_vectors>(int(ceiling(units, lanes<Real>)), [&](auto vectors) {
                            last_block<Real, decltype(rows)::value, decltype(vectors)::value>(
                                layer.d_initial_state + unit, layer.gates, share.first_row + groups.begin(part), hidden,
                                units, packed + block * panel);
                        });
                    });
            });
    });
    // All gradients of the gates are known now. Each task computes some columns of the weights' gradients and some rows
    // of the inputs' gradients.
    pool.run(threads, [&](int task) {
        const long first = width * task / threads, columns = width * (task + 1) / threads - first;
        const Matrix<Real> gates = {layer.gates + first, width, false};
        if (layer.d_W)
            product<Real>(input, columns, seq * batch, {layer.inputs, input, true}, gates, layer.d_W + first, width);
        if (layer.d_U) {
            if (seq > 1)
                product<Real>(hidden, columns, (seq - 1) * batch, {layer.states, hidden, true},
                              {gates.begin + batch * width, width, false}, layer.d_U + first, width);
            else
                for (long k = 0; k < hidden; ++k)
                    fill_zeros(layer.d_U + k * width + first, columns);
            if (layer.initial_state)
                product<Real>(hidden, columns, batch, {layer.initial_state, hidden, true}, gates, layer.d_U + first,
                              width, Real(1));
        }
        if (layer.d_b)
            for (long column = first; column < first + columns; ++column) {
                Real sum = 0;
                for (int other = 0; other < threads; ++other)
                    sum += sum_biases[other * biases + column / hidden * bias_stride + column % hidden];
                layer.d_b[column] = sum;
            }
        if (layer.d_inputs) {
            const long row = seq * batch * task / threads, rows = seq * batch * (task + 1) / threads - row;
            product<Real>(rows, input, width, {layer.gates + row * width, width, false}, {layer.W, width, true},
                          layer.d_inputs + row * input, input);
        }
        if (layer.d_initial_cell) {
            const long begin = states * task / threads, end = states * (task + 1) / threads;
            std::memcpy(layer.d_initial_cell + begin, d_cells + begin, (end - begin) * sizeof(Real));
        }
    });
}

#undef RNNBENCH_INLINE

}  // namespace rnnbench_fused

#endif
