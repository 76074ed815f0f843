/* Prints what rows_of_whole_waves and steps_of_whole_waves say of an H100. It also checks multiply_rows for small GPUs that
 * aren't there: the products are computed on the CPU. It ends with status 1 if a number is wrong, or the number of
 * products. */
static const char rnnbench_lstm_cuda_source[] = "";

#include "lstm_cuda.h"

#include <iostream>

using namespace rnnbench_fused_cuda;

static int product_count = 0;

/* Device::multiply for whole arrays, on the CPU. */
static bool multiply(void *, Products, bool, bool transpose_b, long m, long n, long k, float, const float *a, long lda,
                     const float *b, long ldb, float beta, float *c, long ldc, std::string &) {
    ++product_count;
    for (long row = 0; row < m; ++row)
        for (long column = 0; column < n; ++column) {
            float sum = 0;
            for (long j = 0; j < k; ++j)
                sum += a[row * lda + j] * (transpose_b ? b[column * ldb + j] : b[j * ldb + column]);
            c[row * ldc + column] = sum + beta * c[row * ldc + column];
        }
    return true;
}

int main() {
    const Gpu h100 = {132, 9, 0, 232448, true, {}};
    for (long rows : {960, 3200, 3840, 6400, 12800, 25600})
        for (long hidden : {128, 512, 1024})
            std::cout << rows << " rows, hidden " << hidden << ": "
                      << rows_of_whole_waves(h100, Products::float32, rows, 4 * hidden, hidden) << " and "
                      << rows_of_whole_waves(h100, Products::float32, rows, hidden, 4 * hidden) << std::endl;

    for (long batch : {32, 100, 128, 256})
        for (long hidden : {128, 1024})
            std::cout << "at most 128 steps of " << batch << " rows, hidden " << hidden << ": "
                      << steps_of_whole_waves(h100, Products::float32, 128, batch, 4 * hidden, hidden) << " and "
                      << steps_of_whole_waves(h100, Products::tf32x3, 128, batch, 4 * hidden, hidden) << std::endl;

    const Gpu hopper = {5, 9, 0, 232448, true, {}}, ampere = {5, 8, 0, 166912, false, {}};
    const long m = 500, n = 600, k = 512;  // 4 × 3 tiles: two waves of five, and two more
    Device device = {};
    device.multiply = multiply;
    bool good = true;
    for (bool transpose_b : {false, true}) {
        std::vector<float> a(m * k), b(k * n), c(m * n, 1);
        for (size_t place = 0; place < a.size(); ++place)
            a[place] = float(place % 7) - 3;
        for (size_t place = 0; place < b.size(); ++place)
            b[place] = float(place % 5) - 2;
        std::vector<float> want = c;
        std::string error;
        multiply(nullptr, Products::float32, false, transpose_b, m, n, k, 1, a.data(), k, b.data(), transpose_b ? k : n,
                 1, want.data(), n, error);
        auto check = [&](const Gpu &gpu, Products products, int count) {
            std::vector<float> found = c;
            product_count = 0;
            error = multiply_rows(device, gpu, products, transpose_b, m, n, k, a.data(), b.data(), 1, found.data(), "it");
            good = good && error.empty() && product_count == count && found == want;
        };
        check(hopper, Products::float32, 2);
        check(hopper, Products::tf32, 1);
        check(ampere, Products::float32, 1);
    }
    std::cout << (good ? "equal" : "NOT equal") << std::endl;
    return good ? 0 : 1;
}
