#include "kernel_lib/platform/metal/entropy.h"

#include <array>
#include <bit>

#include "kernel_lib/cpu/privileged.h"
#include "kernel_lib/io/port.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {

namespace {

constexpr uint32_t kCpuidRdrand = 1U << 30;  // CPUID.1:ECX
constexpr int kRdrandTries = 10;             // Intel DRNG guide, 5.2.1
constexpr int kJitterSamples = 64;
// Any port will do whose read leaves the processor: the device's answer takes a varying time.
constexpr uint16_t kSlowPort = 0x61;

constinit EntropyDevice entropy_device = nullptr;
constinit std::string_view device_name;
// Everything mixed until now; each answer changes it too.
constinit uint64_t pool = 0x6A09'E667'F3BC'C908;

// The finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
uint64_t mix(uint64_t value) {
    value = (value ^ value >> 30) * 0xBF58'476D'1CE4'E5B9;
    value = (value ^ value >> 27) * 0x94D0'49BB'1331'11EB;
    return value ^ value >> 31;
}
uint64_t stir(uint64_t input) {
    pool = mix(std::rotl(pool, 23) + input + 0x9E37'79B9'7F4A'7C15);
    return pool;
}

bool has_rdrand() {
    return (read_cpuid(1).ecx & kCpuidRdrand) != 0;
}

bool rdrand(uint64_t &out) {
    for (int i = 0; i < kRdrandTries; ++i) {
        bool valid = false;
        asm volatile("rdrand %0; setc %1" : "=r"(out), "=qm"(valid) : : "cc");
        if (valid) {
            return true;
        }
    }
    return false;
}

uint64_t timing_jitter() {
    for (int i = 0; i < kJitterSamples; ++i) {
        (void)PortIo::in8(kSlowPort);
        stir(read_tsc());
    }
    return pool;
}

uint64_t next_word(bool use_rdrand) {
    uint64_t word = 0;
    if (use_rdrand && rdrand(word)) {
        return stir(word ^ read_tsc());
    }
    if (entropy_device != nullptr) {
        std::array<uint8_t, sizeof(word)> bytes{};
        if (entropy_device(bytes) == bytes.size()) {
            stir(std::bit_cast<uint64_t>(bytes));
            return stir(read_tsc());
        }
    }
    return timing_jitter();
}

}  // namespace

void set_entropy_device(EntropyDevice device, std::string_view name) {
    entropy_device = device;
    device_name = name;
}

namespace platform {

void fill_entropy(std::span<uint8_t> out) {
    const bool use_rdrand = has_rdrand();
    while (!out.empty()) {
        // The pool itself is never given out.
        const uint64_t word = mix(next_word(use_rdrand) ^ 0xA54F'F53A'5F1D'36F1);
        const size_t count = out.size() < sizeof(word) ? out.size() : sizeof(word);
        __builtin_memcpy(out.data(), &word, count);
        out = out.subspan(count);
    }
}

std::string_view entropy_source() {
    return has_rdrand() ? "rdrand" : entropy_device != nullptr ? device_name : "timing jitter";
}

}  // namespace platform

}  // namespace bareflow
