// The portable and SWAR kernels as the compiler makes them for this very processor, with which
// tools/bench/kernel_bench.cpp compares. This file and the sources in NATIVE_SOURCES (Makefile) are
// compiled with -O3 -march=native, and their namespace gets another name.
#include "compute/kernels/portable/gemv.h"
#include "compute/numbers/tensor_types.h"

extern "C" size_t bareflow_native_variants(uint32_t type, const void **first) {
    const auto variants = bareflow::compute::scalar_variants(bareflow::compute::TensorType{type});
    *first = variants.data();
    return variants.size();
}
