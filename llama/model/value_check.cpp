// A row is checked as a whole, many numbers at a time and without a branch for each. Only a bad row
// is read again, one number after the other, to say which number is bad. What must hold: row_fits()
// and explain_bad_row() agree on every bit pattern.
#include "llama/model/value_check.h"

#include "llama/file/refusal.h"

namespace bareflow::llama {

namespace {

constexpr uint16_t kF16Magnitude = 0x7FFF;
constexpr uint16_t kF16Infinity = 0x7C00;

template <typename T>
T load(const uint8_t *from) {
    T value;
    __builtin_memcpy(&value, from, sizeof(T));
    return value;
}

// Looks at two F32 or four F16 at a time. Adding one to the exponent field carries into the sign's
// place, which was cleared, exactly if all bits of the exponent are set.
bool row_finite(const uint8_t *row, uint64_t bytes, uint64_t magnitudes, uint64_t exponent_one) {
    uint64_t carries = 0;
    uint64_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        carries |= (load<uint64_t>(row + i) & magnitudes) + exponent_one;
    }
    if (i < bytes) {
        uint64_t tail = 0;
        __builtin_memcpy(&tail, row + i, bytes - i);
        carries |= (tail & magnitudes) + exponent_one;
    }
    return (carries & ~magnitudes) == 0;
}

bool row_scales_fit(const uint8_t *row, const compute::TensorTypeInfo &type, uint64_t bytes) {
    uint32_t greatest = 0;
    for (uint64_t i = type.scale_offset; i < bytes; i += type.block_bytes) {
        // The only scale of a block is read twice.
        const uint32_t first = load<uint16_t>(row + i) & kF16Magnitude;
        const uint32_t last = load<uint16_t>(row + i + 2 * (type.scales - 1)) & kF16Magnitude;
        greatest = first > greatest ? first : greatest;
        greatest = last > greatest ? last : greatest;
    }
    return greatest < type.scale_limit;
}

// 64 bits full of numbers of this type, each with all bits of the exponent set and no others.
constexpr uint64_t exponents_of(compute::TensorType type) {
    return type == compute::TensorType::kF32   ? 0x7F8000007F800000
           : type == compute::TensorType::kF16 ? 0x7C007C007C007C00
                                               : 0x7F807F807F807F80;
}

bool row_fits(const Tensor &tensor, const uint8_t *row) {
    const compute::TensorTypeInfo &type = compute::tensor_type_info(tensor.type);
    if (type.scales != 0) {
        return row_scales_fit(row, type, tensor.row_bytes);
    }
    const uint64_t signs = type.block_bytes == 4 ? 0x8000000080000000 : 0x8000800080008000;
    // signs - exponents: a one in the lowest place of each exponent.
    return row_finite(row, tensor.row_bytes, ~signs, signs - exponents_of(tensor.type));
}

// Reads one number after the other to say where the bad one is and what is wrong with it.
Error explain_bad_row(const Tensor &tensor, uint32_t row, TextWriter &detail) {
    const compute::TensorTypeInfo &type = compute::tensor_type_info(tensor.type);
    const bool floats = type.scales == 0;
    bool infinite = floats;
    uint32_t column = 0;
    for (uint64_t i = 0; i < tensor.row_bytes; i += type.block_bytes) {
        const uint8_t *value = tensor.row(row) + i;
        bool bad = false;
        if (floats) {
            const auto exponent = static_cast<uint32_t>(exponents_of(tensor.type));
            const uint32_t bits =
                type.block_bytes == 4 ? load<uint32_t>(value) : load<uint16_t>(value);
            const uint32_t all = type.block_bytes == 4 ? exponent : exponent & 0xFFFF;
            bad = (bits & all) == all;
        }
        for (uint32_t j = 0; j < type.scales; ++j) {
            const uint32_t scale =
                load<uint16_t>(value + type.scale_offset + 2 * j) & kF16Magnitude;
            bad = bad || scale >= type.scale_limit;
            infinite = infinite || scale >= kF16Infinity;
        }
        if (bad) {
            break;
        }
        column += type.block_elements;
    }
    if (infinite) {
        const std::string_view what = floats ? "a weight" : "a block scale";
        return refuse(detail, ErrorCode::kInvalid, "the model holds a number that is not finite",
                      "tensor @ has % that is not finite in row %, column %",
                      {tensor.name, what, row, column});
    }
    // The limit is a power of two of at least 1, as f16 bits.
    const uint32_t limit = 1u << ((type.scale_limit >> 10) - 15);
    return refuse(
        detail, ErrorCode::kUnsupported, "the model has a block scale that is too great",
        "tensor @ has a block scale of % or more in row %, column %, which is not supported",
        {tensor.name, limit, row, column});
}

}  // namespace

Status ValueCheck::step(uint64_t budget_bytes, TextWriter &detail) {
    uint64_t looked_at = 0;
    while (looked_at < budget_bytes && !done()) {
        const Tensor &tensor = model_.tensors()[tensor_];
        if (!row_fits(tensor, tensor.row(row_))) {
            return explain_bad_row(tensor, row_, detail);
        }
        looked_at += tensor.row_bytes;
        if (++row_ == tensor.rows) {
            row_ = 0;
            ++tensor_;
        }
    }
    checked_bytes_ += looked_at;
    return {};
}

Status ValueCheck::run(const Model &model, TextWriter &detail) {
    ValueCheck check(model);
    return check.step(model.weight_bytes() + 1, detail);
}

}  // namespace bareflow::llama
