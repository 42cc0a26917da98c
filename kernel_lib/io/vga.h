// The 80x25 text screen: 24 lines that scroll and a status line at the bottom that does not.
//
// Every cell is kept in a copy in ordinary memory and written to the screen only when it changes.
// Screen memory is slow to write and much slower to read, most of all under emulation.
// `Io` is PortIo or a fake with out8. May be called from a fault handler.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/io/vga_regs.h"

namespace bareflow {

// The part without ports.
class VgaScreen {
  public:
    static constexpr size_t kColumns = vga_text::kColumns;
    static constexpr size_t kScrollRows = vga_text::kRows - 1;
    static constexpr size_t kCells = vga_text::kColumns * vga_text::kRows;

    constexpr VgaScreen() = default;

    // Writes all of `memory` (kCells cells): blank, with an empty status line. Borrows it.
    void init(std::span<uint16_t> memory);
    // At the cursor. Understands \n \r \t \b; other control bytes are dropped; bytes over 0x7e
    // print as '?'.
    void write(std::string_view text);
    // Replaces the bottom line; what is too long is cut.
    void set_status(std::string_view text);
    // For the text that follows: foreground 0-15, background 0-7.
    void set_color(uint8_t foreground, uint8_t background);
    // Cell index of the cursor; after the last column of a line, still that column.
    [[nodiscard]] size_t cursor() const;

  private:
    void put(char c);
    void new_line();
    void set_cell(size_t index, uint16_t value);
    [[nodiscard]] uint16_t cell(char c) const;

    static constexpr uint8_t kDefaultAttribute = vga_text::kLightGrey;
    static constexpr uint8_t kStatusAttribute = (vga_text::kBlue << 4) | vga_text::kWhite;

    uint16_t *memory_ = nullptr;  // nullptr: not initialised, nothing is written
    std::array<uint16_t, kCells> copy_{};
    size_t row_ = 0;
    size_t column_ = 0;      // kColumns: the next character goes to the next line
    uint8_t attribute_ = 0;  // init() sets it
};

template <typename Io>
class VgaText {
  public:
    constexpr explicit VgaText(Io io = {}) : io_(io) {}

    void init(std::span<uint16_t> memory) {
        screen_.init(memory);
        set_register(vga_text::kCursorStart, 13);  // an underline
        set_register(vga_text::kCursorEnd, 14);
        place_cursor();
        ready_ = true;
    }
    void write(std::string_view text) {
        if (ready_) {
            screen_.write(text);
            place_cursor();
        }
    }
    void set_status(std::string_view text) { screen_.set_status(text); }
    void set_color(uint8_t foreground, uint8_t background) {
        screen_.set_color(foreground, background);
    }

  private:
    void set_register(uint8_t index, uint8_t value) {
        io_.out8(vga_text::kCrtcIndex, index);
        io_.out8(vga_text::kCrtcData, value);
    }
    void place_cursor() {
        const size_t at = screen_.cursor();
        set_register(vga_text::kCursorHigh, static_cast<uint8_t>(at >> 8));
        set_register(vga_text::kCursorLow, static_cast<uint8_t>(at & 0xFF));
    }

    [[no_unique_address]] Io io_;
    bool ready_ = false;
    VgaScreen screen_;
};

}  // namespace bareflow
