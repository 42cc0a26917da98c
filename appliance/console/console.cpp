// What a typed line does, and how its text and other output share the terminal. What must hold: at
// most one prompt at a time; while it is answered, keys other than Ctrl-C are dropped.
#include "appliance/console/console.h"

namespace bareflow {
namespace {

constexpr int kControlC = 3;
constexpr std::string_view kSign = "> ";
constexpr std::string_view kHelp =
    "Type a prompt and see how the model goes on; Ctrl-C stops it.\n"
    "  help    this text\n"
    "  stats   what was measured so far\n"
    "  reboot  start the machine again\n";

std::string_view trimmed(std::string_view text) {
    const size_t first = text.find_first_not_of(' ');
    if (first == std::string_view::npos) {
        return {};
    }
    return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

}  // namespace

void Console::show_sign() {
    host_.write(kSign);
}

void Console::start() {
    started_ = true;
    show_sign();
}

void Console::feed(int key) {
    if (!started_) {
        return;
    }
    if (generating_) {
        if (key == kControlC) {
            host_.cancel_prompt();
        }
        return;
    }
    char buffer[4 * LineEditor::kMaxLineBytes];
    TextWriter echo(buffer);
    const LineEditor::Event event = editor_.feed(key, echo);
    if (echo.size() > 0) {
        host_.write(echo.view());
    }
    if (event == LineEditor::Event::kLine) {
        enter(editor_.line());
    } else if (event == LineEditor::Event::kInterrupt) {
        show_sign();
    }
}

void Console::enter(std::string_view line) {
    const std::string_view word = trimmed(line);
    if (word.empty()) {
        show_sign();
    } else if (word == "help") {
        host_.write(kHelp);
        show_sign();
    } else if (word == "stats") {
        char buffer[2048];
        TextWriter out(buffer);
        host_.write_stats(out);
        host_.write(out.view());
        show_sign();
    } else if (word == "reboot") {
        host_.write("rebooting\n");
        host_.reboot();
    } else {
        // on_text() may be called before begin_prompt() returns.
        generating_ = true;
        host_.write(line);
        if (const Status status = host_.begin_prompt(line); !status) {
            generating_ = false;
            host_.write("\n");
            host_.write(status.message());
            host_.write("\n");
            show_sign();
        }
    }
}

void Console::begin_interruption() {
    if (!started_) {
        return;
    }
    if (generating_) {
        host_.write("\n");
        return;
    }
    // Overwrite the sign and the typed text with blanks; then the cursor is in column 0 again.
    char buffer[LineEditor::kMaxLineBytes + 8];
    TextWriter out(buffer);
    out.put('\r');
    for (size_t i = 0; i < kSign.size() + editor_.typed_columns(); i++) {
        out.put(' ');
    }
    out.put('\r');
    host_.write(out.view());
}

void Console::end_interruption() {
    if (started_ && !generating_) {
        show_sign();
        host_.write(editor_.retype());
    }
}

void Console::on_text(std::string_view text) {
    host_.write(text);
}

void Console::on_finished(uint32_t tokens, double tokens_per_second, std::string_view why) {
    if (!generating_) {
        return;
    }
    generating_ = false;
    char buffer[128];
    TextWriter out(buffer);
    out.put("\n[", tokens, " tokens, ", Fixed{tokens_per_second, 1}, " tokens/s, ", why, "]\n");
    host_.write(out.view());
    show_sign();
}

}  // namespace bareflow
