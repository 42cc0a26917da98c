// A token id: an index into the vocabulary of the model file, or none.
#pragma once

#include <cstdint>

namespace bareflow::llama {

using Token = int32_t;
inline constexpr Token kNoToken = -1;

}  // namespace bareflow::llama
