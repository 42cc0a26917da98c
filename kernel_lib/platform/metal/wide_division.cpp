// __udivti3: division of 128-bit numbers, which the compiler calls and no runtime library of ours
// supplies (the name is the compiler's: GCC internals, "Integer library routines").
#include <cstdint>

namespace {

// high < divisor, so the quotient fits (SDM 2, DIV).
uint64_t divide_128_by_64(uint64_t high, uint64_t low, uint64_t divisor, uint64_t &remainder) {
    uint64_t quotient = 0;
    asm("divq %4" : "=a"(quotient), "=d"(remainder) : "a"(low), "d"(high), "r"(divisor) : "cc");
    return quotient;
}

}  // namespace

extern "C" unsigned __int128 __udivti3(unsigned __int128 dividend, unsigned __int128 divisor) {
    const auto high = static_cast<uint64_t>(dividend >> 64);
    const auto low = static_cast<uint64_t>(dividend);
    const auto divisor_high = static_cast<uint64_t>(divisor >> 64);
    const auto divisor_low = static_cast<uint64_t>(divisor);
    if (divisor_high == 0) {
        uint64_t remainder = high % divisor_low;
        const uint64_t quotient_high = high / divisor_low;
        const uint64_t quotient_low = divide_128_by_64(remainder, low, divisor_low, remainder);
        return static_cast<unsigned __int128>(quotient_high) << 64 | quotient_low;
    }
    // The quotient is below 2^64: one bit at a time.
    uint64_t quotient = 0;
    unsigned __int128 rest = high;
    for (int bit = 63; bit >= 0; --bit) {
        rest = rest << 1 | (low >> bit & 1);
        quotient <<= 1;
        if (rest >= divisor) {
            rest -= divisor;
            quotient |= 1;
        }
    }
    return quotient;
}
