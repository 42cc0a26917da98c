// The body of POST /v1/completions, checked: every field has its type and range, and an error names
// the field. Fields that nobody knows are ignored; known ones whose effect this program does not
// have (echo, logprobs, penalties...) are refused unless they ask for nothing.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "http/exchange.h"
#include "kernel_lib/base/text_writer.h"

namespace bareflow::http {

struct CompletionRequest {
    static constexpr size_t kMaxStops = 4;
    static constexpr size_t kMaxStopBytes = 64;

    std::string_view prompt;
    uint32_t max_tokens = 16;
    float temperature = 0.8f;
    float top_p = 0.95f;
    uint32_t top_k = 40;
    bool has_seed = false;
    uint64_t seed = 0;
    bool stream = false;
    std::array<std::string_view, kMaxStops> stops;
    uint32_t stop_count = 0;
};

struct CompletionLimits {
    std::string_view model_id;
    uint32_t max_tokens = 0;  // the most that a request may ask for: the context, or less
};

// Texts in `out` point into `body`, which is overwritten (one NUL must follow its end). False: what
// was wrong is in `error`, its message in `message`'s buffer.
[[nodiscard]] bool parse_completion_request(std::span<char> body, const CompletionLimits &limits,
                                            CompletionRequest &out, TextWriter &message,
                                            ApiError &error);

}  // namespace bareflow::http
