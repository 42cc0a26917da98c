#include "kernel_lib/memory/buffer.h"

#include <limits>

namespace bareflow {

Status allocate_zeroed(size_t count, size_t value_bytes, size_t alignment, void *&memory) {
    memory = nullptr;
    if (count > std::numeric_limits<size_t>::max() / 2 / value_bytes) {
        return {ErrorCode::kTooLarge, "array size overflows"};
    }
    if (count == 0) {
        return {};
    }
    memory = heap_allocate(count * value_bytes, alignment);
    if (memory == nullptr) {
        return {ErrorCode::kTooLarge, "out of memory"};
    }
    __builtin_memset(memory, 0, count * value_bytes);
    return {};
}

}  // namespace bareflow
