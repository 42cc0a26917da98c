#include "http/http_types.h"

#include <gtest/gtest.h>

namespace bareflow::http {
namespace {

TEST(HttpTypes, Queries) {
    EXPECT_TRUE(query_has("format=json", "format", "json"));
    EXPECT_TRUE(query_has("a=b&format=json&c", "format", "json"));
    EXPECT_FALSE(query_has("format=jsonx", "format", "json"));
    EXPECT_FALSE(query_has("xformat=json", "format", "json"));
    EXPECT_FALSE(query_has("", "format", "json"));
}

TEST(HttpTypes, CaseIsIgnoredInAsciiOnly) {
    EXPECT_TRUE(equals_ignoring_case("Content-TYPE", "content-type"));
    EXPECT_TRUE(equals_ignoring_case("", ""));
    EXPECT_FALSE(equals_ignoring_case("host", "hos"));
    EXPECT_FALSE(equals_ignoring_case("@", "`"));  // differ by 0x20, as letters do
    EXPECT_FALSE(equals_ignoring_case("\xc3\x89", "\xc3\xa9"));
}

TEST(HttpTypes, TrimTakesBlanksAndTabsOffBothEnds) {
    EXPECT_EQ(trim(" \t a b\t "), "a b");
    EXPECT_EQ(trim(" \t"), "");
    EXPECT_EQ(trim("\ra\n"), "\ra\n");
}

TEST(HttpTypes, EveryStatusThatIsSentHasAReason) {
    for (const uint16_t status :
         {200, 204, 400, 404, 405, 408, 413, 414, 417, 431, 500, 503, 505}) {
        EXPECT_NE(reason_phrase(status), "Unknown") << status;
    }
    EXPECT_EQ(reason_phrase(299), "Unknown");
}

}  // namespace
}  // namespace bareflow::http
