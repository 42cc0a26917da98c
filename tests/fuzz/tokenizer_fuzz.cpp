// A vocabulary and a text made of any bytes. The tokens must be those of the slow twin, in slices
// of any size, and give the text back. Input: a byte of flags, a byte of slice size, a byte of
// room, then pieces of the vocabulary ended by 0xFE each, 0xFF, and the text. The highest flag:
// byte-level BPE; the pieces then say which symbols are merged ("u..." and "c...": user-defined and
// control tokens).
#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "kernel_lib/base/utf8.h"
#include "llama/text/encoder.h"
#include "llama/text/stream_decoder.h"
#include "llama/text/tokenizer.h"
#include "tests/unit/llama/file/gguf_builder.h"
#include "tests/unit/llama/text/slow_byte_tokenizer.h"
#include "tests/unit/llama/text/slow_tokenizer.h"

namespace {

using namespace bareflow;
using namespace bareflow::llama;

constexpr size_t kMaxPieces = 40;
constexpr size_t kMaxText = 300;

void require(bool condition) {
    if (!condition) {
        abort();
    }
}

std::string decode(const Tokenizer &tokenizer, const std::vector<Token> &tokens,
                   StreamDecoder::Start start) {
    StreamDecoder decoder(tokenizer, start);
    std::string out;
    for (const Token token : tokens) {
        const std::string_view part = decoder.put(token);
        require(utf8_valid(part));
        out += part;
    }
    return out + std::string(decoder.finish());
}

void check(const Tokenizer &tokenizer, std::string_view text, uint32_t slice, size_t room) {
    const std::vector<Token> expected = llama::testing::encode_slowly(tokenizer, text);
    std::vector<Token> out(expected.size());
    Encoder encoder(tokenizer, text, out);
    while (!encoder.done()) {
        require(bool(encoder.advance(slice)));
    }
    require(encoder.count() == expected.size() && out == expected);

    std::vector<Token> few(room);
    auto count = tokenizer.encode(text, few);
    require(bool(count) == (room >= expected.size()));

    require(decode(tokenizer, out, StreamDecoder::Start::kContinuation) ==
            llama::testing::decode_slowly(tokenizer, out));
    const std::string space = "\xE2\x96\x81";
    if (utf8_valid(text) && text.find(space) == text.npos && tokenizer.find(space) != kNoToken &&
        tokenizer.byte_token(0) != kNoToken && tokenizer.adds_space_prefix()) {
        require(decode(tokenizer, out, StreamDecoder::Start::kText) == text);
    }
}

// Makes a tokenizer of the builder's file and passes it to `use`; the file may be refused.
template <typename Use>
void with_tokenizer(const llama::testing::GgufBuilder &builder, Use use) {
    const llama::testing::FileBytes bytes = builder.file();
    char detail_text[300];
    TextWriter detail(detail_text);
    auto file = GgufFile::parse(bytes.span(), detail);
    require(bool(file));
    auto tokenizer = Tokenizer::create(*file, detail);
    require(tokenizer || !detail.view().empty());
    if (tokenizer) {
        use(**tokenizer);
        (*tokenizer)->destroy();
    }
}

llama::testing::ByteVocabulary byte_vocabulary(const std::vector<std::string> &pieces,
                                               uint8_t flags) {
    llama::testing::ByteVocabulary out;
    out.pre = llama::testing::kPreNames[(flags >> 2 & 31) % 5];
    if ((flags & 1) != 0) {
        out.without = "b\xFF\xE2";
    }
    std::vector<std::string> symbols;
    for (uint32_t byte = 0; byte < 256; ++byte) {
        if (out.without.find(static_cast<char>(byte)) == std::string::npos) {
            symbols.emplace_back(1, static_cast<char>(byte));
        }
    }
    for (const std::string &piece : pieces) {
        if (piece.starts_with('u') && utf8_valid(piece)) {
            out.user_defined.push_back(piece.substr(1));
        } else if (piece.starts_with('c') && utf8_valid(piece)) {
            out.control.push_back(piece.substr(1));
        } else if (piece.size() >= 2) {
            // The first two bytes choose among the symbols, the newest ones with high numbers.
            const auto pick = [&](char byte) {
                const size_t number = static_cast<uint8_t>(byte);
                return number < 128 ? symbols[number % symbols.size()]
                                    : symbols[symbols.size() - 1 - (number - 128)];
            };
            const std::pair<std::string, std::string> merge = {pick(piece[0]), pick(piece[1])};
            if (merge.first.size() + merge.second.size() <= 32 &&
                std::ranges::find(out.merges, merge) == out.merges.end()) {
                out.merges.push_back(merge);
                symbols.push_back(merge.first + merge.second);
            }
        }
    }
    return out;
}

void check_bytes(const llama::testing::ByteVocabulary &vocabulary, const Tokenizer &tokenizer,
                 std::string_view text, uint32_t slice, size_t room, bool control) {
    const std::vector<Token> expected =
        llama::testing::encode_specials_slowly(vocabulary, tokenizer, text, control);
    const SpecialTokens special = control ? SpecialTokens::kParsed : SpecialTokens::kAsText;
    std::vector<Token> out(expected.size());
    Encoder encoder(tokenizer, text, out, special);
    while (!encoder.done()) {
        require(bool(encoder.advance(slice)));
    }
    require(encoder.count() == expected.size() && out == expected);

    std::vector<Token> few(room);
    require(bool(tokenizer.encode(text, few, special)) == (room >= expected.size()));

    const std::string back = decode(tokenizer, out, StreamDecoder::Start::kText);
    require(back == llama::testing::decode_slowly(tokenizer, out));
    require(control || !vocabulary.without.empty() || !utf8_valid(text) || back == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3) {
        return 0;
    }
    const uint8_t flags = data[0];
    const uint32_t slice = uint32_t{data[1]} + 1;
    const size_t room = data[2];
    std::string_view rest(reinterpret_cast<const char *>(data) + 3, size - 3);
    std::vector<std::string> pieces;
    std::string piece;
    while (!rest.empty() && rest[0] != '\xFF' && pieces.size() < kMaxPieces) {
        if (rest[0] == '\xFE') {
            pieces.push_back(piece);
            piece.clear();
        } else {
            piece += rest[0];
        }
        rest.remove_prefix(1);
    }
    rest.remove_prefix(rest.empty() ? 0 : 1);
    const std::string_view text = rest.substr(0, kMaxText);

    llama::testing::GgufBuilder builder;
    if ((flags & 128) != 0) {
        const llama::testing::ByteVocabulary vocabulary = byte_vocabulary(pieces, flags);
        vocabulary.write(builder);
        builder.set("tokenizer.ggml.add_bos_token", false);
        with_tokenizer(builder, [&](const Tokenizer &tokenizer) {
            check_bytes(vocabulary, tokenizer, text, slice, room, (flags & 2) != 0);
        });
        return 0;
    }
    llama::testing::add_vocabulary(builder, pieces, (flags & 1) != 0);
    builder.set("tokenizer.ggml.add_bos_token", (flags & 2) != 0);
    builder.set("tokenizer.ggml.add_eos_token", (flags & 4) != 0);
    builder.set("tokenizer.ggml.add_space_prefix", (flags & 8) != 0);
    if ((flags & 16) != 0) {  // few different scores
        std::vector<float> scores((flags & 1) != 0 ? 259 : 3, 0.0f);
        for (size_t i = 0; i < pieces.size(); ++i) {
            scores.push_back(static_cast<float>((i * 7 + flags / 32) % 3));
        }
        builder.set("tokenizer.ggml.scores", scores);
    }
    with_tokenizer(builder,
                   [&](const Tokenizer &tokenizer) { check(tokenizer, text, slice, room); });
    return 0;
}
