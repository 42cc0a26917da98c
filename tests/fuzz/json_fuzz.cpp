// Any text as the body of a completion or chat request: accepted with values inside their ranges,
// or refused with an error that is whole. Messages that were accepted are written in every format.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "api/completion_request.h"
#include "kernel_lib/base/utf8.h"

using namespace bareflow;
using namespace bareflow::api;
using namespace bareflow::http;

namespace {

void require(bool good) {
    if (!good) {
        std::abort();
    }
}

void write_messages(std::span<const ChatMessage> messages) {
    static constexpr std::string_view kTemplates[] = {"",
                                                      "?",
                                                      "<|im_start|>system\\nBe.<|im_end|>",
                                                      "<<SYS>>[INST]",
                                                      "<|start_header_id|><|eot_id|>",
                                                      "<|user|><|assistant|>eos_token",
                                                      "<start_of_turn> content | trim",
                                                      "[INST] system_message"};
    for (const std::string_view text : kTemplates) {
        const ChatTemplate chat = recognise_chat_template(text, "<s>", "</s>");
        uint32_t bad = 0;
        PromptWriter size({}, {});
        if (!render_chat(chat, messages, size, bad)) {
            require(bad < messages.size());
            continue;
        }
        std::string prompt(size.size(), 0);
        std::vector<ControlSpan> controls(size.control_count());
        PromptWriter writer(prompt, controls);
        require(render_chat(chat, messages, writer, bad).ok() && writer.size() == prompt.size() &&
                utf8_valid(prompt));
        size_t end = 0;
        for (const ControlSpan &control : controls) {
            require(control.begin >= end && control.len_bytes > 0);
            end = control.begin + control.len_bytes;
        }
        require(end <= prompt.size());
    }
}

void try_body(const uint8_t *data, size_t size, std::span<ChatMessage> messages) {
    std::string body(reinterpret_cast<const char *>(data), size);
    char text[256];
    TextWriter message(text);
    ErrorAnswer error{};
    CompletionRequest request;
    const CompletionLimits limits{.model_id = "stories", .max_tokens = 512, .messages = messages};
    if (!parse_completion_request({body.data(), body.size()}, limits, request, message, error)) {
        require(error.status == 400 && !error.message.empty() && !error.code.empty() &&
                error.message.starts_with(error.param) && !message.truncated());
        return;
    }
    const llama::SamplingParams &sampling = request.sampling;
    require(request.max_tokens >= 1 && request.max_tokens <= 512 && sampling.temperature >= 0 &&
            sampling.temperature <= 2 && sampling.top_p > 0 && sampling.top_p <= 1 &&
            sampling.min_p >= 0 && sampling.min_p <= 1 && sampling.typical_p > 0 &&
            sampling.typical_p <= 1 && sampling.repeat_penalty > 0 &&
            sampling.repeat_last_n <= llama::SamplingParams::kMaxWindow &&
            sampling.logit_bias_count <= llama::SamplingParams::kMaxBiases &&
            sampling.top_logprobs <= llama::SamplingParams::kMaxLogprobs &&
            request.stop_count <= CompletionRequest::kMaxStops && utf8_valid(request.prompt));
    for (uint32_t i = 0; i < request.stop_count; ++i) {
        require(!request.stops[i].empty() &&
                request.stops[i].size() <= CompletionRequest::kMaxStopBytes &&
                utf8_valid(request.stops[i]));
    }
    require(request.message_count <= messages.size());
    for (const ChatMessage &each : messages.first(request.message_count)) {
        require(utf8_valid(each.content));
    }
    if (!messages.empty()) {
        require(request.message_count >= 1);
        write_messages(messages.first(request.message_count));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static std::array<ChatMessage, 8> messages;
    try_body(data, size, {});
    try_body(data, size, messages);
    return 0;
}
