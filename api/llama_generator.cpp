// Encodes a prompt in slices. A prompt is a list of texts with control tokens between them; each
// text is encoded as a whole, each control token is one token. The tokenizer puts BOS and EOS
// around every text; inside a prompt they are taken off again, so that a chat has one BOS, at its
// front.
#include "api/llama_generator.h"

#include <algorithm>
#include <cstring>

namespace bareflow::api {

namespace {
// Characters or merges in one step: well under a millisecond natively, a few under emulation.
constexpr uint32_t kEncodeBudget = 2000;
}  // namespace

LlamaGenerator::LlamaGenerator(llama::Engine &engine, const llama::Tokenizer &tokenizer,
                               std::string_view model_id, std::string_view chat_template)
    : engine_(engine), tokenizer_(tokenizer), model_id_(model_id) {
    const auto text_of = [&](llama::Token token) {
        return token == llama::kNoToken ? std::string_view() : tokenizer.text(token);
    };
    chat_template_ =
        recognise_chat_template(chat_template, text_of(tokenizer.bos()), text_of(tokenizer.eos()));
    controls_.fill(llama::kNoToken);
    const auto texts = chat_control_texts();
    for (uint32_t i = 0; i < tokenizer.vocab_size(); ++i) {
        const auto token = static_cast<llama::Token>(i);
        const llama::TokenKind kind = tokenizer.kind(token);
        if (kind != llama::TokenKind::kControl && kind != llama::TokenKind::kUserDefined) {
            continue;
        }
        for (size_t k = 0; k < texts.size(); ++k) {
            if (tokenizer.text(token) == texts[k]) {
                controls_[k] = token;
            }
        }
    }
}

llama::Token LlamaGenerator::control_token(std::string_view text) const {
    for (const llama::Token token : {tokenizer_.bos(), tokenizer_.eos()}) {
        if (token != llama::kNoToken && tokenizer_.text(token) == text) {
            return token;
        }
    }
    const auto texts = chat_control_texts();
    for (size_t i = 0; i < texts.size(); ++i) {
        if (texts[i] == text) {
            return controls_[i];
        }
    }
    return llama::kNoToken;
}

void LlamaGenerator::encode_begin(const PromptText &prompt, std::span<llama::Token> out) {
    prompt_ = prompt;
    out_ = out;
    count_ = 0;
    position_ = 0;
    next_control_ = 0;
    encode_cancel();
    encoding_ = true;
}

void LlamaGenerator::encode_cancel() {
    encoder_.reset();
    encoding_ = false;
}

// Writes the next control token, or starts to encode the text before it.
Status LlamaGenerator::next_part() {
    const auto control_text = [&](const ControlSpan &span) {
        return prompt_.text.substr(span.begin, span.len_bytes);
    };
    llama::Token token = llama::kNoToken;
    size_t end = prompt_.text.size();
    for (; next_control_ < prompt_.controls.size(); ++next_control_) {
        token = control_token(control_text(prompt_.controls[next_control_]));
        if (token != llama::kNoToken) {
            end = prompt_.controls[next_control_].begin;
            break;
        }
    }
    const bool first = position_ == 0 && count_ == 0;
    const bool plain = prompt_.controls.empty();
    if (position_ < end || plain) {
        // The encoder adds BOS itself.
        encoder_.emplace(tokenizer_, prompt_.text.substr(position_, end - position_),
                         out_.subspan(count_));
        position_ = end;
        return {};
    }
    if (out_.size() - count_ < 2) {
        return {ErrorCode::kTooLarge, "the prompt has more tokens than there is room for"};
    }
    if (first && tokenizer_.adds_bos() && token != tokenizer_.bos()) {
        out_[count_++] = tokenizer_.bos();
    }
    if (token != llama::kNoToken) {
        out_[count_++] = token;
        position_ = end + prompt_.controls[next_control_++].len_bytes;
    }
    return {};
}

Result<TextGenerator::Encoding> LlamaGenerator::encode_step() {
    if (!encoding_) {
        return Error{ErrorCode::kInvalid, "nothing is being encoded"};
    }
    const Status status = encoder_ ? encoder_->advance(kEncodeBudget) : next_part();
    if (!status) {
        encode_cancel();
        return status;
    }
    if (encoder_ && encoder_->done()) {
        // The encoder has put BOS and EOS around the text; inside a prompt they are taken off.
        uint32_t made = encoder_->count();
        encode_cancel();
        llama::Token *const tokens = out_.data() + count_;
        const bool chat = !prompt_.controls.empty();
        if (chat && tokenizer_.adds_eos() && made > 0) {
            --made;
        }
        if (count_ > 0 && tokenizer_.adds_bos() && made > 0) {
            --made;
            __builtin_memmove(tokens, tokens + 1, made * sizeof(llama::Token));
        }
        count_ += made;
    }
    const bool done =
        !encoder_ && position_ == prompt_.text.size() && next_control_ == prompt_.controls.size();
    encoding_ = !done;
    return Encoding{.done = done, .count = count_};
}

size_t LlamaGenerator::token_text(llama::Token token, std::span<char> out) const {
    char text[llama::Tokenizer::kMaxPieceBytes];
    const size_t len = std::min(tokenizer_.piece(token, text), out.size());
    std::memcpy(out.data(), text, len);
    return len;
}

void LlamaGenerator::decode_begin(llama::SlotId slot) {
    decoders_[slot].emplace(tokenizer_, llama::StreamDecoder::Start::kContinuation);
}

std::string_view LlamaGenerator::decode(llama::SlotId slot, llama::Token token) {
    return decoders_[slot] ? decoders_[slot]->put(token) : std::string_view();
}

std::string_view LlamaGenerator::decode_finish(llama::SlotId slot) {
    return decoders_[slot] ? decoders_[slot]->finish() : std::string_view();
}

}  // namespace bareflow::api
