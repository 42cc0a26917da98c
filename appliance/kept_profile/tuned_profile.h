// The record of a tuned program: the variant that each function ended with, and the model,
// processor and version that this was found for. Values and their bytes; no disk, no clock.
// docs/decisions/0003-state-disk.md has the format.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/tuned_choice.h"

namespace bareflow {

// What the choices were made for.
struct ProfileIdentity {
    uint64_t model_bytes = 0;
    uint64_t model_hash = 0;  // sampled_hash() of the file
    uint64_t cpu_features = 0;
    uint32_t cpu_family = 0;
    uint32_t cpu_model = 0;
    uint32_t cpu_stepping = 0;
    ShortText<16> cpu_vendor;
    ShortText<16> hypervisor;  // empty: none
    ShortText<16> version;     // of this program
    bool relaxed = false;      // numerics=fast
};

// Why choices made for `theirs` are of no use to `ours`, in a few words: "another model". Empty:
// they are of use.
[[nodiscard]] std::string_view identity_mismatch(const ProfileIdentity &ours,
                                                 const ProfileIdentity &theirs);

// A hash of the length, the first 64 KiB and 256 samples of 256 bytes. It takes a millisecond even
// for a large file. It tells files apart unless somebody made them alike on purpose.
[[nodiscard]] uint64_t sampled_hash(std::span<const uint8_t> bytes);

struct TunedProfile {
    static constexpr size_t kMaxChoices = 64;
    static constexpr size_t kMaxBytes = 16 * 1024;  // of any encoded profile

    ProfileIdentity identity;
    uint32_t milli_tokens_per_second = 0;  // 0: not known
    std::array<TunedChoice, kMaxChoices> choices{};
    size_t count = 0;

    [[nodiscard]] std::span<const TunedChoice> all() const {
        return std::span(choices).first(count);
    }
};

// Writes the profile into `out`, which has at least kMaxBytes. Returns how many bytes it took.
[[nodiscard]] size_t encode_profile(const TunedProfile &profile, std::span<uint8_t> out);
// kInvalid: not a profile; kUnsupported: the profile has another format. Changes `out` only on
// success.
[[nodiscard]] Status decode_profile(std::span<const uint8_t> bytes, TunedProfile &out);

}  // namespace bareflow
