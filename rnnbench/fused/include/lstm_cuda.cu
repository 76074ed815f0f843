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
 * cuBLAS or lstm_cuda_product.cu computes x·W of all steps before, and the weights' gradients afterwards. lstm_cuda.h starts
 * the kernels. This file holds what they share. There are three ways, each in a file:
 *
 *   lstm_cuda_rows.cu   U stays in registers and shared memory, and rows of states pass by
 *   lstm_cuda_tiles.cu  U stays in shared memory, and sums stay in registers: for large sizes
 *   lstm_cuda_steps.cu  U doesn't fit on the chip: cuBLAS multiplies at each step
 *
 * A kernel can't hang: every wait ends after LIMIT_NANOSECONDS. Then `failure` is set and the results become NaN.
 */

typedef unsigned int Word;
typedef unsigned long long Long;

/* ---- Waiting ---------------------------------------------------------------------------------------------------- */

__device__ __forceinline__ Word shared_address(const void *pointer) { return (Word)__cvta_generic_to_shared(pointer); }

__device__ __forceinline__ Long nanoseconds() {
    Long now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    return now;
}

/* How a wait ended. It stays with a warp: after the first failure no later wait takes time. */
struct Waiting {
    // The rows' kernel asks often. The tiles' one needs few instructions, since its loop of products fills their cache.
    static constexpr int tries_at_once = TILES ? 1 : 32;
    Word *failure;
    bool failed;

    __device__ Waiting(Word *failure) : failure(failure), failed(false) {}

    /* sleeps: other warps need this one's place in the queue of instructions. */
    template <typename Condition> __device__ __forceinline__ void until(const Condition &holds, bool sleeps = false) {
        if (holds() || failed)
            return;
        const Long begin = nanoseconds();
        for (;;) {
#pragma unroll tries_at_once
            for (int again = 0; again < 32; ++again) {
                if (holds())
                    return;
                if (sleeps)
                    __nanosleep(30);
            }
            if (nanoseconds() - begin > LIMIT_NANOSECONDS) {
                failed = true;
                *(volatile Word *)failure = 1;
                return;
            }
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
                 : "=r"(passed)
                 : "r"(barrier), "r"(parity)
                 : "memory");
#else
    asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(passed)
                 : "r"(barrier), "r"(parity)
                 : "memory");
#endif
    return passed;
}

/* One lane of a warp counts it at a barrier, after all of its lanes. */
__device__ __forceinline__ void barrier_arrive_warp(const Long *barrier) {
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        barrier_arrive(shared_address(barrier));
}

/* A kernel that starts early does so while the product before it ends. It may read U, but what that product writes, and
 * what this kernel writes, only after this wait. */
__device__ __forceinline__ void await_product() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* ---- Messages through memory, which stays in the L2 cache --------------------------------------------------------- */
#if TILES || (ROWS && FORWARD && !CLUSTER)

/* A NaN that no sum or state is: arithmetic gives another one. A reader looks until what it reads is something else. */
constexpr Word missing = 0xffffffffu;

/* Read or write 1, 2 or 4 numbers in memory, past the L1 cache. */
__device__ __forceinline__ void read(float (&to)[4], const float *from) {
    asm volatile("ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(to[0]), "=f"(to[1]), "=f"(to[2]), "=f"(to[3])
                 : "l"(from)
                 : "memory");
}
__device__ __forceinline__ void read(float (&to)[2], const float *from) {
    asm volatile("ld.relaxed.gpu.global.v2.f32 {%0, %1}, [%2];" : "=f"(to[0]), "=f"(to[1]) : "l"(from) : "memory");
}
__device__ __forceinline__ void read(float (&to)[1], const float *from) {
    asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(to[0]) : "l"(from) : "memory");
}
__device__ __forceinline__ void write(float *to, const float (&from)[4]) {
    asm volatile("st.relaxed.gpu.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(from[0]), "f"(from[1]),
                 "f"(from[2]), "f"(from[3])
                 : "memory");
}
__device__ __forceinline__ void write(float *to, const float (&from)[2]) {
    asm volatile("st.relaxed.gpu.global.v2.f32 [%0], {%1, %2};" ::"l"(to), "f"(from[0]), "f"(from[1]) : "memory");
}
__device__ __forceinline__ void write(float *to, const float (&from)[1]) {
    asm volatile("st.relaxed.gpu.global.f32 [%0], %1;" ::"l"(to), "f"(from[0]) : "memory");
}

