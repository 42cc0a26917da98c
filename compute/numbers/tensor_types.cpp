#include "compute/numbers/tensor_types.h"

#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {

namespace {

// f16.
constexpr uint16_t k128 = 0x5800;
constexpr uint16_t k16 = 0x4c00;
constexpr uint16_t k8 = 0x4800;
constexpr uint16_t k4 = 0x4400;

// Sorted by id; 4 and 5 (and 31-33, 36-38) were withdrawn from the format.
constexpr TensorTypeInfo kTypes[] = {
    {0, "F32", 1, 4, true},
    {1, "F16", 1, 2, true},
    {2, "Q4_0", 32, 18, true, 1, 0, k128},
    {3, "Q4_1", 32, 20, true, 2, 0, k128},
    {6, "Q5_0", 32, 22, true, 1, 0, k128},
    {7, "Q5_1", 32, 24, true, 2, 0, k128},
    {8, "Q8_0", 32, 34, true, 1, 0, k128},
    {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84, true, 2, 80, k128},
    {11, "Q3_K", 256, 110, true, 1, 108, k128},
    {12, "Q4_K", 256, 144, true, 2, 0, k16},
    {13, "Q5_K", 256, 176, true, 2, 0, k8},
    {14, "Q6_K", 256, 210, true, 1, 208, k4},
    {15, "Q8_K", 256, 292},
    {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98},
    {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18, true, 1, 0, k128},
    {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},
    {23, "IQ4_XS", 256, 136},
    {24, "I8", 1, 1},
    {25, "I16", 1, 2},
    {26, "I32", 1, 4},
    {27, "I64", 1, 8},
    {28, "F64", 1, 8},
    {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2, true},
    {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},
    {39, "MXFP4", 32, 17},
};

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
