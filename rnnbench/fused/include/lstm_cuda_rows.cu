/* The recurrence with U in registers: a row's states pass by.
 *
 * Who does what. The blocks of the grid form groups. A group takes some rows of the batch through all steps. Its BLOCKS
 * thread blocks hold U on the chip, once, in registers and shared memory:
 *
 *     group      block 0        block 1        block 2                each block owns UNITS units, all four gates
 *              +--------------+--------------+--------------+
 *              | i f g o of   | i f g o of   | i f g o of   |         each block gets all states h[t-1] of the group's
 *          U   | units        | units        | units        |         rows, computes its units' part of h[t], and
 *              | 0..UNITS-1   | UNITS..      | 2·UNITS..    |         sends that part to all blocks of its group
 *              +--------------+--------------+--------------+
 *
 * The warps of a block have different work, so that one kind's waiting is another kind's time:
 *
 *     8 warps that multiply  ── sums of a pass ──>  1, 2 or 4 warps that compute gates  ── new states ──>  other blocks
 *               ^                                                                                               |
 *               +──────── states of a pass, in shared memory ──── CLUSTER 0: a warp that fetches <──────────────+
 *
 * On Hopper the first kind takes registers from the others (SET_REGISTERS): it needs them for the weights.
 *
 * Forward, the warps that multiply. A block's 8 warps have 8 units each, for a part of the sum over k: with 16 units
 * there are 4 parts, with 64 there is one. The lanes of a warp split the part's sum:
 *
 *     lane    0  1  2  3 |  4  5  6  7 | ... | 28..31     a thread holds weights[chunk][slot]: four numbers of k for
 *     k_lane  0  0  0  0 |  1  1  1  1 | ... |  7  7       each of 8 slots = 2 units × 4 gates. So each state that it
 *     group   0  1  2  3 |  0  1  2  3 | ... |  0..3       reads serves 8 products. Four lanes read the same states.
 *     k       0..3       |  4..7       | ... | 28..31,  then 32..35 in the next chunk
 *
 * Afterwards the lanes of a group add up their sums by shuffles. In each of them a lane sends half of its sums and
 * keeps the other half. So at the end it has one sum, and no lane computes what another one does. Lane k_lane keeps
 * number s xor k_lane in its slot s: so it always sends the upper half, and nothing is moved.
 *
 * Backward. A block owns the same units. It computes their gates' gradients, multiplies them with its slice of Uᵀ, and
 * gets a partial sum for every state of the group. It sends each partial sum to the block that owns the state. So as
 * many numbers travel as forward. All gates' gradients would be four times as many.
 *
 *     add up the partial sums of all blocks -> d_a of own units -> d_a·Uᵀ: K_LANES lanes share a column's sum
 *
 * Passes. A block takes PASS_ROWS rows at a time. While the states of one pass travel, it computes the others.
 *
 * Two ways to travel:
 *   CLUSTER 1  A group is a cluster of thread blocks. A block writes into the others' shared memory (st.async). A
 *              barrier there counts the bytes that come in. There are two buffers: a block that has all states of step
 *              t knows that all blocks have read those of step t-1, since they were needed for step t. So no block
 *              waits for a barrier of all.
 *   CLUSTER 0  A group's blocks write to memory, which stays in the L2 cache. Forward, two warps of each block read
 *              until no number is `missing`, and put the numbers into shared memory. Backward more is sent: a warp
 *              counts up one number for each pass, and another one that sees the number copies the pass.
 */
#if ROWS

constexpr int warps = 8, threads = 32 * warps;  // that multiply
constexpr int gate_threads = 32 * GATE_WARPS, all_threads = threads + gate_threads + (CLUSTER ? 0 : 64);
constexpr int padded = BLOCKS * UNITS;  // units of all blocks; those beyond HIDDEN have no weights, and so are zero

/* Wait for other warps of this block: all that call it with this number. */
template <int number, int count> __device__ __forceinline__ void block_barrier() {
    asm volatile("bar.sync %0, %1;" ::"n"(number), "n"(count) : "memory");
}

/* Threads that multiply take registers from those that compute gates. */
template <bool multiplies> __device__ __forceinline__ void take_registers() {
#if SET_REGISTERS
    if (multiplies)
        asm volatile("setmaxnreg.inc.sync.aligned.u32 224;");
    else
        asm volatile("setmaxnreg.dec.sync.aligned.u32 56;");
#endif
}

/* The weights come through shared memory, a tile at a time. The next tile comes in while one is distributed. So many
 * numbers are copied together; more wouldn't be aligned in U, or backward in a tile. */
constexpr int piece = FORWARD && HIDDEN % 4 == 0 ? 4 : HIDDEN % 2 == 0 ? 2 : 1;

/* threadIdx.x and blockIdx.x, read anew: what follows from them then takes no register for longer than needed. */
__device__ __forceinline__ int thread_number() {
    int number;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(number));
    return number;
}
__device__ __forceinline__ int block_number() {
    int number;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(number));
    return number;
}

/* Copy a piece from memory to shared memory while this thread goes on. Without `is_there` it becomes zero. */
__device__ __forceinline__ void copy_piece(float *to, const float *from, bool is_there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to)), "l"(from), "n"(4 * piece),
                 "r"(is_there ? 4 * piece : 0)
                 : "memory");
}

/* Call copy(tile, buffer), which copies a tile, and distribute(tile, buffer), for all tiles. `count` is a constant. */
template <int count, typename Copy, typename Distribute>
__device__ __forceinline__ void through_tiles(const Copy &copy, const Distribute &distribute) {
    copy(0, 0);
    asm volatile("cp.async.commit_group;" ::: "memory");
#pragma unroll
    for (int tile = 0; tile < count; ++tile) {
        if (tile + 1 < count)
            copy(tile + 1, (tile + 1) & 1);
        asm volatile("cp.async.commit_group;\ncp.async.wait_group 1;" ::: "memory");
        block_barrier<1, threads>();
        distribute(tile, tile & 1);
        block_barrier<1, threads>();
    }
}

/* The warps beside those that multiply. Forward none counts: two fetch. */
constexpr int fetch_warps = CLUSTER ? 0 : FORWARD ? 2 : 1;
enum Helper { gates_helper, fetch_helper, count_helper };

__device__ __forceinline__ Helper helper_of_warp() {
    const int number = (int)threadIdx.x / 32 - warps;
    return CLUSTER || number < GATE_WARPS ? gates_helper : number == GATE_WARPS ? fetch_helper : count_helper;
}

#if CLUSTER

__device__ __forceinline__ void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/* Say how many bytes will come in before the barrier's next phase ends. */
__device__ __forceinline__ void barrier_expect(Word barrier, Word bytes) {
    asm volatile("{ .reg .b64 state; mbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1; }" ::"r"(barrier),
                 "r"(bytes)
                 : "memory");
}

