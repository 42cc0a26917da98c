#include "appliance/hosted/dequantize_mode.h"

#include <array>
#include <cstdio>
#include <string_view>

#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_blocks.h"

namespace bareflow {
namespace {

constexpr uint32_t kMostBlockBytes = 512;
constexpr uint32_t kMostBlockElements = 256;

const compute::TensorTypeInfo *type_named(std::string_view name) {
    for (uint32_t id = 0; id <= compute::kLastTensorTypeId; ++id) {
        const compute::TensorTypeInfo *const type = compute::find_tensor_type(id);
        if (type != nullptr && type->supported && type->name == name) {
            return type;
        }
    }
    return nullptr;
}

}  // namespace

bool dequantize_mode_wanted(int argc, char **argv) {
    return argc > 1 && std::string_view(argv[1]) == "--dequantize";
}

int run_dequantize_mode(int argc, char **argv) {
    const compute::TensorTypeInfo *const type = argc == 3 ? type_named(argv[2]) : nullptr;
    if (type == nullptr || type->block_bytes > kMostBlockBytes) {
        std::fprintf(stderr, "usage: %s --dequantize TYPE < blocks > values; types: %.*s\n",
                     argv[0], static_cast<int>(compute::kSupportedTensorTypes.size()),
                     compute::kSupportedTensorTypes.data());
        return 2;
    }
    std::array<uint8_t, kMostBlockBytes> block;
    std::array<float, kMostBlockElements> values;
    size_t got;
    while ((got = std::fread(block.data(), 1, type->block_bytes, stdin)) == type->block_bytes) {
        compute::dequantize_row(static_cast<compute::TensorType>(type->id), block.data(),
                                type->block_elements, values.data());
        std::fwrite(values.data(), sizeof(float), type->block_elements, stdout);
    }
    if (got != 0) {
        std::fprintf(stderr, "the input is no whole number of %.*s blocks\n",
                     static_cast<int>(type->name.size()), type->name.data());
        return 1;
    }
    return 0;
}

}  // namespace bareflow
