// Where the engine looks up which kernel serves one shape of weights, and where each matrix lies.
// The tuners write these structs, the engine reads them between two steps.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "compute/kernels/gemv.h"
#include "compute/numbers/packing.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {

// One weight shape of the loaded model and the kernel that serves it. Whoever has a better one
// writes `kernel` and `forms` between two calls of Engine::advance; the engine takes it over when
// it starts the next step (`active`), so the old one must stay callable until then.
struct KernelBinding {
    const char *name =
        nullptr;  // "q8_0_gemv 352x128" (rows x cols), as in the profile; never freed
    TensorType type = TensorType::kF32;
    uint32_t rows = 0;
    uint32_t cols = 0;
    uint64_t row_bytes = 0;
    GemvKernel kernel = nullptr;
    ActivationForms forms = 0;
    GemvKernel active = nullptr;  // in use for the present step
    GemmKernel matrix = nullptr;  // for several rows at once; nullptr: `active` for each
    ActivationForms matrix_forms = 0;
    GemvKernel reference = nullptr;   // the portable twin
    const uint8_t *sample = nullptr;  // the first matrix of this shape, to try candidates on
    uint32_t matrices = 0;            // how many of the model's matrices have this shape
    // The first of those: what is timed goes through them in turn, so that weights come from where
    // they come from while a text is made, and not from the first cache.
    static constexpr uint32_t kTimedMatrices = 32;
    std::array<const uint8_t *, kTimedMatrices> timed{};  // nullptr: no more

    // For matrices that are in Packing::kRows16 (compute/tuning/weight_placement.h), one vector:
    // reads q and sums of the activation only. nullptr: none ever was. And what matrices are moved
    // into.
    GemvKernel packed = nullptr;
    Packing wanted = Packing::kFile;
    // Steps that were begun about so few rows that `packed` takes one after the other, and steps
    // about more, for which `matrix` gets its rows unpacked.
    static constexpr uint32_t kFewTokens = 4;
    uint64_t few_batches = 0;
    uint64_t many_batches = 0;
};

// One of the model's matrices that are multiplied.
struct PlacedMatrix {
    PlacedWeights now;
    const uint8_t *file = nullptr;  // where it was loaded to
    uint32_t binding = 0;
};

// Where matrix kernels, which know the file's layout only, find rows that are packed: memory of
// each processor.
struct UnpackMemory {
    uint8_t *data = nullptr;
    uint64_t each_bytes = 0;
    uint32_t processors = 0;
};

// What can be moved: an engine's matrices, their kernels by shape, and the place where it looks for
// memory to unpack rows to, which WeightPlacement fills in.
struct PlaceableWeights {
    std::span<KernelBinding> bindings;
    std::span<PlacedMatrix> matrices;
    UnpackMemory *unpack = nullptr;
};

}  // namespace bareflow::compute
