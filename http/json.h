// JSON text to events, by RapidJSON's iterative reader: no recursion, no allocation. It is strict:
// one value, the grammar of RFC 8259, valid UTF-8 before and after escapes, limited depth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace bareflow::http {

struct JsonEvent {
    enum class Kind : uint8_t {
        kNull,
        kBool,
        kNumber,
        kString,
        kKey,
        kBeginObject,
        kEndObject,
        kBeginArray,
        kEndArray,
    };
    Kind kind;
    bool boolean = false;
    bool is_integer = false;     // a whole number from 0 to 2^64-1, written without '.' or exponent
    uint64_t integer = 0;        // when is_integer
    double number = 0;           // of any kNumber
    std::string_view text = {};  // kString, kKey: points into the parsed text
};

class JsonHandler {
  public:
    // False ends the parse.
    virtual bool on_event(const JsonEvent &event) = 0;

  protected:
    ~JsonHandler() = default;
};

struct JsonResult {
    bool ok = false;
    bool stopped = false;      // by the handler
    size_t offset_bytes = 0;   // where it went wrong
    std::string_view message;  // static text; empty when ok or stopped
};

inline constexpr uint32_t kMaxJsonDepth = 32;

// Decodes strings in place: `text` is overwritten, and one NUL must follow its end.
[[nodiscard]] JsonResult parse_json(std::span<char> text, JsonHandler &handler);

}  // namespace bareflow::http
