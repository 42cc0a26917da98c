// AVX2, one vector: quantised types (gemv_inl.h), and F32, F16 and BF16, which stand here.

#include "compute/kernels/gemv.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_blocks.h"
#include "compute/numbers/weight_formats.h"

#include "compute/kernels/avx2/target_inl.h"

namespace bareflow::compute {
namespace {

constexpr bool kVnni = false;
#include "compute/kernels/avx2/gemv_inl.h"

// ------------------------------------------------------------------ F32, F16, BF16
// The contract's eight lanes are one register. Several rows at once hide the latency of additions.

#include "compute/kernels/per_target/float_formats_inl.h"

inline float fold(__m256 lanes) {
    const __m128 t = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    const __m128 u = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(u, _mm_movehdup_ps(u)));
}

constexpr uint32_t kFloatRows = 8;
constexpr uint32_t kFloatLanes = 8;

template <typename F>
void gemv_floats(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    const uint32_t tail = args.cols % kFloatLanes;
    const uint32_t whole = args.cols - tail;
    // The last eight columns are filled up with zeros: a product of +0 or -0 changes no lane,
    // because no lane is ever -0.
    alignas(32) float tail_x[kFloatLanes] = {};
    __builtin_memcpy(tail_x, args.x + whole, tail * sizeof(float));
    for (uint32_t row = row_begin; row < row_end; row += kFloatRows) {
        const uint8_t *w[kFloatRows];
        __m256 lanes[kFloatRows];
        for (uint32_t r = 0; r < kFloatRows; ++r) {
            const uint32_t at = row + r < row_end ? row + r : row_end - 1;
            w[r] = args.weights + at * args.row_bytes;
            lanes[r] = _mm256_setzero_ps();
        }
        const uint64_t ahead = kFloatRows * args.row_bytes;
        uint64_t offset = 0;
        for (uint32_t i = 0; i < whole; i += kFloatLanes) {
            const __m256 x = _mm256_loadu_ps(args.x + i);
            const bool line_begins = offset % 64 == 0;
#pragma clang loop unroll(full)
            for (uint32_t r = 0; r < kFloatRows; ++r) {
                if (line_begins) {
                    _mm_prefetch(reinterpret_cast<const char *>(w[r] + offset + ahead),
                                 _MM_HINT_T1);
                }
                lanes[r] = _mm256_add_ps(lanes[r], _mm256_mul_ps(F::load(w[r] + offset), x));
            }
            offset += kFloatLanes * F::kBytes;
        }
        for (uint32_t r = 0; r < kFloatRows && row + r < row_end; ++r) {
            if (tail != 0) {
                alignas(32) uint8_t last[kFloatLanes * F::kBytes] = {};
                __builtin_memcpy(last, w[r] + offset, tail * F::kBytes);
                lanes[r] =
                    _mm256_add_ps(lanes[r], _mm256_mul_ps(F::load(last), _mm256_load_ps(tail_x)));
            }
            args.y[row + r] = fold(lanes[r]);
        }
    }
}

}  // namespace
}  // namespace bareflow::compute

#include "compute/kernels/per_target/end_target_inl.h"

namespace bareflow::compute {
namespace {

#include "compute/kernels/per_target/formats_table_inl.h"

}  // namespace

GemvVariant avx2_variant(TensorType type) {
    const auto variant = [](GemvKernel kernel) {
        return GemvVariant{"avx2", kernel, 0, nullptr, InstructionSet::kAvx2};
    };
    switch (type) {
        case TensorType::kF32:
            return variant(gemv_floats<F32>);
        case TensorType::kF16:
            return variant(gemv_floats<F16>);
        case TensorType::kBF16:
            return variant(gemv_floats<BF16>);
        default:
            return with_format(type, [variant]<typename Of>(Of) {
                return variant(kOneVector<typename Of::Type>);
            });
    }
}

}  // namespace bareflow::compute
