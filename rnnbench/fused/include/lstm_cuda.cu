/* An LSTM layer's recurrence on a GPU: all steps in one launch, forward or backward.
 *
 * What it computes, for each step t and each row of the batch (x: inputs, h: states, c: cells):
 *
 *     a = x[t]·W + b + h[t-1]·U        four parts of `hidden` numbers each: i, f, g, o
 *     i = sigmoid(a_i)   f = sigmoid(a_f)   g = tanh(a_g)   o = sigmoid(a_o)
 *     c[t] = f·c[t-1] + i·g
 *     h[t] = o·tanh(c[t])
 *
 * and backward, from the last step to the first (d_y: the gradient that comes from outside):
 *
 *     d_h = d_y[t] + d_a[t+1]·Uᵀ       d_c = d_h·o·(1 - tanh(c[t])²) + d_c[t+1]·f[t+1]
 *     d_a = d_c·g·i(1-i),  d_c·c[t-1]·f(1-f),  d_c·i·(1-g²),  d_h·tanh(c[t])·o(1-o)
 *
 * cuBLAS computes x·W of all steps before, and the weights' gradients afterwards. lstm_cuda.h starts these kernels.
 *
 * Who does what. The blocks of the grid form groups. A group takes ROWS of the batch through all steps. Its BLOCKS
 * thread blocks hold U on the chip, once, in registers and shared memory:
 *
 *     group      block 0        block 1        block 2                each block owns UNITS units, all four gates
 *              +--------------+--------------+--------------+
 *              | i f g o of   | i f g o of   | i f g o of   |         each block reads all states h[t-1] of the group's
 *          U   | units        | units        | units        |         rows, computes its units' part of h[t], and
 *              | 0..UNITS-1   | UNITS..      | 2·UNITS..    |         sends that part to all blocks of its group
 *              +--------------+--------------+--------------+
 *
 * Forward, one block: 8 warps, each with 2 units (K_LANES 32), 4 (16) or 8 (8) of the block's. The lanes of a warp split
 * the sum over k: lane l multiplies four states at a time.
 *
 *     k:   0..3     4..7     ...   4·K_LANES..                        a thread holds weights[chunk][slot]: 4 numbers of k
 *        +--------+--------+-----+--------+                           for each of 8 slots = 2 units × 4 gates. Each state
 *        | lane 0 | lane 1 | ... | lane 0 |  ...                      that it reads serves 8 products.
 *        +--------+--------+-----+--------+
 *
 * Afterwards the lanes add up their sums by shuffles. In each of them a lane sends half of its sums and keeps the other
 * half, so at the end lane l has the sum of gate l % 4 of unit l / 4 % 2, and no lane computes what another one does.
 * Lane l stores slot s's weights as number s xor (l % 8): so it always sends the upper half, and nothing is moved.
 *
 * Backward, one block: it owns the same units. It computes their gates' gradients, multiplies them with its slice of Uᵀ,
 * and gets a partial sum for every state of the group. It sends each partial sum to the block that owns the state.
 * So as many numbers travel as forward, where all gates' gradients would be four times as many.
 *
 *     wait for the partial sums of all blocks -> add them up, d_a of own units -> d_a·Uᵀ: thread (column, lanes of k)
 *
 * Passes. A block takes PASS_ROWS rows at a time. While the states of one pass travel, it computes the others.
 *
 * Two ways to travel:
 *   CLUSTER 1  A group is a cluster of thread blocks. A block writes into the others' shared memory (st.async), which
 *              counts the bytes that have come in. There are two buffers: who has all states of step t knows that
 *              everyone has read those of step t-1, since they were needed for step t. So nobody waits for a barrier.
 *   CLUSTER 0  A group's blocks write to memory, which stays in the L2 cache, and count up one number for each pass.
 *              A warp that sees the number copies the pass into shared memory while the others still compute.
 *
 * A kernel can't hang: every wait ends after LIMIT_NANOSECONDS. Then `failure` is set and the results become NaN.
 */

typedef unsigned int Word;
typedef unsigned long long Long;

constexpr int warps = 8, threads = 32 * warps;
constexpr int padded = BLOCKS * UNITS;  // units of all blocks; those beyond HIDDEN have no weights, and so are zero

/* ---- Waiting ---------------------------------------------------------------------------------------------------- */

__device__ __forceinline__ Word shared_address(const void *pointer) { return (Word)__cvta_generic_to_shared(pointer); }

__device__ __forceinline__ Long nanoseconds() {
    Long now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    return now;
}

/* How a wait ended. It stays with a warp: after the first failure no later wait takes time. */
struct Waiting {
    Word *failure;
    bool failed;

    __device__ Waiting(Word *failure) : failure(failure), failed(false) {}

    template <typename Condition> __device__ __forceinline__ void until(const Condition &holds) {
        if (holds() || failed)
            return;
        const Long begin = nanoseconds();
        while (!holds())
            if (nanoseconds() - begin > LIMIT_NANOSECONDS) {
                failed = true;
                *(volatile Word *)failure = 1;
                return;
            }
    }
};

__device__ __forceinline__ void barrier_init(Word barrier, Word count) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}

__device__ __forceinline__ void barrier_arrive(Word barrier) {
    asm volatile("{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }" ::"r"(barrier) : "memory");
}

__device__ __forceinline__ bool barrier_passed(Word barrier, Word parity) {
    Word passed;
#if __CUDA_ARCH__ >= 900
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(passed) : "r"(barrier), "r"(parity) : "memory");
#else
    asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(passed) : "r"(barrier), "r"(parity) : "memory");
