// Words of HTTP/1.1 that several files here need: methods, reason phrases, content types, and the
// request as handlers see it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace bareflow::http {

enum class Method : uint8_t { kGet, kHead, kPost, kPut, kDelete, kOptions, kPatch, kOther };

constexpr uint8_t method_bit(Method method) {
    return static_cast<uint8_t>(1u << static_cast<uint8_t>(method));
}

// RFC 9110 section 15; only those that are sent. Others read "Unknown".
std::string_view reason_phrase(uint16_t status);

inline constexpr std::string_view kTypeJson = "application/json";
inline constexpr std::string_view kTypeHtml = "text/html; charset=utf-8";
inline constexpr std::string_view kTypeText = "text/plain; charset=utf-8";
inline constexpr std::string_view kTypeEvents = "text/event-stream; charset=utf-8";

// All views point into the connection and are valid inside Handler::handle() only.
struct Request {
    Method method = Method::kOther;
    bool http_1_0 = false;
    std::string_view path;   // without the query; not percent-decoded
    std::string_view query;  // after '?', without it
    std::string_view accept;
    // Writable, so that JSON strings can be decoded in place; one NUL follows its end.
    std::span<char> body;
};

// ASCII only, as HTTP's tokens are.
bool equals_ignoring_case(std::string_view a, std::string_view b);
std::string_view trim(std::string_view text);  // blanks and tabs at both ends

// True when `query` holds `name=value` among its '&'-separated pairs.
bool query_has(std::string_view query, std::string_view name, std::string_view value);

}  // namespace bareflow::http
