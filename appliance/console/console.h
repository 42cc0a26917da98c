// The console: what is typed on the serial line or the keyboard is a command or a prompt; a
// prompt's continuation appears as it is made. Knows neither devices nor the engine: ConsoleHost
// joins it.
#pragma once

#include <cstdint>
#include <string_view>

#include "appliance/console/line_editor.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"

namespace bareflow {

class ConsoleHost {
  public:
    virtual void write(std::string_view text) = 0;
    // Begins to continue `text`; the console is told through on_text() and on_finished(). `text` is
    // copied. An error is shown to the person as it is.
    [[nodiscard]] virtual Status begin_prompt(std::string_view text) = 0;
    virtual void cancel_prompt() = 0;
    virtual void write_stats(TextWriter &out) = 0;
    virtual void reboot() = 0;

  protected:
    ~ConsoleHost() = default;
};

class Console {
  public:
    explicit constexpr Console(ConsoleHost &host) : host_(host) {}

    // Shows the sign that it listens. Nothing typed before is taken.
    void start();
    // A byte from the line or a key (LineEditor::feed). While text is made only Ctrl-C counts.
    void feed(int key);

    // From the host, for the prompt begun last.
    void on_text(std::string_view text);
    void on_finished(uint32_t tokens, double tokens_per_second, std::string_view why);

    // Around lines that somebody else writes: the line being typed makes room and comes back.
    void begin_interruption();
    void end_interruption();

    [[nodiscard]] bool generating() const { return generating_; }

  private:
    void enter(std::string_view line);
    void show_sign();

    ConsoleHost &host_;
    LineEditor editor_;
    bool started_ = false;
    bool generating_ = false;
};

}  // namespace bareflow
