// Byte-level BPE in its plainest form, and small vocabularies for it: for the tests and the fuzzer.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "llama/text/tokenizer.h"
#include "tests/unit/llama/file/gguf_builder.h"
#include "tests/unit/llama/text/slow_pre_tokenizer.h"

namespace bareflow::llama::testing {

inline constexpr const char *kPreNames[] = {"default", "gpt-2", "llama-bpe", "smollm", "qwen2"};

// How a byte is written in the vocabulary. The table is made as its inventors describe it.
inline std::string written_byte(uint8_t wanted) {
    uint32_t moved = 0x100;
    for (uint32_t byte = 0; byte < 256; ++byte) {
        const bool itself = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) ||
                            (byte >= 0xAE && byte <= 0xFF);
        const uint32_t c = itself ? byte : moved++;
        if (byte == wanted) {
            return c < 0x80 ? std::string(1, static_cast<char>(c))
                            : std::string{static_cast<char>(0xC0 | c >> 6),
                                          static_cast<char>(0x80 | (c & 63))};
        }
    }
    abort();
}

inline std::string written(std::string_view bytes) {
    std::string out;
    for (const char byte : bytes) {
        out += written_byte(static_cast<uint8_t>(byte));
    }
    return out;
}

struct ByteVocabulary {
    std::string pre = "gpt-2";
    std::vector<std::pair<std::string, std::string>> merges = {};  // of plain bytes, in order
    std::vector<std::string> control = {"<|end|>", "<|start|>"};
    std::vector<std::string> user_defined = {};
    std::vector<std::string> more = {};  // tokens that no merge makes, of plain bytes
    std::string without = {};            // bytes that have no token

    // The control tokens come first: BOS and EOS is <|end|>.
    void write(GgufBuilder &builder) const {
        std::vector<std::string> texts = control;
        for (uint32_t byte = 0; byte < 256; ++byte) {
            if (without.find(static_cast<char>(byte)) == std::string::npos) {
                texts.push_back(written_byte(static_cast<uint8_t>(byte)));
            }
        }
        std::vector<std::string> lines;
        const auto add = [&](const std::string &text) {
            if (std::ranges::find(texts, text) == texts.end()) {
                texts.push_back(text);
            }
        };
        for (const auto &[left, right] : merges) {
            lines.push_back(written(left) + " " + written(right));
            add(written(left + right));
        }
        for (const std::string &text : more) {
            add(written(text));
        }
        std::vector<int32_t> kinds(texts.size(), 1);
        std::ranges::fill_n(kinds.begin(), static_cast<ptrdiff_t>(control.size()), 3);
        for (const std::string &text : user_defined) {
            texts.push_back(text);
            kinds.push_back(4);
        }
        builder.set("tokenizer.ggml.model", "gpt2");
        builder.set("tokenizer.ggml.pre", pre.c_str());
        builder.set("tokenizer.ggml.tokens", texts);
        builder.set("tokenizer.ggml.token_type", kinds);
        builder.set("tokenizer.ggml.merges", lines);
        builder.set("tokenizer.ggml.bos_token_id", 0u);
        builder.set("tokenizer.ggml.eos_token_id", 0u);
    }
};

// Encodes a text without special tokens, BOS and EOS.
inline std::vector<Token> encode_bytes_slowly(const ByteVocabulary &v, const Tokenizer &t,
                                              std::string_view text) {
    std::vector<Token> out;
    for (const std::string &word : words_slowly(*find_pre_tokenizer(v.pre), text)) {
        if (v.pre == "llama-bpe" && t.find(written(word)) != kNoToken) {
            out.push_back(t.find(written(word)));
            continue;
        }
        std::vector<std::string> symbols;
        for (const char byte : word) {
            if (v.without.find(byte) == std::string::npos) {
                symbols.emplace_back(1, byte);
            }
        }
        for (bool joined = true; joined;) {
            joined = false;
            for (const auto &[left, right] : v.merges) {
                for (size_t i = 0; !joined && i + 1 < symbols.size(); ++i) {
                    if (symbols[i] == left && symbols[i + 1] == right) {
                        symbols[i] += right;
                        symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(i) + 1);
                        joined = true;
                    }
                }
                if (joined) {
                    break;
                }
            }
        }
        for (const std::string &symbol : symbols) {
            out.push_back(t.find(written(symbol)));
        }
    }
    return out;
}

// The same with special tokens: the text is cut at the leftmost one, and there at the longest.
inline std::vector<Token> encode_specials_slowly(const ByteVocabulary &v, const Tokenizer &t,
                                                 std::string_view text, bool control) {
    std::map<std::string, Token> names;
    for (Token token = 0; token < static_cast<Token>(t.vocab_size()); ++token) {
        if (t.kind(token) == TokenKind::kUserDefined ||
            (control && t.kind(token) == TokenKind::kControl)) {
            names[std::string(t.text(token))] = token;
        }
    }
    std::vector<Token> out;
    const auto add = [&](std::string_view part) {
        const std::vector<Token> tokens = encode_bytes_slowly(v, t, part);
        out.insert(out.end(), tokens.begin(), tokens.end());
    };
    size_t begin = 0;
    for (size_t at = 0; at < text.size();) {
        std::string_view longest;
        for (const auto &[name, token] : names) {
            if (!name.empty() && text.substr(at).starts_with(name) &&
                name.size() > longest.size()) {
                longest = name;
            }
        }
        if (longest.empty()) {
            ++at;
            continue;
        }
        add(text.substr(begin, at - begin));
        out.push_back(names[std::string(longest)]);
        at += longest.size();
        begin = at;
    }
    add(text.substr(begin));
    return out;
}

}  // namespace bareflow::llama::testing
