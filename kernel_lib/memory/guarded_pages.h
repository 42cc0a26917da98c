// Memory with an unmapped page on either side: a read or write beside it faults. For operands of
// code that has never run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernel_lib/base/result.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {

class GuardedPages {
  public:
    GuardedPages() = default;
    // At least `bytes`, zeroed, in whole pages. kTooLarge: no memory; kInvalid: nothing wanted.
    [[nodiscard]] static Result<GuardedPages> create(size_t bytes) {
        GuardedPages made;
        if (bytes == 0) {
            return {ErrorCode::kInvalid, "no pages wanted"};
        }
        made.count_ = (bytes - 1) / platform::kPageBytes + 1;
        made.data_ = static_cast<uint8_t *>(platform::allocate_guarded_pages(made.count_));
        if (made.data_ == nullptr) {
            return {ErrorCode::kTooLarge, "no memory for guarded pages"};
        }
        return made;
    }
    GuardedPages(GuardedPages &&other) noexcept
        : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
    GuardedPages &operator=(GuardedPages &&other) noexcept {
        std::swap(data_, other.data_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~GuardedPages() { platform::free_guarded_pages(data_, count_); }

    [[nodiscard]] uint8_t *data() const { return data_; }
    [[nodiscard]] size_t size() const { return count_ * platform::kPageBytes; }
    // The last `bytes` of it, directly before the unmapped page.
    [[nodiscard]] uint8_t *at_end(size_t bytes) const { return data_ + size() - bytes; }

  private:
    uint8_t *data_ = nullptr;
    size_t count_ = 0;
};

}  // namespace bareflow
