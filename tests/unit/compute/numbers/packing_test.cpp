// Packed weights: every byte lies where the header says, and packing and unpacking give the same
// matrix. The kernels that read packed rows are compared with the reference.
#include "compute/numbers/packing.h"

#include <gtest/gtest.h>

#include <cstring>

#include "compute/kernels/gemv.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/packed.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_blocks.h"
#include "tests/unit/compute/fenced.h"
#include "tests/unit/compute/random_numbers.h"

namespace bareflow::compute {
namespace {

using testing::Random;

constexpr TensorType kPackable[] = {TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_1};
// Numbers of columns: one block, incomplete groups of 256, whole groups.
constexpr uint32_t kCols[] = {32, 64, 96, 256, 288, 480, 512, 768, 1056};
constexpr uint32_t kRows = 48;

TEST(PackingTest, WhatCanBePacked) {
    for (const TensorType type : kPackable) {
        EXPECT_TRUE(can_pack(type, 16));
        EXPECT_TRUE(can_pack(type, 32000));
        EXPECT_FALSE(can_pack(type, 15));
        EXPECT_FALSE(can_pack(type, 40));
    }
    EXPECT_FALSE(can_pack(TensorType::kF32, 16));
    EXPECT_FALSE(can_pack(TensorType::kQ4_K, 16));
}

// The header's description, byte for byte.
TEST(PackingTest, EveryByteLiesWhereTheHeaderSays) {
    Random random{5};
    for (const TensorType type : kPackable) {
        const uint32_t headers = type == TensorType::kQ4_1 ? 2 : 1;
        const uint32_t weights = type == TensorType::kQ8_0 ? 32 : 16;
        constexpr uint32_t kBlocks = 9;
        const uint64_t row_bytes = testing::row_bytes(type, kBlocks * 32);
        const std::vector<uint8_t> file = testing::random_weights(type, 32, kBlocks * 32, random);
        std::vector<uint8_t> packed(file.size());
        repack_rows(type, kBlocks * 32, row_bytes, {file.data(), Packing::kFile}, packed.data(),
                    Packing::kRows16, 0, 32);
        for (uint32_t row = 0; row < 32; ++row) {
            const uint8_t *const strip = packed.data() + row / 16 * 16 * row_bytes;
            const uint8_t *const scales = strip + kBlocks * weights * 16;
            for (uint32_t block = 0; block < kBlocks; ++block) {
                const uint8_t *const from =
                    file.data() + row * row_bytes + block * (2 * headers + weights);
                for (uint32_t i = 0; i < headers; ++i) {
                    EXPECT_EQ(memcmp(scales + ((block * headers + i) * 16 + row % 16) * 2,
                                     from + 2 * i, 2),
                              0);
                }
                for (uint32_t i = 0; i < weights; ++i) {
                    const uint32_t unit = block * weights / 4 + i / 4;
                    const int flipped = type == TensorType::kQ8_0 ? 0x80 : 0;
                    ASSERT_EQ(strip[(unit * 16 + row % 16) * 4 + i % 4],
                              from[2 * headers + i] ^ flipped);
                }
            }
        }
    }
}

TEST(PackingTest, AllThereAndBack) {
    Random random{6};
    for (const TensorType type : kPackable) {
        for (const uint32_t cols : kCols) {
            const uint64_t row_bytes = testing::row_bytes(type, cols);
            const std::vector<uint8_t> file = testing::random_weights(type, kRows, cols, random);
            const PlacedWeights as_in_file{file.data(), Packing::kFile};
            // The rows lie beside a page that is not mapped: nothing else may be accessed.
            const testing::Fenced packed(file.size());
            const testing::Fenced back(file.size());
            auto *const p = packed.as<uint8_t>();
            auto *const b = back.as<uint8_t>();
            // In pieces and out of order.
            for (const uint32_t begin : {32u, 0u, 16u}) {
                repack_rows(type, cols, row_bytes, as_in_file, p, Packing::kRows16, begin,
                            begin + 16);
            }
            EXPECT_NE(memcmp(p, file.data(), file.size()), 0);
            const PlacedWeights in_strips{p, Packing::kRows16};
            repack_rows(type, cols, row_bytes, in_strips, b, Packing::kFile, 0, kRows);
            EXPECT_EQ(memcmp(b, file.data(), file.size()), 0);
            std::vector<uint8_t> row(row_bytes);
            for (uint32_t i = 0; i < kRows; ++i) {
                unpack_row(type, cols, row_bytes, in_strips, i, row.data());
                ASSERT_EQ(memcmp(row.data(), file.data() + i * row_bytes, row_bytes), 0);
            }
            // A copy in the same packing.
            repack_rows(type, cols, row_bytes, in_strips, b, Packing::kRows16, 16, 32);
            EXPECT_EQ(memcmp(b + 16 * row_bytes, p + 16 * row_bytes, 16 * row_bytes), 0);
        }
    }
}

// Every kernel of packed weights against the reference on the file's layout.
class PackedKernels {
  public:
    PackedKernels(TensorType type, uint32_t cols, std::vector<uint8_t> file,
                  const std::vector<float> &x)
        : type_(type),
          file_(std::move(file)),
          packed_(file_.size()),
          x_(x),
          buffer_(std::move(ActivationBuffer::create(cols)).value()) {
        args_.row_bytes = testing::row_bytes(type, cols);
        args_.cols = cols;
        args_.xq = buffer_.view(cols);
        quantize_activation(x_.data(), args_.xq, 0, 0, group_count(cols));
        repack_rows(type, cols, args_.row_bytes, {file_.data(), Packing::kFile},
                    packed_.as<uint8_t>(), Packing::kRows16, 0, kRows);
    }
    void expect_equal() {
        std::vector<float> expected(kRows);
        args_.weights = file_.data();
        args_.y = expected.data();
        gemv_variants(type_)[0].kernel(args_, 0, kRows);
        const PackedVariants variants = packed_variants(type_);
        for (uint32_t i = 0; i < variants.count; ++i) {
            EXPECT_EQ(variants.list[i].forms, 0u);
            args_.weights = packed_.as<uint8_t>();
            for (const auto &[begin, end] :
                 {std::pair{0u, kRows}, std::pair{0u, 16u}, std::pair{16u, 48u}, std::pair{3u, 4u},
                  std::pair{15u, 17u}, std::pair{7u, 41u}, std::pair{47u, 48u},
                  std::pair{9u, 9u}}) {
                std::vector<float> y(kRows, -1.0f);
                args_.y = y.data();
                variants.list[i].kernel(args_, begin, end);
                for (uint32_t row = 0; row < kRows; ++row) {
                    const float wanted = row >= begin && row < end ? expected[row] : -1.0f;
                    ASSERT_EQ(std::bit_cast<uint32_t>(y[row]), std::bit_cast<uint32_t>(wanted))
                        << variants.list[i].name << " " << begin << "-" << end << " row " << row;
                }
            }
        }
    }

