// Sorts indices and tokens by what they stand for. Heap sort: no recursion, no memory, and n log n
// comparisons for any order that a file may have. One piece of code for all callers.
#pragma once

#include <cstdint>
#include <span>

namespace bareflow::llama {

// `less` must be a strict weak order. `context` is passed to it: what it looks the numbers up in.
void sort_numbers(std::span<uint32_t> numbers, const void *context,
                  bool (*less)(const void *context, uint32_t a, uint32_t b));
// Writes 0, 1, 2...
void fill_with_places(std::span<uint32_t> numbers);

}  // namespace bareflow::llama
