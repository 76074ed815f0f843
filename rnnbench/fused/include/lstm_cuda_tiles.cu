/* The recurrence for large hidden sizes and batches: products of tiles, as in a library's matrix product, but U stays.
 *
 * lstm_cuda_rows.cu keeps U in registers, and a row's states pass by. That costs a chain of shuffles for every few rows.
 * With many rows it is better to keep the sums in registers: a thread holds 8 × 8 of them, and both factors pass by.
 *
 * Who does what. The recurrent product is (rows × K)·(K × columns). Forward the columns are the gates' sums, and K is
 * hidden. Backward the columns are the states' gradients, and K is 4·hidden. Blocks share both:
 *
 *                     columns, 32 or 64 for each block
 *                  +--------+--------+--------+----
 *         K slice 0| block  | block  | block  |         a block keeps its part of the matrix in shared memory:
 *                  |  0     |  2     |  4     |         32,768 numbers or so
 *                  +--------+--------+--------+----
 *         K slice 1|  1     |  3     |  5     |         forward, 64 columns are 4 gates × 16 units
 *                  +--------+--------+--------+----
 *
 * The blocks below each other, K_SLICES of them, add up their partial sums. Each then owns 1 / K_SLICES of the columns:
 * it computes their gates and new states, or their gradients, and publishes what the next step's product needs.
 *
 *     published numbers ── tile by tile ──> products ── partial sums ──> owners: gates ──> published numbers
 *          (memory)         bulk copies     8 × 8 a thread  (memory)                          (memory)
 *
 * Two kinds of kernels differ in their tiles and in the way of the sums:
 *   By FMA (PRODUCTS 0), tiles have 16 or 32 rows. The sums go to the block's shared memory. Forward, a block has all
 *   of K (K_SLICES is 1), so no sums go further. Backward, those of other owners go on to them.
 *   On tensor cores (PRODUCTS 1 or 2), tiles have 64 rows × 64 columns, and all sums go to memory. More about them below.
 *
 * All of this memory stays in the L2 cache. The exchanges and the gates take 3 to 8 µs. They cost little time where there
 * are several passes of TILE_ROWS rows each: a block has two or three teams of four warps. A step of a pass is a turn,
 * and the teams take the turns one after the other. While one team waits, another one multiplies.
 *
 *   Published numbers: a counter for each pass says how many blocks have written theirs. A warp that fetches waits for
 *   it. There are two buffers, for even and odd steps: a block publishes step t only when all have read step t-2.
 *   Partial sums: an owner reads until no number is `missing`, a NaN that no sum can be. Then it writes `missing` again,
 *   before it publishes. The next partial sums come when all blocks have published. So this needs no counter.
 *
 * A team's product of TILE_ROWS × TILE_COLUMNS by FMA, for one tile of TILE_K numbers of K:
 *
 *     warp     warp % column_parts: which 32 columns     warp / column_parts: which part of the tile's K
 *     lane     row lane: rows 4·(row lane) + 0..3, and TILE_ROWS / 2 more     a tile of numbers lies as [k][row],
 *              column lane, of 4: columns 4·(column lane) + 0..3, and 16 more     weights lie as [k][column]
 *              k lane, of 2 or 4: every such number of K. The lanes add up their sums by shuffles afterwards. An odd
 *              k lane calls the second four columns its first, and k lanes 2 and 3 do so with the rows. Each then
 *              gives away its second half, and no instruction must choose which.
 *
 * So a thread reads 16 numbers for 64 products. Three things bound it:
 *   The registers' two banks: an FMA whose operands lie in the same bank takes two ticks. That is 1 in 12 or so, with the
 *   reads in the order below and at most 168 registers. With other orders or many more registers it is up to 1 in 4.
 *   The cache of instructions, which seems to hold about 2,000. A loop that isn't in it waits at each jump.
 *   The shared memory's port: lanes share a read if they read the same k, or from different banks.
 *
 * Tensor cores compute (64 columns × 8)·(8 × 64 rows) at a time for a team, while its warps do other things. They read the
 * numbers from shared memory and the weights from registers. Eight more warps load tiles for both teams, in the order of
 * the turns, and split the numbers into a large and a small part (see multiply). So there is one ring of stages:
 *
 *     warps that load, 4 for even tiles and 4 for odd ones ──> stages: [large, small][k / 4][row][k % 4] ──> tensor cores
 *     warp     columns 16·warp + 0..15     lane     columns lane / 4 and 8 more, rows 8·j + 2·(lane % 4) + 0..1
 */
#if TILES

constexpr int tile_rows = TILE_ROWS, tile_columns = TILE_COLUMNS, tile_k = TILE_K, tile_floats = tile_rows * tile_k;
constexpr int team_threads = 128, teams = TEAMS, worker_threads = teams * team_threads;
// The last warps load tiles: on tensor cores all eight, by FMA one for each team of four warps. They give registers to the
// others. From many more than 168, the compiler chooses worse ones for FMA.
constexpr int all_threads = worker_threads + (PRODUCTS > 0 ? 256 : 128);
constexpr int worker_registers = PRODUCTS > 0 ? 184 : teams == 2 ? 168 : 160;
constexpr int fetch_registers = PRODUCTS > 0 ? 72 : teams == 2 ? 40 : 32;
constexpr bool reads_ahead = PRODUCTS == 0;  // on tensor cores, the products leave no registers for what the gates need
constexpr int row_lanes = tile_rows / 8, column_lanes = 4, k_lanes = 32 / (row_lanes * column_lanes);
constexpr int column_parts = tile_columns / 32, k_parts = 4 / column_parts;  // of the warps of a team
constexpr int column_units = FORWARD ? tile_columns / 4 : tile_columns;  // units of a block's columns
constexpr int padded = column_units * COLUMN_SLICES;  // units of all blocks; those beyond HIDDEN are zero
constexpr int tile_count = (FORWARD ? 1 : 4) * padded / tile_k;
constexpr int slice_k = SLICE_TILES * tile_k;
constexpr int blocks = COLUMN_SLICES * K_SLICES;
constexpr int own_units = column_units / K_SLICES;
// A thread owns so many rows of one unit, in each pass.
constexpr int item_rows = own_units * tile_rows > team_threads ? own_units * tile_rows / team_threads : 1;
constexpr int items = own_units * tile_rows / item_rows;
constexpr int sums_floats = tile_rows * tile_columns;    // of a product
constexpr int partial_floats = K_SLICES == 1 ? 0 : sums_floats;  // in memory, for a block and pass
constexpr int published_floats = tile_count * tile_floats;  // of a pass
constexpr int stage_floats = (PRODUCTS == 1 ? 2 : 1) * tile_floats;  // 3xTF32: large and small parts
constexpr int rings = PRODUCTS > 0 ? 1 : teams;                      // of stages
constexpr int counter_stride = 32;                          // counters lie so many words apart
static_assert(own_units * K_SLICES == column_units && slice_k * K_SLICES >= tile_count * tile_k, "sizes");
static_assert(items <= team_threads && item_rows <= 4, "a thread has one item in a pass");

