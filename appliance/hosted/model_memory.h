// A model file in memory, for the hosted program.
#pragma once

#include <cstdint>
#include <span>

namespace bareflow {

struct ModelMemory {
    std::span<const uint8_t> bytes;
    bool writable = false;  // a copy of our own; its weights may be repacked
};

// The file's bytes, for the life of the program; empty if the file cannot be read (errno says why).
// If there is memory to spare, the file is read into memory of our own. A large file goes into huge
// pages: with pages of 4 KiB, walking page tables inside a virtual machine took a third of the
// memory bandwidth. Otherwise, or if `map`, the file is mapped.
[[nodiscard]] ModelMemory model_file_bytes(const char *path, bool map = false);

}  // namespace bareflow
