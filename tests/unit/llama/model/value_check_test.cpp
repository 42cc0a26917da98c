// Numbers at every place of a row: the greatest allowed ones pass, and any other is found and
// named.
#include "llama/model/value_check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "tests/unit/llama/file/gguf_builder.h"
#include "tests/unit/llama/model/created_model.h"

namespace bareflow::llama {
namespace {

using testing::create_model;
using testing::Detail;
using testing::FileBytes;
using testing::GgufBuilder;
using testing::model_builder;
using testing::ModelPointer;

struct BadValue {
    const char *name;
    const char *tensor;
    compute::TensorType type;
    size_t offset;      // in the tensor's data
    std::string bytes;  // put there
    const char *sentence;
    ErrorCode code = ErrorCode::kInvalid;
};
void PrintTo(const BadValue &bad, std::ostream *out) {
    *out << bad.name;
}

class ValueCheckTest : public ::testing::TestWithParam<BadValue> {};

std::string half(uint16_t bits) {
    return GgufBuilder::raw(bits);
}

constexpr compute::TensorType kF32 = compute::TensorType::kF32;
constexpr compute::TensorType kF16 = compute::TensorType::kF16;
const float kNan = __builtin_nanf("");
const float kInfinity = __builtin_inff();

TEST_P(ValueCheckTest, AreRefusedWithTheirPlace) {
    const BadValue &bad = GetParam();
    GgufBuilder builder = model_builder();
    builder.retype(bad.tensor, bad.type);
    builder.tensor(bad.tensor).data.replace(bad.offset, bad.bytes.size(), bad.bytes);
    const FileBytes bytes = builder.file();
    const ModelPointer model = create_model(bytes);
    ASSERT_NE(model, nullptr);
    Detail detail;
    const Status status = ValueCheck::run(*model, detail.writer);
    ASSERT_FALSE(status);
    EXPECT_EQ(detail.str(), bad.sentence);
    EXPECT_EQ(status.code(), bad.code);
}

const BadValue kBadValues[] = {
    {"NanWeight", "blk.0.attn_q.weight", kF32, 128 * 3 + 4 * 17, GgufBuilder::raw(kNan),
     "tensor \"blk.0.attn_q.weight\" has a weight that is not finite in row 3, column 17"},
    {"InfiniteWeight", "output.weight", kF32, 0, GgufBuilder::raw(kInfinity),
     "tensor \"output.weight\" has a weight that is not finite in row 0, column 0"},
    {"NegativeInfiniteWeight", "output.weight", kF32, 128 * 264 + 124, GgufBuilder::raw(-kInfinity),
     "tensor \"output.weight\" has a weight that is not finite in row 264, column 31"},
    {"NanNorm", "blk.1.ffn_norm.weight", kF32, 8, GgufBuilder::raw(-kNan),
     "tensor \"blk.1.ffn_norm.weight\" has a weight that is not finite in row 0, column 2"},
    {"InfiniteF16", "blk.1.ffn_down.weight", kF16, 128 * 31 + 2 * 63, half(0x7C00),
     "tensor \"blk.1.ffn_down.weight\" has a weight that is not finite in row 31, column 63"},
    {"NanF16", "blk.1.ffn_down.weight", kF16, 2, half(0xFE01),
     "tensor \"blk.1.ffn_down.weight\" has a weight that is not finite in row 0, column 1"},
    {"NanBF16", "blk.1.ffn_down.weight", compute::TensorType::kBF16, 128 * 2 + 6, half(0x7F81),
     "tensor \"blk.1.ffn_down.weight\" has a weight that is not finite in row 2, column 3"},
    {"InfiniteBF16", "blk.1.ffn_down.weight", compute::TensorType::kBF16, 128 * 31 + 2 * 63,
     half(0xFF80),
     "tensor \"blk.1.ffn_down.weight\" has a weight that is not finite in row 31, column 63"},
    {"NanScaleQ8", "blk.1.ffn_down.weight", compute::TensorType::kQ8_0, 68 * 5 + 34, half(0x7E00),
     "tensor \"blk.1.ffn_down.weight\" has a block scale that is not finite in row 5, column 32"},
    {"InfiniteScaleQ4_0", "token_embd.weight", compute::TensorType::kQ4_0, 18 * 7, half(0xFC00),
     "tensor \"token_embd.weight\" has a block scale that is not finite in row 7, column 0"},
    {"NanMinimumQ4_1", "token_embd.weight", compute::TensorType::kQ4_1, 20 * 9 + 2, half(0x7C01),
     "tensor \"token_embd.weight\" has a block scale that is not finite in row 9, column 0"},
    {"ScaleOf128", "blk.0.attn_k.weight", compute::TensorType::kQ8_0, 34 * 15, half(0x5800),
     "tensor \"blk.0.attn_k.weight\" has a block scale of 128 or more in row 15, column 0, which "
     "is not supported",
     ErrorCode::kUnsupported},
    {"MinimumOfMinus128", "blk.0.attn_k.weight", compute::TensorType::kQ4_1, 2, half(0xD800),
     "tensor \"blk.0.attn_k.weight\" has a block scale of 128 or more in row 0, column 0, which "
     "is not supported",
     ErrorCode::kUnsupported},
};
INSTANTIATE_TEST_SUITE_P(Catalogue, ValueCheckTest, ::testing::ValuesIn(kBadValues),
                         [](const auto &param) { return param.param.name; });

constexpr compute::TensorType kBlockTypes[] = {
    compute::TensorType::kQ8_0, compute::TensorType::kQ4_0, compute::TensorType::kQ4_1,
    compute::TensorType::kQ5_0, compute::TensorType::kQ5_1, compute::TensorType::kIQ4_NL,
    compute::TensorType::kQ2_K, compute::TensorType::kQ3_K, compute::TensorType::kQ4_K,
    compute::TensorType::kQ5_K, compute::TensorType::kQ6_K};
// Long enough for two blocks of every type.
const testing::Shape kWide = {.dim = 512};

// Every value is the greatest that is allowed.
TEST(ValueCheckTest, TheGreatestAllowedPass) {
    const auto check = [](compute::TensorType type, const auto &put) {
        GgufBuilder builder = model_builder(kWide);
        builder.retype("output.weight", type);
        std::string &data = builder.tensor("output.weight").data;
        const compute::TensorTypeInfo &info = compute::tensor_type_info(type);
        std::ranges::fill(data, '\xFF');
        for (size_t i = 0; i < data.size(); i += info.block_bytes) {
            put(data, i, info);
        }
        const FileBytes bytes = builder.file();
        const ModelPointer model = create_model(bytes);
        ASSERT_NE(model, nullptr);
        Detail detail;
        EXPECT_TRUE(ValueCheck::run(*model, detail.writer)) << info.name << ": " << detail.str();
    };
    const auto put_scales = [](std::string &data, size_t at, const compute::TensorTypeInfo &info) {
        for (uint32_t i = 0; i < info.scales; ++i) {
            const auto bits = static_cast<uint16_t>((info.scale_limit - 1) | (i == 0 ? 0x8000 : 0));
            data.replace(at + info.scale_offset + 2 * i, 2, half(bits));
        }
    };
    for (const compute::TensorType type : kBlockTypes) {
        check(type, put_scales);
    }
    const auto put_value = [](const std::string &value) {
        return [value](std::string &data, size_t at, const compute::TensorTypeInfo &) {
            data.replace(at, value.size(), value);
        };
    };
    check(kF32, put_value(GgufBuilder::raw(uint32_t{0xFF7FFFFF})));
    check(kF16, put_value(half(0xFBFF)));
    check(compute::TensorType::kBF16, put_value(half(0xFF7F)));
}

// Each scale of each type, at its limit and beyond, in the last block of a row in the middle.
TEST(ValueCheckTest, EveryScaleOfEveryTypeIsLookedAt) {
    for (const compute::TensorType type : kBlockTypes) {
        const compute::TensorTypeInfo &info = compute::tensor_type_info(type);
        for (uint32_t i = 0; i < info.scales; ++i) {
            for (const uint16_t bits : {info.scale_limit, uint16_t{0xFE00}, uint16_t{0x7C00}}) {
                GgufBuilder builder = model_builder(kWide);
                builder.retype("output.weight", type);
                const uint32_t blocks = kWide.dim / info.block_elements;
                const size_t at = size_t{info.block_bytes} * (7 * blocks + blocks - 1);
                builder.tensor("output.weight")
                    .data.replace(at + info.scale_offset + 2 * i, 2, half(bits));
                const FileBytes bytes = builder.file();
                const ModelPointer model = create_model(bytes);
                ASSERT_NE(model, nullptr);
                Detail detail;
                const Status status = ValueCheck::run(*model, detail.writer);
                ASSERT_FALSE(status) << info.name;
                const bool limit = bits == info.scale_limit;
                EXPECT_EQ(status.code(), limit ? ErrorCode::kUnsupported : ErrorCode::kInvalid);
                const std::string place =
                    " in row 7, column " + std::to_string(kWide.dim - info.block_elements);
                const std::string scale =
                    std::to_string(static_cast<int>(compute::f16_to_f32(info.scale_limit)));
                EXPECT_EQ(detail.str(),
                          limit ? "tensor \"output.weight\" has a block scale of " + scale +
                                      " or more" + place + ", which is not supported"
                                : "tensor \"output.weight\" has a block scale that is not finite" +
                                      place);
            }
        }
    }
}

// Every position in a row whose length is no multiple of the numbers that are looked at together.
TEST(ValueCheckTest, NoPlaceIsPassedOver) {
    for (const compute::TensorType type : {kF32, kF16, compute::TensorType::kBF16}) {
        const size_t width = type == kF32 ? 4 : 2;
        for (size_t column = 0; column < 7; ++column) {
            GgufBuilder builder = model_builder({.hidden = 7});
            builder.retype("blk.0.ffn_down.weight", type);
            builder.tensor("blk.0.ffn_down.weight")
                .data.replace((7 * 2 + column) * width, width,
                              type == kF32 ? GgufBuilder::raw(kNan) : half(0x7FFF));
            const FileBytes bytes = builder.file();
            const ModelPointer model = create_model(bytes);
            ASSERT_NE(model, nullptr);
            Detail detail;
            EXPECT_FALSE(ValueCheck::run(*model, detail.writer));
            EXPECT_EQ(detail.str(),
                      "tensor \"blk.0.ffn_down.weight\" has a weight that is not "
                      "finite in row 2, column " +
                          std::to_string(column));
        }
    }
}

TEST(ValueCheckTest, StepsStayNearTheirBudgetAndAddUp) {
    const FileBytes bytes = model_builder().file();
    const ModelPointer model = create_model(bytes);
    ASSERT_NE(model, nullptr);
    ValueCheck check(*model);
    Detail detail;
    uint64_t before = 0;
    uint64_t steps = 0;
    while (!check.done()) {
        ASSERT_TRUE(check.step(1000, detail.writer));
        EXPECT_LE(check.checked_bytes() - before, 1000u + 256);
        before = check.checked_bytes();
        ++steps;
    }
    EXPECT_EQ(check.checked_bytes(), model->weight_bytes());
    EXPECT_GE(steps, model->weight_bytes() / 1256);
}

}  // namespace
}  // namespace bareflow::llama
