#include "http/body_buffer.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace bareflow::http {

namespace {
constexpr size_t kFirstBytes = 4096;
}

// Empty: over the budget, or there is no piece of memory of that size.
Buffer<char> BodyBuffer::take(size_t len_bytes) const {
    const size_t target = std::min(len_bytes, kMaxBodyBytes + 1);
    if (target > budget_.total_bytes - std::min(budget_.used_bytes, budget_.total_bytes)) {
        return {};
    }
    auto taken = Buffer<char>::create(target);
    return taken ? std::move(*taken) : Buffer<char>();
}

BodyBuffer::Append BodyBuffer::append(std::span<const char> bytes) {
    if (bytes.size() > kMaxBodyBytes - len_bytes_) {
        return Append::kTooLong;
    }
    const size_t needed = len_bytes_ + bytes.size() + 1;  // and the NUL
    if (needed > storage_.size()) {
        // Doubles the room. If there is no memory for that beside the old bytes, adds a quarter.
        Buffer<char> grown = take(std::max({needed, storage_.size() * 2, kFirstBytes}));
        if (grown.size() == 0) {
            grown = take(std::max(needed, storage_.size() + storage_.size() / 4));
        }
        if (grown.size() == 0) {
            return Append::kNoMemory;
        }
        if (len_bytes_ > 0) {
            std::memcpy(grown.data(), storage_.data(), len_bytes_);
        }
        budget_.used_bytes += grown.size();
        budget_.used_bytes -= storage_.size();
        storage_ = std::move(grown);
    }
    if (!bytes.empty()) {
        std::memcpy(storage_.data() + len_bytes_, bytes.data(), bytes.size());
    }
    len_bytes_ += bytes.size();
    storage_[len_bytes_] = '\0';
    return Append::kOk;
}

void BodyBuffer::release() {
    budget_.used_bytes -= storage_.size();
    storage_ = Buffer<char>();
    len_bytes_ = 0;
}

}  // namespace bareflow::http