/* The address of this block's shared address in another block of the cluster. */
__device__ __forceinline__ Word remote_address(Word address, Word rank) {
    Word remote;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(address), "r"(rank));
    return remote;
}

/* Write 1, 2 or 4 numbers into another block's shared memory. Its barrier counts the bytes once they are there. */
template <int count> __device__ __forceinline__ void send_async(Word to, Word barrier, const float *numbers) {
    if (count == 4)
        asm volatile(
            "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
            "r"(__float_as_uint(numbers[0])), "r"(__float_as_uint(numbers[1 % count])),
            "r"(__float_as_uint(numbers[2 % count])), "r"(__float_as_uint(numbers[3 % count])), "r"(barrier)
            : "memory");
    else if (count == 2)
        asm volatile(
            "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::"r"(to),
            "r"(__float_as_uint(numbers[0])), "r"(__float_as_uint(numbers[1 % count])), "r"(barrier)
            : "memory");
    else
        asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(to),
                     "r"(__float_as_uint(numbers[0])), "r"(barrier)
                     : "memory");
}

#elif BACKWARD

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

/* Others that see the new number also see what this thread, and threads that it has waited for, have written. */
__device__ __forceinline__ void count_up(Word *counter) {
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}

/* Say that all lanes of this warp have written for the count-th time. */
__device__ __forceinline__ void note_sent(Word *sent, int count) {
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        asm volatile("st.release.cta.shared.u32 [%0], %1;" ::"r"(shared_address(sent)), "r"(count) : "memory");
}

__device__ __forceinline__ int read_sent(const Word *sent) {
    int value;
    asm volatile("ld.acquire.cta.shared.u32 %0, [%1];" : "=r"(value) : "r"(shared_address(sent)) : "memory");
    return value;
}

#endif

/* This never ends the thread, since `seq` isn't negative. But the compiler doesn't move products across it. In the
 * order as written, neighbours share a factor, which the processor keeps at hand. A product that reads three registers
 * anew takes longer. And before a place where the thread might end, the compiler waits for the last product. Then the
 * other warps have their turn: a warp that never waits leaves them one instruction in 30 ticks. */
__device__ __forceinline__ void keep_order(int seq) {
    asm volatile("{ .reg .pred p; setp.lt.s32 p, %0, 0; @p exit; }" ::"r"(seq));
}

/* Number k of the four. */
__device__ __forceinline__ float part_of(const float4 &four, int k) {
    return k == 0 ? four.x : k == 1 ? four.y : k == 2 ? four.z : four.w;
}

/* Add to sums[row][slot] the products of this thread's numbers of each row with its weights.
 *
 * numbers: this thread's first four numbers of the first row. Its next ones lie `lanes` float4 further. They are read
 * while the last ones are used.
 * Where the weights are in shared memory, two numbers are taken at a time, which needs fewer registers: the first two
 * from `pairs`, the other two `other_pair` float2 further. The next weights are read while the last ones are used. Half
 * of the warps begin with the weights in shared memory, so that not all warps need its port at once. */
template <int rows, int slots, int lanes, int in_registers, int chunks, int other_pair>
__device__ __forceinline__ void accumulate(float (&sums)[rows][slots], const float4 *numbers, const float2 *pairs,
                                           int row_stride, const float4 (&weights)[in_registers][slots],
                                           const float4 *shared_weights, int seq) {
    static_assert(slots % 2 == 0, "a read takes the weights of two slots");
    auto from_registers = [&] {
        float4 next = numbers[0];
#pragma unroll
        for (int number = 0; number < rows * in_registers; ++number) {
            const int chunk = number / rows, r = number % rows, after = number + 1;
            const float4 x = next;
            if (after < rows * in_registers)
                next = numbers[after % rows * row_stride + after / rows * lanes];
#pragma unroll
            for (int k = 0; k < 4; ++k) {
#pragma unroll
                for (int place = 0; place < slots; ++place) {
                    const int s = k % 2 ? slots - 1 - place : place;
                    sums[r][s] = fmaf(part_of(x, k), part_of(weights[chunk][s], k), sums[r][s]);
                }
                keep_order(seq);
            }
        }
    };
    auto from_shared = [&] {
        constexpr int count = (chunks - in_registers) * slots;
        float4 w = shared_weights[0];
#pragma unroll
        for (int half = 0; half < 2 * (chunks - in_registers); ++half) {
            float2 x[rows];
#pragma unroll
            for (int r = 0; r < rows; ++r)
                x[r] = pairs[(r * row_stride + (in_registers + half / 2) * lanes) * 2 + half % 2 * other_pair];
#pragma unroll
            for (int s = 0; s < slots; s += 2) {
                const int next = (half * slots + s) / 2 + 1;
                const float4 next_w = shared_weights[(next < count ? next : 0) * threads];
#pragma unroll
                for (int r = 0; r < rows; ++r)
#pragma unroll
                    for (int place = 0; place < 2; ++place) {
                        const int other = (place + r) % 2;
                        sums[r][s + other] = fmaf(x[r].x, other ? w.y : w.x, sums[r][s + other]);
                    }
#pragma unroll
                for (int r = 0; r < rows; ++r)
#pragma unroll
                    for (int place = 0; place < 2; ++place) {
                        const int other = (place + r) % 2;
                        sums[r][s + other] = fmaf(x[r].y, other ? w.w : w.z, sums[r][s + other]);
                    }
                w = next_w;
            }
        }
    };
    if (in_registers == chunks) {
        from_registers();
        return;
    }
    const int registers_at = threadIdx.x / 128;  // the warps of a scheduler differ in it
#pragma unroll 1
    for (int part = 0; part < 2; ++part)
        if (part == registers_at)
            from_registers();
        else
            from_shared();
}

/* Keep two weights of a slot in shared memory: [half of a chunk][slot / 2][thread][which of the two][slot % 2]. */
template <int slots>
__device__ __forceinline__ void keep_pair(float2 *shared_weights, int half, int slot, float first, float second) {
    float *const to = (float *)(shared_weights + (half * slots + slot) / 2 * (2 * threads)) + slot % 2;
    to[0] = first, to[2] = second;
}

/* This never runs, since `seq` isn't negative. But the compiler lays out registers for it: the weights of two slots lie
 * as a pair, and their sums as a pair the other way round. So more weights and their sums are in different banks. */
template <int rows, int slots, int in_registers>
__device__ __forceinline__ void lay_out_in_pairs(int seq, const float4 (&weights)[in_registers][slots],
                                                 const float (&sums)[rows][slots]) {
    if (seq >= 0)
        return;
    auto write_pair = [&](float first, float second) {
        asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(seq), "f"(first), "f"(second) : "memory");
    };
