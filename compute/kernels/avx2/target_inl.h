// Begins the part of a file that is compiled for AVX2. per_target/end_target_inl.h ends it.
//
// A file of kernels for a target has three parts:
//   1. its includes. Only _inl.h files may be included later. An inline function of a header that
//   is
//      compiled for the target could become the copy that other files are linked with, and those
//      run on any processor. For the same reason the target is set for the functions of the second
//      part, not for the whole file. tests/tools/test_simd_objects.py looks at the objects.
//   2. this include, then the kernels, in the anonymous namespace of bareflow::compute, then the
//      include of end_target_inl.h. Both includes stand outside of namespaces.
//   3. the functions that name the kernels. They run on any processor.
// A new target is one file like this one; the target's features stand nowhere else.
#pragma once

#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
