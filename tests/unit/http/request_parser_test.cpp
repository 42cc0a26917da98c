// Requests parsed in pieces of any size, limits of heads and bodies, and the catalogue of bad
// requests.
#include "http/request_parser.h"

#include <gtest/gtest.h>

#include <string>

namespace bareflow::http {
namespace {

using State = RequestParser::State;

struct Parsing {
    BodyBudget budget;
    BodyBuffer body{budget};
    RequestParser parser{body};

    // Parses in pieces of `step` bytes. Returns the bytes that were not consumed.
    std::string parse(std::string text, size_t step) {
        size_t at = 0;
        while (at < text.size() && parser.state() != State::kComplete &&
               parser.state() != State::kFailed) {
            const size_t len = std::min(step, text.size() - at);
            at += parser.parse({text.data() + at, len});
        }
        return text.substr(at);
    }
    std::string body_text() {
        const Request request = parser.request();
        return {request.body.data(), request.body.size()};
    }
};

constexpr size_t kSteps[] = {1, 2, 3, 7, 64, 100000};

TEST(RequestParser, PlainGetInPiecesOfAnySize) {
    for (const size_t step : kSteps) {
        Parsing p;
        const std::string rest = p.parse(
            "GET /profile?format=json HTTP/1.1\r\nHost: a\r\nAccept: text/html, */*;q=0.5 \r\n\r\n"
            "GET /next",
            step);
        ASSERT_EQ(p.parser.state(), State::kComplete) << step;
        const Request request = p.parser.request();
        EXPECT_EQ(request.method, Method::kGet);
        EXPECT_EQ(request.path, "/profile");
        EXPECT_EQ(request.query, "format=json");
        EXPECT_EQ(request.accept, "text/html, */*;q=0.5 ");
        EXPECT_TRUE(p.parser.keep_alive());
        EXPECT_EQ(rest, "GET /next") << "bytes of the next request stay with the caller";
    }
}

TEST(RequestParser, BodyByLength) {
    for (const size_t step : kSteps) {
        Parsing p;
        const std::string rest =
            p.parse("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world!", step);
        ASSERT_EQ(p.parser.state(), State::kComplete);
        EXPECT_EQ(p.body_text(), "hello world");
        EXPECT_EQ(*(p.parser.request().body.data() + 11), '\0');
        EXPECT_EQ(rest, "!");
    }
}

TEST(RequestParser, BodyInChunksWithExtensionsAndTrailers) {
    for (const size_t step : kSteps) {
        Parsing p;
        const std::string rest = p.parse(
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nHost: trailer\r\nX: y\r\n\r\nrest",
            step);
        ASSERT_EQ(p.parser.state(), State::kComplete) << step << ": " << p.parser.message();
        EXPECT_EQ(p.body_text(), "hello world");
        EXPECT_EQ(rest, "rest");
    }
}

TEST(RequestParser, KeepAliveRules) {
    struct Row {
        const char *text;
        bool keep_alive;
    };
    constexpr Row kRows[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive, x\r\n\r\n", true},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
    };
    for (const Row &row : kRows) {
        Parsing p;
        p.parse(row.text, 5);
        ASSERT_EQ(p.parser.state(), State::kComplete) << row.text;
        EXPECT_EQ(p.parser.keep_alive(), row.keep_alive) << row.text;
    }
}

TEST(RequestParser, OffersToChangeTheProtocolAreIgnored) {
    Parsing p;
    p.parse(
        "GET /health HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        "HTTP2-Settings: AAMAAABk\r\n\r\n",
        3);
    ASSERT_EQ(p.parser.state(), State::kComplete);
    EXPECT_EQ(p.parser.request().path, "/health");
    EXPECT_TRUE(p.parser.keep_alive());
}

TEST(RequestParser, TargetForms) {
    struct Row {
        const char *target;
        const char *path;
        const char *query;
    };
    constexpr Row kRows[] = {
        {"/", "/", ""},
        {"/a?b?c", "/a", "b?c"},
        {"http://host:80/a/b?q", "/a/b", "q"},
        {"http://host", "/", ""},
        {"/x?u=http://y/z", "/x", "u=http://y/z"},
        {"*", "*", ""},
    };
    for (const Row &row : kRows) {
        Parsing p;
        p.parse(std::string("OPTIONS ") + row.target + " HTTP/1.1\r\nHost: a\r\n\r\n", 100);
        ASSERT_EQ(p.parser.state(), State::kComplete) << row.target;
        EXPECT_EQ(p.parser.request().path, row.path);
        EXPECT_EQ(p.parser.request().query, row.query);
    }
}

TEST(RequestParser, ExpectContinue) {
    Parsing p;
    std::string rest = p.parse(
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n", 9);
    EXPECT_EQ(p.parser.state(), State::kBody);
    EXPECT_TRUE(p.parser.wants_continue());
    p.parse("x", 1);
    EXPECT_FALSE(p.parser.wants_continue()) << "the body has started";
}

TEST(RequestParser, EmptyLinesBeforeARequestAreSkipped) {
    Parsing p;
    p.parse("\r\n\r\n", 1);
    EXPECT_TRUE(p.parser.untouched());
    p.parse("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1);
    EXPECT_EQ(p.parser.state(), State::kComplete);
}

// RFC 9112 section 5.2: refused, or read as one line.
TEST(RequestParser, FoldedHeadersAreReadAsOneLine) {
    Parsing p;
    p.parse("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html,\r\n text/plain\r\n\r\n", 3);
    ASSERT_EQ(p.parser.state(), State::kComplete);
    EXPECT_EQ(p.parser.request().accept, "text/html, text/plain");
}

TEST(RequestParser, IsReusable) {
    Parsing p;
    for (int i = 0; i < 3; ++i) {
        p.parse("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 4);
        ASSERT_EQ(p.parser.state(), State::kComplete);
        EXPECT_EQ(p.body_text(), "abc");
        p.parser.reset();
        EXPECT_EQ(p.budget.used_bytes, 0u);
    }
}

// The catalogue of bad requests: each has a name, what it is refused with, and is refused the same
// in one piece and byte by byte.
struct Bad {
    const char *name;
    std::string text;
    uint16_t status;
};

std::vector<Bad> bad_requests() {
    const std::string get = "GET / HTTP/1.1\r\n";
    const std::string post = "POST / HTTP/1.1\r\nHost: a\r\n";
    std::string many_headers = get + "Host: a\r\n";
    for (int i = 0; i < 200; ++i) {
        many_headers += "A: b\r\n";
    }
    std::string nested_chunks = post + "Transfer-Encoding: chunked\r\n\r\n";
    for (int i = 0; i < 33; ++i) {
        nested_chunks += "8000\r\n" + std::string(0x8000, 'x') + "\r\n";
    }
    return {
        {"unknown method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"lower case method", "get / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"TLS hello", std::string("\x16\x03\x01\x02\x00\x01", 6), 400},
        {"HTTP/0.9", "GET /\r\n\r\n", 505},
        {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
        {"version 1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
        {"version 3", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505},
        {"no host", get + "\r\n", 400},
        {"two hosts", get + "Host: a\r\nhost: b\r\n\r\n", 400},
        {"target is no path", "GET health HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"blank in target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"control byte in target", "GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"blank before colon", get + "Host : a\r\n\r\n", 400},
        {"blank in header name", get + "Ho st: a\r\n\r\n", 400},
        {"bare CR in header", get + "Host: a\r\nX: b\rY: c\r\n\r\n", 400},
        {"NUL in header", get + "Host: a\r\nX: " + std::string(1, '\0') + "\r\n\r\n", 400},
        {"negative length", post + "Content-Length: -1\r\n\r\n", 400},
        {"signed length", post + "Content-Length: +1\r\n\r\n", 400},
        {"length of words", post + "Content-Length: many\r\n\r\n", 400},
        {"huge length", post + "Content-Length: 99999999999999999999999\r\n\r\n", 400},
        {"two lengths", post + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
        {"length and chunks", post + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         400},
        {"unknown coding", post + "Transfer-Encoding: gzip\r\n\r\n", 400},
        {"chunked not last", post + "Transfer-Encoding: chunked, gzip\r\n\r\n", 400},
        {"bad chunk size", post + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
        {"chunk size overflow", post + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
         400},
        {"no CRLF after chunk", post + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400},
        {"strange expectation", post + "Expect: miracles\r\nContent-Length: 1\r\n\r\n", 417},
        {"long target", "GET /" + std::string(2000, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
        {"endless target", "GET /" + std::string(20000, 'a'), 431},
        {"one long header", get + "Host: a\r\nX: " + std::string(20000, 'b'), 431},
        {"endless header name", get + std::string(20000, 'b'), 431},
        {"many headers", many_headers + "\r\n", 431},
        {"body too long", post + "Content-Length: 1048577\r\n\r\n", 413},
        {"chunks too long", nested_chunks, 413},
        {"one chunk too long", post + "Transfer-Encoding: chunked\r\n\r\n100001\r\n", 413},
        {"second chunk too long", post + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\nfffff\r\n",
         413},
    };
}

TEST(RequestParser, BadRequests) {
    for (const Bad &bad : bad_requests()) {
        for (const size_t step : {size_t{1}, size_t{4096}}) {
            Parsing p;
            p.parse(bad.text, step);
            EXPECT_EQ(p.parser.state(), State::kFailed) << bad.name << ", step " << step;
            EXPECT_EQ(p.parser.status(), bad.status) << bad.name << ", step " << step;
            EXPECT_FALSE(p.parser.message().empty());
            EXPECT_FALSE(p.parser.keep_alive());
        }
    }
}

TEST(RequestParser, EndlessTrailersAreRefused) {
    Parsing p;
    p.parse("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", 4096);
    const std::string trailer = "X: " + std::string(1000, 'y') + "\r\n";
    for (int i = 0; i < 20000 && p.parser.state() == State::kBody; ++i) {
        p.parse(trailer, 4096);
    }
    EXPECT_EQ(p.parser.state(), State::kFailed);
    EXPECT_EQ(p.parser.status(), 413);
}

TEST(RequestParser, HeadOfExactlyTheLimitPassesAndOneMoreByteDoesNot) {
    const std::string start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    const std::string end = "\r\n\r\n";
    const size_t fill = RequestParser::kMaxHeadBytes - start.size() - end.size();
    Parsing fits;
    fits.parse(start + std::string(fill, 'x') + end, 1000);
    EXPECT_EQ(fits.parser.state(), State::kComplete);
    Parsing over;
    over.parse(start + std::string(fill + 1, 'x') + end, 1000);
    EXPECT_EQ(over.parser.status(), 431);
}

TEST(RequestParser, BodyMemoryGrowsWithWhatArrivesNotWithWhatIsClaimed) {
    Parsing p;
    p.parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n0123456789", 4096);
    EXPECT_EQ(p.parser.state(), State::kBody);
    EXPECT_LE(p.budget.used_bytes, 4096u);
}

TEST(RequestParser, LongestBodyPasses) {
    Parsing p;
    p.parse(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n" + std::string(1048576, 'z'),
        5000);
    EXPECT_EQ(p.parser.state(), State::kComplete);
    EXPECT_EQ(p.parser.request().body.size(), 1048576u);
}

TEST(RequestParser, NoMemoryForTheBodyIs503) {
    Parsing p;
    p.budget.total_bytes = 10'000;
    p.parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + std::string(60000, 'z'),
            5000);
    EXPECT_EQ(p.parser.state(), State::kFailed);
    EXPECT_EQ(p.parser.status(), 503);
    EXPECT_LE(p.budget.used_bytes, p.budget.total_bytes);
}

// 8192 and 16384 bytes together are over the budget, 8192 and 10240 are not.
TEST(RequestParser, ABodyGrowsByLessWhereMemoryIsShort) {
    Parsing p;
    p.budget.total_bytes = 19'000;
    p.parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n" + std::string(10000, 'z'),
            1000);
    ASSERT_EQ(p.parser.state(), State::kComplete);
    const auto body = p.parser.request().body;
    EXPECT_EQ(std::string(body.begin(), body.end()), std::string(10000, 'z'));
    EXPECT_LE(p.budget.used_bytes, 10'240u);
}

}  // namespace
}  // namespace bareflow::http