__device__ __forceinline__ void barrier_expect(Word barrier, Word bytes) {
    asm volatile("{ .reg .b64 state; mbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1; }" ::"r"(barrier),
                 "r"(bytes)
                 : "memory");
}

/* Copy bytes from memory to shared memory. The barrier counts them. */
__device__ __forceinline__ void bulk_copy(Word to, const float *from, Word bytes, Word barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier)
                 : "memory");
}

/* Bulk copies and other accesses to memory see each other's numbers only beyond such a fence. */
__device__ __forceinline__ void bulk_fence() { asm volatile("fence.proxy.async.global;" ::: "memory"); }

__device__ __forceinline__ Word read_counter(const Word *counter) {
    Word value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(counter) : "memory");
    return value;
}

/* Others that see the new number also see what this thread, and threads that it has waited for, have written. */
__device__ __forceinline__ void count_up(Word *counter) {
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}

/* Wait for the other warps of this team. */
__device__ __forceinline__ void team_barrier(int team) {
    asm volatile("bar.sync %0, %1;" ::"r"(1 + team), "n"(team_threads) : "memory");
}

/* By FMA: where a row lies among those of number k of K. Lanes that read neighbouring k must read from different banks.
 * Such lanes begin with different columns. Four k lanes also begin with different rows. Two k lanes don't, so their rows
 * change places. */
__device__ __forceinline__ int place_of_row(int k, int row) { return k_lanes == 2 ? row ^ (k & 1) * 16 : row; }

/* Where a weight lies. On tensor cores, four of a thread lie together: of two columns, for k and k + 4. */
__device__ __forceinline__ int place_of_weight(int k, int column) {
    if (PRODUCTS == 0)
        return k * tile_columns + column;
    return (k / 8 * team_threads + column / 16 * 32 + column % 8 * 4 + k % 4) * 4 + k / 4 % 2 * 2 + column / 8 % 2;
}

/* Which part of the layer this block and thread have. */
struct Part {
    int group, slice, column, first_row, rows, passes, most_passes;  // rows of the batch; column: of blocks
    int team, thread, lane;                                          // thread: of the team
    int column_part, k_part, row_lane, column_lane, k_lane;
    float *published, *partials, *carried;  // of this group: [pass]...; the published numbers of odd steps lie further
    size_t odd;
    Word *counters;  // [pass]

    __device__ explicit Part(const Arguments &a) {
        int block;  // read anew: no register holds a part for longer than needed
        asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(block));
        const int groups = gridDim.x / blocks, in_group = block % blocks;
        group = block / blocks, column = in_group / K_SLICES, slice = in_group % K_SLICES;
        first_row = a.begin + group * a.rows, rows = min(a.rows, a.end - first_row);
        most_passes = a.rows / tile_rows, passes = (rows + tile_rows - 1) / tile_rows;
        team = threadIdx.x < worker_threads ? threadIdx.x / team_threads : (threadIdx.x - worker_threads) / 32 % teams;
        thread = threadIdx.x % team_threads, lane = threadIdx.x % 32;
        column_part = threadIdx.x / 32 % column_parts, k_part = threadIdx.x / 32 / column_parts % k_parts;
        column_lane = lane % column_lanes, row_lane = lane / column_lanes % row_lanes;
        k_lane = lane / (column_lanes * row_lanes);
        odd = (size_t)groups * most_passes * published_floats;
        published = a.exchange + (size_t)group * most_passes * published_floats;
        partials = a.exchange + 2 * odd + (size_t)group * most_passes * blocks * partial_floats;
        carried = a.exchange + 2 * odd + (size_t)groups * most_passes * blocks * partial_floats +
                  (size_t)group * most_passes * padded * tile_rows;
        counters = a.counters + (size_t)group * most_passes * counter_stride;
    }
    /* By FMA: the first of a lane's first four rows and columns. The other four are tile_rows / 2 and 16 away. */
    __device__ int first_row_of_lane() const { return row_lane * 4 + (k_lanes == 4 ? k_lane / 2 * (tile_rows / 2) : 0); }
    __device__ int first_column_of_lane() const { return column_part * 32 + column_lane * 4 + k_lane % 2 * 16; }
    /* The partial sums of a slice, for this block's columns, in the order of partial_of_item. */
    __device__ float *partial(int pass, int of_slice) const {
        return partials + ((size_t)(pass * COLUMN_SLICES + column) * K_SLICES + of_slice) * partial_floats;
    }
    __device__ int tiles() const { return max(0, min(SLICE_TILES, tile_count - slice * SLICE_TILES)); }
    /* What this thread owns: item_rows rows, from row() of the pass on, of one unit. */
    __device__ bool has_item() const { return thread < items; }
    __device__ int unit_in_column(int of_slice) const { return of_slice * own_units + thread % own_units; }
    __device__ int unit() const { return column * column_units + unit_in_column(slice); }
    __device__ int row() const { return thread / own_units * item_rows; }
    /* Of the item's rows, how many the batch has. */
    __device__ int rows_there(int pass) const {
        return has_item() && unit() < HIDDEN ? max(0, min(item_rows, rows - pass * tile_rows - row())) : 0;
    }
};

/* What lies in shared memory, as addresses there. */
struct Shared {
    Word full, empty;            // of this team's ring: barriers, [stage]
    Word turns;                  // of all teams: barriers, two for each
    Word weights, sums, stages;  // see place_of_weight; [part of K], on their way to other threads; [stage], of a tile each
    __device__ Shared(const unsigned char *shared, int team) {
        const Word begin = shared_address(shared);
        const int ring = rings == 1 ? 0 : team;
        full = begin + ring * 2 * STAGES * 8, empty = full + STAGES * 8;
        turns = begin + rings * 2 * STAGES * 8;
        weights = begin + ((rings * 2 * STAGES + teams * 2) * 8 + 127) / 128 * 128;
        sums = weights + (slice_k * tile_columns + team * SUMS_PARTS * sums_floats) * 4;
        stages = weights + (slice_k * tile_columns + teams * SUMS_PARTS * sums_floats + ring * STAGES * stage_floats) * 4;
    }
};