#pragma unroll
    for (int s = 0; s < slots; s += 2) {
#pragma unroll
        for (int chunk = 0; chunk < in_registers; ++chunk) {
            const float4 first = weights[chunk][s], second = weights[chunk][s + 1];
            write_pair(first.x, second.x), write_pair(first.y, second.y);
            write_pair(first.z, second.z), write_pair(first.w, second.w);
        }
#pragma unroll
        for (int r = 0; r < rows; ++r)
            write_pair(sums[r][s + 1], sums[r][s]);
    }
}

#if BACKWARD && !CLUSTER
/* The counters of different passes lie so many words apart. */
constexpr int counter_stride = 32;
#endif

/* Both kernels begin so: who this thread is, and which rows its group takes. */
struct Place {
    int warp, lane, group, member, first_row, rows, passes, most_passes;

    __device__ explicit Place(const Arguments &a)
        : warp(threadIdx.x / 32), lane(threadIdx.x % 32), group(blockIdx.x / BLOCKS), member(blockIdx.x % BLOCKS),
          first_row(a.begin + group * a.rows), rows(min(a.rows, a.end - first_row)),
          passes((rows + PASS_ROWS - 1) / PASS_ROWS), most_passes(a.rows / PASS_ROWS) {}
};

/* Barriers in shared memory, in this order. They count warps, except for `arrived`. */
struct Barriers {
    Long *arrived;       // numbers of other blocks are there: [step % 2][pass] or [stage]
    Long *taken;         // CLUSTER 0: they have been read: [stage]
    Long *full, *empty;  // between this block's two kinds of warps: [n % 2]
    Word *sent;          // CLUSTER 0: how often each warp has written what others need: [warp]
    int buffers;

    __device__ Barriers(unsigned char *shared, int most_passes) {
        buffers = CLUSTER ? 2 * most_passes : STAGES;
        arrived = (Long *)shared;
        taken = arrived + buffers;
        full = taken + buffers;
        empty = full + 2;
        sent = (Word *)(empty + 2);
    }
    __device__ static int bytes(int most_passes) {
        return ((CLUSTER ? 2 * most_passes : STAGES) * 2 * 8 + 4 * 8 + warps * 4 + 127) / 128 * 128;
    }
    /* One thread calls it. fills, empties and takes: how many warps do so. */
    __device__ void init(int fills, int empties, int takes) const {
        for (int buffer = 0; buffer < buffers; ++buffer) {
            barrier_init(shared_address(arrived + buffer), CLUSTER ? 1 : FORWARD ? fetch_warps : 32);
            barrier_init(shared_address(taken + buffer), takes);
#if CLUSTER
            barrier_expect(shared_address(arrived + buffer), PASS_ROWS * padded * 4);
#endif
        }
        for (int parity = 0; parity < 2; ++parity) {
            barrier_init(shared_address(full + parity), fills);
            barrier_init(shared_address(empty + parity), empties);
        }
        for (int warp = 0; warp < warps; ++warp)
            sent[warp] = 0;
    }
};

/* All threads of the block, and of its cluster, come here once everything is set up. */
template <bool multiplies> __device__ __forceinline__ void set_up_barrier() {
#if CLUSTER
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    cluster_barrier();
#else
    // Those that multiply set up what the others need, and don't wait for them.
    if (multiplies) {
        block_barrier<1, threads>();
        asm volatile("bar.arrive 3, %0;" ::"n"(all_threads) : "memory");
    } else {
        asm volatile("bar.sync 3, %0;" ::"n"(all_threads) : "memory");
    }
#endif
}

/* ---- Forward ---------------------------------------------------------------------------------------------------- */
#if FORWARD

constexpr int slots = 8;                                // 2 units × 4 gates
constexpr int k_lanes = 8, lane_groups = 32 / k_lanes;  // four groups of lanes have two units each
constexpr int warp_units = 2 * lane_groups;
constexpr int k_parts = warps * warp_units / UNITS;  // so many warps share the sum over k
constexpr int chunks = (padded + 4 * k_lanes * k_parts - 1) / (4 * k_lanes * k_parts);  // of four k, for each lane
constexpr int row_floats = k_parts * chunks * 4 * k_lanes;  // a row of states in shared memory
constexpr int total_floats = 4 * UNITS + 8;                 // a row of sums; 8 more, for different banks
constexpr int rounds = (PASS_ROWS * UNITS + gate_threads - 1) / gate_threads;
static_assert(k_parts * UNITS == warps * warp_units && gate_threads % UNITS == 0, "sizes");

/* What a thread that multiplies has to do with. After the sums it has one gate of one unit, of each row. */
struct Part {
    int k_lane, group, k_part, first_unit;  // first_unit: of the warp
    __device__ explicit Part(int thread)
        : k_lane(thread % 32 / lane_groups), group(thread % lane_groups), k_part(thread / 32 * k_parts / warps),
          first_unit(thread / 32 % (warps / k_parts) * warp_units) {}
    /* The place of a slot, among the block's [unit][gate]. Slot s of a lane is number s xor k_lane. */
    __device__ int unit(int slot) const { return first_unit + group * 2 + (slot ^ k_lane) / 4; }
    __device__ int gate(int slot) const { return (slot ^ k_lane) % 4; }
};

constexpr int tile_rows = 4 * k_lanes * k_parts, tile_columns = 4 * UNITS;
constexpr int tile_floats = tile_rows * tile_columns + tile_rows;  // four more for four rows, for different banks
static_assert(tile_rows * tile_columns == 32 * threads, "sizes");

/* Copy this block's slice of U into registers and shared memory, a chunk of rows at a time. */
__device__ __forceinline__ void load_weights(float4 (&weights)[REGISTER_CHUNKS][slots], float2 *shared_weights,
                                             float *tiles, const float *U) {
    const Part own(threadIdx.x);
    auto copy = [&](int chunk, int buffer) {
        const int first_unit = block_number() % BLOCKS * UNITS;
#pragma unroll 2
        for (int place = thread_number() * piece; place < tile_rows * tile_columns; place += threads * piece) {
            const int row = place / tile_columns, column = place % tile_columns;
            const int k = (row / (4 * k_lanes) * chunks + chunk) * (4 * k_lanes) + row % (4 * k_lanes);
            const int unit = first_unit + column % UNITS;
            const bool is_there = k < HIDDEN && unit < HIDDEN;
            copy_piece(tiles + buffer * tile_floats + place + row / 4 * 4,
                       U + (is_there ? (long long)k * (4 * HIDDEN) + column / UNITS * HIDDEN + unit : 0), is_there);
        }
    };
    auto distribute = [&](int chunk, int buffer) {
#pragma unroll
        for (int s = 0; s < slots; ++s) {
            const float *const tile = tiles + buffer * tile_floats + own.gate(s) * UNITS + own.unit(s);
            auto weight = [&](int k) {
                const int row = own.k_part * (4 * k_lanes) + k;
                return tile[row * tile_columns + row / 4 * 4];
            };
            if (chunk < REGISTER_CHUNKS)
                weights[chunk < REGISTER_CHUNKS ? chunk : 0][s] =
                    make_float4(weight(4 * own.k_lane), weight(4 * own.k_lane + 1), weight(4 * own.k_lane + 2),
                                weight(4 * own.k_lane + 3));
            else
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int k = half * 2 * k_lanes + 2 * own.k_lane;
                    keep_pair<slots>(shared_weights, 2 * (chunk - REGISTER_CHUNKS) + half, s, weight(k), weight(k + 1));
                }
        }
    };
    through_tiles<chunks>(copy, distribute);
}

