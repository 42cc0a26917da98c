// Text into a caller's buffer: the one formatter for logs, pages and screens. No allocation; what
// does not fit is cut and remembered (`truncated()`), never written past the end.
//
//     char line[120];
//     TextWriter out(line);
//     out.put("loaded ", Bytes{model_bytes}, " in ", Fixed{ms, 1}, " ms");
//     console_write(out.view());
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace bareflow {

// Lower-case hexadecimal, at least `digits` wide, no prefix.
struct Hex {
    uint64_t value;
    int digits = 1;
};
// Decimal with `decimals` digits after the point (0-9), rounded half up. |value| < 2^53; larger,
// NaN and infinities are written as "inf", "-inf", "nan".
struct Fixed {
    double value;
    int decimals = 1;
};
// Binary units with one decimal: "94.1 MiB"; below 1 KiB: "512 B".
struct Bytes {
    uint64_t value;
};
// Right-aligned in `width` columns, filled with blanks or `fill`.
struct Padded {
    uint64_t value;
    int width;
    char fill = ' ';
};
// As a JSON string, quotes included; control characters and invalid UTF-8 (as U+FFFD) escaped.
struct JsonString {
    std::string_view value;
};

class TextWriter {
  public:
    constexpr explicit TextWriter(std::span<char> buffer) : buffer_(buffer) {}

    template <typename... Args>
    TextWriter &put(Args... args) {
        (append(args), ...);
        return *this;
    }

    void append(std::string_view text);
    void append(const char *text);
    void append(char c);
    void append(bool value) { append(value ? "true" : "false"); }
    void append(std::unsigned_integral auto value) { append_unsigned(value); }
    void append(std::signed_integral auto value) { append_signed(value); }
    void append(Hex value);
    void append(Fixed value);
    void append(Bytes value);
    void append(Padded value);
    void append(JsonString value);

    [[nodiscard]] std::string_view view() const { return {buffer_.data(), len_}; }
    [[nodiscard]] size_t size() const { return len_; }
    [[nodiscard]] size_t remaining() const { return buffer_.size() - len_; }
    [[nodiscard]] bool truncated() const { return truncated_; }
    void clear() {
        len_ = 0;
        truncated_ = false;
    }

  private:
    void append_unsigned(uint64_t value);
    void append_signed(int64_t value);

    std::span<char> buffer_;
    size_t len_ = 0;
    bool truncated_ = false;
};

}  // namespace bareflow
