// The matrix-vector product behind one seam: a kernel is a function that computes a range of rows,
// and a KernelSlot is the place where the engine looks up which function that is for one shape.
// Everything else that is fast (compiled here or generated at run time) is a drop-in for the
// portable reference and equals it bit for bit (docs/decisions/0001-numeric-contract.md).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "compute/numbers/packing.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/cpu/features.h"

namespace bareflow::llama {

// y[row] = W[row] . x for one matrix W as it lies in the file. Standard layout, read by generated
// code as well. Weights have any alignment (F32: 4); y, x and xq don't overlap.
struct GemvArgs {
    const uint8_t *weights = nullptr;  // row 0
    uint64_t row_bytes = 0;
    uint32_t cols = 0;         // a whole number of blocks
    const float *x = nullptr;  // [cols], for F32, F16 and BF16
    QuantizedActivation xq;    // [cols], for block types, with the forms that the kernel declares
    float *y = nullptr;        // indexed by row
};

// Writes y[row_begin .. row_end) and nothing else. Any range is allowed; ranges are independent.
using GemvKernel = void (*)(const GemvArgs &args, uint32_t row_begin, uint32_t row_end);

// The same for several vectors at once: y[b][row] = W[row] . x[b] for b < batch.
struct GemmArgs {
    const uint8_t *weights = nullptr;  // row 0
    uint64_t row_bytes = 0;
    uint32_t cols = 0;
    uint32_t batch = 0;
    const float *x = nullptr;                 // [batch][cols], for F32, F16 and BF16
    uint64_t x_stride = 0;                    // floats from one vector to the next
    const QuantizedActivation *xq = nullptr;  // [batch], for block types
    float *y = nullptr;                       // [batch], each indexed by row
    uint64_t y_stride = 0;                    // floats from one to the next
};

// Writes y[b][row_begin .. row_end) for every b and nothing else; the bits are those of GemvKernel.
using GemmKernel = void (*)(const GemmArgs &args, uint32_t row_begin, uint32_t row_end);

// What a kernel asks of the processor, the greater ones containing the lesser.
enum class InstructionSet : uint8_t {
    kSse2,     // every x86-64
    kSsse3,    //
    kAvx2,     // with FMA and F16C
    kAvxVnni,  // AVX2 and the VEX form of `vpdpbusd`
    kAvx512,   // F, BW, DQ, VL and VNNI; needs no AVX-VNNI
    kAmx,      // AVX-512 as above, and tiles of int8
};
// "sse2", "ssse3", "avx2", "avx_vnni", "avx512", "amx"; nothing for any other text.
[[nodiscard]] std::optional<InstructionSet> instruction_set_named(std::string_view name);
[[nodiscard]] bool can_run(InstructionSet set, const CpuFeatures &features);
// On this processor, and within limit_instruction_set().
[[nodiscard]] bool may_use(InstructionSet set);
// The processor says that it is QEMU's emulation.
[[nodiscard]] bool is_emulated();

// A kernel compiled into the program.
struct GemvVariant {
    std::string_view name;  // "portable", "swar2", "avx2"
    GemvKernel kernel = nullptr;
    ActivationForms forms = 0;    // packings of xq that it reads
    GemmKernel matrix = nullptr;  // its twin for several vectors; nullptr: there is none
    InstructionSet needs = InstructionSet::kSse2;
};

// Several vectors, by `matrix` or, where that is nullptr, by `kernel` for one vector after the
// other, a few rows at a time, so that weights are read from memory once. One vector: by `kernel`.
void run_gemm(GemvKernel kernel, GemmKernel matrix, const GemmArgs &args, uint32_t row_begin,
              uint32_t row_end);

// The compiled variants for a type that this processor can run, none beyond the limit below. The
// first is the portable reference; then, in the order of what a rule of thumb thinks of them, the
// better ones.
[[nodiscard]] std::span<const GemvVariant> gemv_variants(TensorType type);
// The choice by CPUID alone, as everybody makes it: the last of them.
[[nodiscard]] const GemvVariant &gemv_rule_of_thumb(TensorType type);
// The one to start with: the rule of thumb, but where the processor says that it is emulated by
// QEMU, in which vector instructions are slow, the best one without them.
[[nodiscard]] const GemvVariant &kernel_for(TensorType type);
// Kernels that need more are out of the lists from now on (setting `jit.isa`). Before any list is
// asked for by an engine: spans and references handed out earlier are no longer what they were.
void limit_instruction_set(InstructionSet most);
// Variants that break the numeric contract are in the lists from now on (setting `numerics=fast`);
// they are never where a rule begins. Before any list is asked for, as above.
void allow_relaxed_numerics(bool allowed);
[[nodiscard]] bool relaxed_numerics();
// Block types multiply quantised activations, the others floats.
[[nodiscard]] bool takes_quantized(TensorType type);

// One weight shape of the loaded model and the kernel that serves it. Whoever has a better one
// writes `kernel` and `forms` between two calls of Engine::advance; the engine takes it over when
// it starts the next step (`active`), so the old one must stay callable until then.
struct KernelSlot {
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
    static constexpr uint32_t kFewRows = 4;
    uint64_t few_steps = 0;
    uint64_t many_steps = 0;
};

// One of the model's matrices that are multiplied.
struct PlacedMatrix {
    PlacedWeights now;
    const uint8_t *file = nullptr;  // where it was loaded to
    uint32_t slot = 0;
};

// Where matrix kernels, which know the file's layout only, find rows that are packed: memory of
// each processor.
struct UnpackMemory {
    uint8_t *data = nullptr;
    uint64_t each_bytes = 0;
    uint32_t processors = 0;
};

// y = W x in the order the contract prescribes, F16 weights widened one by one: the F16 twin of
// dot8 (ops.h).
[[nodiscard]] float dot8_f16(const uint8_t *w, const float *x, uint32_t n);

}  // namespace bareflow::llama
