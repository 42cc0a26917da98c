// A model file in memory, for the hosted program.
#pragma once

#include <cstdint>
#include <span>

namespace bareflow {

struct ModelMemory {
    std::span<const uint8_t> bytes;
    bool writable = false;  // a copy of our own; its weights may be repacked
};

// The file's bytes, for the life of the program; empty when it can't be had (errno says why). Read
// into memory of our own if there is some to spare; a large file into huge pages: with pages of 4
// KiB a third of the memory bandwidth was lost to walking page tables inside a virtual machine.
// Otherwise, or if `map`, it is mapped.
[[nodiscard]] ModelMemory model_file_bytes(const char *path, bool map = false);

}  // namespace bareflow