/* Add up the lanes' sums: each lane keeps its slot 0. */
__device__ __forceinline__ float add_lanes(float (&sums)[slots]) {
#pragma unroll
    for (int half = slots / 2; half > 0; half /= 2)
#pragma unroll
        for (int s = 0; s < half; ++s)
            sums[s] += __shfl_xor_sync(0xffffffffu, sums[s + half], half * lane_groups);
    return sums[0];
}

#if !CLUSTER

/* Where the states of this group's rows lie in the exchange. There are four slots, for steps t, t-1, t-2 and t-3. */
struct SentStates {
    Word first, slot_floats;  // first: the place of slot 0, pass 0

    __device__ SentStates(const Place &at)
        : first(at.group * at.most_passes * (PASS_ROWS * padded)),
          slot_floats(gridDim.x / BLOCKS * at.most_passes * (PASS_ROWS * padded)) {}
    __device__ __forceinline__ Word place(int step, int pass) const {
        return first + (step & 3) * slot_floats + pass * (PASS_ROWS * padded);
    }
};

/* Two warps read the states that each pass needs, as soon as they are there, and put them into its stage.
 *
 * Each of them reads something of every block. So when it has all states of step t-1, all blocks have read those of
 * step t-2, which they needed first. Then this block's part of that slot becomes `missing` again. All blocks see that
 * before this block's states of step t+1, and only after those do they read the slot again. */
__device__ __forceinline__ void fetch_states(const Arguments &a, const Place &at, const Barriers &barriers,
                                             float *numbers, int product_count, Waiting &waiting) {
    constexpr int count = PASS_ROWS * padded / 4 / fetch_warps, at_once = 8;  // pieces of four numbers, of this warp
    const int warp = at.warp - warps - GATE_WARPS;
    // Pieces take turns: two for one warp, two for the other, so that each has some of all blocks.
    const int own_place = at.lane / 2 * 16 + warp * 8 + at.lane % 2 * 4;
    SentStates sent(at);
    constexpr int unit_pieces = UNITS / 4, own_pieces = PASS_ROWS * unit_pieces;
    const int to_own = at.lane / unit_pieces * padded + at.member * UNITS + at.lane % unit_pieces * 4 - own_place;
    sent.first += own_place;
    int step = a.first_state ? 0 : 1;
    for (int n = 0, pass = 0; n < product_count; ++n) {
        const int stage = n % STAGES;
        if (n >= STAGES)
            waiting.until(
                [&] { return barrier_passed(shared_address(barriers.taken + stage), (n / STAGES - 1) & 1); }, true);
        const float *const from = a.exchange + sent.place(step - 1, pass);
        const Word to = shared_address(numbers + stage * PASS_ROWS * row_floats);
#pragma unroll
        for (int first = 0; first < count; first += 32 * at_once) {
            float pieces[at_once][4];
            auto is_mine = [&](int i) {
                return first + i * 32 < count && (count % 32 == 0 || first + i * 32 + at.lane < count);
            };
            waiting.until(
                [&] {
                    Word largest[4] = {};  // of the numbers' bits: `missing` is the largest of all
#pragma unroll
                    for (int i = 0; i < at_once; ++i)
                        if (is_mine(i)) {
                            read(pieces[i], from + (first + i * 32) * 8);
#pragma unroll
                            for (int number = 0; number < 4; ++number)
                                largest[number] = max(largest[number], __float_as_uint(pieces[i][number]));
                        }
                    return max(max(largest[0], largest[1]), max(largest[2], largest[3])) != missing;
                },
                true);
#pragma unroll
            for (int i = 0; i < at_once; ++i)
                if (is_mine(i)) {
                    const int place = own_place + (first + i * 32) * 8;
                    write_shared(to + (row_floats == padded ? place : place / padded * row_floats + place % padded) * 4,
                                 pieces[i]);
                }
        }
        if (__any_sync(0xffffffffu, waiting.failed))
            return;  // the other warps give up too, and write NaN
        barrier_arrive_warp(barriers.arrived + stage);
        if (warp == 0) {
            const float none = __uint_as_float(missing), nothing[4] = {none, none, none, none};
            float *const own = a.exchange + (sent.place(step - 2, pass) + to_own);
#pragma unroll
            for (int place = 0; place < own_pieces; place += 32)
                if (own_pieces % 32 == 0 || place + at.lane < own_pieces)
                    write(own + place / unit_pieces * padded, nothing);
        }
        if (++pass == at.passes) {
            if (warp == 0)
                asm volatile("fence.acq_rel.gpu;" ::: "memory");
            pass = 0, ++step;
        }
    }
}

#endif

