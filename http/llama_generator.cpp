#include "http/llama_generator.h"

namespace bareflow::http {

namespace {
// Characters or merges in one step: well under a millisecond natively, a few under emulation.
constexpr uint32_t kEncodeBudget = 2000;
}  // namespace

void LlamaGenerator::encode_begin(std::string_view text, std::span<llama::Token> out) {
    encoder_.emplace(tokenizer_, text, out);
}

Result<TextGenerator::Encoding> LlamaGenerator::encode_step() {
    if (!encoder_) {
        return Error{ErrorCode::kInvalid, "nothing is being encoded"};
    }
    if (const Status status = encoder_->advance(kEncodeBudget); !status) {
        encoder_.reset();
        return status;
    }
    Encoding encoding{.done = encoder_->done(), .count = encoder_->count()};
    if (encoding.done) {
        encoder_.reset();
    }
    return encoding;
}

void LlamaGenerator::decode_begin() {
    decoder_.emplace(tokenizer_, llama::StreamDecoder::Start::kContinuation);
}

std::string_view LlamaGenerator::decode(llama::Token token) {
    return decoder_ ? decoder_->put(token) : std::string_view();
}

std::string_view LlamaGenerator::decode_finish() {
    return decoder_ ? decoder_->finish() : std::string_view();
}

}  // namespace bareflow::http
