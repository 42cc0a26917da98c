// Which kernel serves each shape of the loaded model, and where each matrix lies. The tuners write
// these structs; the engine reads them between two batches.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "compute/kernels/gemv.h"
#include "compute/numbers/packing.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {

// One weight shape of the loaded model and the kernel that serves it. A tuner that has a better
// kernel writes `kernel` and `forms` between two calls of Engine::advance. The engine copies
// `kernel` to `active` when it starts the next batch, so the old one must stay callable until then.
struct KernelBinding {
    // "q8_0_gemv 352x128" (rows x cols), as in the profile; never freed.
    const char *name = nullptr;
    TensorType type = TensorType::kF32;
    uint32_t rows = 0;
    uint32_t cols = 0;
    uint64_t row_bytes = 0;
    GemvKernel kernel = nullptr;
    ActivationForms forms = 0;
    GemvKernel active = nullptr;  // in use for the present batch
    GemmKernel matrix = nullptr;  // for several vectors at once; nullptr: `active` for each
    ActivationForms matrix_forms = 0;
    GemvKernel reference = nullptr;   // the portable twin
    const uint8_t *sample = nullptr;  // the first matrix of this shape, to try candidates on
    uint32_t matrices = 0;            // of the model that have this shape
    // The first of those matrices. A timed run reads one after the other, so that weights come from
    // where they come from while a text is made (memory), and not from the L1 cache.
    static constexpr uint32_t kTimedMatrices = 32;
    std::array<const uint8_t *, kTimedMatrices> timed{};  // nullptr: no more

    // The kernel for matrices in Packing::kRows16 (compute/tuning/weight_placement.h) and one
    // vector. It reads q, sums and scales of the activation only. nullptr: no matrix of this shape
    // was ever packed.
    GemvKernel packed = nullptr;
    // The packing that matrices of this shape are moved into.
    Packing wanted = Packing::kFile;
    // few_batches: batches of at most kFewTokens tokens, which `packed` computes token by token.
    // many_batches: all others, for which the matrix kernel needs unpacked rows.
    static constexpr uint32_t kFewTokens = 4;
    uint64_t few_batches = 0;
    uint64_t many_batches = 0;
};

// A weight matrix of the model that is multiplied.
struct PlacedMatrix {
    PlacedWeights now;
    const uint8_t *file = nullptr;  // where it was loaded to
    uint32_t binding = 0;           // index into PlaceableWeights::bindings
};

// Memory into which packed rows are unpacked for matrix kernels, which read the file's layout only:
// each_bytes for each processor, one behind the other.
struct UnpackMemory {
    uint8_t *data = nullptr;
    uint64_t each_bytes = 0;
    uint32_t processors = 0;
};

// What WeightPlacement may move: an engine's matrices and their bindings. It fills in `unpack`,
// where the engine looks for memory to unpack rows into.
struct PlaceableWeights {
    std::span<KernelBinding> bindings;
    std::span<PlacedMatrix> matrices;
    UnpackMemory *unpack = nullptr;
};

}  // namespace bareflow::compute