/* A place in the ring of stages: the next one, and how often it has been used, modulo 2. */
struct Stage {
    Word number, round;
    /* After so many uses of the ring's stages. */
    __device__ explicit Stage(Word uses = 0) : number(uses % STAGES), round(uses / STAGES % 2) {}
    __device__ void next() {
        if (++number == STAGES)
            number = 0, round ^= 1;
    }
};

/* So many numbers of U lie together, aligned. */
constexpr int piece = HIDDEN % 4 == 0 ? 4 : HIDDEN % 2 == 0 ? 2 : 1;
struct __align__(4 * piece) Piece {
    float numbers[piece];
};

/* Copy this block's part of the matrix into shared memory. */
__device__ __forceinline__ void load_weights(Word weights, const float *U, const Part &at) {
    const int count = at.tiles() * tile_k;
#if FORWARD
    constexpr int copied = PRODUCTS > 0 ? 1 : piece;  // for tensor cores, neighbours in U lie apart
    const int column = threadIdx.x * copied % tile_columns, first = at.slice * slice_k;
    const int unit = at.column * column_units + column % column_units;
    const float *const from = U + column / column_units * HIDDEN + unit;
    for (int k = threadIdx.x * copied / tile_columns; k < count; k += worker_threads * copied / tile_columns) {
        const bool is_there = first + k < HIDDEN && unit < HIDDEN;
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(
                         weights + place_of_weight(k, column) * 4),
                     "l"(is_there ? from + (size_t)(first + k) * (4 * HIDDEN) : U), "n"(4 * copied),
                     "r"(is_there ? 4 * copied : 0)
                     : "memory");
    }
    asm volatile("cp.async.wait_all;" ::: "memory");
#else
    const int column = threadIdx.x % tile_columns, state = at.column * column_units + column;
    const int first = at.slice * slice_k / 4;
    const float *const from = U + (size_t)state * (4 * HIDDEN) + first;
#pragma unroll 8
    for (int place = threadIdx.x / tile_columns; place < count / piece; place += worker_threads / tile_columns) {
        const int gate = place % 4, unit = place / 4 * piece;
        Piece part = {};
        if (first + unit < HIDDEN && state < HIDDEN)
            part = *(const Piece *)(from + gate * HIDDEN + unit);
#pragma unroll
        for (int number = 0; number < piece; ++number) {
            const int k = (unit + number) * 4 + gate;
            asm volatile("st.shared.f32 [%0], %1;" ::"r"(weights + place_of_weight(k, column) * 4),
                         "f"(part.numbers[number]));
        }
    }
#endif
}

/* A turn begins when TURN_TILES tiles of the product before are done. Without a rule the teams soon multiply at the same
 * time, and wait at the same time. A warp that waits at a barrier takes no time from the others.
 * One warp of a team lets the next team begin, while the others may still wait. Until they are through, the team before
 * can be one turn ahead, but not two. So each team has two barriers. With one, such a warp could miss its turn. */
__device__ __forceinline__ Word barrier_of_turn(const Shared &shared, int turn) {
    return shared.turns + (turn % teams * 2 + turn / teams % 2) * 8;
}
__device__ __forceinline__ void await_turn(const Shared &shared, int turn, Waiting &waiting) {
    if (turn > 0)
        waiting.until([&] { return barrier_passed(barrier_of_turn(shared, turn - 1), (turn - 1) / teams / 2 % 2); });
}
__device__ __forceinline__ void let_next_begin(const Shared &shared, int turn) {
    barrier_arrive(barrier_of_turn(shared, turn));
}

/* One thread of each team calls it. */
__device__ __forceinline__ void init_barriers(const Part &at, const Shared &shared) {
    for (int stage = 0; stage < STAGES && (rings == teams || at.team == 0); ++stage) {
        barrier_init(shared.full + stage * 8, PRODUCTS > 0 ? team_threads / 32 : 1);
        barrier_init(shared.empty + stage * 8, team_threads / 32);
    }
    for (int turn = at.team; turn < 2 * teams; turn += teams)
        barrier_init(barrier_of_turn(shared, turn), 1);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/* All threads begin so: weights, barriers. */
__device__ __forceinline__ void set_up(const Arguments &a, const unsigned char *shared_memory) {
    const Part at(a);
    const Shared shared(shared_memory, at.team);
    if (threadIdx.x < worker_threads)
        load_weights(shared.weights, a.U, at);
    else if (at.lane == 0 && threadIdx.x < worker_threads + 32 * teams)
        init_barriers(at, shared);
    __syncthreads();
}

#if PRODUCTS == 0

using Sums = float[8][8];  // of a thread: [row][column]

/* The warp that fetches: all tiles of this team's products, which begin at step `first`. The numbers for that step are
 * published first. */
__device__ __forceinline__ void fetch(const Arguments &a, const unsigned char *shared_memory, int first, int steps) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(fetch_registers));
    const Part at(a);
    const Shared shared(shared_memory, at.team);
    Waiting waiting(a.failure);
    if (at.lane != 0 || threadIdx.x >= worker_threads + 32 * teams)
        return;
    Stage stage;
    bool is_first_round = true;
    for (int turn = at.team; turn < steps * at.passes; turn += teams) {
        const int number = turn / at.passes - first, pass = turn % at.passes;
        if (number < 0)
            continue;
        waiting.until([&] { return read_counter(at.counters + pass * counter_stride) >= Word(number + 1) * blocks; });
        bulk_fence();
        const float *from = at.published + (number & 1) * at.odd + (size_t)pass * published_floats +
                            (size_t)at.slice * SLICE_TILES * tile_floats;
        for (int tile = at.tiles(); tile > 0; --tile, from += tile_floats) {
            if (!is_first_round)
                waiting.until([&] { return barrier_passed(shared.empty + stage.number * 8, stage.round ^ 1); });
            if (waiting.failed)
                return;  // the workers give up too, and write NaN
            const Word barrier = shared.full + stage.number * 8;
            barrier_expect(barrier, tile_floats * 4);
            bulk_copy(shared.stages + stage.number * (tile_floats * 4), from, tile_floats * 4, barrier);
            stage.next();
            is_first_round = is_first_round && stage.round == 0;
        }
    }
}

