// Reads and checks the bodies of POST /v1/completions and POST /v1/chat/completions. Every field
// has its type and range, and an error names the field. Unknown fields are ignored. Known fields
// whose effect this program does not have (echo, tools...) are refused, unless their value asks for
// nothing.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "api/chat_template.h"
#include "http/exchange.h"
#include "kernel_lib/base/text_writer.h"
#include "llama/engine/engine.h"

namespace bareflow::api {

struct CompletionRequest {
    static constexpr size_t kMaxStops = 4;
    static constexpr size_t kMaxStopBytes = 64;
    static constexpr uint32_t kDefaultTokens = 16;

    std::string_view prompt;     // of a completion
    uint32_t message_count = 0;  // of a chat: messages in CompletionLimits::messages
    uint32_t max_tokens = 0;
    llama::SamplingParams sampling;  // `seed` counts only if has_seed
    bool has_seed = false;
    bool stream = false;
    bool include_usage = false;  // a stream ends with an event of its own for the usage
    std::array<std::string_view, kMaxStops> stops;
    uint32_t stop_count = 0;
};

struct CompletionLimits {
    static constexpr size_t kMaxMessages = 256;

    std::string_view model_id;
    uint32_t max_tokens = 0;  // the most that a request may ask for: the context, or less
    // Room for a chat's messages; empty: the body is a completion's.
    std::span<ChatMessage> messages = {};
    [[nodiscard]] bool chat() const { return !messages.empty(); }
};

// Texts in `out` and the messages point into `body`, which is overwritten (one NUL must follow its
// end). False: what was wrong is in `error`, its message and the field's name in `message`'s
// buffer.
[[nodiscard]] bool parse_completion_request(std::span<char> body, const CompletionLimits &limits,
                                            CompletionRequest &out, TextWriter &message,
                                            http::ErrorAnswer &error);

}  // namespace bareflow::api
