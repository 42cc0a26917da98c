#include "appliance/hosted/render_chat_mode.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/chat_template.h"
#include "api/completion_request.h"
#include "kernel_lib/base/text_writer.h"

namespace bareflow {
namespace {

constexpr size_t kReadBytes = 1 << 16;
constexpr uint32_t kMaxTokens = 1 << 20;

bool read_all(std::FILE *file, std::string &out) {
    char part[kReadBytes];
    while (const size_t count = std::fread(part, 1, sizeof part, file)) {
        out.append(part, count);
    }
    return std::ferror(file) == 0;
}

void print(const char *before, std::string_view text) {
    std::printf("%s%.*s\n", before, static_cast<int>(text.size()), text.data());
}

void render_line(const api::ChatTemplate &chat, std::string body) {
    static std::array<api::ChatMessage, api::CompletionLimits::kMaxMessages> messages;
    char buffer[512];
    TextWriter message(buffer);
    http::ErrorAnswer error{};
    api::CompletionRequest request;
    const api::CompletionLimits limits{
        .model_id = {}, .max_tokens = kMaxTokens, .messages = messages};
    if (!parse_completion_request({body.data(), body.size()}, limits, request, message, error)) {
        print("! ", error.message);
        return;
    }
    const auto given = std::span(messages).first(request.message_count);
    api::PromptWriter size({}, {});
    uint32_t bad = 0;
    if (const Status status = render_chat(chat, given, size, bad); !status) {
        message.clear();
        message.put("messages[", bad, "].role", status.message());
        print("! ", message.view());
        return;
    }
    std::string prompt(size.size(), '\0');
    std::vector<api::ControlSpan> controls(size.control_count());
    api::PromptWriter writer(prompt, controls);
    (void)render_chat(chat, given, writer, bad);
    std::string quoted(prompt.size() * 6 + 16, '\0');
    TextWriter out(quoted);
    out.put(JsonString{prompt});
    print("", out.view());
}

}  // namespace

bool render_chat_mode_wanted(int argc, char **argv) {
    return argc > 1 && std::string_view(argv[1]) == "--render-chat";
}

int run_render_chat_mode(int argc, char **argv) {
    if (argc != 5) {
        std::fprintf(stderr, "usage: %s --render-chat TEMPLATE_FILE BOS EOS < requests\n", argv[0]);
        return 2;
    }
    std::string text;
    std::string lines;
    std::FILE *const file = std::fopen(argv[2], "rb");
    const bool good = file != nullptr && read_all(file, text) && read_all(stdin, lines);
    if (file != nullptr) {
        std::fclose(file);
    }
    if (!good) {
        std::fprintf(stderr, "cannot read %s\n", argv[2]);
        return 1;
    }
    const api::ChatTemplate chat = api::recognise_chat_template(text, argv[3], argv[4]);
    const std::string_view name = api::chat_family_name(chat.family);
    std::fprintf(stderr, "%s%.*s\n", chat.known ? "" : "unknown, taken for ",
                 static_cast<int>(name.size()), name.data());
    for (size_t at = 0; at < lines.size();) {
        const size_t end = std::min(lines.find('\n', at), lines.size());
        render_line(chat, lines.substr(at, end - at));
        at = end + 1;
    }
    return 0;
}

}  // namespace bareflow
