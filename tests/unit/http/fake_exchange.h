// An exchange without a connection: a request that the test sets, and what a handler answered.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "http/exchange.h"

namespace bareflow::http {

class FakeExchange final : public Exchange {
  public:
    Request asked;
    int answers = 0;
    uint16_t status = 0;
    std::string content_type;
    std::string extra_headers;
    std::string body;
    AnswerSource *source = nullptr;  // of a streamed or deferred answer
    Cursor cursor;
    uint64_t len_bytes = 0;  // of a streamed answer, as the handler said
    bool deferred = false;

    FakeExchange() = default;
    FakeExchange(Method method, std::string_view path) {
        asked.method = method;
        asked.path = path;
    }

    [[nodiscard]] const Request &request() const override { return asked; }
    void respond(const ResponseHead &head, std::string_view text) override {
        EXPECT_LE(text.size(), kMaxInlineBytes);
        respond_static(head, text);
    }
    void respond_static(const ResponseHead &head, std::string_view text) override {
        take(head);
        body = text;
    }
    void respond_stream(const ResponseHead &head, AnswerSource &from, Cursor start, OnHangUp,
                        uint64_t length) override {
        take(head);
        source = &from;
        cursor = start;
        len_bytes = length;
    }
    void defer(AnswerSource &from) override {
        source = &from;
        deferred = true;
    }

  private:
    void take(const ResponseHead &head) {
        ++answers;
        status = head.status;
        content_type = head.content_type;
        extra_headers = head.extra_headers;
    }
};

}  // namespace bareflow::http
