/* Products without a recurrence, with float32's accuracy on Hopper's tensor cores: C = op(A)·op(B) + beta·C.
 *
 * The tensor cores multiply the factors' large and small parts (see large_part). They add up with less than float32's
 * accuracy, so only DEPTH numbers of K are added up there. These sums are added up in float32.
 *
 * Who does what. A block computes tiles of 128 × 128 numbers of C, one after the other. For DEPTH numbers of K at a time:
 *
 *     warps 8 to 11    load 128 rows of op(A), split the numbers, and write them to a stage in shared memory
 *     warps 12 to 15   the same, for 128 columns of op(B)
 *     warps 0 to 3     let the tensor cores multiply 64 rows of the tile with all columns, and add up the sums
 *     warps 4 to 7     the same, for the other 64 rows
 *
 * A stage holds four parts: large and small numbers of A, and of B. In a part, four neighbours of K lie together, for one
 * row after the other: [k / 4][place of the row][k % 4]. Four neighbouring rows lie 32 places apart. So a thread that has
 * read 4 rows × 4 numbers of K writes them without conflicts of banks, and in C a thread has four neighbouring columns.
 *
 * If C has few tiles, a cluster of blocks shares each: every block takes a part of K. In the end they add up their sums
 * through each other's shared memory, always in the same order.
 */
#if PRODUCT

constexpr int side = 128, depth = DEPTH, stages = STAGES, rows_of_team = 64;
constexpr int worker_threads = 256, factor_threads = 128;  // that multiply, and that load a factor
constexpr int all_threads = worker_threads + 2 * factor_threads;
constexpr Word quad_bytes = (side + 1) * 16;  // of four numbers of K. One place more: eight quads lie in different banks
constexpr Word part_bytes = depth / 4 * quad_bytes, stage_bytes = 4 * part_bytes;
constexpr int fours = side * depth / 4 / factor_threads;  // that a thread loads for a stage
static_assert(depth == 32, "the loads below");
using Fours = float[fours][4];
using Sums = float[side / 2];  // of a thread: [eight columns][row, 8 further][two of these columns]

/* What the kernel gets. lstm_cuda.h has the same. All arrays lie row by row; strides are in numbers, and multiples of 4. */
struct ProductArguments {
    const float *a, *b;
    float *c;
    long long a_stride, b_stride, c_stride;
    int m, n, k, tiles;
    float beta;
};

/* Which tiles and which steps of K this block has. A step is `depth` numbers of K. */
struct Work {
    Word rank, ranks, cluster, clusters;  // of a cluster's blocks, and of all clusters
    int tiles_across, first, last;
    __device__ explicit Work(const ProductArguments &p) {
        asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
        asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(ranks));
        asm("mov.u32 %0, %%clusterid.x;" : "=r"(cluster));
        asm("mov.u32 %0, %%nclusterid.x;" : "=r"(clusters));
        const int steps = (p.k + depth - 1) / depth;
        tiles_across = (p.n + side - 1) / side;
        first = steps * rank / ranks, last = steps * (rank + 1) / ranks;
    }
};

/* The ring of stages in shared memory, and a place in it. */
struct Ring {
    Word begin, number = 0, round = 0;
    __device__ explicit Ring(const unsigned char *shared) : begin(shared_address(shared)) {}
    __device__ Word stage() const { return begin + number * stage_bytes; }
    __device__ Word full() const { return begin + stages * stage_bytes + number * 8; }
    __device__ Word empty() const { return full() + stages * 8; }
    __device__ void next() {
        if (++number == stages)
            number = 0, round ^= 1;
    }
};

/* Read four numbers; zeros if they aren't there. */
__device__ __forceinline__ void read_if(float (&to)[4], const float *from, bool is_there) {
    asm volatile("{ .reg .pred p; setp.ne.u32 p, %5, 0; mov.b32 %0, 0; mov.b32 %1, 0; mov.b32 %2, 0; mov.b32 %3, 0; "
                 "@p ld.global.nc.v4.f32 {%0, %1, %2, %3}, [%4]; }"
                 : "=&f"(to[0]), "=&f"(to[1]), "=&f"(to[2]), "=&f"(to[3])
                 : "l"(from), "r"(int(is_there)));
}

/* Write the large and the small parts of four neighbours of K. quad: their place in K / 4, modulo a stage's. */
__device__ __forceinline__ void write_parts(Word part, int quad, int row, float first, float second, float third,
                                            float fourth) {
    const float whole[4] = {first, second, third, fourth};
    float large[4], small[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const Word bits = large_part(whole[i]);
        large[i] = __uint_as_float(bits), small[i] = __uint_as_float(small_part(whole[i], bits));
    }
    const Word to = part + quad * quad_bytes + (row % 4 * 32 + row / 4) * 16;
    write_shared(to, large);
    write_shared(to + part_bytes, small);
}

/* A factor whose rows hold neighbours of K: A, or the transposed B. A warp reads 128 bytes of each of four rows. thread: of
 * factor_threads. */
