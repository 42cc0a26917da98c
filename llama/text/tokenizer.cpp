#include "llama/text/tokenizer.h"

#include <limits>
#include <new>

#include "llama/file/refusal.h"
#include "llama/text/encoder.h"

namespace bareflow::llama {

namespace {

constexpr std::string_view kCharacterModel = "llama";
constexpr std::string_view kByteModel = "gpt2";

}  // namespace

Status Tokenizer::read(const GgufFile &file, TextWriter &detail) {
    BF_ASSIGN(const std::string_view model, file.text("tokenizer.ggml.model", detail));
    byte_level_ = model == kByteModel;
    if (!byte_level_ && model != kCharacterModel) {
        return refuse(detail, ErrorCode::kUnsupported,
                      "the model's vocabulary is of a kind that is not supported",
                      "a vocabulary of kind @ is not supported; supported: %, %",
                      {model, kCharacterModel, kByteModel});
    }
    BF_TRY(vocabulary_.read(file, !byte_level_, detail));
    if (byte_level_) {
        BF_TRY(bpe_.read(file, vocabulary_, detail));
    } else {
        BF_TRY(spm_.read(file, vocabulary_, detail));
        BF_ASSIGN(add_space_prefix_,
                  file.boolean_or("tokenizer.ggml.add_space_prefix", true, detail));
    }
    add_space_prefix_ = add_space_prefix_ && !byte_level_;
    // For files that do not say: what the tokenizers that made them do.
    const bool bos_usual = !byte_level_ || bpe_.pre_tokenizer() == PreTokenizer::kLlamaBpe;
    BF_ASSIGN(add_bos_, file.boolean_or("tokenizer.ggml.add_bos_token", bos_usual, detail));
    BF_ASSIGN(add_eos_, file.boolean_or("tokenizer.ggml.add_eos_token", false, detail));
    add_bos_ = add_bos_ && bos() != kNoToken;
    add_eos_ = add_eos_ && eos() != kNoToken;
    detail.clear();
    return {};
}

Result<Tokenizer *> Tokenizer::create(const GgufFile &file, TextWriter &detail) {
    void *memory = heap_allocate(sizeof(Tokenizer), alignof(Tokenizer));
    if (memory == nullptr) {
        return refuse(detail, ErrorCode::kTooLarge, "out of memory");
    }
    auto *tokenizer = new (memory) Tokenizer();
    if (Status status = tokenizer->read(file, detail); !status) {
        tokenizer->destroy();
        return status;
    }
    return tokenizer;
}

void Tokenizer::destroy() {
    this->~Tokenizer();
    heap_release(this);
}

bool Tokenizer::ends_text(Token token) const {
    return token != kNoToken && (token == eos() || token == vocabulary_.end_of_turn());
}

Token Tokenizer::find_special(std::string_view name) const {
    const Token token = vocabulary_.special_at(name, true);
    return token != kNoToken && text(token).size() == name.size() ? token : kNoToken;
}

size_t Tokenizer::piece(Token token, std::span<char> out) const {
    TextWriter writer(out);
    if (byte_level_) {
        BpeVocabulary::piece(vocabulary_, token, writer);
    } else {
        SpmVocabulary::piece(vocabulary_, token, writer);
    }
    return writer.size();
}

Result<uint32_t> Tokenizer::encode(std::string_view text, std::span<Token> out,
                                   SpecialTokens special) const {
    Encoder encoder(*this, text, out, special);
    while (!encoder.done()) {
        BF_TRY(encoder.advance(std::numeric_limits<uint32_t>::max()));
    }
    return encoder.count();
}

}  // namespace bareflow::llama
