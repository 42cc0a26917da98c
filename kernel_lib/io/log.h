// The log: one line per event with the time since the program began, to the consoles:
//
//     [  0.123] model: stories, 94.1 MiB
//
// and the list of boot stages that /profile shows. No allocation. Not for interrupt handlers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/text_writer.h"

namespace bareflow {

// Longer lines are cut.
inline constexpr size_t kLogLineBytes = 240;
inline constexpr size_t kMaxBootStages = 24;

struct BootStage {
    std::string_view name;  // static text
    uint64_t end_us;        // since log_start
    uint64_t duration_us;   // since the stage before
};

// Ticks at which time is zero (platform::ticks()); without it, that of the first line. No stage is
// done yet. Lines written before the clock is calibrated show zero.
void log_start(uint64_t ticks);
// Since log_start.
[[nodiscard]] uint64_t log_time_us();

// `text` as one line; its own line ends are kept, a last one is added.
void log_text(std::string_view text);
// "[  0.123] "
void log_prefix(TextWriter &out, uint64_t time_us);
// The line that log_text writes: prefix, text, line end.
void format_log_line(TextWriter &out, uint64_t time_us, std::string_view text);

template <typename... Args>
void log_line(Args... args) {
    char line[kLogLineBytes];
    TextWriter out(line);
    out.put(args...);
    log_text(out.view());
}

// The stage `name` (static text) ends now: recorded for boot_stages(), and logged with `args`.
// Stages beyond kMaxBootStages are logged only.
void log_stage_done(std::string_view name, std::string_view text);
template <typename... Args>
void log_stage(std::string_view name, Args... args) {
    char line[kLogLineBytes];
    TextWriter out(line);
    out.put(args...);
    log_stage_done(name, out.view());
}
[[nodiscard]] std::span<const BootStage> boot_stages();

}  // namespace bareflow
