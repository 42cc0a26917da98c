// Reading integers and text out of bytes that may be too short, and Result, which carries a value
// or an error.
#include "kernel_lib/base/byte_reader.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <vector>

#include "kernel_lib/base/result.h"

namespace bareflow {
namespace {

TEST(ByteReader, ReadsLittleEndianInOrder) {
    const std::array<uint8_t, 12> bytes{1, 2, 0, 0xFF, 0xFF, 0xFF, 0xFF, 'h', 'i', 0, 0x80, 0x3F};
    ByteReader in(bytes);
    uint8_t a = 0;
    uint16_t b = 0;
    int32_t c = 0;
    std::string_view d;
    ASSERT_TRUE(in.read(a) && in.read(b) && in.read(c) && in.read_text(2, d));
    EXPECT_EQ(a, 1);
    EXPECT_EQ(b, 2);
    EXPECT_EQ(c, -1);
    EXPECT_EQ(d, "hi");
    EXPECT_EQ(in.remaining(), 3U);
    ASSERT_TRUE(in.skip(1));
    EXPECT_EQ(in.offset(), 10U);
}

TEST(ByteReader, StaysFailedAndTouchesNothing) {
    const std::array<uint8_t, 3> bytes{1, 2, 3};
    ByteReader in(bytes);
    uint32_t value = 77;
    EXPECT_FALSE(in.read(value));
    EXPECT_EQ(value, 77U);
    uint8_t small = 88;
    EXPECT_FALSE(in.read(small));
    EXPECT_EQ(small, 88);
    EXPECT_TRUE(in.failed());
    EXPECT_EQ(in.offset(), 0U);
}

TEST(ByteReader, HugeLengthsDoNotWrap) {
    const std::array<uint8_t, 3> bytes{1, 2, 3};
    for (const uint64_t len : {uint64_t{4}, std::numeric_limits<uint64_t>::max(),
                               std::numeric_limits<uint64_t>::max() - 1, uint64_t{1} << 63}) {
        ByteReader in(bytes);
        uint8_t first = 0;
        ASSERT_TRUE(in.read(first));
        EXPECT_FALSE(in.skip(len));
        ByteReader again(bytes);
        std::span<const uint8_t> out;
        EXPECT_FALSE(again.read_bytes(len, out));
    }
}

Result<int> half(int value) {
    if (value % 2 != 0) {
        return Error{ErrorCode::kInvalid, "odd"};
    }
    return value / 2;
}
Result<int> quarter(int value) {
    BF_ASSIGN(const int once, half(value));
    BF_ASSIGN(const int twice, half(once));
    return twice;
}
Status check_quarter(int value) {
    BF_TRY(quarter(value).status());
    return {};
}

TEST(Result, CarriesValueOrError) {
    EXPECT_EQ(quarter(12).value(), 3);
    EXPECT_EQ(quarter(6).error().message, "odd");
    EXPECT_EQ(quarter(6).error().code, ErrorCode::kInvalid);
    EXPECT_TRUE(check_quarter(4).ok());
    EXPECT_EQ(check_quarter(5).code(), ErrorCode::kInvalid);
    EXPECT_EQ(quarter(8).error().code, ErrorCode::kOk);
}

struct Counted {
    explicit Counted(int *live) : live(live) { ++*live; }
    Counted(Counted &&other) noexcept : live(other.live) { ++*live; }
    ~Counted() { --*live; }
    int *live;
};

TEST(Result, DestroysItsValueOnce) {
    int live = 0;
    {
        Result<Counted> result{Counted(&live)};
        Result<Counted> moved(std::move(result));
        EXPECT_TRUE(moved.ok());
        EXPECT_EQ(live, 2);
    }
    EXPECT_EQ(live, 0);
}

TEST(ResultDeathTest, MisuseIsAPanic) {
    EXPECT_DEATH((void)half(3).value(), "failed Result");
}

}  // namespace
}  // namespace bareflow
