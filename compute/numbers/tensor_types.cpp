// The list of all tensor types of GGUF: the supported ones from the table of weight formats, the
// others to refuse them by name. The list is complete and in order; static_asserts check that.
#include "compute/numbers/tensor_types.h"

#include <cstddef>

#include "compute/numbers/weight_formats.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {

namespace {

consteval TensorTypeInfo supported(TensorType type) {
    const WeightFormat &format = weight_format(type);
    return {.id = static_cast<uint32_t>(type),
            .name = format.name,
            .block_elements = format.block_elements,
            .block_bytes = format.block_bytes,
            .supported = true,
            .scales = format.scales,
            .scale_offset = format.scale_at,
            .scale_limit = format.scale_limit};
}

// Sorted by id; 4 and 5 (and 31-33, 36-38) were withdrawn from the format.
constexpr TensorTypeInfo kTypes[] = {
    supported(TensorType::kF32),
    supported(TensorType::kF16),
    supported(TensorType::kQ4_0),
    supported(TensorType::kQ4_1),
    supported(TensorType::kQ5_0),
    supported(TensorType::kQ5_1),
    supported(TensorType::kQ8_0),
    {9, "Q8_1", 32, 36},
    supported(TensorType::kQ2_K),
    supported(TensorType::kQ3_K),
    supported(TensorType::kQ4_K),
    supported(TensorType::kQ5_K),
    supported(TensorType::kQ6_K),
    {15, "Q8_K", 256, 292},
    {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98},
    {19, "IQ1_S", 256, 50},
    supported(TensorType::kIQ4_NL),
    {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},
    {23, "IQ4_XS", 256, 136},
    {24, "I8", 1, 1},
    {25, "I16", 1, 2},
    {26, "I32", 1, 4},
    {27, "I64", 1, 8},
    {28, "F64", 1, 8},
    {29, "IQ1_M", 256, 56},
    supported(TensorType::kBF16),
    {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},
    {39, "MXFP4", 32, 17},
};
static_assert([] {
    size_t found = 0;
    for (const TensorTypeInfo &type : kTypes) {
        found += type.supported;
    }
    return found == kWeightFormats.size();
}());
static_assert([] {
    std::string_view names = kSupportedTensorTypes;
    for (const WeightFormat &format : kWeightFormats) {
        if (!names.starts_with(format.name)) {
            return false;
        }
        names.remove_prefix(format.name.size());
        if (names.starts_with(", ")) {
            names.remove_prefix(2);
        }
    }
    return names.empty();
}());

}  // namespace

const TensorTypeInfo *find_tensor_type(uint32_t id) {
    for (const TensorTypeInfo &type : kTypes) {
        if (type.id == id) {
            return &type;
        }
    }
    return nullptr;
}

const TensorTypeInfo &tensor_type_info(TensorType type) {
    const TensorTypeInfo *info = find_tensor_type(static_cast<uint32_t>(type));
    if (info == nullptr) {
        platform::panic("tensor_type_info: no such type");
    }
    return *info;
}

bool takes_quantized(TensorType type) {
    return type != TensorType::kF32 && type != TensorType::kF16 && type != TensorType::kBF16;
}

}  // namespace bareflow::compute
