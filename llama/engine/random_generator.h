// The random numbers of one text: xoshiro256** (Blackman and Vigna). splitmix64 fills its state
// from one seed, so that a seed gives the same numbers on every machine.
#pragma once

#include <cstdint>

namespace bareflow::llama {

class RandomGenerator {
  public:
    explicit RandomGenerator(uint64_t seed = 0);
    uint64_t next();
    // In [0, 1), with 24 random bits.
    float uniform() { return static_cast<float>(next() >> 40) * 0x1p-24f; }

  private:
    uint64_t state_[4];
};

}  // namespace bareflow::llama