#endif

/* Read or write four numbers in shared memory. */
__device__ __forceinline__ void read_shared(float *to, Word from) {
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(to[0]), "=f"(to[1]), "=f"(to[2]), "=f"(to[3])
                 : "r"(from));
}
__device__ __forceinline__ void write_shared(Word to, const float *from) {
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(from[0]), "f"(from[1]), "f"(from[2]),
                 "f"(from[3])
                 : "memory");
}

/* ---- Arithmetic ------------------------------------------------------------------------------------------------- */

#if PRODUCT || (TILES && PRODUCTS > 0)

/* Tensor cores round factors to TF32. With large = a number rounded to TF32 and small = the rest,
 *
 *     a·b = small_a·large_b + large_a·small_b + large_a·large_b + small_a·small_b, and the last term is too small to count
 *
 * large_part is rounded to nearest. Of a NaN, the small part at least is a NaN. */
__device__ __forceinline__ Word large_part(float number) {
    Word bits;
    if (PRODUCTS == 1)
        bits = (__float_as_uint(number) + 0x1000) & 0xffffe000;
    else
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(number));  // more instructions, but a NaN stays one
    return bits;
}
/* The rest. A tensor core doesn't read its last 13 bits. */
__device__ __forceinline__ Word small_part(float number, Word large) {
    return __float_as_uint(number - __uint_as_float(large));
}

#endif

__device__ __forceinline__ float power_of_two(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}

__device__ __forceinline__ float inverse(float x) {
    float result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

/* The errors of both are about 1e-7 of 1, and near zero the tangent's is 2 units in the last place. NaN stays NaN. */
__device__ __forceinline__ float sigmoid(float x) { return inverse(1.f + power_of_two(-1.4426950408889634f * x)); }

__device__ __forceinline__ float tangent(float x) {
    const float size = fabsf(x), square = x * x, power = power_of_two(-2.885390081777926815f * size);
    const float far = copysignf((1.f - power) * inverse(1.f + power), x);
    float near = fmaf(square, 1.573610e-2f, -5.23038e-2f);
    near = fmaf(near, square, 1.331530e-1f);
    near = fmaf(near, square, -3.333273e-1f);
    near = fmaf(near * square, x, x);
    return size < 0.55f ? near : far;
}

__device__ __forceinline__ float sum_with(float value, int lanes) {
    return value + __shfl_xor_sync(0xffffffffu, value, lanes);
}

/* What the kernels get. lstm_cuda.h has the same. */
struct Arguments {
    const float *U;     // (HIDDEN, 4 HIDDEN)
    float *gates;       // (seq, batch, 4 HIDDEN). Forward: x·W, then the gates if KEEP. Backward: gates, then d_a
    float *cells;       // (seq, batch, HIDDEN), or null
    float *states;      // (seq, batch, HIDDEN). Forward: written. Backward: d_y
    const float *bias;  // forward: (4 HIDDEN)
    const float *first_state;  // forward: (batch, HIDDEN), or null
    const float *first_cell;   // (batch, HIDDEN), or null
    float *end_state;          // backward: d_h0, or null
    float *end_cell;           // (batch, HIDDEN), or null. Forward: the last cells. Backward: d_c0
    float *bias_sums;          // backward: (groups, 4 HIDDEN): the sum of d_a over the rows of each group
    float *exchange;           // CLUSTER 0: what the blocks tell each other
    Word *counters;            // CLUSTER 0: zeros
    Word *failure;             // set to 1 if a wait took too long
    int seq, batch, rows;      // rows: of the batch, for each group, a multiple of PASS_ROWS
    int begin, end;            // the rows of the batch that this launch takes
};

#if BACKWARD

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
