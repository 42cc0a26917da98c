// Begins the part of a file that is compiled for AVX2 with the VEX encoding of `vpdpbusd`: see
// target_inl.h.
#pragma once

#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)