struct AlongK {
    static __device__ __forceinline__ void read(Fours &to, const float *from, long long stride, int row, int rows, int k,
                                                int k_end, int thread) {
        const int first = row + thread / 8, at_k = k + thread % 8 * 4;
        from += first * stride + at_k;
#pragma unroll
        for (int i = 0; i < fours; ++i)
            read_if(to[i], from + i * 16 * stride, first + i * 16 < rows && at_k < k_end);
    }
    static __device__ __forceinline__ void write(Word part, const Fours &from, int thread) {
#pragma unroll
        for (int i = 0; i < fours; ++i)
            write_parts(part, thread % 8, thread / 8 + i * 16, from[i][0], from[i][1], from[i][2], from[i][3]);
    }
};

/* A factor in which neighbouring rows lie together: B, or the transposed A. A warp reads 128 rows for one number of K. */
struct AcrossK {
    static __device__ __forceinline__ void read(Fours &to, const float *from, long long stride, int row, int rows, int k,
                                                int k_end, int thread) {
        const int first = row + thread % 32 * 4, at_k = k + thread / 32 * fours;
        from += at_k * stride + first;
#pragma unroll
        for (int i = 0; i < fours; ++i)
            read_if(to[i], from + i * stride, first < rows && at_k + i < k_end);
    }
    static __device__ __forceinline__ void write(Word part, const Fours &from, int thread) {
#pragma unroll
        for (int i = 0; i < fours; i += 4)
#pragma unroll
            for (int row = 0; row < 4; ++row)
                write_parts(part, thread / 32 * (fours / 4) + i / 4, thread % 32 * 4 + row, from[i][row],
                            from[i + 1][row], from[i + 2][row], from[i + 3][row]);
    }
};

#if TRANSPOSE_A
using FactorA = AcrossK;
#else
using FactorA = AlongK;
#endif
#if TRANSPOSE_B
using FactorB = AlongK;
#else
using FactorB = AcrossK;
#endif

/* What a warp that loads does. is_b: for op(B). A thread reads two steps ahead. */
template <class Factor>
__device__ __forceinline__ void load(const ProductArguments &p, const Work &work, Ring ring, bool is_b) {
    const float *const from = is_b ? p.b : p.a;
    const int rows = is_b ? p.n : p.m, thread = threadIdx.x % factor_threads;
    bool is_first_round = true;
    for (int tile = work.cluster; tile < p.tiles; tile += work.clusters) {
        const int row = (is_b ? tile % work.tiles_across : tile / work.tiles_across) * side;
        Fours numbers[2];
        auto read = [&](int step, Fours &to) {
            long long stride = is_b ? p.b_stride : p.a_stride;
            asm volatile("" : "+l"(stride));  // else the compiler keeps products of it in registers
            if (step < work.last)
                Factor::read(to, from, stride, row, rows, step * depth, p.k, thread);
        };
        read(work.first, numbers[0]), read(work.first + 1, numbers[1]);
#pragma unroll 1
        for (int pair = work.first; pair < work.last; pair += 2)
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                if (pair + i >= work.last)
                    break;
                while (!is_first_round && !barrier_passed(ring.empty(), ring.round ^ 1)) {
                }
                Factor::write(ring.stage() + (is_b ? 2 * part_bytes : 0), numbers[i], thread);
                asm volatile("fence.proxy.async.shared::cta;" ::: "memory");  // tensor cores see it
                __syncwarp();
                if (thread % 32 == 0)
                    barrier_arrive(ring.full());
                ring.next();
                is_first_round = is_first_round && ring.round == 0;
                read(pair + i + 2, numbers[i]);
            }
    }
}

/* Begin to compute sums (64 rows × 128 columns of a team) = or += a (64 × 8)·b (8 × 128) on the tensor cores. */
__device__ __forceinline__ void begin_product(Sums &sums, Word a, Word b, bool add) {
    // An address in this block. Between fours of K lie quad_bytes, and between eight rows and the next 128 bytes.
    auto there = [](Word place) {
        return (Long)(place / 16 & 0x3fff) | (Long)(quad_bytes / 16) << 16 | (Long)(128 / 16) << 32;
    };
#define FOUR(i) "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3])
#define SIXTEEN(i) FOUR(i), FOUR(i + 4), FOUR(i + 8), FOUR(i + 12)
    asm volatile("{ .reg .pred add; setp.ne.b32 add, %66, 0; wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
                 "%64, %65, add, 1, 1; }"
                 : SIXTEEN(0), SIXTEEN(16), SIXTEEN(32), SIXTEEN(48)
                 : "l"(there(a)), "l"(there(b)), "r"(int(add)));
#undef FOUR
#undef SIXTEEN
}

