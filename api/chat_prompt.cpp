#include "api/chat_prompt.h"

#include <utility>

#include "kernel_lib/platform/platform.h"

namespace bareflow::api {

// Written twice: first to count the bytes, then into memory of that size.
bool write_chat_prompt(const ChatTemplate &chat, std::span<const ChatMessage> messages,
                       JobPrompt &prompt, TextWriter &message, http::ErrorAnswer &error) {
    uint32_t bad = 0;
    PromptWriter size({}, {});
    if (const Status status = render_chat(chat, messages, size, bad); !status) {
        message.put("messages[", bad, "].role");
        const std::string_view field = message.view();
        message.put(status.message());
        error = {400, message.view(), "invalid_value", field};
        return false;
    }
    auto text = Buffer<char>::create(size.size());
    auto controls = Buffer<ControlSpan>::create(size.control_count());
    if (!text || !controls) {
        error = kNoPromptMemory;
        return false;
    }
    prompt.text = std::move(*text);
    prompt.controls = std::move(*controls);
    PromptWriter writer(prompt.text.span(), prompt.controls.span());
    if (!render_chat(chat, messages, writer, bad)) {
        platform::panic("http: messages that could be written, and then not");
    }
    prompt.source = {{prompt.text.data(), prompt.text.size()}, prompt.controls.span()};
    return true;
}

}  // namespace bareflow::api