/* The sums of this thread, over this block's slice of K and this thread's part of each tile. The next numbers are read
 * while the last ones are used, also those of the next tile. */
__device__ __forceinline__ void multiply(Sums &sums, const Part &at, const Shared &shared, int turn,
                                         Stage &stage, Waiting &waiting) {
    constexpr int part_k = tile_k / k_parts;  // of a tile, for a warp
    const int first_k = at.k_part * part_k + at.k_lane;
    const int row = at.first_row_of_lane(), column = at.first_column_of_lane();
    Word weights = shared.weights + (first_k * tile_columns + column) * 4;
    const Word numbers_at = shared.stages + (first_k * tile_rows + place_of_row(first_k, row)) * 4;
    // From there to the other four rows and columns.
    const int to_rows = (place_of_row(first_k, row ^ tile_rows / 2) - place_of_row(first_k, row)) * 4;
    const int to_columns = ((column ^ 16) - column) * 4;
    float x[2][8], w[2][8];
    auto read_factors = [&](int to, Word numbers, Word weights) {
        read_shared(w[to], weights);
        read_shared(w[to] + 4, weights + to_columns);
        read_shared(x[to], numbers);
        read_shared(x[to] + 4, numbers + to_rows);
    };
    auto is_full = [&] { return barrier_passed(shared.full + stage.number * 8, stage.round); };
    waiting.until(is_full);
    Word numbers = numbers_at + stage.number * (tile_floats * 4);
    read_factors(0, numbers, weights);
    constexpr int steps = part_k / k_lanes;
#pragma unroll 1
    for (int tile = at.tiles(); tile > 0; --tile) {
        const Word empty = shared.empty + stage.number * 8;
        stage.next();
        const bool next_is_full = tile == 1 || is_full();  // asked early, since the answer takes long
#pragma unroll
        for (int k = 0; k < steps; ++k) {
            if (k + 1 < steps) {
                read_factors((k + 1) % 2, numbers + (k + 1) * k_lanes * tile_rows * 4,
                             weights + (k + 1) * k_lanes * tile_columns * 4);
            } else {
                if (!__all_sync(0xffffffffu, next_is_full))
                    waiting.until(is_full);
                numbers = numbers_at + stage.number * (tile_floats * 4);
                weights += tile_k * tile_columns * 4;
                read_factors(0, numbers, weights);  // beyond the last tile, of no use
            }
#pragma unroll
            for (int c = 0; c < 8; ++c)
#pragma unroll
                for (int place = 0; place < 8; ++place) {
                    const int r = c % 2 ? 7 - place : place;  // to and fro: a factor that was just used is at hand
                    sums[r][c] = fmaf(x[k % 2][r], w[k % 2][c], sums[r][c]);
                }
        }
        __syncwarp();
        if (at.lane == 0)
            barrier_arrive(empty);  // only now have all numbers certainly been read
        if (at.thread == 0 && tile == max(1, at.tiles() + 1 - TURN_TILES))
            let_next_begin(shared, turn);
    }
}

/* Where the sum of a part of K lies in shared memory. Fours of rows change places, so that lanes use different banks. With
 * 16 rows, they also change places with those of the next column. */
__device__ __forceinline__ Word place_of_sum(const Shared &shared, int part, int column, int row) {
    const int change = tile_rows == 32 ? (column >> 1 & 6) ^ (column & 7) : column >> 1 & 7;
    return shared.sums + (part * sums_floats + ((column * tile_rows + row) ^ change * 4)) * 4;
}

constexpr int kept_rows = k_lanes == 4 ? 4 : 8;

/* Add up the sums of a warp's k lanes. Each keeps its first four columns, and its first kept_rows rows. */
__device__ __forceinline__ void add_lanes(Sums &sums) {
    constexpr int lanes = row_lanes * column_lanes;
#pragma unroll
    for (int r = 0; r < 8; ++r)
#pragma unroll
        for (int c = 0; c < 4; ++c)
            sums[r][c] += __shfl_xor_sync(0xffffffffu, sums[r][4 + c], lanes);
#pragma unroll
    for (int r = kept_rows; r < 8; ++r)
#pragma unroll
        for (int c = 0; c < 4; ++c)
            sums[r - kept_rows][c] += __shfl_xor_sync(0xffffffffu, sums[r][c], 2 * lanes);
}

/* Write the sums to shared memory, for those who share them out. Where there is room for two parts of K only, two warps
 * write first, and the other two add their own. */
__device__ __forceinline__ void send_sums(Sums &sums, const Part &at, const Shared &shared, int,
                                          bool failed) {
    constexpr bool in_two_rounds = SUMS_PARTS < k_parts;
    add_lanes(sums);
#pragma unroll 1
    for (int round = in_two_rounds ? 1 : 0; round >= 0; --round) {
        if (!in_two_rounds || at.k_part / SUMS_PARTS == round) {
#pragma unroll
            for (int c = 0; c < 4; ++c)
#pragma unroll
                for (int first = 0; first < kept_rows; first += 4) {
                    const Word to = place_of_sum(shared, at.k_part % SUMS_PARTS, at.first_column_of_lane() + c,
                                                 at.first_row_of_lane() + first / 4 * (tile_rows / 2));
                    float four[4], other[4] = {};
                    if (in_two_rounds && round == 0)
                        read_shared(other, to);
#pragma unroll
                    for (int r = 0; r < 4; ++r)
                        four[r] = failed ? __int_as_float(0x7fffffff) : sums[first + r][c] + other[r];
                    write_shared(to, four);
                }
        }
        team_barrier(at.team);
    }
}

__device__ __forceinline__ void read_sums(float (&to)[1], Word from) {
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(to[0]) : "r"(from));
}
__device__ __forceinline__ void read_sums(float (&to)[2], Word from) {
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(to[0]), "=f"(to[1]) : "r"(from));
}

/* Add all parts of K of this block to sums[gate][row], for the item of a slice with this thread's number. */
template <int gates>
__device__ __forceinline__ void add_parts(float (&sums)[gates][item_rows], const Part &at, const Shared &shared,
                                          int slice) {
#pragma unroll
    for (int gate = 0; gate < gates; ++gate)
#pragma unroll
        for (int part = 0; part < SUMS_PARTS; ++part) {
            float numbers[item_rows];
            read_sums(numbers, place_of_sum(shared, part, gate * column_units + at.unit_in_column(slice), at.row()));
#pragma unroll
            for (int r = 0; r < item_rows; ++r)
                sums[gate][r] += numbers[r];
        }
}

