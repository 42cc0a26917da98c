// One line of typed text, for the serial line and the keyboard alike: insertion, erasing, cursor
// keys, a short history. Pure: bytes and keys in, what to echo out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernel_lib/base/text_writer.h"

namespace bareflow {

class LineEditor {
  public:
    static constexpr size_t kMaxLineBytes = 500;
    static constexpr size_t kHistoryLines = 8;

    enum class Event : uint8_t {
        kNone,
        kLine,       // line() holds what was entered
        kInterrupt,  // Ctrl-C
    };

    // A byte from a terminal (UTF-8, escape sequences for cursor keys, DEL for backspace) or a key
    // of runtime.h (KEY_*). What the terminal must show is appended to `echo`: printable text,
    // "\b" to go left, "\n".
    Event feed(int key, TextWriter &echo);

    // After kLine: the text without its line end; valid until the next feed().
    [[nodiscard]] std::string_view line() const { return {entered_.data(), entered_len_}; }
    // The line being typed, to draw it again after other output. Moves the cursor to its end.
    [[nodiscard]] std::string_view retype() {
        cursor_ = len_;
        return {text_.data(), len_};
    }

    [[nodiscard]] size_t typed_columns() const { return columns(0, len_); }

  private:
    void insert(uint8_t byte, TextWriter &echo);
    void erase_left(TextWriter &echo);
    void erase_right(TextWriter &echo);
    void move_left(TextWriter &echo);
    void move_right(TextWriter &echo);
    void replace(std::string_view text, TextWriter &echo);
    void recall(int step, TextWriter &echo);
    void remember();
    // Shows text_[from..] again and `blanks` empty columns, then moves the terminal's cursor back.
    void redraw_tail(size_t from, size_t blanks, TextWriter &echo);
    [[nodiscard]] size_t columns(size_t from, size_t to) const;
    int decode_escape(int key);

    std::array<char, kMaxLineBytes> text_{};
    size_t len_ = 0;
    size_t cursor_ = 0;  // byte offset, always at the start of a character
    std::array<char, kMaxLineBytes> entered_{};
    size_t entered_len_ = 0;

    struct Remembered {
        std::array<char, kMaxLineBytes> text{};
        size_t len = 0;
    };
    std::array<Remembered, kHistoryLines> history_{};
    size_t history_count_ = 0;  // lines remembered since the start
    size_t recalled_ = 0;       // the line shown now was entered that many lines ago; 0: none

    enum class Escape : uint8_t { kNone, kSeen, kBracket, kNumber };
    Escape escape_ = Escape::kNone;
    int escape_number_ = 0;
    bool last_was_return_ = false;
};

}  // namespace bareflow
