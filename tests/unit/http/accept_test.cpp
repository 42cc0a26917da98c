#include "http/accept.h"

#include <gtest/gtest.h>

namespace bareflow::http {
namespace {

struct Choice {
    const char *accept;
    size_t chosen;
};

// Of JSON (0), HTML (1) and plain text (2, also the fallback).
TEST(Accept, ChoosesByQualityThenByExactness) {
    constexpr std::string_view kOffered[] = {"application/json", "text/html", "text/plain"};
    constexpr Choice kChoices[] = {
        {"", 2},
        {"*/*", 2},
        {"image/png", 2},
        {"application/json", 0},
        {"APPLICATION/JSON", 0},
        {"text/*", 1},
        {"text/*, text/plain", 2},
        {"text/html;q=0.5, application/json;q=0.501", 0},
        {"text/html;q=1.000, application/json", 0},
        {"text/html;level=1;q=0.9, text/plain;q=0.8", 1},
        {"text/html;q=0, text/*", 2},
        {"text/plain;q=0, */*", 0},
        {"text/plain;q=0, application/json;q=0, */*", 1},
        {"*/*;q=0", 2},
        {"text/html;q=1.5, application/json;q=0.1", 0},
        {"text/html;q=0.1234, application/json;q=0.1", 0},
        {"text/html;q=, application/json;q=0.1", 0},
        {"text/html;q=-1, application/json;q=0.1", 0},
        {"text/html;Q=0.2, application/json;Q=0.1", 1},
        {" \t text/html\t;\tq=0.3 , application/json ;q=0.4", 0},
        {"text", 2},
        {"text/htmlx", 2},
        {"/*", 2},
        {",,;q=1,", 2},
    };
    for (const Choice &choice : kChoices) {
        EXPECT_EQ(negotiate(choice.accept, kOffered, 2), choice.chosen) << choice.accept;
    }
}

}  // namespace
}  // namespace bareflow::http