/* Write item_rows rows of numbers k, k + 1... of K to a pass's published ones: [k][row]. With the place of the pass in a
 * function of its own, the compiler's machine code changes everywhere. */
template <int count>
__device__ __forceinline__ void write_numbers(const Part &at, int pass, int step, int k,
                                              const float (&numbers)[count][item_rows]) {
#pragma unroll
    for (int i = 0; i < count; ++i)
        write(at.published + (step & 1) * at.odd + (size_t)pass * published_floats + (k + i) * tile_rows +
                  place_of_row(count == 1 ? k : i, at.row()),
              numbers[i]);
}

/* Where slice `from` writes its sums for the item of slice `to` with this thread's number. */
__device__ __forceinline__ float *partial_of_item(const Part &at, int pass, int from, int to, int gate) {
    return at.partial(pass, from) + to * (sums_floats / K_SLICES) + gate * (own_units * tile_rows) +
           at.thread * item_rows;
}

/* The other slices of this block's columns. */
constexpr int others = K_SLICES - 1;
__device__ __forceinline__ int other_slice(const Part &at, int other) { return (at.slice + 1 + other) % K_SLICES; }

/* Send this block's sums to the other slices' owners, and add its own to sums[gate][row] of this thread's item. */
template <int gates>
__device__ __forceinline__ void share_sums(float (&sums)[gates][item_rows], const Part &at, const Shared &shared,
                                           int pass) {
#pragma unroll
    for (int other = 0; other < others; ++other) {
        const int slice = other_slice(at, other);
        float given[gates][item_rows] = {};
        add_parts(given, at, shared, slice);
#pragma unroll
        for (int gate = 0; gate < gates; ++gate)
            write(partial_of_item(at, pass, at.slice, slice, gate), given[gate]);
    }
    add_parts(sums, at, shared, at.slice);
}

#else

using Sums = float[32];  // of a thread: [eight rows][column, 8 further][two of these rows]

/* Begin to compute sums (64 columns × 64 rows of a team) = or += a (64 × 8)·b (8 × 64) on the tensor cores. A thread has four
 * numbers of `a`. b lies in shared memory: [half of the 8][row][4]. */
__device__ __forceinline__ void begin_product(Sums &sums, const Word (&a)[4], Word b, bool add) {
    // Between the halves lie 64 rows of 16 bytes, and between eight rows and the next 128 bytes.
    const Long there = (Long)(b / 16) | (Long)(64 * 16 / 16) << 16 | (Long)(128 / 16) << 32;
#define EIGHT(i)                                                                                                     \
    "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3]), "+f"(sums[i + 4]), "+f"(sums[i + 5]),     \
        "+f"(sums[i + 6]), "+f"(sums[i + 7])
    asm volatile("{ .reg .pred add; setp.ne.b32 add, %37, 0; wgmma.mma_async.sync.aligned.m64n64k8.f32.tf32.tf32 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
                 "{%32, %33, %34, %35}, %36, add, 1, 1; }"
                 : EIGHT(0), EIGHT(8), EIGHT(16), EIGHT(24)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(there), "r"(int(add)));
#undef EIGHT
}

/* Begin the products of 16 numbers of K. w: this thread's weights for them, which become the next ones. */
__device__ __forceinline__ void begin_products(Sums &sums, float (&w)[2][4], Word &weights, Word b) {
    constexpr Word eight = 2 * tile_rows * 16, small_ones = tile_floats * 4;  // bytes: to the next eight, to small parts
    Word large[2][4], small[2][4];
#pragma unroll
    for (int k = 0; k < 2; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            large[k][i] = large_part(w[k][i]), small[k][i] = small_part(w[k][i], large[k][i]);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    if (PRODUCTS == 1) {
        begin_product(sums, small[0], b, false);
        begin_product(sums, small[1], b + eight, true);
        begin_product(sums, large[0], b + small_ones, true);
        begin_product(sums, large[1], b + small_ones + eight, true);
    }
    begin_product(sums, large[0], b, PRODUCTS == 1);
    begin_product(sums, large[1], b + eight, true);
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    weights += 2 * team_threads * 16;
    read_shared(w[0], weights);  // beyond the last tile, of no use
    read_shared(w[1], weights + team_threads * 16);
}

/* Wait until all products but the last `others` groups are there, and add these to sums. */
template <int others> __device__ __forceinline__ void add_products(Sums &sums, Sums &products) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(others) : "memory");
#pragma unroll
    for (int i = 0; i < 32; ++i) {
        asm volatile("" : "+f"(products[i])::"memory");  // the compiler reads it only now
        sums[i] += products[i];
    }
}

/* The warps that load: all tiles, turn by turn, from step `first` on. The numbers for that step are published first. */
__device__ __forceinline__ void fetch(const Arguments &a, const unsigned char *shared_memory, int first, int steps) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(fetch_registers));
    const Part at(a);
    const Shared shared(shared_memory, 0);
    Waiting waiting(a.failure);
    constexpr int fours = tile_floats / 4 / team_threads, ahead = 2;  // of a thread in a tile; pairs that are on their way
    const int in_pair = (threadIdx.x - worker_threads) / team_threads;  // which tile of a pair these warps load
    Stage stage(in_pair);
    bool is_first_round = true;
    for (int turn = 0; turn < steps * at.passes; ++turn) {
        const int number = turn / at.passes - first, pass = turn % at.passes;
        if (number < 0)
            continue;
        if (at.lane == 0)
            waiting.until([&] { return read_counter(at.counters + pass * counter_stride) >= Word(number + 1) * blocks; });
        __syncwarp();
        const float *const from = at.published + (number & 1) * at.odd + (size_t)pass * published_floats +
                                  ((size_t)at.slice * SLICE_TILES + in_pair) * tile_floats + at.thread * 4;
        const int tiles = at.tiles();
        float numbers[ahead][fours][4];
        auto load = [&](int pair, float (&to)[fours][4]) {
            if (2 * pair < tiles)
#pragma unroll
                for (int i = 0; i < fours; ++i)
                    read(to[i], from + (size_t)pair * (2 * tile_floats) + i * (team_threads * 4));
        };
#pragma unroll
        for (int pair = 0; pair < ahead; ++pair)
            load(pair, numbers[pair]);
#pragma unroll 1
        for (int begin = 0; 2 * begin < tiles; begin += ahead)
#pragma unroll
            for (int next = 0; next < ahead; ++next) {
                if (2 * (begin + next) >= tiles)
                    break;
                if (!is_first_round)
                    waiting.until([&] { return barrier_passed(shared.empty + stage.number * 8, stage.round ^ 1); });
                if (__any_sync(0xffffffffu, waiting.failed))
                    return;  // the workers give up too, and write NaN
                const Word to = shared.stages + (stage.number * stage_floats + at.thread * 4) * 4;
#pragma unroll
                for (int i = 0; i < fours; ++i) {
                    float large[4], small[4];
#pragma unroll
                    for (int k = 0; k < 4; ++k) {
                        const Word bits = large_part(numbers[next][i][k]);
                        large[k] = __uint_as_float(bits);
                        small[k] = __uint_as_float(small_part(numbers[next][i][k], bits));
                    }
                    write_shared(to + i * (team_threads * 16), large);
                    if (PRODUCTS == 1)
                        write_shared(to + (tile_floats + i * (team_threads * 4)) * 4, small);
                }
                load(begin + next + ahead, numbers[next]);
                asm volatile("fence.proxy.async.shared::cta;" ::: "memory");  // tensor cores see it
                __syncwarp();
                if (at.lane == 0)
                    barrier_arrive(shared.full + stage.number * 8);
                stage.next(), stage.next();
                is_first_round = is_first_round && stage.round == 0;
            }
    }
}

