// A tokenizer with the file that it lies in, for tests of both kinds of vocabulary.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "kernel_lib/base/utf8.h"
#include "llama/text/encoder.h"
#include "llama/text/stream_decoder.h"
#include "llama/text/tokenizer.h"
#include "tests/unit/llama/file/gguf_builder.h"

namespace bareflow::llama::testing {

class LoadedTokenizer {
  public:
    explicit LoadedTokenizer(const GgufBuilder &builder) : bytes_(builder.file()) {
        Detail detail;
        auto file = GgufFile::parse(bytes_.span(), detail.writer);
        EXPECT_TRUE(file) << detail.str();
        auto tokenizer = Tokenizer::create(*file, detail.writer);
        EXPECT_TRUE(tokenizer) << detail.str();
        tokenizer_ = tokenizer ? *tokenizer : nullptr;
    }
    ~LoadedTokenizer() {
        if (tokenizer_ != nullptr) {
            tokenizer_->destroy();
        }
    }
    LoadedTokenizer(const LoadedTokenizer &) = delete;
    LoadedTokenizer &operator=(const LoadedTokenizer &) = delete;

    const Tokenizer *operator->() const { return tokenizer_; }
    const Tokenizer &operator*() const { return *tokenizer_; }

    // `room`: the most tokens; more fail the test.
    [[nodiscard]] std::vector<Token> encode(std::string_view text, size_t room,
                                            SpecialTokens special = SpecialTokens::kAsText) const {
        std::vector<Token> out(room);
        auto count = tokenizer_->encode(text, out, special);
        EXPECT_TRUE(count) << count.error().message;
        out.resize(count ? *count : 0);
        return out;
    }
    // Encodes in slices of several sizes; each must give `whole`.
    void expect_the_same_in_slices(std::string_view text, const std::vector<Token> &whole) const {
        for (const uint32_t budget : {1u, 2u, 7u, 100u, 1000u}) {
            std::vector<Token> out(whole.size() + 10);
            Encoder encoder(*tokenizer_, text, out);
            size_t slices = 0;
            while (!encoder.done()) {
                ASSERT_TRUE(encoder.advance(budget));
                ++slices;
            }
            EXPECT_GE(slices * budget, text.size());
            out.resize(encoder.count());
            EXPECT_EQ(out, whole);
        }
    }
    // Every part that the decoder gives is made of whole characters.
    [[nodiscard]] std::string decode(
        const std::vector<Token> &tokens,
        StreamDecoder::Start start = StreamDecoder::Start::kText) const {
        StreamDecoder decoder(*tokenizer_, start);
        std::string out;
        for (const Token token : tokens) {
            const std::string_view part = decoder.put(token);
            EXPECT_TRUE(utf8_valid(part));
            out += part;
        }
        return out + std::string(decoder.finish());
    }

  private:
    FileBytes bytes_;
    Tokenizer *tokenizer_ = nullptr;
};

}  // namespace bareflow::llama::testing
