#include "kernel_lib/io/progress.h"

#include "kernel_lib/io/console.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow {

namespace {

constexpr uint64_t kNoPercent = 101;

}  // namespace

uint64_t progress_parts(uint64_t done, uint64_t total, uint64_t parts) {
    if (done >= total) {
        return parts;
    }
    return static_cast<uint64_t>(static_cast<unsigned __int128>(done) * parts / total);
}

void GrowingBar::update(uint64_t done, TextWriter &out) {
    if (!begun_) {
        begun_ = true;
        out.append('[');
    }
    for (const uint64_t now = progress_parts(done, total_, kWidth); shown_ < now; ++shown_) {
        out.append('#');
    }
    if (shown_ == kWidth && !complete_) {
        complete_ = true;
        out.append(']');
    }
}

void format_progress(TextWriter &out, std::string_view what, uint64_t done_bytes,
                     uint64_t total_bytes, uint64_t width) {
    const uint64_t filled = progress_parts(done_bytes, total_bytes, width);
    out.put(what, " [");
    for (uint64_t i = 0; i < width; ++i) {
        out.append(i < filled ? '#' : '.');
    }
    out.put("] ", Padded{progress_parts(done_bytes, total_bytes, 100), 3}, "%  ", Bytes{done_bytes},
            " of ", Bytes{total_bytes});
}

LoadProgress::LoadProgress(std::string_view what, uint64_t total_bytes)
    : what_(what),
      total_bytes_(total_bytes),
      start_us_(log_time_us()),
      percent_shown_(kNoPercent),
      bar_(total_bytes) {
    char text[kLogLineBytes];
    TextWriter out(text);
    log_prefix(out, start_us_);
    out.put("loading ", what, ", ", Bytes{total_bytes}, " ");
    platform::console_write(out.view());
    update(0);
}

void LoadProgress::update(uint64_t done_bytes) {
    char text[kLogLineBytes];
    TextWriter out(text);
    bar_.update(done_bytes, out);
    if (out.size() != 0) {
        platform::console_write(out.view());
    }
    const uint64_t percent = progress_parts(done_bytes, total_bytes_, 100);
    if (percent != percent_shown_) {
        percent_shown_ = percent;
        constexpr uint64_t kStatusBarWidth = 20;
        out.clear();
        format_progress(out, what_, done_bytes, total_bytes_, kStatusBarWidth);
        console_set_status(out.view());
    }
}

void LoadProgress::finish(std::string_view failure) {
    char text[kLogLineBytes];
    TextWriter out(text);
    const uint64_t took_us = log_time_us() - start_us_;
    if (!failure.empty()) {
        out.put(bar_.complete() ? " " : "! ", failure);
    } else if (took_us != 0) {
        constexpr uint64_t kMicrosPerSecond = 1'000'000;
        const uint64_t rate = scale(total_bytes_, kMicrosPerSecond, took_us);
        out.put(' ', Bytes{rate}, "/s");
    }
    out.append('\n');
    platform::console_write(out.view());
    console_set_status({});
}

}  // namespace bareflow
