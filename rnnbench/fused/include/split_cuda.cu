/* Splits numbers for a product of float32's accuracy on tensor cores, which round factors to TF32. With large = the number
 * rounded to TF32 and small = the rest,
 *
 *     a·b = small_a·large_b + large_a·small_b + large_a·large_b + small_a·small_b, and the last term is too small to count
 *
 * So a copy of A whose columns are (small, large, large), times a copy of B whose rows are (large, small, large), is the
 * product. This kernel makes such a copy: three parts, of which one is small and two are large. */
extern "C" __global__ void split(const float *from, long long from_stride, int rows, int columns, float *to,
                                 long long to_stride, long long part_stride, int small_part) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= columns)
        return;
    for (int row = blockIdx.y; row < rows; row += gridDim.y) {
        const float whole = from[row * from_stride + column];
        unsigned bits;
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(whole));
        const float large = __uint_as_float(bits), small = whole - large;
        for (int part = 0; part < 3; ++part)
            to[row * to_stride + part * part_stride + column] = part == small_part ? small : large;
    }
}
