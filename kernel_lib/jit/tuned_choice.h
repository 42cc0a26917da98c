// What a function ended with after tuning: a value that can be remembered across reboots.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace bareflow {

// A short text by value; longer ones are cut.
template <size_t kBytes>
struct ShortText {
    static_assert(kBytes < 256);
    std::array<char, kBytes> text{};
    uint8_t len = 0;

    constexpr ShortText() = default;
    constexpr ShortText(std::string_view from) { *this = from; }
    constexpr ShortText &operator=(std::string_view from) {
        text = {};
        len = static_cast<uint8_t>(std::min(from.size(), kBytes));
        std::copy_n(from.begin(), len, text.begin());
        return *this;
    }
    [[nodiscard]] constexpr std::string_view view() const { return {text.data(), len}; }
    bool operator==(const ShortText &other) const { return view() == other.view(); }
};

// What is in force for a function after tuning.
struct TunedChoice {
    ShortText<63> function;   // "q8_0_gemv 288x128"
    ShortText<32> variant;    // "jit r4 u2"
    uint8_t level = 0;        // 1..3
    uint64_t ticks = 0;       // median of its runs when it won
    uint64_t rule_ticks = 0;  // median of the runs of what it was compared with

    [[nodiscard]] bool same_choice(const TunedChoice &other) const {
        return function == other.function && variant == other.variant && level == other.level;
    }
};

}  // namespace bareflow
