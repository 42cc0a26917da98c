// The mode --encode: see the header. Every error is one line on standard error and exit code 1.
#include "appliance/hosted/encode_mode.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "llama/file/gguf.h"
#include "llama/text/stream_decoder.h"
#include "llama/text/tokenizer.h"

namespace bareflow {
namespace {

constexpr size_t kReadBytes = 1 << 16;

bool read_all(std::FILE *file, std::string &out) {
    char part[kReadBytes];
    while (const size_t count = std::fread(part, 1, sizeof part, file)) {
        out.append(part, count);
    }
    return std::ferror(file) == 0;
}

int digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool from_hex(std::string_view line, std::string &out) {
    out.clear();
    if (line == "-") {
        return true;
    }
    for (size_t i = 0; i + 1 < line.size(); i += 2) {
        const int high = digit(line[i]);
        const int low = digit(line[i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out += static_cast<char>(high << 4 | low);
    }
    return line.size() % 2 == 0 && !line.empty();
}

Status run(const llama::Tokenizer &tokenizer, llama::SpecialTokens special,
           std::string_view lines) {
    std::string text;
    std::vector<llama::Token> tokens;
    while (!lines.empty()) {
        const size_t end = std::min(lines.find('\n'), lines.size());
        if (!from_hex({lines.data(), end}, text)) {
            return {ErrorCode::kInvalid, "a line is not made of hexadecimal digits"};
        }
        lines.remove_prefix(end == lines.size() ? end : end + 1);
        tokens.resize(text.size() * 4 + 8);
        BF_ASSIGN(const uint32_t count, tokenizer.encode(text, tokens, special));
        llama::StreamDecoder decoder(tokenizer, llama::StreamDecoder::Start::kText);
        text.clear();
        for (uint32_t i = 0; i < count; ++i) {
            std::printf("%d ", tokens[i]);
            text += decoder.put(tokens[i]);
        }
        text += decoder.finish();
        std::printf("=%s", text.empty() ? " -" : " ");
        for (const char c : text) {
            std::printf("%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
        }
        std::printf("\n");
    }
    return {};
}

int complain(std::string_view message) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(message.size()), message.data());
    return 1;
}

}  // namespace

bool encode_mode_wanted(int argc, char **argv) {
    return argc > 1 && std::string_view(argv[1]) == "--encode";
}

int run_encode_mode(int argc, char **argv) {
    const bool special = argc == 4 && std::string_view(argv[3]) == "--parse-special";
    if (argc != 3 && !special) {
        std::fprintf(stderr, "usage: %s --encode FILE [--parse-special] < texts\n", argv[0]);
        return 2;
    }
    std::string bytes;
    std::FILE *model = std::fopen(argv[2], "rb");
    if (model == nullptr || !read_all(model, bytes)) {
        return complain("cannot read the model file");
    }
    std::fclose(model);
    std::string lines;
    if (!read_all(stdin, lines)) {
        return complain("cannot read the texts");
    }
    char detail_text[512];
    TextWriter detail(detail_text);
    auto file = llama::GgufFile::parse(
        {reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size()}, detail);
    if (!file) {
        return complain(detail.view());
    }
    auto tokenizer = llama::Tokenizer::create(*file, detail);
    if (!tokenizer) {
        return complain(detail.view());
    }
    const Status status =
        run(**tokenizer, special ? llama::SpecialTokens::kParsed : llama::SpecialTokens::kAsText,
            lines);
    (*tokenizer)->destroy();
    return status.ok() ? 0 : complain(status.message());
}

}  // namespace bareflow
