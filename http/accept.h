// Content negotiation (RFC 9110 section 12.5.1): which of several offered media types the client
// prefers.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace bareflow::http {

// Index into `offered` ("text/html"...) of the type with the highest quality in `accept`; among
// equals the one that is named most exactly, then the first offered. The result is `fallback` when
// the header is empty, matches nothing, or matches by "*/*" alone.
[[nodiscard]] size_t negotiate(std::string_view accept, std::span<const std::string_view> offered,
                               size_t fallback);

}  // namespace bareflow::http
