// AVX-512 with VNNI, one vector, weights in strips of 16 rows (compute/numbers/packing.h). Each
// lane is a row. So nothing is added up across lanes, and the scales of 16 rows are one load.

#include <string_view>

#include "compute/kernels/gemv.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/packed.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/packing.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_formats.h"

#include "compute/kernels/avx512/target_inl.h"

namespace bareflow::compute {
namespace {

constexpr uint32_t kGroupBlocks = kGroupElements / kBlockElements;
constexpr uint64_t kVector = 64;

// kVectors: the vectors of 64 bytes that hold the weights of one block of all 16 rows.
template <TensorType kType>
struct PackedFacts : FormatFacts<kType> {
    static constexpr uint32_t kVectors =
        weight_format(kType).low_bits * kBlockElements / 8 * kStripRows / kVector;
};
struct Q8_0 : PackedFacts<TensorType::kQ8_0> {
    static constexpr int kOffset = 128;  // the packing stores w + 128
};
struct Q4_0 : PackedFacts<TensorType::kQ4_0> {};
struct Q4_1 : PackedFacts<TensorType::kQ4_1> {};

inline __m512i four_activations(const int8_t *q) {
    int32_t four;
    __builtin_memcpy(&four, q, sizeof(four));
    return _mm512_set1_epi32(four);
}

// The mantissas of 16 finite f16: below 2^31 in magnitude, exact in f32.
inline __m512i mantissas(const uint8_t *halves) {
    const __m512 wide =
        _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(halves)));
    return _mm512_cvtps_epi32(_mm512_mul_ps(wide, _mm512_set1_ps(0x1p24f)));
}

// Totals of rows 0, 2, ... and of rows 1, 3, ...
struct Totals {
    __m512i even;
    __m512i odd;

    void add_products(__m512i a, __m512i b) {
        even = _mm512_add_epi64(even, _mm512_mul_epi32(a, b));
        odd = _mm512_add_epi64(
            odd, _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32)));
    }
};

template <typename F, uint64_t kAhead>
inline __m512i block_sums(const uint8_t *w, const int8_t *q, int32_t q_sum) {
    // The sums of a block are below 2^21. Two chains of additions are faster than one long chain.
    __m512i a = _mm512_set1_epi32(-F::kOffset * q_sum);
    __m512i b = _mm512_setzero_si512();
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < F::kVectors; ++i) {
        const uint8_t *const at = w + i * kVector;
        if constexpr (kAhead != 0) {
            _mm_prefetch(reinterpret_cast<const char *>(at + kAhead), _MM_HINT_T0);
        }
        const __m512i v = _mm512_loadu_si512(at);
        if constexpr (F::kVectors == 8) {
            (i % 2 == 0 ? a : b) =
                _mm512_dpbusd_epi32(i % 2 == 0 ? a : b, v, four_activations(q + 4 * i));
        } else {
            const __m512i low = _mm512_set1_epi8(15);
            a = _mm512_dpbusd_epi32(a, _mm512_and_si512(v, low), four_activations(q + 4 * i));
            b = _mm512_dpbusd_epi32(b, _mm512_and_si512(_mm512_srli_epi16(v, 4), low),
                                    four_activations(q + 16 + 4 * i));
        }
    }
    return _mm512_add_epi32(a, b);
}

template <typename F, uint64_t kAhead>
void gemv(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    constexpr uint32_t kHeaderBytes = 2 * F::kFormat.scales * kStripRows;
    const uint32_t blocks = args.cols / kBlockElements;
    for (uint32_t row = row_begin - row_begin % kStripRows; row < row_end; row += kStripRows) {
        const uint8_t *w = args.weights + row * args.row_bytes;
        const uint8_t *h = w + blocks * F::kVectors * kVector;
        const int8_t *q = args.xq.q;
        __m256 y_even = _mm256_setzero_ps();
        __m256 y_odd = _mm256_setzero_ps();
        for (uint32_t block = 0; block < blocks;) {
            const __m256 scale = _mm256_set1_ps(args.xq.group_scales[block / kGroupBlocks]);
            const uint32_t end = blocks - block < kGroupBlocks ? blocks : block + kGroupBlocks;
            Totals total = {_mm512_setzero_si512(), _mm512_setzero_si512()};
            for (; block < end; ++block) {
                const int32_t q_sum = args.xq.block_sums[block];
                total.add_products(block_sums<F, kAhead>(w, q, q_sum), mantissas(h));
                if constexpr (F::kMinimum) {
                    total.add_products(_mm512_set1_epi32(q_sum), mantissas(h + kHeaderBytes / 2));
                }
                w += F::kVectors * kVector;
                q += kBlockElements;
                h += kHeaderBytes;
            }
            y_even = _mm256_add_ps(y_even, _mm256_mul_ps(_mm512_cvtepi64_ps(total.even), scale));
            y_odd = _mm256_add_ps(y_odd, _mm256_mul_ps(_mm512_cvtepi64_ps(total.odd), scale));
        }
        const __m512i even = _mm512_cvtepu32_epi64(_mm256_castps_si256(y_even));
        const __m512i odd = _mm512_cvtepu32_epi64(_mm256_castps_si256(y_odd));
        const __m512i y = _mm512_or_si512(even, _mm512_slli_epi64(odd, 32));
        const uint32_t skip = row < row_begin ? row_begin - row : 0;
        const uint32_t last = row_end - row < kStripRows ? row_end - row : kStripRows;
        const auto wanted = static_cast<__mmask16>((1u << last) - (1u << skip));
        _mm512_mask_storeu_epi32(args.y + row, wanted, y);
    }
}

}  // namespace
}  // namespace bareflow::compute

#include "compute/kernels/per_target/end_target_inl.h"

namespace bareflow::compute {

GemvVariant avx512_packed_variant(TensorType type, uint32_t index) {
    constexpr uint64_t kAhead = 2048;
    const bool plain = index == 0;
    const std::string_view name = plain ? "avx512 rows16" : "avx512 rows16 p2048";
    GemvKernel kernel = nullptr;
    if (index > 1) {
        return {};
    }
    switch (type) {
        case TensorType::kQ8_0:
            kernel = plain ? gemv<Q8_0, 0> : gemv<Q8_0, kAhead>;
            break;
        case TensorType::kQ4_0:
            kernel = plain ? gemv<Q4_0, 0> : gemv<Q4_0, kAhead>;
            break;
        case TensorType::kQ4_1:
            kernel = plain ? gemv<Q4_1, 0> : gemv<Q4_1, kAhead>;
            break;
        default:
            break;
    }
    return {name, kernel, 0, nullptr, InstructionSet::kAvx512};
}

}  // namespace bareflow::compute