extern "C" __global__ void __launch_bounds__(all_threads, 1) lstm_forward(const Arguments a) {
    extern __shared__ __align__(128) unsigned char shared[];
    const Place at(a);
    const Barriers barriers(shared, at.most_passes);
    float *const cells = (float *)(shared + Barriers::bytes(at.most_passes));  // [row][unit]
    float *const totals = cells + at.most_passes * PASS_ROWS * UNITS;          // [n % 2][k part][row][unit][gate]
    float2 *const all_weights =
        (float2 *)(totals + 2 * k_parts * PASS_ROWS * total_floats);  // as keep_pair says
    float *const numbers =
        (float *)(all_weights + 2 * (chunks - REGISTER_CHUNKS) * slots * threads);  // [buffer][row][k]
    const int passes = at.passes;
    // The first step that has a product: without initial states, step 0 has none.
    const int first_step = a.first_state ? 0 : 1, product_count = (a.seq - first_step) * passes;
    Waiting waiting(a.failure);

    if (at.warp < warps) {
        // These warps multiply.
        take_registers<true>();
        float4 weights[REGISTER_CHUNKS][slots];
        load_weights(weights, all_weights + 2 * threadIdx.x, numbers, a.U);
        for (int place = threadIdx.x; place < barriers.buffers * PASS_ROWS * row_floats; place += threads)
            numbers[place] = 0;
        if (threadIdx.x == 0)
            barriers.init(warps, GATE_WARPS, warps);
        set_up_barrier<true>();

        for (int n = 0, pass = 0, step = first_step; n < product_count; ++n) {
            const Part own(thread_number());
#if CLUSTER
            const int buffer = ((step + 1) & 1) * at.most_passes + pass;
            waiting.until([&] {
                return barrier_passed(shared_address(barriers.arrived + buffer), ((step - first_step) >> 1) & 1);
            });
            if (threadIdx.x == 0)
                barrier_expect(shared_address(barriers.arrived + buffer), PASS_ROWS * padded * 4);
#else
            const int buffer = n % STAGES;
            waiting.until([&] { return barrier_passed(shared_address(barriers.arrived + buffer), (n / STAGES) & 1); });
#endif
            float sums[PASS_ROWS][slots] = {};
            const float *const first = numbers + buffer * PASS_ROWS * row_floats + own.k_part * (chunks * 4 * k_lanes);
            accumulate<PASS_ROWS, slots, k_lanes, REGISTER_CHUNKS, chunks, k_lanes>(
                sums, (const float4 *)first + own.k_lane, (const float2 *)first + own.k_lane, row_floats / 4, weights,
                (const float4 *)all_weights + threadIdx.x, a.seq);
            if (REGISTER_CHUNKS == chunks)  // with weights in shared memory too, this made it slower
                lay_out_in_pairs(a.seq, weights, sums);
#if !CLUSTER
            barrier_arrive_warp(barriers.taken + buffer);
#endif
            float total[PASS_ROWS];
#pragma unroll
            for (int r = 0; r < PASS_ROWS; ++r)
                total[r] = add_lanes(sums[r]);
            if (n >= 2)
                waiting.until(
                    [&] { return barrier_passed(shared_address(barriers.empty + (n & 1)), ((n >> 1) - 1) & 1); });
            float *const to =
                totals + ((n & 1) * k_parts + own.k_part) * PASS_ROWS * total_floats + own.unit(0) * 4 + own.gate(0);
#pragma unroll
            for (int r = 0; r < PASS_ROWS; ++r)
                to[r * total_floats] = waiting.failed ? __int_as_float(0x7fffffff) : total[r];
            barrier_arrive_warp(barriers.full + (n & 1));
            if (++pass == passes)
                pass = 0, ++step;
        }
    } else {
        take_registers<false>();
        const Helper helper = helper_of_warp();
        set_up_barrier<false>();
#if !CLUSTER
        if (helper != gates_helper)
            fetch_states(a, at, barriers, numbers, product_count, waiting);
#endif
        // These compute the gates and the new states, and send them to the other blocks.
        if (helper == gates_helper) {
            await_product();
            // This thread has one unit, of every round_rows-th row of a pass. Its places in memory follow from few
            // numbers, since each instruction counts: the warps that multiply leave these few of them. A thread without
            // a row in the last round reads other numbers, and uses none of them.
            constexpr int round_rows = gate_threads / UNITS;
            const int thread = threadIdx.x - threads, own_unit = thread % UNITS, unit = at.member * UNITS + own_unit;
            const int first_row = thread / UNITS;
            const bool has_unit = unit < HIDDEN;
            float *const own_cells = cells + thread;
            const float *const own_totals = totals + first_row * total_floats + own_unit * 4;
            float bias[4];
#pragma unroll
            for (int gate = 0; gate < 4; ++gate)
                bias[gate] = has_unit ? a.bias[gate * HIDDEN + unit] : 0;

#if !CLUSTER
            SentStates sent(at);
            sent.first += first_row * padded + unit;
#endif
            // Send the state of a unit and row to all blocks of the group. All lanes call it.
            auto send = [&](float state, int step, int pass, int round) {
                const int row = first_row + round * round_rows;
#if CLUSTER
                // Four neighbours send their four units together, each to every fourth block.
                float part[4];
                const float one = __shfl_xor_sync(0xffffffffu, state, 1);
                const float even = at.lane & 1 ? one : state, odd = at.lane & 1 ? state : one;
                const float other_even = __shfl_xor_sync(0xffffffffu, even, 2),
                            other_odd = __shfl_xor_sync(0xffffffffu, odd, 2);
                part[0] = at.lane & 2 ? other_even : even, part[1] = at.lane & 2 ? other_odd : odd;
                part[2] = at.lane & 2 ? even : other_even, part[3] = at.lane & 2 ? odd : other_odd;
                if (row >= PASS_ROWS)
                    return;
                const int buffer = (step & 1) * at.most_passes + pass;
                const Word to = shared_address(numbers + (buffer * PASS_ROWS + row) * row_floats + at.member * UNITS +
                                               own_unit / 4 * 4);
                const Word barrier = shared_address(barriers.arrived + buffer);
#pragma unroll
                for (int d = 0; d < (BLOCKS + 3) / 4; ++d)
                    if (BLOCKS % 4 == 0 || at.lane % 4 + d * 4 < BLOCKS)
                        send_async<4>(remote_address(to, at.lane % 4 + d * 4),
                                      remote_address(barrier, at.lane % 4 + d * 4), part);
#else
                // Every NaN is sent as one that isn't `missing`.
                const float message[1] = {state == state ? state : __int_as_float(0x7fffffff)};
                if (row < PASS_ROWS)
                    write(a.exchange + sent.place(step, pass) + round * round_rows * padded, message);
#endif
            };
            auto is_in_pass = [&](int round) {
                return rounds * gate_threads == PASS_ROWS * UNITS || first_row + round * round_rows < PASS_ROWS;
            };

            // Step -1: send the initial states if there are any, note the initial cells.
            for (int pass = 0; pass < passes; ++pass) {
#pragma unroll
                for (int round = 0; round < rounds; ++round) {
                    const int row = pass * PASS_ROWS + first_row + round * round_rows;
                    const bool is_there = has_unit && is_in_pass(round) && row < at.rows;
                    const size_t place = (size_t)(at.first_row + row) * HIDDEN + unit;
                    if (first_step == 0)
                        send(is_there ? a.first_state[place] : 0, -1, pass, round);
                    if (is_in_pass(round))
                        own_cells[pass * (PASS_ROWS * UNITS) + round * gate_threads] =
                            is_there && a.first_cell ? a.first_cell[place] : 0;
                }
            }

            // x·W of the next pass comes in while this one is computed. `entry` counts the rows of all steps.
            float next[rounds][4];
            int step = 0, pass = 0;
            Word entry = at.first_row + first_row;
            auto is_there = [&](int round) {
                return has_unit && is_in_pass(round) && pass * PASS_ROWS + first_row + round * round_rows < at.rows;
            };
            auto read_next = [&] {
#pragma unroll
                for (int round = 0; round < rounds; ++round) {
                    const float *const from = a.gates + unit + (size_t)(entry + round * round_rows) * (4 * HIDDEN);
                    const bool reads = is_there(round) && step < a.seq;
#pragma unroll
                    for (int gate = 0; gate < 4; ++gate)
                        next[round][gate] = reads ? from[gate * HIDDEN] : 0;
                }
            };
            read_next();
            // n counts the passes that have a product.
            for (int n = -first_step * passes; n < product_count; ++n) {
                const int own_step = step, own_pass = pass;
                const Word own_entry = entry;
                float x[rounds][4];
                bool writes[rounds];
#pragma unroll
                for (int round = 0; round < rounds; ++round) {
                    writes[round] = is_there(round);
#pragma unroll
                    for (int gate = 0; gate < 4; ++gate)
                        x[round][gate] = next[round][gate] + bias[gate];
                }
                ++pass, entry += PASS_ROWS;
                if (pass == passes)
                    pass = 0, ++step, entry += a.batch - passes * PASS_ROWS;
                read_next();
                if (n >= 0) {
                    waiting.until(
                        [&] { return barrier_passed(shared_address(barriers.full + (n & 1)), (n >> 1) & 1); },
                        !CLUSTER);
#pragma unroll
                    for (int round = 0; round < rounds; ++round)
#pragma unroll
                        for (int k_part = 0; k_part < k_parts; ++k_part) {
                            const float4 part =
                                *(const float4 *)(own_totals + (((n & 1) * k_parts + k_part) * PASS_ROWS +
                                                                round * round_rows) * total_floats);
                            x[round][0] += part.x, x[round][1] += part.y, x[round][2] += part.z, x[round][3] += part.w;
                        }
                    barrier_arrive_warp(barriers.empty + (n & 1));
                }
#pragma unroll
                for (int round = 0; round < rounds; ++round) {
                    float *const cell_place = own_cells + own_pass * (PASS_ROWS * UNITS) + round * gate_threads;
                    const float i = sigmoid(x[round][0]), f = sigmoid(x[round][1]), g = tangent(x[round][2]),
                                o = sigmoid(x[round][3]);
                    const float cell = fmaf(f, *cell_place, i * g);
                    const float state = waiting.failed ? __int_as_float(0x7fffffff) : o * tangent(cell);
                    if (own_step + 1 < a.seq)
                        send(state, own_step, own_pass, round);
                    if (is_in_pass(round))
                        *cell_place = cell;
                    if (writes[round]) {
                        const size_t place = own_entry + round * round_rows;
                        a.states[place * HIDDEN + unit] = state;
#if KEEP
                        float *const gates = a.gates + place * (4 * HIDDEN) + unit;
                        gates[0] = i, gates[HIDDEN] = f, gates[2 * HIDDEN] = g, gates[3 * HIDDEN] = o;
                        a.cells[place * HIDDEN + unit] = cell;
#endif
                    }
                }
            }
            if (a.end_cell)
                for (pass = 0; pass < passes; ++pass)
                    for (int round = 0; round < rounds; ++round)
                        if (is_there(round)) {
                            const int row = at.first_row + pass * PASS_ROWS + first_row + round * round_rows;
                            a.end_cell[(size_t)row * HIDDEN + unit] =
                                own_cells[pass * (PASS_ROWS * UNITS) + round * gate_threads];
                        }
        }
    }
#if CLUSTER
    cluster_barrier();  // the others may still write into this block's shared memory
#endif
}

