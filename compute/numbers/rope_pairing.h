// How RoPE pairs the elements of a head. The architecture of a model says which.
#pragma once

#include <cstdint>

namespace bareflow::compute {

// Which two elements of a head RoPE rotates together.
enum class RopePairing : uint8_t {
    kAdjacent,  // 2i and 2i + 1
    kHalves,    // i and i + rotary / 2
};

}  // namespace bareflow::compute