#endif
    return passed;
}

/* Copy a number from memory to shared memory while this thread goes on. Without `is_there`, it becomes zero. */
__device__ __forceinline__ void prefetch(float *to, const float *from, bool is_there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(is_there ? 4 : 0) : "memory");
}

/* A pass's prefetches end here. */
__device__ __forceinline__ void prefetch_end() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/* Wait for this thread's prefetches, but for those of the last pass. */
__device__ __forceinline__ void prefetch_wait() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }

#if CLUSTER

__device__ __forceinline__ void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/* Say how many bytes will come in before the barrier's next phase ends. */
__device__ __forceinline__ void barrier_expect(Word barrier, Word bytes) {
    asm volatile("{ .reg .b64 state; mbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1; }" ::"r"(barrier),
                 "r"(bytes) : "memory");
}

/* The address of this block's shared address in another block of the cluster. */
__device__ __forceinline__ Word remote_address(Word address, Word rank) {
    Word remote;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(address), "r"(rank));
    return remote;
}

template <int count> struct Send;
template <> struct Send<1> {
    static __device__ __forceinline__ void numbers(Word to, Word barrier, const float *from) {
        asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(to),
                     "r"(__float_as_uint(from[0])), "r"(barrier) : "memory");
    }
};
template <> struct Send<2> {
    static __device__ __forceinline__ void numbers(Word to, Word barrier, const float *from) {
        asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::"r"(to),
                     "r"(__float_as_uint(from[0])), "r"(__float_as_uint(from[1])), "r"(barrier) : "memory");
    }
};
template <> struct Send<4> {
    static __device__ __forceinline__ void numbers(Word to, Word barrier, const float *from) {
        asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
                     "r"(__float_as_uint(from[0])), "r"(__float_as_uint(from[1])), "r"(__float_as_uint(from[2])),
                     "r"(__float_as_uint(from[3])), "r"(barrier) : "memory");
    }
};

#else

/* Relaxed: what is read afterwards comes from the L2 cache, where the counter is too. An acquiring read would throw
 * away the L1 cache. */
__device__ __forceinline__ Word read_counter(const Word *counter) {
    Word value;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(counter) : "memory");
    return value;
}

/* Copy 16 bytes from memory to shared memory, past the L1 cache. */
__device__ __forceinline__ void copy_async(Word to, const float *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

/* Count this thread at the barrier once its copies have come in. */
__device__ __forceinline__ void barrier_arrive_after_copies(Word barrier) {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barrier) : "memory");
}

/* A block's last warp to get here adds one to a counter in memory, which others then see with everything that the
 * block's warps have written before. */
__device__ __forceinline__ void count_up(Word *counter, Word *warps_done) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        Word before;
        asm volatile("atom.acq_rel.cta.shared::cta.add.u32 %0, [%1], 1;" : "=r"(before) : "r"(shared_address(warps_done)) : "memory");
        if (before % warps == warps - 1)
            asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
    }
}

template <int count> struct Send;
template <> struct Send<1> {
    static __device__ __forceinline__ void numbers(float *to, const float *from) { __stcg(to, from[0]); }
};
template <> struct Send<2> {
    static __device__ __forceinline__ void numbers(float *to, const float *from) {
        __stcg((float2 *)to, make_float2(from[0], from[1]));
    }
};
template <> struct Send<4> {
    static __device__ __forceinline__ void numbers(float *to, const float *from) {
        __stcg((float4 *)to, make_float4(from[0], from[1], from[2], from[3]));
    }
};

#endif

/* ---- Arithmetic ------------------------------------------------------------------------------------------------- */

/* Within 2 units in the last place, or 1e-7 of 1. NaN stays NaN. */
__device__ __forceinline__ float tangent(float x) {
    const float size = fabsf(x), square = x * x;
    const float power = exp2f(-2.885390081777926815f * size);
    const float far = copysignf(__fdividef(1.f - power, 1.f + power), x);
    float near = fmaf(square, 1.573610e-2f, -5.23038e-2f);
    near = fmaf(near, square, 1.331530e-1f);
    near = fmaf(near, square, -3.333273e-1f);
    near = fmaf(near * square, x, x);
    return size < 0.55f ? near : far;
}

__device__ __forceinline__ float sum_with(float value, int lanes) {
    return value + __shfl_xor_sync(0xffffffffu, value, lanes);
}

/* Add to sums[row][slot] the products of this thread's numbers of each row with its weights.
 *
 * numbers: this thread's first four numbers of the first row. Its next ones lie `lanes` float4 further. */
template <int rows, int slots, int lanes, int in_registers, int chunks>
__device__ __forceinline__ void accumulate(float (&sums)[rows][slots], const float4 *numbers, int row_stride,
                                           const float4 (&weights)[in_registers][slots], const float4 *shared_weights) {
#pragma unroll
    for (int chunk = 0; chunk < in_registers; ++chunk)
#pragma unroll
        for (int r = 0; r < rows; ++r) {
            const float4 x = numbers[r * row_stride + chunk * lanes];
#pragma unroll
            for (int s = 0; s < slots; ++s) {
                const float4 w = weights[chunk][s];
                sums[r][s] = fmaf(x.x, w.x, sums[r][s]);
                sums[r][s] = fmaf(x.y, w.y, sums[r][s]);
                sums[r][s] = fmaf(x.z, w.z, sums[r][s]);
                sums[r][s] = fmaf(x.w, w.w, sums[r][s]);
            }
        }
#pragma unroll
    for (int chunk = in_registers; chunk < chunks; ++chunk) {
        float4 x[rows];
#pragma unroll
        for (int r = 0; r < rows; ++r)
            x[r] = numbers[r * row_stride + chunk * lanes];
#pragma unroll
        for (int s = 0; s < slots; ++s) {
            const float4 w = shared_weights[((chunk - in_registers) * slots + s) * threads];
#pragma unroll
            for (int r = 0; r < rows; ++r) {
                sums[r][s] = fmaf(x[r].x, w.x, sums[r][s]);
                sums[r][s] = fmaf(x[r].y, w.y, sums[r][s]);
                sums[r][s] = fmaf(x[r].z, w.z, sums[r][s]);
                sums[r][s] = fmaf(x[r].w, w.w, sums[r][s]);
            }
        }
    }
}

