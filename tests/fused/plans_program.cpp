/* Prints how many plans on tensor cores there are for GPUs of compute capability 9.0 and 10.0, and ends with status 1 if one
 * breaks a rule of the kernel, which it prints. */
static const char rnnbench_lstm_cuda_source[] = "";

#include "lstm_cuda.h"

#include <iostream>

using namespace rnnbench_fused_cuda;

/* What is wrong with how a plan on tensor cores shares its tiles, or nothing. */
static std::string fault(const Plan &plan) {
    const int all = plan.padded() * (plan.backward ? 4 : 1) / plan.tile_k;
    for (int slice = 0; slice < plan.k_slices; ++slice) {
        const int tiles = std::min(plan.slice_tiles, all - slice * plan.slice_tiles);
        if (tiles <= 0 || tiles % 2 != 0)
            return "a slice has no pairs of tiles";
        // The next turn's tiles come after this one's. The first two are asked for when so many of this one's are done.
        const int done = std::min(plan.turn_tiles, tiles);
        for (int next : {tiles, tiles + 1})
            if (next - plan.stages >= done)
                return "a stage may hold a tile that looks like the next turn's";
    }
    return "";
}

int main() {
    for (int major : {9, 10}) {
        long count = 0;
        for (int shared_bytes : {232448, 200000, 166912})
            for (long hidden = 1; hidden <= 2048; hidden += hidden < 40 ? 1 : 31)
                for (long batch : {1, 64, 65, 128, 300})
                    for (Products products : {Products::tf32x3, Products::tf32})
                        for (bool backward : {false, true}) {
                            std::vector<Plan> found;
                            add_tiles_plans(found, {132, major, 0, shared_bytes, true, {}}, backward, false, products,
                                            hidden, batch);
                            for (const Plan &plan : found) {
                                if (!plan.on_tensor_cores())
                                    continue;
                                ++count;
                                if (!fault(plan).empty()) {
                                    std::cout << plan.text() << ": " << fault(plan) << std::endl;
                                    return 1;
                                }
                            }
                        }
        std::cout << "compute capability " << major << ": " << count << std::endl;
    }
}