/* The sums of this thread, over this block's slice of K, on tensor cores. In 3xTF32 they multiply large and small parts (see
 * large_part). A tensor core adds up with less than float32's accuracy. So only 16 numbers of K are added up there.
 *
 * Tiles come in pairs: the compiler lets products overlap only within one round of the loop. The next team may begin when
 * TURN_TILES tiles are done. Before, tiles of an earlier round may be in its first two stages, and look like its own. */
__device__ __forceinline__ void multiply(Sums &sums, const Part &at, const Shared &shared, int turn, Stage &stage,
                                         Waiting &waiting) {
    Word weights = shared.weights + at.thread * 16;
    float w[2][4];
    read_shared(w[0], weights);
    read_shared(w[1], weights + team_threads * 16);
    auto is_full = [&] { return barrier_passed(shared.full + stage.number * 8, stage.round); };
    auto place = [&] { return shared.stages + stage.number * (stage_floats * 4); };
    auto leave = [&](Word number) {
        __syncwarp();
        if (at.lane == 0)
            barrier_arrive(shared.empty + number * 8);
    };
    constexpr Word half = 4 * tile_rows * 16;
    bool next_is_full = is_full();
#pragma unroll 1
    for (int tile = at.tiles(); tile > 0; tile -= 2) {
        if (!__all_sync(0xffffffffu, next_is_full))
            waiting.until(is_full);
        Sums even, odd;
        const Word first = stage.number, b = place();
        stage.next();
        next_is_full = is_full();  // asked early, since the answer takes long
        begin_products(even, w, weights, b);
        begin_products(odd, w, weights, b + half);
        if (!__all_sync(0xffffffffu, next_is_full))
            waiting.until(is_full);
        const Word second = stage.number, next_b = place();
        stage.next();
        next_is_full = tile == 2 || is_full();
        add_products<1>(sums, even);
        begin_products(even, w, weights, next_b);
        add_products<1>(sums, odd);
        leave(first);
        begin_products(odd, w, weights, next_b + half);
        add_products<1>(sums, even);
        add_products<0>(sums, odd);
        leave(second);
        if (at.thread == 0 && tile == max(2, at.tiles() + 2 - TURN_TILES))
            let_next_begin(shared, turn);
    }
}

/* Write the partial sums for the owners. */
__device__ __forceinline__ void send_sums(const Sums &sums, const Part &at, const Shared &, int pass, bool failed) {
    float *const to = at.partial(pass, at.slice) + (at.thread / 32 * 16 + at.lane / 4) * tile_rows + at.lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 32; i += 2) {
        const float two[2] = {failed ? __int_as_float(0x7fffffff) : sums[i],
                              failed ? __int_as_float(0x7fffffff) : sums[i + 1]};
        write(to + i / 2 % 2 * (8 * tile_rows) + i / 4 * 8, two);
    }
}

/* Write item_rows rows of numbers k, k + 1... of K to a pass's published ones: [k / 4][row][k % 4]. */
template <int count>
__device__ __forceinline__ void write_numbers(const Part &at, int pass, int step, int k,
                                              const float (&numbers)[count][item_rows]) {
#pragma unroll
    for (int r = 0; r < item_rows; ++r) {
        float of_row[count];
#pragma unroll
        for (int i = 0; i < count; ++i)
            of_row[i] = numbers[i][r];
        write(at.published + (step & 1) * at.odd + (size_t)pass * published_floats +
                  (k / 4 * tile_rows + at.row() + r) * 4 + k % 4,
              of_row);
    }
}

/* Where slice `from` writes its sums for the item of slice `to` with this thread's number. */
__device__ __forceinline__ float *partial_of_item(const Part &at, int pass, int from, int to, int gate) {
    return at.partial(pass, from) + (gate * column_units + at.unit_in_column(to)) * tile_rows + at.row();
}

/* All sums of this block's columns are in memory, its own too. */
constexpr int others = K_SLICES;
__device__ __forceinline__ int other_slice(const Part &, int other) { return other; }
template <int gates>
__device__ __forceinline__ void share_sums(float (&)[gates][item_rows], const Part &, const Shared &, int) {}

#endif

/* Write `missing` in place of all partial sums of this thread's item. */
template <int gates> __device__ __forceinline__ void clear_partials(const Part &at, int pass) {
    float nothing[item_rows];
#pragma unroll
    for (int r = 0; r < item_rows; ++r)
        nothing[r] = __uint_as_float(missing);
#pragma unroll
    for (int other = 0; other < others; ++other)
#pragma unroll
        for (int gate = 0; gate < gates; ++gate)
            write(partial_of_item(at, pass, other_slice(at, other), at.slice, gate), nothing);
}