/* What both kernels get. lstm_cuda.h has the same. */
struct Arguments {
    const float *U;            // (HIDDEN, 4 HIDDEN)
    float *gates;              // forward: (seq, batch, 4 HIDDEN), x·W, replaced by the gates if KEEP. Backward: the gates, replaced by d_a
    float *cells;              // (seq, batch, HIDDEN), or null
    float *states;             // forward: written. Backward: d_y
    const float *bias;         // forward: (4 HIDDEN)
    const float *first_state;  // forward: (batch, HIDDEN), or null
    const float *first_cell;   // (batch, HIDDEN), or null
    float *end_state;          // backward: d_h0, or null
    float *end_cell;           // forward: the last cells, backward: d_c0, or null
    float *bias_sums;          // backward: (groups, 4 HIDDEN): the sum of d_a over the rows of each group
    float *exchange;           // CLUSTER 0: what the blocks tell each other
    Word *counters;            // CLUSTER 0: zeros
    Word *failure;             // set to 1 if a wait took too long
    int seq, batch, rows;      // rows: of the batch, for each group, a multiple of PASS_ROWS
    int begin, end;            // the rows of the batch that this launch takes
};

/* The counters of different passes lie so many words apart. */
constexpr int counter_stride = 32;

/* ---- Forward ---------------------------------------------------------------------------------------------------- */
#if FORWARD

constexpr int slots = 8;                                     // 2 units × 4 gates
constexpr int chunks = (padded + 4 * K_LANES - 1) / (4 * K_LANES);  // of four k, for each lane
constexpr int row_floats = chunks * 4 * K_LANES;             // a row of states in shared memory
constexpr int warp_units = 64 / K_LANES;                     // units of a warp
constexpr int classes = K_LANES / 8;                         // so many lanes have the same gate and different rows
constexpr int lane_rows = (PASS_ROWS + classes - 1) / classes;
constexpr int vector = warp_units < 4 ? warp_units : 4;      // units that one lane sends together
constexpr int senders = vector * 4;                          // lanes that share the destinations of a vector
static_assert(UNITS == warps * warp_units, "a block's units are those of its warps");

