#include "llama/file/refusal.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "tests/unit/llama/file/gguf_builder.h"

namespace bareflow::llama {
namespace {

using testing::Detail;

TEST(Refusal, PutsTheArgumentsIntoTheSentence) {
    Detail detail;
    const Error error = refuse(
        detail.writer, ErrorCode::kInvalid, "a text", "% is %, # of @",
        {std::string_view("n"), std::numeric_limits<uint64_t>::max(), -7, std::string_view("key")});
    EXPECT_EQ(error.code, ErrorCode::kInvalid);
    EXPECT_EQ(error.message, "a text");
    EXPECT_EQ(detail.str(), "n is 18446744073709551615, -7 of \"key\"");
}

TEST(Refusal, ANameFromAFileReachesNoConsoleAsItIs) {
    Detail detail;
    (void)refuse(detail.writer, ErrorCode::kInvalid, "a key", "the key @ is bad",
                 {std::string_view("\x1B[2J\"%@", 7)});
    EXPECT_EQ(detail.str(), "the key \"\\u001b[2J\\\"%@\" is bad");
}

TEST(Refusal, AnEmptyTextIsAText) {
    Detail detail;
    (void)refuse(detail.writer, ErrorCode::kInvalid, "empty", "[%] [@]",
                 {std::string_view(""), std::string_view("")});
    EXPECT_EQ(detail.str(), "[] [\"\"]");
}

TEST(Refusal, TheDetailBeforeIsForgotten) {
    Detail detail;
    detail.writer.append(std::string_view("old"));
    EXPECT_EQ(refuse(detail.writer, ErrorCode::kTooLarge, "no room").code, ErrorCode::kTooLarge);
    EXPECT_EQ(detail.str(), "no room");
    EXPECT_EQ(passed_on(detail.writer, {ErrorCode::kNotFound, "not there"}).message, "not there");
    EXPECT_EQ(detail.str(), "not there");
}

TEST(Refusal, ASentenceTooLongForTheDetailIsCut) {
    char small[8];
    TextWriter writer(small);
    (void)refuse(writer, ErrorCode::kInvalid, "a key", "the key @ is bad",
                 {std::string_view("abc")});
    EXPECT_LE(writer.size(), sizeof small);
    EXPECT_TRUE(std::string_view("the key \"abc\"").starts_with(writer.view().substr(0, 4)));
}

TEST(Refusal, ReadersHaveAShortNameForEachCode) {
    Detail detail;
    Refusals refusals(detail.writer);
    EXPECT_EQ(refusals.invalid("a").code, ErrorCode::kInvalid);
    EXPECT_EQ(refusals.unsupported("a").code, ErrorCode::kUnsupported);
    EXPECT_EQ(refusals.too_large("a", "% b", {1}).code, ErrorCode::kTooLarge);
    EXPECT_EQ(detail.str(), "1 b");
    EXPECT_EQ(refusals.not_found("a", "% c", {2}).code, ErrorCode::kNotFound);
    EXPECT_EQ(detail.str(), "2 c");
}

}  // namespace
}  // namespace bareflow::llama