/* Add the sums of all slices to sums[gate][row] of this thread's item, as they come. */
template <int gates>
__device__ __forceinline__ void take_sums(float (&sums)[gates][item_rows], const Part &at, const Shared &shared,
                                          int pass, Waiting &waiting) {
    share_sums(sums, at, shared, pass);
    float parts[others + 1][gates][item_rows];  // one is never used: there may be no others
    waiting.until([&] {
        bool all_there = true;
#pragma unroll
        for (int other = 0; other < others; ++other)
#pragma unroll
            for (int gate = 0; gate < gates; ++gate) {
                read(parts[other][gate], partial_of_item(at, pass, other_slice(at, other), at.slice, gate));
#pragma unroll
                for (int r = 0; r < item_rows; ++r)
                    all_there = all_there && __float_as_uint(parts[other][gate][r]) != missing;
            }
        return all_there;
    });
    clear_partials<gates>(at, pass);
#pragma unroll
    for (int other = 0; other < others; ++other)
#pragma unroll
        for (int gate = 0; gate < gates; ++gate)
#pragma unroll
            for (int r = 0; r < item_rows; ++r)
                sums[gate][r] += parts[other][gate][r];
}

/* A product, and its sums sent to their owners. product: how many products come before it. */
__device__ __forceinline__ void multiply_and_send(const Part &at, const Shared &shared, int turn, int product, int pass,
                                                  Stage &stage, Waiting &waiting) {
    if (rings < teams)
        stage = Stage(product * at.tiles());
    Sums sums = {};
    multiply(sums, at, shared, turn, stage, waiting);
    send_sums(sums, at, shared, pass, waiting.failed);
}

/* Say that this block has published its numbers of a pass. */
__device__ __forceinline__ void publish(const Part &at, int pass) {
    team_barrier(at.team);
    if (at.thread == 0)
        count_up(at.counters + pass * counter_stride);
}

/* What an owner carries from one step to the next: the cells, or their gradients. Only it reads and writes them. */
__device__ __forceinline__ float *carried(const Part &at, int pass) {
    return at.carried + ((size_t)pass * padded + at.unit()) * tile_rows + at.row();
}

/* The same number, but the compiler doesn't know that. So it computes anew what follows from the number, and until then keeps
 * no registers for it. */
__device__ __forceinline__ int computed_anew(int number) {
    asm volatile("" : "+r"(number));
    return number;
}

/* The first number in a (batch, HIDDEN) array of this thread's item. */
__device__ __forceinline__ size_t place_in_batch(const Part &at, int pass) {
    return (size_t)(at.first_row + pass * tile_rows + at.row()) * HIDDEN + at.unit();
}

#if FORWARD

extern "C" __global__ void __launch_bounds__(all_threads, 1) lstm_forward(const Arguments a) {
    extern __shared__ __align__(128) unsigned char shared_memory[];
    const int first = a.first_state ? 0 : 1;  // the first step that has a product: without h0, step 0 has none
    set_up(a, shared_memory);
    if (threadIdx.x >= worker_threads) {
        fetch(a, shared_memory, first, a.seq);
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(worker_registers));
    await_product();
    const Part at(a);
    const Shared shared(shared_memory, at.team);
    Waiting waiting(a.failure);

    const int unit = at.unit();
    auto publish_states = [&](int product, int pass, const float (&states)[1][item_rows]) {
        if (at.has_item())
            write_numbers(at, pass, product, unit, states);
        publish(at, pass);
    };
    // The initial states, if there are any, are published for step 0.
    for (int pass = at.team; pass < at.passes; pass += teams) {
        float states[1][item_rows], cells[item_rows];
        const size_t place = place_in_batch(at, pass);
        const int rows = at.rows_there(pass);
#pragma unroll
        for (int r = 0; r < item_rows; ++r) {
            states[0][r] = r < rows && a.first_state ? a.first_state[place + r * HIDDEN] : 0;
            cells[r] = r < rows && a.first_cell ? a.first_cell[place + r * HIDDEN] : 0;
        }
        if (at.has_item()) {
            write(carried(at, pass), cells);
            clear_partials<4>(at, pass);
        }
        if (first == 0)
            publish_states(0, pass, states);
    }

    float bias[4];
#pragma unroll
    for (int gate = 0; gate < 4; ++gate)
        bias[gate] = at.has_item() && unit < HIDDEN ? a.bias[gate * HIDDEN + unit] : 0;
    Stage stage;
    for (int turn = at.team; turn < a.seq * at.passes; turn += teams) {
        int step, pass, rows;
        size_t in_batch, place;
        float *gates;  // of this unit's i, at the first row
        auto locate = [&](int turn) {
            step = turn / at.passes, pass = turn % at.passes, rows = at.rows_there(pass);
            in_batch = place_in_batch(at, pass), place = (size_t)step * a.batch * HIDDEN + in_batch;
            gates = a.gates + place * 4 - unit * 3;
        };
        locate(turn);
        auto multiply_in_turn = [&] {
            await_turn(shared, turn, waiting);
            if (step >= first)
                multiply_and_send(at, shared, turn, turn - first * at.passes, pass, stage, waiting);
            else if (at.thread == 0)
                let_next_begin(shared, turn);
        };
        if (!reads_ahead)
            multiply_in_turn(), locate(computed_anew(turn));
        // The inputs' part of the sums comes in while the product is computed, or the other slices' sums are on their way.
        float total[4][item_rows], cells[item_rows], states[1][item_rows];
#pragma unroll
        for (int r = 0; r < item_rows; ++r)
#pragma unroll
            for (int gate = 0; gate < 4; ++gate)
                total[gate][r] = r < rows ? gates[(r * 4 + gate) * HIDDEN] : 0;
        if (reads_ahead)
            multiply_in_turn();
#pragma unroll
        for (int r = 0; r < item_rows; ++r)
#pragma unroll
            for (int gate = 0; gate < 4; ++gate)
                total[gate][r] += bias[gate];
        if (at.has_item()) {
            read(cells, carried(at, pass));
            if (step >= first)
                take_sums(total, at, shared, pass, waiting);
#pragma unroll
            for (int r = 0; r < item_rows; ++r) {
#pragma unroll
                for (int gate = 0; gate < 4; ++gate)
                    total[gate][r] = gate == 2 ? tangent(total[gate][r]) : sigmoid(total[gate][r]);
                cells[r] = fmaf(total[1][r], cells[r], total[0][r] * total[2][r]);
                states[0][r] = waiting.failed ? __int_as_float(0x7fffffff) : total[3][r] * tangent(cells[r]);
            }
            write(carried(at, pass), cells);
        }
        if (step + 1 < a.seq)
            publish_states(step + 1 - first, pass, states);
        else
            team_barrier(at.team);  // all have read the sums
#pragma unroll
        for (int r = 0; r < item_rows; ++r) {
            if (r >= rows)
                continue;
            a.states[place + r * HIDDEN] = states[0][r];
#if KEEP
#pragma unroll
            for (int gate = 0; gate < 4; ++gate)
                gates[(r * 4 + gate) * HIDDEN] = total[gate][r];
            a.cells[place + r * HIDDEN] = cells[r];
#endif
            if (step + 1 == a.seq && a.end_cell)
                a.end_cell[in_batch + r * HIDDEN] = cells[r];
        }
    }
}

