/* Compiles the CUDA layer's kernels for GPUs that need not be there, with the NVRTC that is named. It prints a line for
 * each kernel: the GPU, the plan, and what the compiler says about it. */
#include "lstm_cuda_source.h"

#include "lstm_cuda.h"

#include <iostream>

using namespace rnnbench_fused_cuda;

/* Return the compiler's log, or end the program. */
static std::string compiled(const Compiler &compiler, std::vector<std::string> options) {
    options.push_back("--ptxas-options=-v");
    std::vector<const char *> texts;
    for (const std::string &option : options)
        texts.push_back(option.c_str());
    void *program = nullptr;
    compiler.nvrtcCreateProgram(&program, rnnbench_lstm_cuda_source, "lstm_cuda.cu", 0, nullptr, nullptr);
    const int status = compiler.nvrtcCompileProgram(program, int(texts.size()), texts.data());
    size_t size = 0;
    compiler.nvrtcGetProgramLogSize(program, &size);
    std::string log(size, '\0');
    compiler.nvrtcGetProgramLog(program, &log[0]);
    compiler.nvrtcDestroyProgram(&program);
    std::replace(log.begin(), log.end(), '\n', ' ');
    log.resize(std::min(log.size(), log.find('\0')));
    if (status != 0) {
        std::cout << "failed: " << log << std::endl;
        std::exit(1);
    }
    return log;
}

int main(int, char **words) {
    const Compiler compiler(words[1]);
    if (!compiler.error.empty()) {
        std::cout << compiler.error << std::endl;
        return 1;
    }
    // A100, L4 and H100: multiprocessors, compute capability, bytes of shared memory, and whether it has clusters.
    std::vector<Gpu> gpus = {{108, 8, 0, 166912, false, {}}, {58, 8, 9, 101376, false, {}}, {132, 9, 0, 232448, true, {}}};
    for (int size = 1; size <= 16; ++size)
        gpus[2].resident[size] = int(120 / size);
    auto print = [&](const Gpu &gpu, const std::string &text, std::vector<std::string> options) {
        options.push_back("--gpu-architecture=" + gpu.architecture());
        options.push_back("--std=c++17");
        std::cout << gpu.architecture() << " " << text << ": " << compiled(compiler, options) << std::endl;
    };
    auto print_plan = [&](const Gpu &gpu, int kind, Products products, long hidden, long batch) {
        const Plan plan = plans(gpu, kind == 2, kind == 1, products, hidden, batch)[0];
        print(gpu, "hidden " + std::to_string(hidden) + ", batch " + std::to_string(batch) + ": " + plan.text(),
              plan.options());
    };
    for (int kind = 0; kind < 3; ++kind) {
        for (const Gpu &gpu : gpus) {
            for (long hidden : {37, 128, 512, 1024})
                print_plan(gpu, kind, Products::float32, hidden, 32);
            print_plan(gpu, kind, Products::float32, 1024, 128);
        }
        for (Products products : {Products::tf32x3, Products::tf32})
            print_plan(gpus[2], kind, products, 1024, 128);
    }
    for (int transposed = 0; transposed < 3; ++transposed)
        print(gpus[2], "product", product_options(transposed == 1, transposed == 2));
}