/* Copy this block's slice of U into registers and shared memory, a tile of rows at a time. */
__device__ __forceinline__ void load_weights(float4 (&weights)[REGISTER_CHUNKS][slots], float4 *shared_weights, float *tile,
                                             const float *U, int first_unit) {
    constexpr int tile_rows = 4 * K_LANES, tile_columns = 4 * UNITS;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, k_lane = lane % K_LANES;
#pragma unroll
    for (int chunk = 0; chunk < chunks; ++chunk) {
        __syncthreads();
#pragma unroll 8
        for (int place = threadIdx.x; place < tile_rows * tile_columns; place += threads) {
            const int row = place / tile_columns, column = place % tile_columns;
            const int k = chunk * tile_rows + row, unit = first_unit + column % UNITS;
            float weight = 0;
            if (k < HIDDEN && unit < HIDDEN)
                weight = U[(long long)k * (4 * HIDDEN) + column / UNITS * HIDDEN + unit];
            tile[place + row / 4] = weight;  // one more for four rows, so that lanes read from different banks
        }
        __syncthreads();
#pragma unroll
        for (int s = 0; s < slots; ++s) {
            const int number = s ^ (lane & 7);
            const int column = number % 4 * UNITS + warp * warp_units + lane / K_LANES * 2 + number / 4;
            const float *const from = tile + 4 * k_lane * tile_columns + k_lane + column;
            const float4 weight = make_float4(from[0], from[tile_columns], from[2 * tile_columns], from[3 * tile_columns]);
            if (chunk < REGISTER_CHUNKS)
                weights[chunk < REGISTER_CHUNKS ? chunk : 0][s] = weight;
            else
                shared_weights[((chunk - REGISTER_CHUNKS) * slots + s) * threads] = weight;
        }
    }
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(threads, 1) lstm_forward(const Arguments a) {
    extern __shared__ __align__(128) unsigned char shared[];
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, k_lane = lane % K_LANES;
    const int group = blockIdx.x / BLOCKS, member = blockIdx.x % BLOCKS;
    const int first_row = a.begin + group * a.rows, rows = min(a.rows, a.end - first_row);
    const int passes = (rows + PASS_ROWS - 1) / PASS_ROWS, most_passes = a.rows / PASS_ROWS;

    // Shared memory: barriers, counters, cells, weights, states.
    const int buffers = CLUSTER ? 2 * most_passes : STAGES;
    Long *const barriers = (Long *)shared;  // CLUSTER: [parity][pass]. Otherwise: full [stage], then empty [stage]
    Word *const warps_done = (Word *)(barriers + 2 * buffers);
    float *const cells = (float *)(shared + (2 * buffers * 8 + most_passes * 4 + 127) / 128 * 128);
    float *const products = cells + most_passes * PASS_ROWS * UNITS + thread;  // [parity of n][lane row][thread]
    float4 *const shared_weights = (float4 *)(products - thread + 2 * lane_rows * threads) + thread;
    float *const numbers = (float *)(shared_weights - thread + (chunks - REGISTER_CHUNKS) * slots * threads);
    Waiting waiting(a.failure);

    float4 weights[REGISTER_CHUNKS][slots];
    load_weights(weights, shared_weights, numbers, a.U, member * UNITS);
    for (int place = thread; place < buffers * PASS_ROWS * row_floats; place += threads)
        numbers[place] = 0;
    for (int place = thread; place < most_passes; place += threads)
        warps_done[place] = 0;
    if (thread == 0)
        for (int buffer = 0; buffer < buffers; ++buffer) {
#if CLUSTER
            barrier_init(shared_address(barriers + buffer), 1);
            barrier_expect(shared_address(barriers + buffer), PASS_ROWS * padded * 4);
#else
            barrier_init(shared_address(barriers + buffer), 32);
            barrier_init(shared_address(barriers + STAGES + buffer), warps);
#endif
        }
#if CLUSTER
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    cluster_barrier();
    const int sender = K_LANES == 32 ? lane % 8 : K_LANES == 16 ? lane % 8 + lane / 16 * 8 : lane % 16;
#else
    __syncthreads();
    Word *const counters = a.counters + group * most_passes * counter_stride;
    float *const exchange = a.exchange + (size_t)group * most_passes * PASS_ROWS * padded;
    const size_t exchange_parity = (size_t)gridDim.x / BLOCKS * most_passes * PASS_ROWS * padded;
#endif

    // What this lane has after the sums: one gate of one unit, of the rows classes·i + row_class.
    const int gate = lane % 4, own_unit = warp * warp_units + lane / K_LANES * 2 + lane / 4 % 2;
    const int row_class = lane / 8 % classes, unit = member * UNITS + own_unit;
    const bool has_unit = unit < HIDDEN;
    const float bias = has_unit ? a.bias[gate * HIDDEN + unit] : 0;
    const int sent_unit = warp * warp_units + (K_LANES == 8 ? lane / 16 * 4 : 0);

    // Send a unit's state of one row to all blocks of the group.
    auto send = [&](float state, int step, int pass, int row) {
        float part[4];
        const float other = __shfl_xor_sync(0xffffffffu, state, 4);
        part[0] = lane & 4 ? other : state;
        part[1] = lane & 4 ? state : other;
        if (vector == 4) {
            constexpr int next = K_LANES == 8 ? 8 : 16;
            const float first = __shfl_xor_sync(0xffffffffu, part[0], next), second = __shfl_xor_sync(0xffffffffu, part[1], next);
            part[2] = lane & next ? part[0] : first;
            part[3] = lane & next ? part[1] : second;
            part[0] = lane & next ? first : part[0];
            part[1] = lane & next ? second : part[1];
        }
        if (row >= PASS_ROWS)
            return;
#if CLUSTER
        const int buffer = (step & 1) * most_passes + pass;
        const Word to = shared_address(numbers + (buffer * PASS_ROWS + row) * row_floats + member * UNITS + sent_unit);
#pragma unroll
        for (int d = 0; d < (BLOCKS + senders - 1) / senders; ++d)
            if (sender + d * senders < BLOCKS)
                Send<vector>::numbers(remote_address(to, sender + d * senders),
                                      remote_address(shared_address(barriers + buffer), sender + d * senders), part);
#else
        if (K_LANES == 32 ? lane % 8 == 0 : K_LANES == 16 ? lane % 8 == 0 && lane < 16 : lane % 16 == 0)
            Send<vector>::numbers(exchange + (step & 1) * exchange_parity + (pass * PASS_ROWS + row) * padded + member * UNITS + sent_unit, part);
#endif
    };

#if !CLUSTER
    // Copy the states that pass number n needs into its stage.
    auto fetch = [&](int n) {
        const int step = n / passes, pass = n % passes, stage = n % STAGES;
        if (n >= STAGES)
            waiting.until([&] { return barrier_passed(shared_address(barriers + STAGES + stage), (n / STAGES - 1) & 1); });
        if (lane == 0)
            waiting.until([&] { return read_counter(counters + pass * counter_stride) >= Word(step + 1) * BLOCKS; });
        __syncwarp();
        const float *const from = exchange + ((step + 1) & 1) * exchange_parity + pass * PASS_ROWS * padded;
        const Word to = shared_address(numbers + stage * PASS_ROWS * row_floats);
#pragma unroll 8
        for (int place = lane; place < PASS_ROWS * padded / 4; place += 32)
            copy_async(to + (place / (padded / 4) * row_floats + place % (padded / 4) * 4) * 4, from + place * 4);
        barrier_arrive_after_copies(shared_address(barriers + stage));
    };
    const int ahead = min(passes - 1, STAGES - 1) < LOOKAHEAD ? min(passes - 1, STAGES - 1) : LOOKAHEAD;
#endif

    // Step -1: send the initial states, note the initial cells.
    for (int pass = 0; pass < passes; ++pass) {
#pragma unroll
        for (int i = 0; i < lane_rows; ++i) {
            const int pass_row = classes * i + row_class, row = pass * PASS_ROWS + pass_row;
            const bool is_there = has_unit && pass_row < PASS_ROWS && row < rows;
            const size_t place = (size_t)(first_row + row) * HIDDEN + unit;
            send(is_there && a.first_state ? a.first_state[place] : 0, -1, pass, pass_row);
            if (gate == 0 && pass_row < PASS_ROWS)
                cells[row * UNITS + own_unit] = is_there && a.first_cell ? a.first_cell[place] : 0;
        }
#if !CLUSTER
        count_up(counters + pass * counter_stride, warps_done + pass);
#endif
    }

    // x·W of the next pass comes in while a pass is computed.
    auto read_products = [&](int parity, int step, int pass) {
#pragma unroll
        for (int i = 0; i < lane_rows; ++i) {
            const int pass_row = classes * i + row_class, row = pass * PASS_ROWS + pass_row;
            const bool is_there = has_unit && pass_row < PASS_ROWS && row < rows && step < a.seq;
            const size_t place = ((size_t)step * a.batch + first_row + row) * (4 * HIDDEN) + gate * HIDDEN + unit;
            prefetch(products + (parity * lane_rows + i) * threads, a.gates + (is_there ? place : 0), is_there);
        }
        prefetch_end();
    };
    read_products(0, 0, 0);

    int n = 0;  // counts the passes of all steps
#if !CLUSTER
    for (; n < ahead; ++n)
        if (warp == n % warps)
            fetch(n);
    n = 0;
#endif
    for (int step = 0; step < a.seq; ++step)
        for (int pass = 0; pass < passes; ++pass, ++n) {
            const bool last_pass = pass + 1 == passes;
            // The states that this pass needs.
#if CLUSTER
            const int buffer = ((step + 1) & 1) * most_passes + pass;
            waiting.until([&] { return barrier_passed(shared_address(barriers + buffer), (step >> 1) & 1); });
            if (thread == 0)
                barrier_expect(shared_address(barriers + buffer), PASS_ROWS * padded * 4);
#else
            const int buffer = n % STAGES;
            if (warp == (n + ahead) % warps && n + ahead < a.seq * passes)
                fetch(n + ahead);
#endif
            read_products((n + 1) & 1, last_pass ? step + 1 : step, last_pass ? 0 : pass + 1);
#if !CLUSTER
            waiting.until([&] { return barrier_passed(shared_address(barriers + buffer), (n / STAGES) & 1); });
#endif
            float sums[PASS_ROWS][slots] = {};
            accumulate<PASS_ROWS, slots, K_LANES, REGISTER_CHUNKS, chunks>(
                sums, (const float4 *)(numbers + buffer * PASS_ROWS * row_floats) + k_lane, row_floats / 4, weights, shared_weights);
#if !CLUSTER
            if (lane == 0)
                barrier_arrive(shared_address(barriers + STAGES + buffer));
#endif

            // Add up the lanes' sums: first each lane keeps one of 8 slots, then one of `classes` rows.
            float total[lane_rows * classes];
#pragma unroll
            for (int r = 0; r < lane_rows * classes; ++r) {
                total[r] = 0;
                if (r < PASS_ROWS) {
                    float(&row)[slots] = sums[r < PASS_ROWS ? r : 0];
#pragma unroll
                    for (int half = slots / 2; half > 0; half /= 2)
#pragma unroll
                        for (int s = 0; s < half; ++s)
                            row[s] += __shfl_xor_sync(0xffffffffu, row[s + half], half);
                    total[r] = row[0];
                }
            }
#pragma unroll
            for (int half = classes / 2; half > 0; half /= 2)
#pragma unroll
                for (int i = 0; i < lane_rows; ++i)
#pragma unroll
                    for (int r = 0; r < half; ++r) {
                        const bool upper = lane & (8 * half);
                        float &low = total[i * classes + r], &high = total[i * classes + r + half];
                        const float received = __shfl_xor_sync(0xffffffffu, upper ? low : high, 8 * half);
                        low = (upper ? high : low) + received;
                    }

            // The gates and the new state. Four lanes have the four gates of a unit.
            prefetch_wait();
#pragma unroll
            for (int i = 0; i < lane_rows; ++i) {
                const int pass_row = classes * i + row_class, row = pass * PASS_ROWS + pass_row;
                const float x = total[i * classes] + products[((n & 1) * lane_rows + i) * threads] + bias;
                const float curve = tangent(gate == 2 ? x : 0.5f * x);
                const float activation = gate == 2 ? curve : fmaf(0.5f, curve, 0.5f);
                const float i_gate = __shfl_sync(0xffffffffu, activation, 0, 4);
                const float f_gate = __shfl_sync(0xffffffffu, activation, 1, 4);
                const float g_gate = __shfl_sync(0xffffffffu, activation, 2, 4);
                const float o_gate = __shfl_sync(0xffffffffu, activation, 3, 4);
                float *const cell_place = cells + min(row, most_passes * PASS_ROWS - 1) * UNITS + own_unit;
                const float cell = fmaf(f_gate, *cell_place, i_gate * g_gate);
                float state = o_gate * tangent(cell);
                if (waiting.failed)
                    state = __int_as_float(0x7fffffff);
                if (step + 1 < a.seq)
                    send(state, step, pass, pass_row);
                __syncwarp();
                if (pass_row < PASS_ROWS) {
                    if (gate == 0)
                        *cell_place = cell;
                    if (has_unit && row < rows) {
                        const size_t place = (size_t)step * a.batch + first_row + row;
#if KEEP
                        a.gates[place * (4 * HIDDEN) + gate * HIDDEN + unit] = activation;
                        if (gate == 1)
                            a.cells[place * HIDDEN + unit] = cell;
#endif
                        if (gate == 0)
                            a.states[place * HIDDEN + unit] = state;
                        if (gate == 2 && step + 1 == a.seq && a.end_cell)
                            a.end_cell[(size_t)(first_row + row) * HIDDEN + unit] = cell;
                    }
                }
            }
#if !CLUSTER
            if (step + 1 < a.seq)
                count_up(counters + pass * counter_stride, warps_done + pass);
#endif
        }
#if CLUSTER
    cluster_barrier();  // the others may still write into this block's shared memory
#endif
}

#endif

/* ---- Backward --------------------------------------------------------------------------------------------------- */
#if BACKWARD

constexpr int parts = K_LANES / COPIES;                 // so many lanes share a thread group's columns after the sums
constexpr int slots = TILES * VECTOR * parts;           // columns of a thread
constexpr int chunks = UNITS / K_LANES;                 // units of a lane: their four gates are four k
constexpr int tile_columns = threads * VECTOR / COPIES;
constexpr int source_floats = PASS_ROWS * UNITS + 8;    // one block's partial sums; 8 more, for different banks
constexpr int item_groups = PASS_ROWS * UNITS / 8;      // groups of 8 units of one row
constexpr int rounds = (item_groups + warps - 1) / warps;
static_assert(UNITS % K_LANES == 0 && TILES * tile_columns >= padded && UNITS % 8 == 0 && warps % (UNITS / 8) == 0, "sizes");

extern "C" __global__ void __launch_bounds__(threads, 1) lstm_backward(const Arguments a) {
    extern __shared__ __align__(128) unsigned char shared[];
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, k_lane = lane % K_LANES;
    const int group = blockIdx.x / BLOCKS, member = blockIdx.x % BLOCKS;
    const int first_row = a.begin + group * a.rows, rows = min(a.rows, a.end - first_row);
    const int passes = (rows + PASS_ROWS - 1) / PASS_ROWS, most_passes = a.rows / PASS_ROWS;

    // Shared memory: barriers, counters, cells' gradients, the gates' gradients of two passes, weights, partial sums.
    const int buffers = CLUSTER ? 2 * most_passes : STAGES;
    Long *const barriers = (Long *)shared;
    Word *const warps_done = (Word *)(barriers + 2 * buffers);
    float *const d_cells = (float *)(shared + (2 * buffers * 8 + most_passes * 4 + 127) / 128 * 128);
    float *const d_gates = d_cells + most_passes * PASS_ROWS * UNITS;
    float *const values = d_gates + 2 * PASS_ROWS * 4 * UNITS + thread;  // [parity of n][round][2][thread]
    float4 *const shared_weights = (float4 *)(values - thread + 4 * rounds * threads) + thread;
    float *const numbers = (float *)(shared_weights - thread + (chunks - REGISTER_CHUNKS) * slots * threads);
    Waiting waiting(a.failure);

    // This thread's columns: the slots [tile][part][VECTOR]. Slot part p stands for part p xor own_part.
    const int own_part = k_lane % parts, first_column = thread / K_LANES * parts * VECTOR;
    float4 weights[REGISTER_CHUNKS][slots];
#pragma unroll
    for (int s = 0; s < slots; ++s) {
        const int tile = s / (VECTOR * parts), part = s / VECTOR % parts ^ own_part;
        const int column = tile * tile_columns + first_column + part * VECTOR + s % VECTOR;
#pragma unroll
        for (int chunk = 0; chunk < chunks; ++chunk) {
            const int unit = member * UNITS + chunk * K_LANES + k_lane;
            float4 weight = make_float4(0, 0, 0, 0);
            if (column < HIDDEN && unit < HIDDEN) {
                const float *const from = a.U + (size_t)column * (4 * HIDDEN) + unit;
                weight = make_float4(from[0], from[HIDDEN], from[2 * HIDDEN], from[3 * HIDDEN]);
            }
            if (chunk < REGISTER_CHUNKS)
                weights[chunk < REGISTER_CHUNKS ? chunk : 0][s] = weight;
            else
                shared_weights[((chunk - REGISTER_CHUNKS) * slots + s) * threads] = weight;
        }
    }
    for (int place = thread; place < most_passes; place += threads)
        warps_done[place] = 0;
    for (int place = thread; place < most_passes * PASS_ROWS * UNITS; place += threads)
        d_cells[place] = 0;
    if (thread == 0)
        for (int buffer = 0; buffer < buffers; ++buffer) {
#if CLUSTER
            barrier_init(shared_address(barriers + buffer), 1);
            barrier_expect(shared_address(barriers + buffer), PASS_ROWS * padded * 4);
#else
            barrier_init(shared_address(barriers + buffer), 32);
            barrier_init(shared_address(barriers + STAGES + buffer), warps);
#endif
        }
#if CLUSTER
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    cluster_barrier();
#else
    __syncthreads();
    // exchange: [parity][group][pass][owner][source][row][unit]
    Word *const counters = a.counters + group * most_passes * counter_stride;
    float *const exchange = a.exchange + (size_t)group * most_passes * BLOCKS * PASS_ROWS * padded;
    const size_t exchange_parity = (size_t)gridDim.x / BLOCKS * most_passes * BLOCKS * PASS_ROWS * padded;

    // Copy the partial sums that pass number n needs, n ≥ passes, into its stage. They come from the pass n - passes.
    auto fetch = [&](int n) {
        const int back = n / passes - 1, pass = n % passes, index = n - passes, stage = index % STAGES;
        if (index >= STAGES)
            waiting.until([&] { return barrier_passed(shared_address(barriers + STAGES + stage), (index / STAGES - 1) & 1); });
        if (lane == 0)
            waiting.until([&] { return read_counter(counters + pass * counter_stride) >= Word(back + 1) * BLOCKS; });
        __syncwarp();
        const float *const from = exchange + (back & 1) * exchange_parity + ((size_t)pass * BLOCKS + member) * BLOCKS * PASS_ROWS * UNITS;
        const Word to = shared_address(numbers + stage * BLOCKS * source_floats);
#pragma unroll 8
        for (int place = lane; place < BLOCKS * PASS_ROWS * UNITS / 4; place += 32)
            copy_async(to + (place / (PASS_ROWS * UNITS / 4) * source_floats + place % (PASS_ROWS * UNITS / 4) * 4) * 4, from + place * 4);
        barrier_arrive_after_copies(shared_address(barriers + stage));
    };
    const int ahead = min(passes - 1, STAGES - 1) < LOOKAHEAD ? min(passes - 1, STAGES - 1) : LOOKAHEAD;
#endif

    // This lane's items: one gate of one unit, of one row for each round.
    const int gate = lane / 8, item = lane % 2 * 4 + lane / 2 % 2 * 2 + lane / 4 % 2;
    const int own_unit = warp % (UNITS / 8) * 8 + item, unit = member * UNITS + own_unit;
    const bool has_unit = unit < HIDDEN;
    auto row_of_round = [&](int round) { return (warp + warps * round) / (UNITS / 8); };

    // The gates and what else the next pass needs come in while a pass is computed: the lanes of the four gates of a unit
    // read the gate, and the cell, the cell before or d_y.
    auto read_values = [&](int parity, int step, int pass) {
#pragma unroll
        for (int round = 0; round < rounds; ++round) {
            const int pass_row = row_of_round(round), row = pass * PASS_ROWS + pass_row;
            const bool is_there = has_unit && pass_row < PASS_ROWS && row < rows && step >= 0;
            const size_t place = is_there ? (size_t)step * a.batch + first_row + row : 0;
            float *const to = values + (parity * rounds + round) * 2 * threads;
            prefetch(to, a.gates + place * (4 * HIDDEN) + (is_there ? gate * HIDDEN + unit : 0), is_there);
            const float *from = gate == 0 ? a.cells + place * HIDDEN : a.states + place * HIDDEN;
            bool has_extra = is_there && gate != 3;
            if (gate == 1) {
                if (step > 0)
                    from = a.cells + (place - a.batch) * HIDDEN;
                else if (a.first_cell)
                    from = a.first_cell + (size_t)(first_row + row) * HIDDEN;
                else
                    has_extra = false;
            }
            prefetch(to + threads, has_extra ? from + unit : a.cells, has_extra);
        }
        prefetch_end();
    };
    read_values(0, a.seq - 1, 0);
    float bias_sum = 0;

    // n counts the passes of all steps. The steps' last round, -1, only adds up the partial sums for d_h0.
    const int last_step = a.end_state ? -1 : 0, end = (a.seq - last_step) * passes;
    int n = 0;
    for (int step = a.seq - 1; step >= last_step; --step)
        for (int pass = 0; pass < passes; ++pass, ++n) {
            const bool last_pass = pass + 1 == passes;
            const int back = a.seq - 1 - step;  // steps done before
#if CLUSTER
            const int buffer = ((back + 1) & 1) * most_passes + pass;
            if (back > 0) {
                waiting.until([&] { return barrier_passed(shared_address(barriers + buffer), ((back - 1) >> 1) & 1); });
                if (thread == 0)
                    barrier_expect(shared_address(barriers + buffer), PASS_ROWS * padded * 4);
            }
#else
            const int buffer = (n - passes + STAGES * passes) % STAGES;
            if (warp == (n + ahead) % warps && n + ahead >= passes && n + ahead < end)
                fetch(n + ahead);
#endif
            read_values((n + 1) & 1, last_pass ? step - 1 : step, last_pass ? 0 : pass + 1);
#if !CLUSTER
            if (back > 0)
                waiting.until([&] { return barrier_passed(shared_address(barriers + buffer), ((n - passes) / STAGES) & 1); });
#endif
            prefetch_wait();
            // Add up the partial sums of all blocks: 16 lanes take every sixteenth block, for 8 units together.
            float *const new_gates = d_gates + (n & 1) * PASS_ROWS * 4 * UNITS;
#pragma unroll
            for (int round = 0; round < rounds; ++round) {
                const int pass_row = row_of_round(round), row = pass * PASS_ROWS + pass_row;
                if (pass_row >= PASS_ROWS)
                    break;  // the same for all lanes of the warp
                float d_state = 0;
                if (back > 0) {
                    float4 sum = make_float4(0, 0, 0, 0);
                    const float *const from = numbers + buffer * BLOCKS * source_floats + pass_row * UNITS + warp % (UNITS / 8) * 8 + lane % 2 * 4;
#pragma unroll
                    for (int source = lane / 2; source < (BLOCKS + 15) / 16 * 16; source += 16)
                        if (BLOCKS % 16 == 0 || source < BLOCKS) {
                            const float4 part = *(const float4 *)(from + source * source_floats);
                            sum = make_float4(sum.x + part.x, sum.y + part.y, sum.z + part.z, sum.w + part.w);
                        }
                    const bool second = lane & 2, fourth = lane & 4;
                    const float low = (second ? sum.z : sum.x) + __shfl_xor_sync(0xffffffffu, second ? sum.x : sum.z, 2);
                    const float high = (second ? sum.w : sum.y) + __shfl_xor_sync(0xffffffffu, second ? sum.y : sum.w, 2);
                    d_state = (fourth ? high : low) + __shfl_xor_sync(0xffffffffu, fourth ? low : high, 4);
                    d_state = sum_with(sum_with(d_state, 8), 16);
                }
                if (waiting.failed)
                    d_state = __int_as_float(0x7fffffff);
                if (step < 0) {
                    if (gate == 0 && has_unit && row < rows)
                        a.end_state[(size_t)(first_row + row) * HIDDEN + unit] = d_state;
                    continue;
                }
                const float *const from = values + ((n & 1) * rounds + round) * 2 * threads;
                const float own = from[0], extra = from[threads];
                const float i_gate = __shfl_sync(0xffffffffu, own, lane % 8);
                const float f_gate = __shfl_sync(0xffffffffu, own, lane % 8 + 8);
                const float g_gate = __shfl_sync(0xffffffffu, own, lane % 8 + 16);
                const float o_gate = __shfl_sync(0xffffffffu, own, lane % 8 + 24);
                const float curve = tangent(__shfl_sync(0xffffffffu, extra, lane % 8));
                const float cell_before = __shfl_sync(0xffffffffu, extra, lane % 8 + 8);
                d_state += __shfl_sync(0xffffffffu, extra, lane % 8 + 16);
                float *const d_cell_place = d_cells + row * UNITS + own_unit;
                const float d_cell = fmaf(d_state * o_gate, 1.f - curve * curve, *d_cell_place);
                const float slope = gate == 2 ? 1.f - own * own : own * (1.f - own);
                const float factor = gate == 0 ? d_cell * g_gate : gate == 1 ? d_cell * cell_before
                                   : gate == 2 ? d_cell * i_gate : d_state * curve;
                const float d_gate = factor * slope;
                new_gates[(pass_row * UNITS + own_unit) * 4 + gate] = d_gate;
                __syncwarp();
                if (gate == 0)
                    *d_cell_place = d_cell * f_gate;
                if (has_unit && row < rows) {
                    bias_sum += d_gate;
                    a.gates[((size_t)step * a.batch + first_row + row) * (4 * HIDDEN) + gate * HIDDEN + unit] = d_gate;
                    if (gate == 1 && step == 0 && a.end_cell)
                        a.end_cell[(size_t)(first_row + row) * HIDDEN + unit] = d_cell * f_gate;
                }
            }
#if !CLUSTER
            __syncwarp();
            if (lane == 0 && back > 0)
                barrier_arrive(shared_address(barriers + STAGES + buffer));
#endif
            if (step <= last_step)
                continue;  // nobody needs what comes before
            __syncthreads();

            // Partial sums for all states of the group.
            float sums[PASS_ROWS][slots] = {};
            accumulate<PASS_ROWS, slots, K_LANES, REGISTER_CHUNKS, chunks>(
                sums, (const float4 *)new_gates + k_lane, UNITS, weights, shared_weights);
#pragma unroll
            for (int r = 0; r < PASS_ROWS; ++r)
#pragma unroll
                for (int tile = 0; tile < TILES; ++tile) {
                    float *const part = sums[r] + tile * parts * VECTOR;
#pragma unroll
                    for (int half = parts / 2; half > 0; half /= 2)
#pragma unroll
                        for (int s = 0; s < half * VECTOR; ++s)
                            part[s] += __shfl_xor_sync(0xffffffffu, part[s + half * VECTOR], half);
#pragma unroll
                    for (int lanes = parts; lanes < K_LANES; lanes *= 2)
#pragma unroll
                        for (int s = 0; s < VECTOR; ++s)
                            part[s] = sum_with(part[s], lanes);
                    const int column = tile * tile_columns + first_column + own_part * VECTOR, owner = column / UNITS;
                    if ((COPIES == 1 || k_lane < parts) && column < padded) {
#if CLUSTER
                        const int to_buffer = (back & 1) * most_passes + pass;
                        const Word to = shared_address(numbers + (to_buffer * BLOCKS + member) * source_floats + r * UNITS + column % UNITS);
                        Send<VECTOR>::numbers(remote_address(to, owner), remote_address(shared_address(barriers + to_buffer), owner), part);
#else
                        Send<VECTOR>::numbers(exchange + (back & 1) * exchange_parity +
                                                  ((((size_t)pass * BLOCKS + owner) * BLOCKS + member) * PASS_ROWS + r) * UNITS + column % UNITS, part);
#endif
                    }
                }
#if !CLUSTER
            count_up(counters + pass * counter_stride, warps_done + pass);
#endif
        }

    // The bias's gradient: the sum over the warps that have the same units.
    __syncthreads();
    d_gates[thread] = bias_sum;
    __syncthreads();
    if (warp < UNITS / 8 && has_unit) {
        float sum = 0;
        for (int other = warp; other < warps; other += UNITS / 8)
            sum += d_gates[other * 32 + lane];
        a.bias_sums[(size_t)group * (4 * HIDDEN) + gate * HIDDEN + unit] = sum;
    }
#if CLUSTER
    cluster_barrier();  // the others may still write into this block's shared memory
#endif
}

/* to[column] = the sum of from[group][column], for the bias's gradient. */
extern "C" __global__ void lstm_add_up(const float *from, int groups, float *to) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= 4 * HIDDEN)
        return;
    float sum = 0;
    for (int group = 0; group < groups; ++group)
        sum += from[(size_t)group * (4 * HIDDEN) + column];
    to[column] = sum;
}

#endif
