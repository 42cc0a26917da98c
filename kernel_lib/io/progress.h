// Progress of a long load, shown twice. A bar grows inside one log line. It has no control
// characters and at most 24 '#', so it is right for a serial line, a file and a screen alike. The
// status line shows a line of figures.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernel_lib/base/text_writer.h"

namespace bareflow {

// Computes what the bar grows by; pure.
class GrowingBar {
  public:
    static constexpr uint64_t kWidth = 24;  // with time, name, size and speed: eighty columns

    constexpr explicit GrowingBar(uint64_t total) : total_(total) {}
    // Appends '[' the first time, a '#' for each further 24th of the total, and ']' when it is
    // reached; nothing when nothing is new. Going backwards changes nothing.
    void update(uint64_t done, TextWriter &out);
    [[nodiscard]] bool complete() const { return complete_; }

  private:
    uint64_t total_;
    uint64_t shown_ = 0;
    bool begun_ = false;
    bool complete_ = false;
};

// "what [#####.....]  52%  49.1 MiB of 94.1 MiB"; the bar is `width` wide.
void format_progress(TextWriter &out, std::string_view what, uint64_t done_bytes,
                     uint64_t total_bytes, uint64_t width);
// done of total in `parts`, rounded down; no overflow. A total of 0 counts as reached.
[[nodiscard]] uint64_t progress_parts(uint64_t done, uint64_t total, uint64_t parts);

// Both, on the consoles.
class LoadProgress {
  public:
    // Begins the log line. `what` is borrowed.
    LoadProgress(std::string_view what, uint64_t total_bytes);
    // As often as is convenient: prints only what is new.
    void update(uint64_t done_bytes);
    // Ends the line, with the speed when all was loaded, else with `failure` (static text).
    void finish(std::string_view failure = {});

  private:
    std::string_view what_;
    uint64_t total_bytes_;
    uint64_t start_us_;
    uint64_t percent_shown_;
    GrowingBar bar_;
};

}  // namespace bareflow
