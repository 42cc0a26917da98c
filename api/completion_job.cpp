// The data of a job and how its buffers grow. A buffer doubles when it is full, up to a limit, so
// that a text of any length costs few copies. Where memory is short, a function says so and keeps
// what was there: the request fails, not the program.
#include "api/completion_job.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernel_lib/base/utf8.h"

namespace bareflow::api {

namespace {

// Makes room for `more` values behind `used`: at least twice the old size. False: that is over
// `limit` values, or there is no memory.
template <typename T>
bool make_room(Buffer<T> &buffer, size_t used, size_t more, size_t limit) {
    if (more <= buffer.size() - used) {
        return true;
    }
    const size_t target = std::max({used + more, buffer.size() * 2, size_t{1024} / sizeof(T)});
    if (target > limit) {
        return false;
    }
    auto grown = Buffer<T>::create(target);
    if (!grown) {
        return false;
    }
    if (used > 0) {
        std::memcpy(grown->data(), buffer.data(), used * sizeof(T));
    }
    buffer = std::move(*grown);
    return true;
}

// The longest front of `text` that has at most `limit` bytes and ends between characters.
std::string_view whole_characters(std::string_view text, size_t limit) {
    std::string_view front = text.substr(0, limit);
    if (front.size() < text.size()) {
        front.remove_suffix(utf8_incomplete_tail(front));
    }
    return front;
}

uint32_t characters(std::string_view text) {
    uint32_t count = 0;
    for (const char c : text) {
        count += (static_cast<uint8_t>(c) & 0xc0) != 0x80 ? 1 : 0;
    }
    return count;
}

}  // namespace

void StopStrings::copy(std::span<const std::string_view> stops) {
    count_ = static_cast<uint32_t>(stops.size());
    for (uint32_t i = 0; i < count_; ++i) {
        std::memcpy(bytes_[i].data(), stops[i].data(), stops[i].size());
        lens_[i] = static_cast<uint8_t>(stops[i].size());
    }
}

std::span<const std::string_view> StopStrings::views(Views &room) const {
    for (uint32_t i = 0; i < count_; ++i) {
        room[i] = {bytes_[i].data(), lens_[i]};
    }
    return std::span(room).first(count_);
}

void JobPrompt::release_text() {
    source = {};
    text = Buffer<char>();
    controls = Buffer<ControlSpan>();
}

void PendingText::reserve(size_t len_bytes) {
    (void)make_room(bytes_, 0, len_bytes, kMaxBytes);
}

bool PendingText::add(std::string_view text, bool in_pieces) {
    while (!text.empty()) {
        const std::string_view front = whole_characters(text, kMaxPieceBytes);
        const size_t len_bytes = in_pieces ? kLenBytes : 0;
        // Both or nothing: a length without its piece could not be read.
        if (!room_for(len_bytes + front.size())) {
            return false;
        }
        char *const to = bytes_.data() + end_;
        if (in_pieces) {
            to[0] = static_cast<char>(front.size() & 0xff);
            to[1] = static_cast<char>(front.size() >> 8);
        }
        std::memcpy(to + len_bytes, front.data(), front.size());
        end_ += len_bytes + front.size();
        text.remove_prefix(front.size());
    }
    return true;
}

bool PendingText::room_for(size_t len_bytes) {
    if (begin_ > 0) {
        std::memmove(bytes_.data(), bytes_.data() + begin_, size());
        end_ = size();
        begin_ = 0;
    }
    return make_room(bytes_, end_, len_bytes, kMaxBytes);
}

std::string_view PendingText::first_piece() const {
    const char *const at = bytes_.data() + begin_;
    const size_t len =
        static_cast<uint8_t>(at[0]) | static_cast<size_t>(static_cast<uint8_t>(at[1])) << 8;
    return {at + kLenBytes, len};
}

void PendingText::drop_first_piece() {
    begin_ += kLenBytes + first_piece().size();
}

std::string_view PendingText::piece_at(size_t offset) const {
    const std::string_view text(bytes_.data() + begin_, size());
    return whole_characters(text.substr(offset), kMaxPieceBytes);
}

void JobLogprobs::reserve(uint32_t tokens, size_t limit_bytes) {
    (void)make_room(values_, 0,
                    std::min(tokens * stride(), limit_bytes / sizeof(llama::TokenLogprob)),
                    PendingText::kMaxBytes);
}

bool JobLogprobs::add(std::span<const llama::TokenLogprob> given, std::string_view text) {
    const size_t used = count_ * stride();
    if (!make_room(values_, used, stride(), PendingText::kMaxBytes / sizeof(llama::TokenLogprob))) {
        return false;
    }
    llama::TokenLogprob *const to = values_.data() + used;
    std::fill_n(to, stride(), llama::TokenLogprob{});
    to[1].token = static_cast<llama::Token>(characters_);
    for (size_t i = 0; i < std::min(given.size(), stride() - 1); ++i) {
        to[i == 0 ? 0 : i + 1] = given[i];
    }
    ++count_;
    characters_ += characters(text);
    return true;
}

}  // namespace bareflow::api
