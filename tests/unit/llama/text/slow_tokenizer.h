// The tokenizer's algorithms in a form that is neither fast nor incremental: twins for the tests
// and the fuzzer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernel_lib/base/utf8.h"
#include "llama/text/tokenizer.h"

namespace bareflow::llama::testing {

inline std::vector<Token> encode_slowly(const Tokenizer &t, std::string_view text) {
    std::string escaped;
    for (const char c : (t.adds_space_prefix() && !text.empty() ? " " : "") + std::string(text)) {
        escaped += c == ' ' ? "\xE2\x96\x81" : std::string(1, c);
    }
    std::vector<std::string> symbols;
    for (std::string_view rest = escaped; !rest.empty();) {
        const uint32_t len = utf8_decode(rest).len_bytes;
        symbols.emplace_back(rest.substr(0, len));
        rest.remove_prefix(len);
    }
    for (;;) {
        size_t best = symbols.size();
        float best_score = 0;
        for (size_t i = 0; i + 1 < symbols.size(); ++i) {
            const Token token = t.find(symbols[i] + symbols[i + 1]);
            if (token != kNoToken && (best == symbols.size() || t.score(token) > best_score)) {
                best = i;
                best_score = t.score(token);
            }
        }
        if (best == symbols.size()) {
            break;
        }
        symbols[best] += symbols[best + 1];
        symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
    }
    std::vector<Token> out;
    if (t.adds_bos()) {
        out.push_back(t.bos());
    }
    const bool has_bytes =
        t.byte_token(0) != kNoToken;  // in the tests a vocabulary has all of them or none
    bool after_unknown = false;
    for (const std::string &symbol : symbols) {
        const Token token = t.find(symbol);
        if (token != kNoToken) {
            out.push_back(token);
        } else if (has_bytes) {
            for (const char c : symbol) {
                out.push_back(t.byte_token(static_cast<uint8_t>(c)));
            }
        } else if (!after_unknown) {
            out.push_back(t.unknown());
        }
        after_unknown = token == kNoToken;
    }
    if (t.adds_eos()) {
        out.push_back(t.eos());
    }
    return out;
}

// The text of tokens that continue a prompt.
inline std::string decode_slowly(const Tokenizer &t, const std::vector<Token> &tokens) {
    std::string bytes;
    for (const Token token : tokens) {
        char piece[Tokenizer::kMaxPieceBytes];
        bytes.append(piece, t.piece(token, piece));
    }
    std::string out;
    for (std::string_view rest = bytes; !rest.empty();) {
        const Utf8Char c = utf8_decode(rest);
        out += c.valid ? std::string(rest.substr(0, c.len_bytes)) : "\xEF\xBF\xBD";
        rest.remove_prefix(c.len_bytes);
    }
    return out;
}

}  // namespace bareflow::llama::testing
