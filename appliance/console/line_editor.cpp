// Editing one line. The text is UTF-8: the cursor moves by whole characters, and a character is
// taken to be one column wide. What must hold: the cursor on the terminal stands where cursor_ says
// after every feed(), so that redrawing needs "\b" and blanks only.
#include "appliance/console/line_editor.h"

#include <algorithm>

#include "kernel_lib/runtime.h"

namespace bareflow {
namespace {

constexpr int kIgnored = -1;
constexpr int kEscapeByte = 27;
constexpr int kDelete = 127;

constexpr int control(char letter) {
    return letter & 0x1f;
}
constexpr bool is_continuation(char byte) {
    return (byte & 0xc0) == 0x80;
}

}  // namespace

size_t LineEditor::columns(size_t from, size_t to) const {
    return static_cast<size_t>(std::count_if(text_.begin() + static_cast<long>(from),
                                             text_.begin() + static_cast<long>(to),
                                             [](char byte) { return !is_continuation(byte); }));
}

void LineEditor::redraw_tail(size_t from, size_t blanks, TextWriter &echo) {
    echo.put(std::string_view(text_.data() + from, len_ - from));
    for (size_t i = 0; i < blanks; i++) {
        echo.put(' ');
    }
    const size_t back = columns(cursor_, len_) + blanks;
    for (size_t i = 0; i < back; i++) {
        echo.put('\b');
    }
}

void LineEditor::insert(uint8_t byte, TextWriter &echo) {
    if (len_ == kMaxLineBytes) {
        return;
    }
    std::copy_backward(text_.begin() + static_cast<long>(cursor_),
                       text_.begin() + static_cast<long>(len_),
                       text_.begin() + static_cast<long>(len_) + 1);
    text_[cursor_] = static_cast<char>(byte);
    len_++;
    cursor_++;
    redraw_tail(cursor_ - 1, 0, echo);
}

void LineEditor::erase_left(TextWriter &echo) {
    if (cursor_ == 0) {
        return;
    }
    move_left(echo);
    erase_right(echo);
}

void LineEditor::erase_right(TextWriter &echo) {
    if (cursor_ == len_) {
        return;
    }
    size_t next = cursor_ + 1;
    while (next < len_ && is_continuation(text_[next])) {
        next++;
    }
    std::copy(text_.begin() + static_cast<long>(next), text_.begin() + static_cast<long>(len_),
              text_.begin() + static_cast<long>(cursor_));
    len_ -= next - cursor_;
    redraw_tail(cursor_, 1, echo);
}

void LineEditor::move_left(TextWriter &echo) {
    if (cursor_ == 0) {
        return;
    }
    do {
        cursor_--;
    } while (cursor_ > 0 && is_continuation(text_[cursor_]));
    echo.put('\b');
}

void LineEditor::move_right(TextWriter &echo) {
    if (cursor_ == len_) {
        return;
    }
    const size_t from = cursor_;
    do {
        cursor_++;
    } while (cursor_ < len_ && is_continuation(text_[cursor_]));
    echo.put(std::string_view(text_.data() + from, cursor_ - from));
}

void LineEditor::replace(std::string_view text, TextWriter &echo) {
    const size_t shown = columns(0, len_);
    while (cursor_ > 0) {
        move_left(echo);
    }
    len_ = std::min(text.size(), kMaxLineBytes);
    std::copy_n(text.begin(), len_, text_.begin());
    const size_t now = columns(0, len_);
    redraw_tail(0, shown > now ? shown - now : 0, echo);
    while (cursor_ < len_) {
        move_right(echo);
    }
}

void LineEditor::recall(int step, TextWriter &echo) {
    const size_t kept = std::min(history_count_, kHistoryLines);
    if ((step > 0 && recalled_ == kept) || (step < 0 && recalled_ == 0)) {
        return;
    }
    recalled_ = step > 0 ? recalled_ + 1 : recalled_ - 1;
    if (recalled_ == 0) {
        replace({}, echo);
        return;
    }
    const Remembered &line = history_[(history_count_ - recalled_) % kHistoryLines];
    replace({line.text.data(), line.len}, echo);
}

void LineEditor::remember() {
    entered_ = text_;
    entered_len_ = len_;
    if (len_ > 0) {
        Remembered &slot = history_[history_count_ % kHistoryLines];
        slot.text = text_;
        slot.len = len_;
        history_count_++;
    }
    len_ = 0;
    cursor_ = 0;
    recalled_ = 0;
}

// Recognises the cursor keys of ECMA-48: ESC [ A..D, ESC [ H, ESC [ F and ESC [ 3 ~. Other escape
// sequences are dropped.
int LineEditor::decode_escape(int key) {
    switch (escape_) {
        case Escape::kNone:
            if (key != kEscapeByte) {
                return key;
            }
            escape_ = Escape::kSeen;
            return kIgnored;
        case Escape::kSeen:
            escape_ = key == '[' || key == 'O' ? Escape::kBracket : Escape::kNone;
            escape_number_ = 0;
            // The escape key alone, then an ordinary key.
            return escape_ == Escape::kNone && key != kEscapeByte ? key : kIgnored;
        case Escape::kBracket:
        case Escape::kNumber:
            if (key >= '0' && key <= '9') {
                escape_ = Escape::kNumber;
                escape_number_ = std::min(escape_number_ * 10 + (key - '0'), 1000);
                return kIgnored;
            }
            if (key == ';') {
                return kIgnored;
            }
            escape_ = Escape::kNone;
            switch (key) {
                case 'A':
                    return KEY_UP;
                case 'B':
                    return KEY_DOWN;
                case 'C':
                    return KEY_RIGHT;
                case 'D':
                    return KEY_LEFT;
                case 'H':
                    return KEY_HOME;
                case 'F':
                    return KEY_END;
                case '~':
                    return escape_number_ == 3 ? KEY_DELETE : kIgnored;
                default:
                    return kIgnored;
            }
    }
    return kIgnored;
}

LineEditor::Event LineEditor::feed(int key, TextWriter &echo) {
    key = decode_escape(key);
    const bool line_end_pair = key == '\n' && last_was_return_;
    last_was_return_ = key == '\r';
    if (line_end_pair) {
        return Event::kNone;
    }
    switch (key) {
        case kIgnored:
            return Event::kNone;
        case '\r':
        case '\n':
            echo.put('\n');
            remember();
            return Event::kLine;
        case control('c'):
            echo.put("^C\n");
            len_ = 0;
            cursor_ = 0;
            recalled_ = 0;
            return Event::kInterrupt;
        case control('u'):
            replace({}, echo);
            return Event::kNone;
        case '\b':
        case kDelete:
            erase_left(echo);
            return Event::kNone;
        case KEY_DELETE:
            erase_right(echo);
            return Event::kNone;
        case KEY_LEFT:
            move_left(echo);
            return Event::kNone;
        case KEY_RIGHT:
            move_right(echo);
            return Event::kNone;
        case KEY_HOME:
        case control('a'):
            while (cursor_ > 0) {
                move_left(echo);
            }
            return Event::kNone;
        case KEY_END:
        case control('e'):
            while (cursor_ < len_) {
                move_right(echo);
            }
            return Event::kNone;
        case KEY_UP:
            recall(1, echo);
            return Event::kNone;
        case KEY_DOWN:
            recall(-1, echo);
            return Event::kNone;
        default:
            if (key >= ' ' && key <= 0xff) {
                insert(static_cast<uint8_t>(key), echo);
            }
            return Event::kNone;
    }
}

}  // namespace bareflow
