// Memory between two pages that cannot be accessed, for tests that a kernel reads and writes
// nothing beside its operands.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

#include "kernel_lib/platform/platform.h"

namespace bareflow::compute::testing {

// The memory ends right before the second inaccessible page. If `at_start`, it begins right behind
// the first one instead.
class Fenced {
  public:
    explicit Fenced(size_t bytes, bool at_start = false) {
        constexpr size_t kPage = platform::kPageBytes;
        const size_t inside = (bytes + kPage - 1) / kPage * kPage;
        mapped_ = inside + 2 * kPage;
        base_ = static_cast<uint8_t *>(
            mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        EXPECT_EQ(mprotect(base_ + kPage, inside, PROT_READ | PROT_WRITE), 0);
        data_ = base_ + kPage + (at_start ? 0 : inside - bytes);
    }
    ~Fenced() { munmap(base_, mapped_); }
    Fenced(const Fenced &) = delete;
    Fenced &operator=(const Fenced &) = delete;
    template <typename T>
    T *as() const {
        return reinterpret_cast<T *>(data_);
    }

  private:
    uint8_t *base_;
    uint8_t *data_;
    size_t mapped_;
};

}  // namespace bareflow::compute::testing
