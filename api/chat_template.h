// Writes messages as the text that a chat model was trained on. A model file brings its format as a
// Jinja template (`tokenizer.chat_template`). The published templates fall into a few families,
// which are recognised by their markers; details in which they differ are recognised too. The text
// is exactly what Jinja would write with add_generation_prompt. Pure functions; nothing allocates.
//
// A user's text must never become a control token. So the prompt comes with the places of the
// control tokens that the template, not a message, has put there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"

namespace bareflow::api {

enum class ChatRole : uint8_t { kSystem, kUser, kAssistant };
[[nodiscard]] std::string_view chat_role_name(ChatRole role);

struct ChatMessage {
    ChatRole role = ChatRole::kUser;
    std::string_view content;
};

// Where in a prompt the text of one control token stands.
struct ControlSpan {
    uint32_t begin = 0;
    uint32_t len_bytes = 0;
};

// A text that a model continues.
struct PromptText {
    std::string_view text;
    std::span<const ControlSpan> controls;  // in order, not overlapping
};

// Counts bytes and control tokens, and writes those that its buffers have room for. With empty
// buffers it finds out the sizes needed.
class PromptWriter {
  public:
    PromptWriter(std::span<char> text, std::span<ControlSpan> controls)
        : text_(text), controls_(controls) {}

    void put(std::string_view text);
    void control(std::string_view text);
    [[nodiscard]] size_t size() const { return len_; }
    [[nodiscard]] size_t control_count() const { return count_; }

  private:
    std::span<char> text_;
    std::span<ControlSpan> controls_;
    size_t len_ = 0;
    size_t count_ = 0;
};

enum class ChatFamily : uint8_t { kPlain, kChatMl, kLlama2, kLlama3, kZephyr, kGemma, kMistral };

struct ChatTemplate {
    ChatFamily family = ChatFamily::kPlain;
    bool known = true;          // false: the file's template is of no family, ChatML is used
    bool writes_bos = false;    // before the first message
    bool trims = false;         // takes white space off both ends of messages
    bool takes_system = false;  // Llama-2, Mistral: the system's message joins a user's message
    bool system_last = false;   // the user's last one, not the first one
    uint8_t spaces = 0;  // Mistral: blanks before and behind [INST], before [/INST] and the answer
    bool has_default_system = false;  // ChatML: written when no message is of the system
    std::string_view default_system = {};
    std::string_view date = {};  // Llama 3.1 and later; empty: no date
    // Texts of the vocabulary's tokens; empty: none.
    std::string_view bos = {};
    std::string_view eos = {};
};

// `text`: the file's template, empty when it has none. The result points into all three.
[[nodiscard]] ChatTemplate recognise_chat_template(std::string_view text, std::string_view bos,
                                                   std::string_view eos);
[[nodiscard]] std::string_view chat_family_name(ChatFamily family);
// The texts of the control tokens of all families, without bos and eos.
[[nodiscard]] std::span<const std::string_view> chat_control_texts();
// The control token that ends an answer, even if the file does not mark it as an end. Empty: none.
[[nodiscard]] std::string_view chat_turn_end(ChatFamily family);

// kInvalid, with one sentence about the message number `bad_message`: what the template itself
// would refuse (roles that do not alternate, a system message where there is no place for one).
[[nodiscard]] Status render_chat(const ChatTemplate &chat, std::span<const ChatMessage> messages,
                                 PromptWriter &out, uint32_t &bad_message);

}  // namespace bareflow::api
