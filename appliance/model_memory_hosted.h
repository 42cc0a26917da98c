// A model file in memory, for the hosted program.
#pragma once

#include <cstdint>
#include <span>

namespace bareflow {

// The file's bytes, for the life of the program and not to be written; empty when it can't be had
// (errno says why). A large file is read into huge pages if there is memory to spare: with pages of
// 4 KiB a third of the memory bandwidth was lost to walking page tables inside a virtual machine.
// Otherwise it is mapped.
[[nodiscard]] std::span<const uint8_t> model_file_bytes(const char *path);

}  // namespace bareflow
