#include "kernel_lib/io/log.h"

#include <array>

#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow {

namespace {

struct Log {
    bool started = false;
    uint64_t start_ticks = 0;
    std::array<BootStage, kMaxBootStages> stages{};
    size_t stage_count = 0;
};
constinit Log log_state;

}  // namespace

void log_start(uint64_t ticks) {
    log_state = {.started = true, .start_ticks = ticks};
}

uint64_t log_time_us() {
    const uint64_t now = platform::ticks();
    if (!log_state.started) {
        log_start(now);
    }
    return ticks_to_us(now - log_state.start_ticks);
}

void log_prefix(TextWriter &out, uint64_t time_us) {
    const uint64_t ms = time_us / 1000;
    out.put('[', Padded{ms / 1000, 3}, '.', Padded{ms % 1000, 3, '0'}, "] ");
}

void format_log_line(TextWriter &out, uint64_t time_us, std::string_view text) {
    log_prefix(out, time_us);
    out.put(text, '\n');
}

void log_text(std::string_view text) {
    // Prefix and line end beside the text; a cut line keeps its line end.
    char line[kLogLineBytes + 32];
    TextWriter out(line);
    format_log_line(out, log_time_us(), text.substr(0, kLogLineBytes));
    platform::console_write(out.view());
}

void log_stage_done(std::string_view name, std::string_view text) {
    const uint64_t now_us = log_time_us();
    if (log_state.stage_count < kMaxBootStages) {
        const uint64_t before_us =
            log_state.stage_count == 0 ? 0 : log_state.stages[log_state.stage_count - 1].end_us;
        log_state.stages[log_state.stage_count++] = {name, now_us, now_us - before_us};
    }
    char line[kLogLineBytes + 32];
    TextWriter out(line);
    out.put(name, ": ", text);
    log_text(out.view());
}

std::span<const BootStage> boot_stages() {
    return std::span(log_state.stages).first(log_state.stage_count);
}

}  // namespace bareflow
