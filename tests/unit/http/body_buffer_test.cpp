#include "http/body_buffer.h"

#include <gtest/gtest.h>

#include <string>

namespace bareflow::http {
namespace {

using Append = BodyBuffer::Append;

std::string text_of(const BodyBuffer &body) {
    return {body.bytes().data(), body.bytes().size()};
}

TEST(BodyBuffer, KeepsBytesAndANulBehindThem) {
    BodyBudget budget;
    BodyBuffer body(budget);
    std::string expected;
    for (int i = 0; i < 3000; ++i) {
        const std::string more = std::to_string(i) + ",";
        ASSERT_EQ(body.append(more), Append::kOk);
        expected += more;
        ASSERT_EQ(body.bytes().data()[expected.size()], '\0');
    }
    EXPECT_EQ(text_of(body), expected);
}

TEST(BodyBuffer, TakesMemoryForWhatArrived) {
    BodyBudget budget;
    BodyBuffer body(budget);
    EXPECT_EQ(budget.used_bytes, 0u);
    ASSERT_EQ(body.append(std::string(100, 'x')), Append::kOk);
    EXPECT_EQ(budget.used_bytes, 4096u);
    ASSERT_EQ(body.append(std::string(10'000, 'x')), Append::kOk);
    EXPECT_LE(budget.used_bytes, 2 * 10'101u);
}

TEST(BodyBuffer, TheLongestBodyFitsAndOneMoreByteDoesNot) {
    BodyBudget budget;
    BodyBuffer body(budget);
    ASSERT_EQ(body.append(std::string(kMaxBodyBytes, 'x')), Append::kOk);
    EXPECT_EQ(body.append(std::string(1, 'x')), Append::kTooLong);
    EXPECT_EQ(body.bytes().size(), kMaxBodyBytes);
}

TEST(BodyBuffer, AllBodiesShareOneBudget) {
    BodyBudget budget{.total_bytes = 10'000};
    BodyBuffer first(budget);
    BodyBuffer second(budget);
    ASSERT_EQ(first.append(std::string(7000, 'a')), Append::kOk);
    EXPECT_EQ(second.append(std::string(7000, 'b')), Append::kNoMemory);
    EXPECT_TRUE(second.bytes().empty());
    first.release();
    EXPECT_EQ(budget.used_bytes, 0u);
    EXPECT_EQ(second.append(std::string(7000, 'b')), Append::kOk);
}

TEST(BodyBuffer, AFailureKeepsTheBytes) {
    BodyBudget budget{.total_bytes = 10'000};
    BodyBuffer body(budget);
    ASSERT_EQ(body.append(std::string("kept")), Append::kOk);
    EXPECT_EQ(body.append(std::string(9000, 'x')), Append::kNoMemory);
    EXPECT_EQ(text_of(body), "kept");
}

TEST(BodyBuffer, GivesItsMemoryBackAtItsEnd) {
    BodyBudget budget;
    {
        BodyBuffer body(budget);
        ASSERT_EQ(body.append(std::string("x")), Append::kOk);
    }
    EXPECT_EQ(budget.used_bytes, 0u);
}

}  // namespace
}  // namespace bareflow::http
