/* The recurrence without U on the chip: cuBLAS multiplies at each step, and these kernels do the rest of the step.
 *
 * Forward, cuBLAS adds h[t-1]·U to the x·W that lie in `gates`. Backward, it writes d_a[t+1]·Uᵀ into `end_state`. A
 * thread computes one unit of one row; `begin` is the step. For sizes that the other two ways can't do.
 */
#if STEPS

/* Which row, unit and step a thread has. */
struct Item {
    long long number;  // in a (batch, HIDDEN) array
    int row, unit;
    size_t place, gates;  // in (seq, batch, HIDDEN) and (seq, batch, 4 HIDDEN) arrays
    bool is_there;
    __device__ explicit Item(const Arguments &a)
        : number((long long)blockIdx.x * blockDim.x + threadIdx.x), row(int(number / HIDDEN)), unit(int(number % HIDDEN)),
          place((size_t)a.begin * a.batch * HIDDEN + number),
          gates(((size_t)a.begin * a.batch + row) * (4 * HIDDEN) + unit), is_there(number < (long long)a.batch * HIDDEN) {}
};

#if FORWARD

extern "C" __global__ void lstm_forward(const Arguments a) {
    const Item at(a);
    if (!at.is_there)
        return;
    float *const gates = a.gates + at.gates;
    const float i = sigmoid(gates[0] + a.bias[at.unit]), f = sigmoid(gates[HIDDEN] + a.bias[HIDDEN + at.unit]),
                g = tangent(gates[2 * HIDDEN] + a.bias[2 * HIDDEN + at.unit]),
                o = sigmoid(gates[3 * HIDDEN] + a.bias[3 * HIDDEN + at.unit]);
    const float before = a.begin > 0   ? (KEEP ? a.cells[at.place - (size_t)a.batch * HIDDEN] : a.end_cell[at.number])
                         : a.first_cell ? a.first_cell[at.number]
                                        : 0;
    const float cell = fmaf(f, before, i * g);
    a.states[at.place] = o * tangent(cell);
#if KEEP
    gates[0] = i, gates[HIDDEN] = f, gates[2 * HIDDEN] = g, gates[3 * HIDDEN] = o;
    a.cells[at.place] = cell;
#else
    a.end_cell[at.number] = cell;
#endif
}

#else

extern "C" __global__ void lstm_backward(const Arguments a) {
    const Item at(a);
    if (!at.is_there)
        return;
    float *const gates = a.gates + at.gates, *const d_cells = a.exchange;
    const float i = gates[0], f = gates[HIDDEN], g = gates[2 * HIDDEN], o = gates[3 * HIDDEN];
    const float curve = tangent(a.cells[at.place]);
    const float before = a.begin > 0   ? a.cells[at.place - (size_t)a.batch * HIDDEN]
                         : a.first_cell ? a.first_cell[at.number]
                                        : 0;
    const bool is_last = a.begin + 1 == a.seq;
    const float d_state = a.states[at.place] + (is_last ? 0 : a.end_state[at.number]);
    const float d_cell = fmaf(d_state * o, 1.f - curve * curve, is_last ? 0 : d_cells[at.number]);
    gates[0] = d_cell * g * (i * (1.f - i)), gates[HIDDEN] = d_cell * before * (f * (1.f - f));
    gates[2 * HIDDEN] = d_cell * i * (1.f - g * g), gates[3 * HIDDEN] = d_state * curve * (o * (1.f - o));
    d_cells[at.number] = d_cell * f;
    if (a.begin == 0 && a.end_cell)
        a.end_cell[at.number] = d_cell * f;
}

/* bias_sums[blockIdx.y][column] = the sum of the gates' gradients over every gridDim.y-th row of all steps. */
extern "C" __global__ void lstm_bias_sums(const Arguments a) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= 4 * HIDDEN)
        return;
    float sum = 0;
    for (long long row = blockIdx.y; row < (long long)a.seq * a.batch; row += gridDim.y)
        sum += a.gates[row * (4 * HIDDEN) + column];
    a.bias_sums[(size_t)blockIdx.y * (4 * HIDDEN) + column] = sum;
}

#endif

#endif
