#include "llama/text/stream_decoder.h"

#include <algorithm>
#include <span>

#include "kernel_lib/base/utf8.h"

namespace bareflow::llama {

namespace {

constexpr std::string_view kReplacementText = "\xEF\xBF\xBD";

}  // namespace

std::string_view StreamDecoder::put(Token token) {
    std::array<char, Tokenizer::kMaxPieceBytes> bytes;
    size_t count = tokenizer_.piece(token, bytes);
    std::string_view piece(bytes.data(), count);
    const TokenKind kind = tokenizer_.kind(token);
    if (strip_space_ && kind != TokenKind::kControl) {
        strip_space_ = false;
        if (kind != TokenKind::kByte && kind != TokenKind::kUnknown && piece.starts_with(' ')) {
            piece.remove_prefix(1);
        }
    }
    len_ = 0;
    for (const char byte : piece) {
        take(static_cast<uint8_t>(byte));
    }
    return {buffer_.data(), len_};
}

std::string_view StreamDecoder::finish() {
    len_ = 0;
    if (pending_len_ != 0) {  // these bytes could have become a character
        write(kReplacementText);
        pending_len_ = 0;
    }
    return {buffer_.data(), len_};
}

void StreamDecoder::take(uint8_t byte) {
    pending_[pending_len_++] = byte;
    while (pending_len_ != 0) {
        const std::string_view pending(reinterpret_cast<const char *>(pending_), pending_len_);
        const Utf8Char c = utf8_decode(pending);
        if (c.incomplete) {
            return;
        }
        write(c.valid ? std::string_view(pending.data(), c.len_bytes) : kReplacementText);
        pending_len_ = static_cast<uint8_t>(pending_len_ - c.len_bytes);
        __builtin_memmove(pending_, pending_ + c.len_bytes, pending_len_);
    }
}

void StreamDecoder::write(std::string_view text) {
    std::ranges::copy(text, std::span(buffer_).subspan(len_).begin());
    len_ += text.size();
}

}  // namespace bareflow::llama