#else

extern "C" __global__ void __launch_bounds__(all_threads, 1) lstm_backward(const Arguments a) {
    extern __shared__ __align__(128) unsigned char shared_memory[];
    // The last of the steps, -1, only adds up the partial sums for d_h0. Nobody needs the products of the last one.
    const int step_count = a.seq + (a.end_state ? 1 : 0);
    set_up(a, shared_memory);
    if (threadIdx.x >= worker_threads) {
        fetch(a, shared_memory, 1, step_count);
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(worker_registers));
    const Part at(a);
    const Shared shared(shared_memory, at.team);
    Waiting waiting(a.failure);

    const int unit = at.unit();
    float bias_sums[4] = {};
    Stage stage;
    for (int turn = at.team; turn < step_count * at.passes; turn += teams) {
        int back, pass, step, rows;
        size_t in_batch, place;
        float *gates;  // of this unit's i, at the first row
        const float *before;
        bool has_before;
        auto locate = [&](int turn) {
            back = turn / at.passes, pass = turn % at.passes, step = a.seq - 1 - back;
            rows = step < 0 ? 0 : at.rows_there(pass);
            in_batch = place_in_batch(at, pass), place = (size_t)step * a.batch * HIDDEN + in_batch;
            gates = a.gates + place * 4 - unit * 3;
            before = step > 0 ? a.cells + place - (size_t)a.batch * HIDDEN : a.first_cell + in_batch;
            has_before = step > 0 || a.first_cell;
        };
        locate(turn);
        auto multiply_in_turn = [&] {
            await_turn(shared, turn, waiting);
            if (back > 0)
                multiply_and_send(at, shared, turn, turn - at.passes, pass, stage, waiting);
            else if (at.thread == 0)
                let_next_begin(shared, turn);
        };
        if (!reads_ahead)
            multiply_in_turn(), locate(computed_anew(turn));
        // i, f, g, o, the cell, the cell before and d_y come in, as the inputs' part does forward.
        float value[item_rows][7], d_cells[item_rows] = {}, d_states[1][item_rows] = {};
#pragma unroll
        for (int r = 0; r < item_rows; ++r) {
#pragma unroll
            for (int gate = 0; gate < 4; ++gate)
                value[r][gate] = r < rows ? gates[(r * 4 + gate) * HIDDEN] : 0;
            value[r][4] = r < rows ? a.cells[place + r * HIDDEN] : 0;
            value[r][5] = r < rows && has_before ? before[r * HIDDEN] : 0;
            value[r][6] = r < rows ? a.states[place + r * HIDDEN] : 0;
        }
        if (reads_ahead)
            multiply_in_turn();
        if (at.has_item()) {
            if (back > 0) {
                read(d_cells, carried(at, pass));
                take_sums(d_states, at, shared, pass, waiting);
            } else {
                clear_partials<1>(at, pass);
            }
        }
        float d_gates[4][item_rows];
#pragma unroll
        for (int r = 0; r < item_rows; ++r) {
            const float i = value[r][0], f = value[r][1], g = value[r][2], o = value[r][3];
            const float curve = tangent(value[r][4]);
            if (waiting.failed)
                d_states[0][r] = __int_as_float(0x7fffffff);
            const float d_state = d_states[0][r] + value[r][6];
            const float d_cell = fmaf(d_state * o, 1.f - curve * curve, d_cells[r]);
            d_cells[r] = d_cell * f;
            d_gates[0][r] = d_cell * g * (i * (1.f - i)), d_gates[1][r] = d_cell * value[r][5] * (f * (1.f - f));
            d_gates[2][r] = d_cell * i * (1.f - g * g), d_gates[3][r] = d_state * curve * (o * (1.f - o));
        }
        if (back + 1 < step_count) {
            if (at.has_item()) {
                write(carried(at, pass), d_cells);
                write_numbers(at, pass, back, unit * 4, d_gates);
            }
            publish(at, pass);
        } else {
            team_barrier(at.team);  // all have read the sums
        }
#pragma unroll
        for (int r = 0; r < item_rows; ++r)
            if (r < rows) {
#pragma unroll
                for (int gate = 0; gate < 4; ++gate) {
                    bias_sums[gate] += d_gates[gate][r];
                    gates[(r * 4 + gate) * HIDDEN] = d_gates[gate][r];
                }
                if (step == 0 && a.end_cell)
                    a.end_cell[in_batch + r * HIDDEN] = d_cells[r];
            } else if (step < 0 && r < at.rows_there(pass)) {
                a.end_state[in_batch + r * HIDDEN] = d_states[0][r];
            }
    }

    // The bias's gradient: the sum over the threads of all teams that have the same unit.
    float4 *const all = (float4 *)(shared_memory + Shared(shared_memory, 0).sums - shared_address(shared_memory));
    // Another team may still use its sums.
    asm volatile("bar.sync %0, %1;" ::"n"(1 + teams), "n"(worker_threads) : "memory");
    all[threadIdx.x] = make_float4(bias_sums[0], bias_sums[1], bias_sums[2], bias_sums[3]);
    asm volatile("bar.sync %0, %1;" ::"n"(1 + teams), "n"(worker_threads) : "memory");
    if (threadIdx.x < own_units && unit < HIDDEN) {
        float4 sum = make_float4(0, 0, 0, 0);
        for (int thread = threadIdx.x; thread < worker_threads; thread += own_units)
            if (thread % team_threads < items)
                sum = make_float4(sum.x + all[thread].x, sum.y + all[thread].y, sum.z + all[thread].z,
                                  sum.w + all[thread].w);
        float *const to = a.bias_sums + (size_t)at.group * (4 * HIDDEN) + unit;
        to[0] = sum.x, to[HIDDEN] = sum.y, to[2 * HIDDEN] = sum.z, to[3 * HIDDEN] = sum.w;
    }
}

#endif

#endif
