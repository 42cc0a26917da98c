// Ends what a target_inl.h began (compute/kernels/avx2/target_inl.h says how such a file is built).
// What follows runs on any processor.
#pragma once

#pragma clang attribute pop
