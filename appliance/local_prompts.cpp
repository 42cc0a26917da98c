#include "appliance/local_prompts.h"

#include <algorithm>
#include <optional>

#include "kernel_lib/io/console.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {
namespace {

std::string_view finish_name(api::FinishKind kind) {
    switch (kind) {
        case api::FinishKind::kStop:
            return "stop";
        case api::FinishKind::kLength:
            return "length";
        case api::FinishKind::kCancelled:
            return "cancelled";
        case api::FinishKind::kFailed:
            return "failed";
    }
    return "";
}

}  // namespace

bool LocalPrompts::read_keys() {
    for (int i = 0; i < kMaxKeys; i++) {
        const std::optional<Key> key = console_read();
        if (!key) {
            return false;
        }
        console_.feed(static_cast<int>(*key));
    }
    return true;
}

void LocalPrompts::write(std::string_view text) {
    platform::console_write(text);
}

Status LocalPrompts::begin_prompt(std::string_view text) {
    if (!parts_.health.ok()) {
        const status::Health health = parts_.health.get();
        return {ErrorCode::kNotFound, health.state == status::HealthState::kLoading
                                          ? std::string_view("the model is still being loaded")
                                          : health.message};
    }
    return service_.api()->submit_local(text, std::min(kMaxTokens, parts_.settings.max_tokens),
                                        *this);
}

void LocalPrompts::cancel_prompt() {
    service_.api()->cancel_local();
}

void LocalPrompts::on_text(std::string_view text) {
    console_.on_text(text);
}

void LocalPrompts::on_done(const api::CompletionSummary &summary, std::string_view error) {
    console_.on_finished(summary.completion_tokens, summary.tokens_per_second,
                         error.empty() ? finish_name(summary.finish) : error);
}

void LocalPrompts::on_completion(const api::CompletionSummary &summary) {
    requests_++;
    if (summary.local) {
        return;  // the console shows its own
    }
    console_.begin_interruption();
    log_line("request ", requests_, ": ", summary.prompt_tokens, " + ", summary.completion_tokens,
             " tokens, ", Fixed{summary.prompt_ms, 1}, " + ", Fixed{summary.decode_ms, 1}, " ms, ",
             Fixed{summary.tokens_per_second, 1}, " tokens/s, ", finish_name(summary.finish), ", ",
             summary.cached_tokens, " cached");
    console_.end_interruption();
}

void LocalPrompts::reboot() {
    platform::reboot();
}

}  // namespace bareflow
