// How fast the tokens of all requests together are made, measured over the last ones.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace bareflow::api {

class TokenRate {
  public:
    // A token was made now.
    void note(uint64_t now_ticks) { ticks_[count_++ % kTokens] = now_ticks; }
    // Nothing runs any more: the pause that follows does not count.
    void reset() { count_ = 0; }
    // 0: not known yet.
    [[nodiscard]] double per_second(uint64_t now_ticks) const;

  private:
    static constexpr size_t kTokens = 64;
    std::array<uint64_t, kTokens> ticks_{};  // a ring
    uint64_t count_ = 0;                     // tokens since reset()
};

}  // namespace bareflow::api
