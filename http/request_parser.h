// Reads one HTTP/1.1 request from a byte stream, in pieces of any size down to single bytes. llhttp
// (strict mode) does the grammar. This class bounds everything and keeps only what is used: method,
// target, Accept, Expect, framing. It knows no connection and sends nothing.
//
// The head (request line and headers) may take kMaxHeadBytes, else 431. Trailers and chunk framing
// are bounded too. A body goes into the BodyBuffer given.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "http/body_buffer.h"
#include "http/http_types.h"
#include "llhttp.h"

namespace bareflow::http {

class RequestParser {
  public:
    static constexpr size_t kMaxHeadBytes = 16 * 1024;
    static constexpr size_t kMaxTargetBytes = 1024;  // longer: 414
    static constexpr uint32_t kMaxHeaders = 128;     // more: 431

    enum class State : uint8_t {
        kHead,
        kBody,      // the head is complete, the body is not
        kComplete,  // request() may be called; bytes after it were not consumed
        kFailed,    // see status(); the connection cannot carry another request
    };

    explicit RequestParser(BodyBuffer &body) : body_(body) { reset(); }

    // Ready for the next request.
    void reset();
    // Consumes bytes until they end, the request is complete or it failed; returns how many.
    size_t parse(std::span<const char> bytes);

    [[nodiscard]] State state() const { return state_; }
    // Nothing of the next request has arrived.
    [[nodiscard]] bool untouched() const { return message_bytes_ == 0; }
    // The client waits for "100 Continue" before it sends its body.
    [[nodiscard]] bool wants_continue() const {
        return state_ == State::kBody && expect_continue_ && body_.bytes().empty();
    }
    // Of a failed request: 400, 413, 414, 417, 431, 503 or 505, and one sentence (static text).
    [[nodiscard]] uint16_t status() const { return status_; }
    [[nodiscard]] std::string_view message() const { return message_; }

    [[nodiscard]] Request request() const;
    // Whether the connection may carry another request after this one.
    [[nodiscard]] bool keep_alive() const { return keep_alive_; }
    // The answer to HEAD has no body, also when the request failed.
    [[nodiscard]] bool is_head() const { return method_ == Method::kHead; }

  private:
    struct Callbacks;
    template <size_t N>
    struct Text {
        std::array<char, N> bytes;
        size_t len = 0;
        bool overflow = false;
        void clear() {
            len = 0;
            overflow = false;
        }
        void append(std::string_view more);
        [[nodiscard]] std::string_view view() const { return {bytes.data(), len}; }
    };
    enum class Field : uint8_t { kOther, kHost, kAccept, kExpect };

    void fail(uint16_t status, std::string_view message);
    int on_field(std::string_view piece);
    int on_field_end();
    int on_value(std::string_view piece);
    int on_value_end();
    int on_head_end();
    int on_chunk_head();
    int on_body(std::string_view piece);
    int on_end();
    [[nodiscard]] bool split_target();

    BodyBuffer &body_;
    llhttp_t llhttp_;
    State state_;
    Method method_;
    Field field_;
    bool http_1_0_;
    bool keep_alive_;
    bool expect_continue_;
    uint16_t status_;
    uint32_t header_count_;
    uint32_t host_count_;
    size_t head_bytes_;
    size_t message_bytes_;
    std::string_view message_;
    std::string_view path_;
    std::string_view query_;
    Text<kMaxTargetBytes> target_;
    Text<24> field_name_;
    Text<32> expect_;
    Text<512> accept_;
};

}  // namespace bareflow::http
