// Each family is one line of kFormats: texts in which single control characters stand for the parts
// that vary. write() is the only interpreter of these texts. Details in which templates of a family
// differ are fields of ChatTemplate, found by looking for the words that make the difference.
//
// What must hold: the text is byte for byte what the template would give, and only control() makes
// control tokens.
#include "api/chat_template.h"

#include <algorithm>
#include <cstring>

#include "kernel_lib/base/utf8.h"

namespace bareflow::api {

namespace {

constexpr std::string_view kControlTexts[] = {
    "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>",   "<|user|>",   "<|system|>",          "<|assistant|>",
    "[INST]",       "[/INST]",    "<start_of_turn>",     "<end_of_turn>",
};

constexpr std::string_view kMustAlternate =
    " does not alternate: this model's chat format takes user and assistant messages in turn, the "
    "user's first.";
constexpr std::string_view kNoSystem = " may not be \"system\": this model's chat format has none.";

bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

// The characters that Python's str.strip() removes, and so Jinja's trim filter.
bool is_space(uint32_t c) {
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

std::string_view strip_front(std::string_view text) {
    while (!text.empty()) {
        const Utf8Char character = utf8_decode(text);
        if (!is_space(character.code_point)) {
            break;
        }
        text.remove_prefix(character.len_bytes);
    }
    return text;
}

std::string_view strip_back(std::string_view text) {
    size_t keep = text.size();
    for (size_t at = text.size(); at > 0;) {
        --at;
        if ((static_cast<uint8_t>(text[at]) & 0xc0) == 0x80) {
            continue;
        }
        if (!is_space(utf8_decode(text.substr(at)).code_point)) {
            break;
        }
        keep = at;
    }
    return text.substr(0, keep);
}

std::string_view strip(std::string_view text) {
    return strip_back(strip_front(text));
}

// Whether a message's content goes through the trim filter: content'] | trim, .content|trim ...
bool trims_content(std::string_view text) {
    constexpr std::string_view kWord = "content";
    for (size_t at = text.find(kWord); at != std::string_view::npos;
         at = text.find(kWord, at + 1)) {
        const size_t bar = text.find_first_not_of("'\"] ", at + kWord.size());
        if (bar != std::string_view::npos && text[bar] == '|') {
            const size_t name = text.find_first_not_of(' ', bar + 1);
            if (name != std::string_view::npos && text.substr(name).starts_with("trim")) {
                return true;
            }
        }
    }
    return false;
}

// Finds a text between `before` and `after` that has no quotes, braces or escapes.
bool literal_between(std::string_view text, std::string_view before, std::string_view after,
                     std::string_view &out) {
    for (size_t at = text.find(before); at != std::string_view::npos;
         at = text.find(before, at + 1)) {
        const std::string_view rest = text.substr(at + before.size());
        const size_t end = rest.find(after);
        if (end != std::string_view::npos && !contains(rest.substr(0, end), "'") &&
            rest.substr(0, end).find_first_of("\"{}\\") == std::string_view::npos) {
            out = rest.substr(0, end);
            return true;
        }
    }
    return false;
}

// A blank between a quote and the first `marker`: ' [INST]'.
bool blank_before(std::string_view text, std::string_view marker) {
    const size_t at = text.find(marker);
    return at != std::string_view::npos && at > 0 && text[at - 1] == ' ';
}

void recognise_chat_ml(std::string_view text, ChatTemplate &chat) {
    chat.has_default_system =
        literal_between(text, "<|im_start|>system\\n", "<|im_end|>", chat.default_system) ||
        literal_between(text, "<|im_start|>system\n", "<|im_end|>", chat.default_system);
    chat.writes_bos = contains(text, "bos_token");
}

void recognise_mistral(std::string_view text, ChatTemplate &chat) {
    constexpr std::string_view kBegin = "[INST]";
    chat.takes_system = contains(text, "system_message");
    chat.system_last = contains(text, "loop.last and system_message");
    chat.spaces = static_cast<uint8_t>(
        (blank_before(text, kBegin) ? 1 : 0) | (contains(text, "[INST] ") ? 2 : 0) |
        (blank_before(text, "[/INST]") ? 4 : 0) |
        (contains(text, "' ' + message") || contains(text, "\" \" + message") ? 8 : 0));
}

// How a family writes a chat. In these texts a control token stands between two \1, and
//   \2 bos  \3 eos  \4 the role  \5 the content  \6 another text  \7 a gap
//   \20 and on: a blank if the template has it there (ChatTemplate::spaces, from bit 0).
struct Format {
    const char *begin;
    const char *messages[3];  // by role; nullptr: refused
    const char *end;
    const char *with_system;  // a user's message with the system's, which has no place of its own
    bool alternates;
};
constexpr const char *kChatMlMessage = "\1<|im_start|>\1\4\n\5\1<|im_end|>\1\n";
constexpr const char *kLlama3Message =
    "\1<|start_header_id|>\1\4\1<|end_header_id|>\1\n\n\5\1<|eot_id|>\1";
constexpr const char *kGemmaMessage = "\1<start_of_turn>\1\4\n\5\1<end_of_turn>\1\n";
constexpr Format kFormats[] = {
    {"", {"\7\5", "\7\5", "\7\5"}, "", nullptr, false},
    {"",
     {kChatMlMessage, kChatMlMessage, kChatMlMessage},
     "\1<|im_start|>\1assistant\n",
     nullptr,
     false},
    {"",
     {"", "\2\1[INST]\1 \5 \1[/INST]\1", " \5 \3"},
     "",
     "\2\1[INST]\1 <<SYS>>\n\6\n<</SYS>>\7\5 \1[/INST]\1",
     true},
    {"\2",
     {kLlama3Message, kLlama3Message, kLlama3Message},
     "\1<|start_header_id|>\1assistant\1<|end_header_id|>\1\n\n",
     nullptr,
     false},
    {"",
     {"\1<|system|>\1\n\5\3\n", "\1<|user|>\1\n\5\3\n", "\1<|assistant|>\1\n\5\3\n"},
     "\1<|assistant|>\1\n",
     nullptr,
     false},
    {"\2",
     {kGemmaMessage, kGemmaMessage, kGemmaMessage},
     "\1<start_of_turn>\1model\n",
     nullptr,
     true},
    {"\2",
     {nullptr, "\20\1[INST]\1\21\5\22\1[/INST]\1", "\23\5\3"},
     "",
     "\20\1[INST]\1\21\6\n\n\5\22\1[/INST]\1",
     true},
};
constexpr const char *kDatedSystem =
    "\1<|start_header_id|>\1system\1<|end_header_id|>\1\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: \6\n\n\5\1<|eot_id|>\1";

struct Values {
    std::string_view role = {};
    std::string_view content = {};
    std::string_view other = {};
    std::string_view gap = {};
};

void write(const ChatTemplate &chat, std::string_view format, const Values &values,
           PromptWriter &out) {
    constexpr char kSpaces = '\20';
    bool control = false;
    while (!format.empty()) {
        const char c = format[0];
        size_t len = 1;
        if (c == '\1') {
            control = !control;
        } else if (c == '\2' || c == '\3') {
            out.control(c == '\2' ? chat.bos : chat.eos);
        } else if (c >= '\4' && c <= '\7') {
            const std::string_view texts[] = {values.role, values.content, values.other,
                                              values.gap};
            out.put(texts[c - '\4']);
        } else if (c >= kSpaces && c < kSpaces + 4) {
            out.put((chat.spaces >> (c - kSpaces) & 1) != 0 ? " " : "");
        } else {
            while (len < format.size() && (format[len] >= ' ' || format[len] == '\n')) {
                ++len;
            }
            control ? out.control(format.substr(0, len)) : out.put(format.substr(0, len));
        }
        format.remove_prefix(len);
    }
}

}  // namespace

Status render_chat(const ChatTemplate &chat, std::span<const ChatMessage> messages,
                   PromptWriter &out, uint32_t &bad_message) {
    const Format &format = kFormats[static_cast<size_t>(chat.family)];
    const bool has_system = !messages.empty() && messages[0].role == ChatRole::kSystem;
    const bool strips = chat.trims || chat.family == ChatFamily::kLlama2;
    const auto content = [&](const ChatMessage &message) {
        return chat.trims ? strip(message.content) : message.content;
    };
    size_t first = 0;
    write(chat, chat.writes_bos ? "\2" : format.begin, {}, out);
    if (!chat.date.empty()) {
        first = has_system ? 1 : 0;
        write(
            chat, kDatedSystem,
            {.content = has_system ? content(messages[0]) : std::string_view(), .other = chat.date},
            out);
    } else if (chat.has_default_system && !has_system) {
        write(chat, format.messages[0], {.role = "system", .content = chat.default_system}, out);
    } else if (chat.takes_system && has_system) {
        first = 1;
    }
    const bool joins = first == 1 && format.with_system != nullptr;
    for (size_t i = first; i < messages.size(); ++i) {
        const ChatMessage &message = messages[i];
        const char *text = format.messages[static_cast<size_t>(message.role)];
        bad_message = static_cast<uint32_t>(i);
        // The templates' own rule: the user's messages stand at even places, all others at odd
        // ones.
        if (text == nullptr) {
            return {ErrorCode::kInvalid, kNoSystem};
        }
        if (format.alternates && (message.role == ChatRole::kUser) != ((i - first) % 2 == 0)) {
            return {ErrorCode::kInvalid, i == 0 && has_system ? kNoSystem : kMustAlternate};
        }
        Values values{
            .role = chat.family == ChatFamily::kGemma && message.role == ChatRole::kAssistant
                        ? std::string_view("model")
                        : chat_role_name(message.role),
            .content = strips ? strip(message.content) : message.content,
            .gap = i == 0 ? "" : "\n"};
        if (joins && message.role == ChatRole::kUser &&
            i == (chat.system_last ? messages.size() - 1 : first)) {
            text = format.with_system;
            values.other = content(messages[0]);
            if (chat.family == ChatFamily::kLlama2) {
                // The template strips the frame and the user's text as one. So the front of the
                // user's text, which is in the middle, keeps its white space.
                values.content = strip_back(message.content);
                values.gap = values.content.empty() ? "" : "\n\n";
            }
        }
        write(chat, text, values, out);
    }
    write(chat, format.end, {}, out);
    return {};
}

std::string_view chat_role_name(ChatRole role) {
    return role == ChatRole::kSystem ? "system" : role == ChatRole::kUser ? "user" : "assistant";
}

void PromptWriter::put(std::string_view text) {
    if (len_ < text_.size()) {
        const size_t len = std::min(text.size(), text_.size() - len_);
        std::memcpy(text_.data() + len_, text.data(), len);
    }
    len_ += text.size();
}

void PromptWriter::control(std::string_view text) {
    if (text.empty()) {
        return;
    }
    if (count_ < controls_.size()) {
        controls_[count_] = {static_cast<uint32_t>(len_), static_cast<uint32_t>(text.size())};
    }
    ++count_;
    put(text);
}

ChatTemplate recognise_chat_template(std::string_view text, std::string_view bos,
                                     std::string_view eos) {
    ChatTemplate chat{.bos = bos, .eos = eos};
    if (text.empty()) {
        return chat;
    }
    chat.trims = trims_content(text);
    if (contains(text, "<|im_start|>")) {
        chat.family = ChatFamily::kChatMl;
        recognise_chat_ml(text, chat);
    } else if (contains(text, "<<SYS>>") && contains(text, "[INST]")) {
        chat.family = ChatFamily::kLlama2;
        chat.trims = false;  // the family strips without a filter
        chat.takes_system = true;
    } else if (contains(text, "[INST]")) {
        chat.family = ChatFamily::kMistral;
        recognise_mistral(text, chat);
    } else if (contains(text, "<|start_header_id|>") && contains(text, "<|eot_id|>")) {
        chat.family = ChatFamily::kLlama3;
        if (contains(text, "Cutting Knowledge Date: December 2023") &&
            !literal_between(text, "date_string = \"", "\"", chat.date)) {
            chat.known = false;
        }
    } else if (contains(text, "<start_of_turn>") && !contains(text, "first_user_prefix")) {
        chat.family = ChatFamily::kGemma;
    } else if (contains(text, "<|user|>") && contains(text, "<|assistant|>") &&
               contains(text, "eos_token") && !contains(text, "<|end|>")) {
        chat.family = ChatFamily::kZephyr;
    } else {
        chat.known = false;
    }
    if (!chat.known) {
        return {.family = ChatFamily::kChatMl, .known = false, .bos = bos, .eos = eos};
    }
    return chat;
}

std::string_view chat_family_name(ChatFamily family) {
    constexpr std::string_view kNames[] = {"plain",  "ChatML", "Llama-2", "Llama-3",
                                           "Zephyr", "Gemma",  "Mistral"};
    return kNames[static_cast<size_t>(family)];
}

std::span<const std::string_view> chat_control_texts() {
    return kControlTexts;
}

std::string_view chat_turn_end(ChatFamily family) {
    switch (family) {
        case ChatFamily::kChatMl:
            return "<|im_end|>";
        case ChatFamily::kLlama3:
            return "<|eot_id|>";
        case ChatFamily::kGemma:
            return "<end_of_turn>";
        default:
            return {};
    }
}

}  // namespace bareflow::api