  private:
    TensorType type_;
    std::vector<uint8_t> file_;
    testing::Fenced packed_;
    std::vector<float> x_;
    ActivationBuffer buffer_;
    GemvArgs args_;
};

TEST(PackedKernelsTest, EqualTheReference) {
    Random random{8};
    for (const TensorType type : kPackable) {
        for (const uint32_t cols : kCols) {
            for (int round = 0; round < 4; ++round) {
                PackedKernels(type, cols, testing::random_weights(type, kRows, cols, random),
                              random.floats(cols))
                    .expect_equal();
            }
        }
    }
}

// Every weight, scale and activation at a limit.
TEST(PackedKernelsTest, EqualTheReferenceAtTheLimits) {
    Random random{9};
    for (const TensorType type : kPackable) {
        const uint32_t headers = type == TensorType::kQ4_1 ? 2 : 1;
        const uint32_t block_bytes = tensor_type_info(type).block_bytes;
        for (const uint8_t weight : {0x00, 0x7f, 0x80, 0xff}) {
            for (const uint16_t scale : {0x57ff, 0xd7ff, 0x0001, 0x0000, 0x8000}) {
                for (const bool alternate : {false, true}) {
                    constexpr uint32_t kColumns = 544;
                    std::vector<uint8_t> file(testing::row_bytes(type, kColumns) * kRows, weight);
                    for (size_t at = 0; at < file.size(); at += block_bytes) {
                        for (uint32_t i = 0; i < headers; ++i) {
                            testing::put_u16(file, at + 2 * i, scale);
                        }
                    }
                    std::vector<float> x(kColumns, -1.5f);
                    for (uint32_t i = 0; alternate && i < kColumns; i += 2) {
                        x[i] = 1.5f;
                    }
                    PackedKernels(type, kColumns, std::move(file), x).expect_equal();
                }
            }
        }
    }
}

TEST(PackedKernelsTest, NoMoreThanTheInstructionSetAllows) {
    limit_instruction_set(InstructionSet::kSse2);
    EXPECT_EQ(packed_variants(TensorType::kQ8_0).count, 1u);
    EXPECT_EQ(packed_variants(TensorType::kQ4_0).count, 0u);
    limit_instruction_set(InstructionSet::kAmx);
    EXPECT_EQ(packed_variants(TensorType::kF32).count, 0u);
}

}  // namespace
}  // namespace bareflow::compute
