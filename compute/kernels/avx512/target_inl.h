// Begins the part of a file that is compiled for AVX-512 with VNNI: see
// compute/kernels/avx2/target_inl.h.
#pragma once

#include <immintrin.h>

#pragma clang attribute push(                                                      \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c"))), \
    apply_to = function)
