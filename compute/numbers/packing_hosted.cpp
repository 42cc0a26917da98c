// Moves weights between the file's layout and strips of 16 rows. Every packed byte has one place in
// the file, so the same loop packs and unpacks. It transposes four by four units of four bytes, and
// copies f16 headers one by one.
#include "compute/numbers/packing.h"

#include <cstddef>
#include <type_traits>

#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"

namespace bareflow::compute {
namespace {

constexpr uint32_t kUnit = 4;  // bytes of a row that stay together
constexpr uint32_t kSigns = 0x80808080;

// A block in the file: the f16 scale, perhaps the f16 minimum, then the weights.
struct Shape {
    uint32_t blocks;   // of a row
    uint32_t headers;  // f16 of a block
    uint32_t units;    // of a block's weights
    uint32_t flipped;  // bits of a unit that the packing inverts

    Shape(TensorType type, uint32_t cols)
        : blocks(cols / kBlockElements),
          headers(tensor_type_info(type).scales),
          units((tensor_type_info(type).block_bytes - 2 * headers) / kUnit),
          flipped(type == TensorType::kQ8_0 ? kSigns : 0) {}

    // Within a strip, of the first row.
    [[nodiscard]] uint64_t unit_at(uint32_t block, uint32_t unit) const {
        return (uint64_t{block} * units + unit) * kUnit * kStripRows;
    }
    [[nodiscard]] uint64_t header_at(uint32_t block, uint32_t header) const {
        return unit_at(blocks, 0) + (uint64_t{block} * headers + header) * 2 * kStripRows;
    }
};

using Vector = uint32_t __attribute__((vector_size(16)));

// Transposes four by four units. Its own inverse.
void transpose(Vector (&v)[4]) {
    const Vector a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5);
    const Vector b = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5);
    const Vector c = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
    const Vector d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    v[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
    v[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
    v[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
    v[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

// Sixteen rows, from one layout to the other.
void move_strip(const Shape &shape, uint64_t row_bytes, const uint8_t *from, uint8_t *to,
                bool pack) {
    constexpr uint32_t kFour = 4;
    // Copies `bytes` bytes that lie at `in_file` in the file's layout and at `in_strip` in the
    // strip.
    const auto move = [&](uint64_t in_file, uint64_t in_strip, auto bytes) {
        __builtin_memcpy(to + (pack ? in_strip : in_file), from + (pack ? in_file : in_strip),
                         bytes);
    };
    uint64_t at = 0;
    for (uint32_t block = 0; block < shape.blocks; ++block) {
        for (uint32_t i = 0; i < shape.headers; ++i, at += 2) {
            for (uint32_t row = 0; row < kStripRows; ++row) {
                move(at + row * row_bytes, shape.header_at(block, i) + 2 * row,
                     std::integral_constant<size_t, 2>{});
            }
        }
        for (uint32_t unit = 0; unit < shape.units; unit += kFour, at += kFour * kUnit) {
            for (uint32_t row = 0; row < kStripRows; row += kFour) {
                Vector v[kFour];
                const uint64_t file = at + row * row_bytes;
                const uint64_t strip = shape.unit_at(block, unit) + kUnit * row;
                const uint64_t in_step = pack ? row_bytes : kUnit * kStripRows;
                const uint64_t out_step = pack ? kUnit * kStripRows : row_bytes;
                for (uint32_t i = 0; i < kFour; ++i) {
                    __builtin_memcpy(&v[i], from + (pack ? file : strip) + i * in_step,
                                     sizeof(v[i]));
                    v[i] ^= shape.flipped;
                }
                transpose(v);
                for (uint32_t i = 0; i < kFour; ++i) {
                    __builtin_memcpy(to + (pack ? strip : file) + i * out_step, &v[i],
                                     sizeof(v[i]));
                }
            }
        }
    }
}

}  // namespace

bool can_pack(TensorType type, uint32_t rows) {
    return (type == TensorType::kQ8_0 || type == TensorType::kQ4_0 || type == TensorType::kQ4_1) &&
           rows % kStripRows == 0;
}

void repack_rows(TensorType type, uint32_t cols, uint64_t row_bytes, const PlacedWeights &from,
                 uint8_t *to, Packing as, uint32_t begin, uint32_t end) {
    if (from.packing == as) {
        __builtin_memcpy(to + begin * row_bytes, from.data + begin * row_bytes,
                         (end - begin) * row_bytes);
        return;
    }
    const Shape shape(type, cols);
    for (uint64_t at = begin * row_bytes; at < end * row_bytes; at += kStripRows * row_bytes) {
        move_strip(shape, row_bytes, from.data + at, to + at, as == Packing::kRows16);
    }
}

void unpack_row(TensorType type, uint32_t cols, uint64_t row_bytes, const PlacedWeights &from,
                uint32_t row, uint8_t *out) {
    const Shape shape(type, cols);
    const uint32_t lane = row % kStripRows;
    const uint8_t *const strip = from.data + (row - lane) * row_bytes;
    for (uint32_t block = 0; block < shape.blocks; ++block) {
        for (uint32_t i = 0; i < shape.headers; ++i, out += 2) {
            __builtin_memcpy(out, strip + shape.header_at(block, i) + 2 * lane, 2);
        }
        for (uint32_t i = 0; i < shape.units; ++i, out += kUnit) {
            uint32_t unit;
            __builtin_memcpy(&unit, strip + shape.unit_at(block, i) + kUnit * lane, kUnit);
            unit ^= shape.flipped;
            __builtin_memcpy(out, &unit, kUnit);
        }
    }
}

}  // namespace bareflow::compute