/* Add the products of a tile to sums, over this block's part of K. */
__device__ __forceinline__ void multiply(Sums &sums, const Work &work, Ring &ring, int team) {
    constexpr Word eight = 2 * quad_bytes;  // numbers of K
#pragma unroll 1
    for (int step = work.first; step < work.last; ++step) {
        while (!barrier_passed(ring.full(), ring.round)) {
        }
        __syncwarp();
        const Word a = ring.stage() + team * (rows_of_team * 16), b = ring.stage() + 2 * part_bytes;
        Sums products;
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
        for (Word k = 0; k < depth / 8; ++k) {
            begin_product(products, a + part_bytes + k * eight, b + k * eight, k > 0);
            begin_product(products, a + k * eight, b + part_bytes + k * eight, true);
        }
#pragma unroll
        for (Word k = 0; k < depth / 8; ++k)
            begin_product(products, a + k * eight, b + k * eight, true);
        asm volatile("wgmma.commit_group.sync.aligned;\n wgmma.wait_group.sync.aligned 0;" ::: "memory");
#pragma unroll
        for (int i = 0; i < side / 2; ++i) {
            asm volatile("" : "+f"(products[i])::"memory");  // the compiler reads it only now
            sums[i] += products[i];
        }
        __syncwarp();
        if (threadIdx.x % 32 == 0)
            barrier_arrive(ring.empty());
        ring.next();
    }
}

/* Wait for all threads of the cluster. */
__device__ __forceinline__ void cluster_barrier() {
    __syncwarp();
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/* Add up the sums of all blocks of the cluster, for this block's share of a thread's fours. give(four, total) takes them. */
template <class Give> __device__ __forceinline__ void add_up(Word own, const Work &work, Give give) {
    constexpr int count = side / 8;
    for (int four = count * work.rank / work.ranks; four < count * (work.rank + 1) / work.ranks; ++four) {
        float total[4] = {};
        for (Word rank = 0; rank < work.ranks; ++rank) {
            Word there;
            float part[4];
            asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(own + four * (worker_threads * 16)), "r"(rank));
            asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                         : "=f"(part[0]), "=f"(part[1]), "=f"(part[2]), "=f"(part[3])
                         : "r"(there)
                         : "memory");
#pragma unroll
            for (int i = 0; i < 4; ++i)
                total[i] += part[i];
        }
        give(four, total);
    }
}

extern "C" __global__ void __launch_bounds__(all_threads, 1) lstm_product(const ProductArguments p) {
    extern __shared__ __align__(128) unsigned char shared_memory[];
    const Work work(p);
    Ring ring(shared_memory);
    if (threadIdx.x == 0) {
        for (Ring each = ring; each.round == 0; each.next())
            barrier_init(each.full(), (all_threads - worker_threads) / 32), barrier_init(each.empty(), worker_threads / 32);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    if (threadIdx.x >= worker_threads) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 112;");  // the other warps get more than they would have
        if (threadIdx.x < worker_threads + factor_threads)
            load<FactorA>(p, work, ring, false);
        else
            load<FactorB>(p, work, ring, true);
        if (work.ranks > 1)  // then a cluster has one tile
            cluster_barrier(), cluster_barrier();
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 144;");
    const int team = threadIdx.x / (worker_threads / 2), lane = threadIdx.x % 32;
    const int place = threadIdx.x / 32 * 16 + lane / 4;  // of this thread's first row
    for (int tile = work.cluster; tile < p.tiles; tile += work.clusters) {
        Sums sums = {};
        multiply(sums, work, ring, team);
        // Four neighbouring columns lie 32 places apart. four: [place of the column / 8][row, 8 further][column]
        auto four_of = [&](int four, float (&to)[4]) {
#pragma unroll
            for (int i = 0; i < 4; ++i)
                to[i] = sums[(four / 4 + i * 4) * 4 + four % 4];
        };
        auto write = [&](int four, float (&numbers)[4]) {
            const int row_place = place + four / 2 % 2 * 8, column_place = four / 4 * 8 + lane % 4 * 2 + four % 2;
            const int row = tile / work.tiles_across * side + row_place % 32 * 4 + row_place / 32;
            const int column = tile % work.tiles_across * side + column_place * 4;
            if (row >= p.m || column >= p.n)
                return;
            float4 *const to = (float4 *)(p.c + row * p.c_stride + column);
            float4 result = make_float4(numbers[0], numbers[1], numbers[2], numbers[3]);
            if (p.beta != 0) {
                const float4 before = *to;
                result = make_float4(fmaf(p.beta, before.x, result.x), fmaf(p.beta, before.y, result.y),
                                     fmaf(p.beta, before.z, result.z), fmaf(p.beta, before.w, result.w));
            }
            *to = result;
        };
        if (work.ranks == 1) {
#pragma unroll
            for (int four = 0; four < side / 8; ++four) {
                float numbers[4];
                four_of(four, numbers);
                write(four, numbers);
            }
            continue;
        }
        // The stages are free for the sums: this block has read its last one.
        asm volatile("bar.sync 1, %0;" ::"n"(worker_threads) : "memory");
        const Word own = ring.begin + threadIdx.x * 16;
#pragma unroll
        for (int four = 0; four < side / 8; ++four) {
            float numbers[4];
            four_of(four, numbers);
            write_shared(own + four * (worker_threads * 16), numbers);
        }
        cluster_barrier();
        add_up(own, work, write);
        cluster_barrier();  // no block ends while another one reads its sums
    }
}

#endif