#endif

/* ---- Backward --------------------------------------------------------------------------------------------------- */
#if BACKWARD

constexpr int parts = K_LANES / COPIES;        // so many lanes share a thread group's columns after the sums
constexpr int slots = ROW_TILES * parts * VECTOR;  // columns of a thread
constexpr int chunks = UNITS / K_LANES;        // units of a lane: their four gates are four k
constexpr int tile_columns = threads * VECTOR / COPIES;
constexpr int tile_units = K_LANES > 8 ? K_LANES : 8;  // units of a tile of weights
constexpr int unit_tiles = UNITS / tile_units;
constexpr int tile_floats =
    threads / COPIES * (4 * tile_units + 2);  // of every VECTOR-th column; two more for a column, for different banks
constexpr int source_floats = PASS_ROWS * UNITS;  // one block's partial sums
static_assert(UNITS % K_LANES == 0 && ROW_TILES * tile_columns >= padded && gate_threads % UNITS == 0 &&
                  source_floats <= gate_threads,
              "sizes");

extern "C" __global__ void __launch_bounds__(all_threads, 1) lstm_backward(const Arguments a) {
    extern __shared__ __align__(128) unsigned char shared[];
    const Place at(a);
    const Barriers barriers(shared, at.most_passes);
    float *const d_cells = (float *)(shared + Barriers::bytes(at.most_passes));        // [row][unit]
    float4 *const d_gates = (float4 *)(d_cells + at.most_passes * PASS_ROWS * UNITS);  // [n % 2][row][unit]
    float2 *const all_weights =
        (float2 *)(d_gates + 2 * PASS_ROWS * UNITS);  // as keep_pair says
    float *const numbers =
        (float *)(all_weights + 2 * (chunks - REGISTER_CHUNKS) * slots * threads);  // [buffer][source][row][unit]
    const int lane = at.lane, most_passes = at.most_passes, passes = at.passes;
    // The last of the steps, -1, only adds up the partial sums for d_h0. Nobody needs the products of the last one.
    const int step_count = a.seq + (a.end_state ? 1 : 0), product_count = (step_count - 1) * passes;
    Waiting waiting(a.failure);

    if (at.warp < warps) {
        // These warps multiply. A thread's columns are the slots [tile][part][VECTOR]; part p is p xor own_part.
        take_registers<true>();
        const int k_lane = lane % K_LANES, own_part = k_lane % parts, first_column = threadIdx.x / K_LANES * parts;
        float2 *const shared_weights = all_weights + 2 * threadIdx.x;
        float4 weights[REGISTER_CHUNKS][slots];
        auto copy = [&](int tile, int buffer) {
            float *const to = numbers + buffer * tile_floats;
            const int first_unit = block_number() % BLOCKS * UNITS;
#pragma unroll 2
            for (int place = thread_number() * piece; place < threads / COPIES * 4 * tile_units; place += threads * piece) {
                const int row = place / (4 * tile_units), in_row = place % (4 * tile_units);
                const int column =
                    tile / unit_tiles / VECTOR * tile_columns + row * VECTOR + tile / unit_tiles % VECTOR;
                const int unit = first_unit + tile % unit_tiles * tile_units + in_row % tile_units;
                const bool is_there = column < HIDDEN && unit < HIDDEN;
                copy_piece(to + row * (4 * tile_units + 2) + in_row,
                           a.U + (is_there ? (size_t)column * (4 * HIDDEN) + in_row / tile_units * HIDDEN + unit : 0),
                           is_there);
            }
        };
        auto distribute = [&](int tile, int buffer) {
            constexpr int tile_chunks = tile_units / K_LANES;
#pragma unroll
            for (int in_tile = 0; in_tile < parts; ++in_tile)
#pragma unroll
                for (int c = 0; c < tile_chunks; ++c) {
                    const int s = (tile / unit_tiles / VECTOR * parts + in_tile) * VECTOR + tile / unit_tiles % VECTOR;
                    const int chunk = tile % unit_tiles * tile_chunks + c;
                    const float *const from = numbers + buffer * tile_floats +
                                              (first_column + (in_tile ^ own_part)) * (4 * tile_units + 2) +
                                              c * K_LANES + k_lane;
                    const float4 weight =
                        make_float4(from[0], from[tile_units], from[2 * tile_units], from[3 * tile_units]);
                    if (chunk < REGISTER_CHUNKS)
                        weights[chunk < REGISTER_CHUNKS ? chunk : 0][s] = weight;
                    else {
                        const int half = 2 * (chunk - REGISTER_CHUNKS);
                        keep_pair<slots>(shared_weights, half, s, weight.x, weight.y);
                        keep_pair<slots>(shared_weights, half + 1, s, weight.z, weight.w);
                    }
                }
        };
        through_tiles<ROW_TILES * VECTOR * unit_tiles>(copy, distribute);
        if (threadIdx.x == 0)
            barriers.init(GATE_WARPS, warps, GATE_WARPS);
        set_up_barrier<true>();
        for (int n = 0, pass = 0, back = 0; n < product_count; ++n) {
            waiting.until([&] { return barrier_passed(shared_address(barriers.full + (n & 1)), (n >> 1) & 1); });
            float sums[PASS_ROWS][slots] = {};
            const int thread = thread_number();
            const float4 *const first = d_gates + (n & 1) * PASS_ROWS * UNITS + thread % K_LANES;
            accumulate<PASS_ROWS, slots, K_LANES, REGISTER_CHUNKS, chunks, 1>(
                sums, first, (const float2 *)first, UNITS, weights, (const float4 *)all_weights + thread, a.seq);
            lay_out_in_pairs(a.seq, weights, sums);
            barrier_arrive_warp(barriers.empty + (n & 1));
            if (waiting.failed)
                sums[0][0] = __int_as_float(0x7fffffff);
            const int sender = thread_number();
#if !CLUSTER
            // [step % 2][group][pass][owner][source][row][unit]
            const int block = block_number();
            float *const exchange =
                a.exchange + (((back & 1) * (gridDim.x / BLOCKS) + block / BLOCKS) * (size_t)most_passes + pass) *
                                 (BLOCKS * PASS_ROWS * padded) + block % BLOCKS * source_floats;
#endif
#pragma unroll
            for (int r = 0; r < PASS_ROWS; ++r)
#pragma unroll
                for (int tile = 0; tile < ROW_TILES; ++tile) {
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
                    const int column = tile * tile_columns + (sender / K_LANES * parts + sender % parts) * VECTOR,
                              owner = column / UNITS;
                    if ((COPIES == 1 || k_lane < parts) && column < padded) {
#if CLUSTER
                        const int buffer = (back & 1) * most_passes + pass;
                        const Word to = shared_address(numbers + (buffer * BLOCKS + at.member) * source_floats +
                                                       r * UNITS + column % UNITS);
                        send_async<VECTOR>(remote_address(to, owner),
                                           remote_address(shared_address(barriers.arrived + buffer), owner), part);
#else
                        float *const to =
                            exchange + owner * (BLOCKS * source_floats) + r * UNITS + column % UNITS;
                        if (VECTOR == 4)
                            __stcg((float4 *)to,
                                   make_float4(part[0], part[1 % VECTOR], part[2 % VECTOR], part[3 % VECTOR]));
                        else if (VECTOR == 2)
                            __stcg((float2 *)to, make_float2(part[0], part[1 % VECTOR]));
                        else
                            __stcg(to, part[0]);
#endif
                    }
                }
#if !CLUSTER
            note_sent(barriers.sent + at.warp, n + 1);
#endif
            if (++pass == passes)
                pass = 0, ++back;
        }
    } else {
        take_registers<false>();
        const Helper helper = helper_of_warp();
        for (int place = threadIdx.x - threads; helper == gates_helper && place < most_passes * PASS_ROWS * UNITS;
             place += gate_threads)
            d_cells[place] = 0;
        set_up_barrier<false>();
#if !CLUSTER
        Word *const counters = a.counters + at.group * most_passes * counter_stride;
        float *const exchange = a.exchange + (size_t)at.group * most_passes * BLOCKS * PASS_ROWS * padded;
        const size_t exchange_parity = (size_t)gridDim.x / BLOCKS * most_passes * BLOCKS * PASS_ROWS * padded;

        // This warp copies the partial sums of product number n, for this block's units, into its stage.
        if (helper == fetch_helper)
            for (int n = 0, pass = 0, back = 0; n < product_count; ++n) {
                const int stage = n % STAGES;
                if (n >= STAGES)
                    waiting.until(
                        [&] { return barrier_passed(shared_address(barriers.taken + stage), (n / STAGES - 1) & 1); },
                        true);
                if (lane == 0)
                    waiting.until(
                        [&] { return read_counter(counters + pass * counter_stride) >= Word(back + 1) * BLOCKS; },
                        true);
                if (__any_sync(0xffffffffu, waiting.failed))
                    break;  // the other warps give up too, and write NaN
                const float *const from = exchange + (back & 1) * exchange_parity +
                                          ((size_t)pass * BLOCKS + at.member) * BLOCKS * source_floats;
                const Word to = shared_address(numbers + stage * BLOCKS * source_floats);
#pragma unroll 8
                for (int place = lane * 4; place < BLOCKS * source_floats; place += 128)
                    copy_async(to + place * 4, from + place);
                barrier_arrive_after_copies(shared_address(barriers.arrived + stage));
                if (++pass == passes)
                    pass = 0, ++back;
            }
        // This one tells the other blocks, once all partial sums of a pass are written.
        if (helper == count_helper)
            for (int n = 0, pass = 0; n < product_count; ++n) {
                if (lane < warps)
                    waiting.until([&] { return read_sent(barriers.sent + lane) > n; }, true);
                __syncwarp();
                if (lane == 0)
                    count_up(counters + pass * counter_stride);
                if (++pass == passes)
                    pass = 0;
            }
#endif
        // These add up the partial sums and compute the gates' gradients.
        if (helper == gates_helper) {
            // As forward, with one row of a pass only.
            const int thread = threadIdx.x - threads, own_unit = thread % UNITS, unit = at.member * UNITS + own_unit;
            const int pass_row = thread / UNITS;
            const bool in_pass = pass_row < PASS_ROWS, has_item = in_pass && unit < HIDDEN;
            float *const own_d_cells = d_cells + thread;
            float4 *const own_d_gates = d_gates + thread;
            const float *const own_sums = numbers + thread;
            int step = a.seq - 1, pass = 0;
            Word entry = step * a.batch + at.first_row + pass_row;
            auto is_there = [&] { return has_item && pass * PASS_ROWS + pass_row < at.rows; };
            // i, f, g, o, the cell, the cell before and d_y of the next pass come in while this one is computed.
            float next[7];
            auto read_next = [&] {
                const bool reads = is_there() && step >= 0;
                const size_t place = entry;
                const float *const gates = a.gates + unit + place * (4 * HIDDEN);
#pragma unroll
                for (int gate = 0; gate < 4; ++gate)
                    next[gate] = reads ? gates[gate * HIDDEN] : 0;
                next[4] = reads ? a.cells[place * HIDDEN + unit] : 0;
                const float *const before = step > 0 ? a.cells - (size_t)a.batch * HIDDEN : a.first_cell;
                next[5] = reads && before ? before[place * HIDDEN + unit] : 0;
                next[6] = reads ? a.states[place * HIDDEN + unit] : 0;
            };
            read_next();
            float bias_sums[4] = {};

            for (int n = 0; n < step_count * passes; ++n) {
                const int own_step = step, own_pass = pass, back = a.seq - 1 - step;
                const Word own_entry = entry;
                const bool writes = is_there();
                float value[7];
#pragma unroll
                for (int number = 0; number < 7; ++number)
                    value[number] = next[number];
                ++pass, entry += PASS_ROWS;
                if (pass == passes)
                    pass = 0, --step, entry -= a.batch + passes * PASS_ROWS;
                read_next();
#if CLUSTER
                const int buffer = ((back + 1) & 1) * most_passes + own_pass;
                if (back > 0) {
                    waiting.until([&] {
                        return barrier_passed(shared_address(barriers.arrived + buffer), ((back - 1) >> 1) & 1);
                    });
                    if (thread == 0)
                        barrier_expect(shared_address(barriers.arrived + buffer), PASS_ROWS * padded * 4);
                }
#else
                const int buffer = (n - passes + STAGES * passes) % STAGES;
                if (back > 0)
                    waiting.until(
                        [&] {
                            return barrier_passed(shared_address(barriers.arrived + buffer),
                                                  ((n - passes) / STAGES) & 1);
                        },
                        true);
#endif
                if (n >= 2 && n < product_count)
                    waiting.until(
                        [&] { return barrier_passed(shared_address(barriers.empty + (n & 1)), ((n >> 1) - 1) & 1); });
                float d_state = 0;
                if (back > 0) {
                    float sums[4] = {};
                    if (in_pass)
#pragma unroll
                        for (int source = 0; source < BLOCKS; ++source)
                            sums[source % 4] += own_sums[(buffer * BLOCKS + source) * source_floats];
                    d_state = sums[0] + sums[1] + (sums[2] + sums[3]);
#if !CLUSTER
                    barrier_arrive_warp(barriers.taken + buffer);
#endif
                }
                if (waiting.failed)
                    d_state = __int_as_float(0x7fffffff);
                if (own_step < 0) {
                    if (writes)
                        a.end_state[(size_t)(own_entry + a.batch) * HIDDEN + unit] = d_state;
                    continue;
                }
                const float i = value[0], f = value[1], g = value[2], o = value[3];
                const float curve = tangent(value[4]);
                d_state += value[6];
                float *const d_cell_place = own_d_cells + own_pass * (PASS_ROWS * UNITS);
                const float d_cell = fmaf(d_state * o, 1.f - curve * curve, *d_cell_place);
                const float4 d_gate =
                    make_float4(d_cell * g * (i * (1.f - i)), d_cell * value[5] * (f * (1.f - f)),
                                d_cell * i * (1.f - g * g), d_state * curve * (o * (1.f - o)));
                if (in_pass) {
                    *d_cell_place = d_cell * f;
                    if (n < product_count)
                        own_d_gates[(n & 1) * (PASS_ROWS * UNITS)] = d_gate;
                }
                if (writes) {
                    bias_sums[0] += d_gate.x, bias_sums[1] += d_gate.y, bias_sums[2] += d_gate.z,
                        bias_sums[3] += d_gate.w;
                    float *const gates = a.gates + unit + (size_t)own_entry * (4 * HIDDEN);
                    gates[0] = d_gate.x, gates[HIDDEN] = d_gate.y, gates[2 * HIDDEN] = d_gate.z,
                    gates[3 * HIDDEN] = d_gate.w;
                }
                if (n < product_count)
                    barrier_arrive_warp(barriers.full + (n & 1));
            }
            if (a.end_cell)
                for (pass = 0; pass < passes; ++pass)
                    if (is_there())
                        a.end_cell[(size_t)(at.first_row + pass * PASS_ROWS + pass_row) * HIDDEN + unit] =
                            own_d_cells[pass * (PASS_ROWS * UNITS)];

            // The bias's gradient: the sum over the threads that have the same unit.
            block_barrier<2, gate_threads>();
            float4 *const same_unit = (float4 *)numbers;  // all partial sums have been read
            same_unit[thread] = make_float4(bias_sums[0], bias_sums[1], bias_sums[2], bias_sums[3]);
            block_barrier<2, gate_threads>();
            if (thread < UNITS && unit < HIDDEN) {
                float4 sum = make_float4(0, 0, 0, 0);
                for (int other = 0; other < gate_threads / UNITS; ++other) {
                    const float4 part = same_unit[other * UNITS + own_unit];
                    sum = make_float4(sum.x + part.x, sum.y + part.y, sum.z + part.z, sum.w + part.w);
                }
                float *const to = a.bias_sums + (size_t)at.group * (4 * HIDDEN) + unit;
                to[0] = sum.x, to[HIDDEN] = sum.y, to[2 * HIDDEN] = sum.z, to[3 * HIDDEN] = sum.w;
            }
        }
    }
#if CLUSTER
    cluster_barrier();  // the others may still write into this block's shared memory
#endif
}

#endif

#endif
