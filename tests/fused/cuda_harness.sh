#!/bin/sh
# Build the CUDA layer's harness in a temporary folder, and run it with the given words. See cuda_harness.cpp.
set -e
here=$(cd "$(dirname "$0")" && pwd)
include=$here/../../rnnbench/fused/include
build=${BUILD:-$(mktemp -d)}
{
    printf 'static const char rnnbench_lstm_cuda_source[] = R"RNNBENCH('
    for part in "" _rows _tiles _steps _product; do cat "$include/lstm_cuda$part.cu"; done
    printf ')RNNBENCH";\n'
} > "$build/lstm_cuda_source.h"
g++ -std=c++14 -O3 -march=native -fopenmp -Wall -Wextra -I"$build" -I"$include" "$here/cuda_harness.cpp" -o "$build/cuda_harness" -ldl
exec "$build/cuda_harness" "$@"
