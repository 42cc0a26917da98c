// Answers written through windows of every size: heads, chunks, and sources that are asked again
// for a piece that did not fit.
#include "http/outgoing_answer.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/http/fake_exchange.h"
#include "tests/unit/http/fake_stream.h"

namespace bareflow::http {
namespace {

// Pieces of one letter each, `count` of them, `len_bytes` long.
class Letters final : public AnswerSource {
  public:
    uint32_t count = 26;
    size_t len_bytes = 3000;
    int asked = 0;
    Piece produce(Exchange &, Cursor &cursor, TextWriter &out) override {
        ++asked;
        out.put(std::string_view(std::string(len_bytes, static_cast<char>('a' + cursor.piece))));
        ++cursor.piece;
        return cursor.piece == count ? Piece::kEnd : Piece::kMore;
    }
    [[nodiscard]] std::string whole() const {
        std::string text;
        for (uint32_t i = 0; i < count; ++i) {
            text += std::string(len_bytes, static_cast<char>('a' + i));
        }
        return text;
    }
};

class Silent final : public AnswerSource {
  public:
    Piece produce(Exchange &, Cursor &, TextWriter &) override { return Piece::kWait; }
};

class OutgoingAnswerTest : public ::testing::Test {
  protected:
    void begin(Framing framing, uint64_t len_bytes = 0, bool head_only = false) {
        answer_.clear();
        answer_.begin({.status = 200, .content_type = kTypeText}, framing, len_bytes,
                      {.keep_alive = true, .http_1_0 = false}, head_only);
    }
    // Sends everything, at most `window` bytes at a time.
    std::string send(AnswerSource *source = nullptr, size_t window = ~size_t{0}) {
        FakeStream stream;
        for (int i = 0; i < 100'000; ++i) {
            if (source != nullptr && !answer_.is_made()) {
                answer_.fill(*source, exchange_);
            }
            if (!answer_.has_bytes()) {
                break;
            }
            stream.window = window;
            answer_.send(stream);
        }
        return stream.output;
    }

    FakeExchange exchange_;
    OutgoingAnswer answer_;
};

TEST_F(OutgoingAnswerTest, CopiedAndStaticBodies) {
    begin(Framing::kLength, 5);
    answer_.put_body("hello");
    EXPECT_TRUE(answer_.is_made());
    const std::string expected =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n"
        "Cache-Control: no-store\r\n\r\nhello";
    EXPECT_EQ(send(), expected);
    begin(Framing::kLength, 5);
    answer_.set_static("hello");
    EXPECT_EQ(send(nullptr, 3), expected);
}

TEST_F(OutgoingAnswerTest, TheHeadSaysWhatBecomesOfTheConnection) {
    const auto head = [&](bool keep_alive, bool http_1_0) {
        answer_.clear();
        answer_.begin({.status = 204, .content_type = {}}, Framing::kLength, 0,
                      {keep_alive, http_1_0}, false);
        return send();
    };
    const std::string start = "HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\n";
    EXPECT_EQ(head(true, false), start + "\r\n");
    EXPECT_EQ(head(true, true), start + "Connection: keep-alive\r\n\r\n");
    EXPECT_EQ(head(false, false), start + "Connection: close\r\n\r\n");
}

TEST_F(OutgoingAnswerTest, PiecesArriveWholeThroughAnyWindow) {
    for (const size_t window : {size_t{1}, size_t{7}, size_t{1000}, size_t{4096}, ~size_t{0}}) {
        Letters letters;
        begin(Framing::kChunked);
        answer_.set_cursor({});
        std::string text = send(&letters, window);
        EXPECT_TRUE(text.ends_with("\r\n0\r\n\r\n"));
        const Answer got = take_answer(text);
        ASSERT_TRUE(got.valid) << window;
        EXPECT_TRUE(got.body == letters.whole()) << window;
        EXPECT_TRUE(text.empty());
    }
}

TEST_F(OutgoingAnswerTest, PiecesWithoutChunks) {
    Letters letters;
    begin(Framing::kUntilClose);
    answer_.set_cursor({});
    EXPECT_TRUE(send(&letters).ends_with("\r\n\r\n" + letters.whole()));
}

TEST_F(OutgoingAnswerTest, ShortPiecesShareAChunk) {
    Letters letters;
    letters.len_bytes = 10;
    begin(Framing::kChunked);
    answer_.set_cursor({});
    EXPECT_TRUE(send(&letters).ends_with("\r\n\r\n0104\r\n" + letters.whole() + "\r\n0\r\n\r\n"));
    EXPECT_EQ(letters.asked, 26);
}

TEST_F(OutgoingAnswerTest, APieceThatDoesNotFitIsAskedForAgain) {
    Letters letters;
    letters.count = 2;
    begin(Framing::kChunked);
    answer_.set_cursor({});
    answer_.fill(letters, exchange_);
    EXPECT_EQ(letters.asked, 2);  // the second one did not fit behind the first
    EXPECT_FALSE(answer_.is_made());
    std::string text = send(&letters);
    EXPECT_EQ(letters.asked, 4);  // before and after the first piece was sent
    EXPECT_TRUE(take_answer(text).body == letters.whole());
}

TEST_F(OutgoingAnswerTest, TheAnswerToHeadHasNoBody) {
    for (const bool chunked : {false, true}) {
        Letters letters;
        begin(chunked ? Framing::kChunked : Framing::kLength, 5, true);
        if (chunked) {
            answer_.set_cursor({});
        } else {
            answer_.put_body("hello");
            answer_.set_static("hello");
        }
        EXPECT_TRUE(answer_.is_made());
        EXPECT_TRUE(send(&letters).ends_with("\r\n\r\n"));
        EXPECT_EQ(letters.asked, 0);
    }
}

TEST_F(OutgoingAnswerTest, ASilentSourceWritesNoChunk) {
    Silent silent;
    begin(Framing::kChunked);
    answer_.set_cursor({});
    EXPECT_TRUE(send(&silent).ends_with("\r\n\r\n"));
    EXPECT_FALSE(answer_.is_made());
}

TEST_F(OutgoingAnswerTest, InterimBytesGoFirst) {
    FakeStream stream;
    answer_.clear();
    answer_.put_interim("HTTP/1.1 100 Continue\r\n\r\n");
    stream.window = 5;
    EXPECT_FALSE(answer_.send(stream).all);
    EXPECT_EQ(stream.output, "HTTP/");
    answer_.begin({.status = 204, .content_type = {}}, Framing::kLength, 0, {.keep_alive = true},
                  false);
    EXPECT_TRUE(send().starts_with("1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n"));
}

}  // namespace
}  // namespace bareflow::http
