// The screen as a grid of cells, with a copy of what it shows. A cell is written only when it
// changes, because writes to the screen's memory are slow.
#include "kernel_lib/io/vga.h"

#include "kernel_lib/platform/platform.h"

namespace bareflow {

void VgaScreen::init(std::span<uint16_t> memory) {
    if (memory.size() != kCells) {
        platform::panic("VgaScreen: the memory is not 80x25 cells");
    }
    memory_ = memory.data();
    row_ = 0;
    column_ = 0;
    attribute_ = kDefaultAttribute;
    // What the screen shows now is unknown: make every cell differ, so that every cell is written.
    for (uint16_t &copy : copy_) {
        copy = 0xFFFF;
    }
    for (size_t i = 0; i < kScrollRows * kColumns; ++i) {
        set_cell(i, cell(' '));
    }
    set_status({});
}

void VgaScreen::write(std::string_view text) {
    if (memory_ == nullptr) {
        return;
    }
    for (const char c : text) {
        put(c);
    }
}

size_t VgaScreen::cursor() const {
    return row_ * kColumns + (column_ < kColumns ? column_ : kColumns - 1);
}

void VgaScreen::put(char c) {
    switch (c) {
        case '\n':
            new_line();
            return;
        case '\r':
            column_ = 0;
            return;
        case '\t':
            do {
                put(' ');
            } while (column_ % 8 != 0);
            return;
        case '\b':
            if (column_ > 0) {
                --column_;
            } else if (row_ > 0) {
                --row_;  // back over the end of a line that was wrapped
                column_ = kColumns - 1;
            }
            return;
        default:
            break;
    }
    if (static_cast<uint8_t>(c) < 0x20) {
        return;
    }
    if (column_ == kColumns) {
        new_line();
    }
    set_cell(cursor(), cell(c));
    ++column_;
}

void VgaScreen::new_line() {
    column_ = 0;
    if (row_ + 1 < kScrollRows) {
        ++row_;
        return;
    }
    constexpr size_t kLast = (kScrollRows - 1) * kColumns;
    for (size_t i = 0; i < kLast; ++i) {
        set_cell(i, copy_[i + kColumns]);
    }
    for (size_t i = 0; i < kColumns; ++i) {
        set_cell(kLast + i, cell(' '));
    }
}

void VgaScreen::set_status(std::string_view text) {
    if (memory_ == nullptr) {
        return;
    }
    for (size_t i = 0; i < kColumns; ++i) {
        const char c = i < text.size() ? text[i] : ' ';
        const auto byte = static_cast<uint8_t>(c);
        const uint8_t shown = byte < 0x20 ? ' ' : byte > 0x7E ? '?' : byte;
        set_cell(kScrollRows * kColumns + i, static_cast<uint16_t>(kStatusAttribute << 8 | shown));
    }
}

void VgaScreen::set_color(uint8_t foreground, uint8_t background) {
    attribute_ = static_cast<uint8_t>((background & 7) << 4 | (foreground & 15));
}

void VgaScreen::set_cell(size_t index, uint16_t value) {
    if (copy_[index] != value) {
        copy_[index] = value;
        // Volatile: nobody on our side reads it.
        static_cast<volatile uint16_t *>(memory_)[index] = value;
    }
}

uint16_t VgaScreen::cell(char c) const {
    const auto byte = static_cast<uint8_t>(c);
    return static_cast<uint16_t>(attribute_ << 8 | (byte > 0x7E ? '?' : byte));
}

}  // namespace bareflow
