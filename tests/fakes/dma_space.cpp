#include "tests/fakes/dma_space.h"

#include <sys/mman.h>

namespace bareflow::fakes {

DmaMemory::DmaMemory(size_t bytes, bool low) : len_(bytes) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (low ? MAP_32BIT : 0);
    void *mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (mapped == MAP_FAILED) {
        std::abort();
    }
    data_ = static_cast<uint8_t *>(mapped);
}

DmaMemory::~DmaMemory() {
    munmap(data_, len_);
}

}  // namespace bareflow::fakes
