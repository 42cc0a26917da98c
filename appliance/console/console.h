// The console: a line typed on the serial line or the keyboard is a command or a prompt. The text
// that continues a prompt is shown while it is made. The console knows neither devices nor the
// engine: ConsoleHost is its only way to them.
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
    // Starts a text that continues `text`, which is copied. The host reports it by on_text() and
    // on_finished(). The console shows the message of an error unchanged.
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

    // Shows the prompt sign. Keys that were typed before are dropped.
    void start();
    // A byte from the serial line, or a key (LineEditor::feed). While a text is made, only Ctrl-C
    // has an effect.
    void feed(int key);

    // Called by the host, about the prompt that was started last.
    void on_text(std::string_view text);
    void on_finished(uint32_t tokens, double tokens_per_second, std::string_view why);

    // Called before and after lines that others write: the line being typed is removed, then shown
    // again.
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
