/* Prints what rows_of_whole_waves and steps_of_whole_waves say of an H100, and how it divides products on tensor cores. It
 * also checks multiply_rows for small GPUs that aren't there: the products are computed on the CPU. It ends with status 1 if
 * a number is wrong, or the number of products. */
static const char rnnbench_lstm_cuda_source[] = "";

#include "lstm_cuda.h"

#include <iostream>

using namespace rnnbench_fused_cuda;

static int product_count = 0;
alignas(16) static float numbers[8];  // of a product that is only asked who would compute it

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

    std::map<int, int> resident;
    for (int size = 1; size <= 8; ++size)
        resident[size] = assumed_clusters(h100, size);
    auto say = [&](const char *name, const Gpu &gpu, Products products, bool transpose_a, long m, long n, long k,
                   const float *a = numbers) {
        const Product product = {products, transpose_a, false, m, n, k, a, numbers, 0, numbers};
        std::cout << name << ' ' << m << " x " << n << " x " << k << ": ";
        const int blocks = product.suits_tensor_cores(gpu) ? divide(resident, product) : 0;
        std::cout << (blocks ? std::to_string(blocks) + " blocks for a tile" : "cuBLAS") << std::endl;
    };
    const Products tf32x3 = Products::tf32x3;
    for (auto size : {std::make_tuple(3840, 4096, 1024), std::make_tuple(960, 512, 2048), std::make_tuple(3840, 4084, 1021),
                      std::make_tuple(960, 512, 128)})
        say("x.W", h100, tf32x3, false, std::get<0>(size), std::get<1>(size), std::get<2>(size));
    for (auto size : {std::make_tuple(512, 2048, 3840), std::make_tuple(128, 512, 25600), std::make_tuple(1021, 4084, 3840)})
        say("dW", h100, tf32x3, true, std::get<0>(size), std::get<1>(size), std::get<2>(size));
    say("unaligned", h100, tf32x3, false, 3840, 4096, 1024, numbers + 1);
    say("strict", h100, Products::float32, false, 3840, 4096, 1024);
    say("Ampere", {108, 8, 0, 166912, false, {}}, tf32x3, false, 3840, 4096, 1024);

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
            State state;
            state.gpu = gpu;
            error = multiply_rows(device, state, products, transpose_b, m, n, k, a.data(), b.data(), 1, found.data(), "it");
            good = good && error.empty() && product_count == count && found == want;
        };
        check(hopper, Products::float32, 2);
        check(hopper, Products::tf32, 1);
        check(ampere, Products::float32, 1);
    }
    std::cout << (good ? "equal" : "NOT equal") << std::endl;
    return good ? 0 : 1;
}
