// A profile to bytes and back. What must hold: any bytes decode to a profile within its limits or
// to an error, because they come from a disk.
#include "appliance/kept_profile/tuned_profile.h"

#include "kernel_lib/base/byte_reader.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {

namespace {

constexpr uint32_t kFormat = 1;
constexpr uint32_t kRelaxedFormat = 0x101;  // the same layout; choices made with numerics=fast
constexpr uint8_t kMaxLevel = 3;

constexpr size_t kHashedHeadBytes = 64 * 1024;
constexpr size_t kSamples = 256;
constexpr size_t kSampleBytes = 256;

// Takes eight bytes at a time, mixed as FNV-1a mixes one byte. The upper half is folded into the
// lower one, because a multiplication carries upwards only.
class Hash {
  public:
    void add(uint64_t word) {
        state_ = (state_ ^ word) * 0x9E37'79B9'7F4A'7C15;
        state_ ^= state_ >> 32;
    }
    void add(std::span<const uint8_t> bytes) {
        for (; bytes.size() >= sizeof(uint64_t); bytes = bytes.subspan(sizeof(uint64_t))) {
            uint64_t word;
            __builtin_memcpy(&word, bytes.data(), sizeof word);
            add(word);
        }
        for (const uint8_t byte : bytes) {
            add(uint64_t{byte});
        }
    }
    [[nodiscard]] uint64_t value() const { return state_; }

  private:
    uint64_t state_ = 0xCBF2'9CE4'8422'2325;
};

class Writer {
  public:
    explicit Writer(std::span<uint8_t> out) : out_(out) {}
    template <typename T>
    void put(T value) {
        __builtin_memcpy(room(sizeof value), &value, sizeof value);
    }
    void put_text(std::string_view text) {
        put(static_cast<uint8_t>(text.size()));
        std::copy(text.begin(), text.end(), room(text.size()));
    }
    [[nodiscard]] size_t size() const { return len_; }

  private:
    uint8_t *room(size_t bytes) {
        if (bytes > out_.size() - len_) {
            platform::panic("too little room for a tuned profile");
        }
        len_ += bytes;
        return out_.data() + len_ - bytes;
    }
    std::span<uint8_t> out_;
    size_t len_ = 0;
};

template <size_t kBytes>
bool read_short(ByteReader &in, ShortText<kBytes> &out) {
    uint8_t len = 0;
    std::string_view text;
    if (!in.read(len) || len > kBytes || !in.read_text(len, text)) {
        return false;
    }
    out = ShortText<kBytes>(text);
    return true;
}

bool read_identity(ByteReader &in, ProfileIdentity &out) {
    return in.read(out.model_bytes) && in.read(out.model_hash) && in.read(out.cpu_features) &&
           in.read(out.cpu_family) && in.read(out.cpu_model) && in.read(out.cpu_stepping) &&
           read_short(in, out.cpu_vendor) && read_short(in, out.hypervisor) &&
           read_short(in, out.version);
}

bool read_choice(ByteReader &in, TunedChoice &out) {
    return read_short(in, out.function) && read_short(in, out.variant) && in.read(out.level) &&
           in.read(out.ticks) && in.read(out.rule_ticks) && out.level >= 1 &&
           out.level <= kMaxLevel && out.function.len > 0 && out.variant.len > 0;
}

// The longest choice, with texts as long as ShortText holds: kMaxChoices of them always fit.
constexpr size_t kMaxChoiceBytes = (1 + 63) + (1 + 32) + 1 + 8 + 8;
static_assert(256 + TunedProfile::kMaxChoices * kMaxChoiceBytes <= TunedProfile::kMaxBytes);

}  // namespace

std::string_view identity_mismatch(const ProfileIdentity &ours, const ProfileIdentity &theirs) {
    if (ours.version != theirs.version) {
        return "another version of the program";
    }
    if (ours.relaxed != theirs.relaxed) {
        return "another setting of numerics";
    }
    if (ours.model_bytes != theirs.model_bytes || ours.model_hash != theirs.model_hash) {
        return "another model";
    }
    if (ours.cpu_vendor != theirs.cpu_vendor || ours.cpu_family != theirs.cpu_family ||
        ours.cpu_model != theirs.cpu_model || ours.cpu_stepping != theirs.cpu_stepping ||
        ours.cpu_features != theirs.cpu_features) {
        return "another processor";
    }
    return ours.hypervisor == theirs.hypervisor ? std::string_view() : "another hypervisor";
}

uint64_t sampled_hash(std::span<const uint8_t> bytes) {
    Hash hash;
    hash.add(bytes.size());
    hash.add(bytes.first(std::min(bytes.size(), kHashedHeadBytes)));
    if (bytes.size() > kHashedHeadBytes) {
        const auto rest = bytes.subspan(kHashedHeadBytes);
        const size_t len = std::min(rest.size(), kSampleBytes);
        for (size_t i = 0; i < kSamples; ++i) {
            // The first sample is at the beginning, the last one at the end.
            const auto at = static_cast<size_t>(static_cast<unsigned __int128>(rest.size() - len) *
                                                i / (kSamples - 1));
            hash.add(rest.subspan(at, len));
        }
    }
    return hash.value();
}

size_t encode_profile(const TunedProfile &profile, std::span<uint8_t> out) {
    Writer to(out);
    const ProfileIdentity &who = profile.identity;
    to.put(who.relaxed ? kRelaxedFormat : kFormat);
    to.put(who.model_bytes);
    to.put(who.model_hash);
    to.put(who.cpu_features);
    to.put(who.cpu_family);
    to.put(who.cpu_model);
    to.put(who.cpu_stepping);
    to.put_text(who.cpu_vendor.view());
    to.put_text(who.hypervisor.view());
    to.put_text(who.version.view());
    to.put(profile.milli_tokens_per_second);
    to.put(static_cast<uint16_t>(profile.count));
    for (const TunedChoice &choice : profile.all()) {
        to.put_text(choice.function.view());
        to.put_text(choice.variant.view());
        to.put(choice.level);
        to.put(choice.ticks);
        to.put(choice.rule_ticks);
    }
    return to.size();
}

Status decode_profile(std::span<const uint8_t> bytes, TunedProfile &out) {
    const Error bad{ErrorCode::kInvalid, "it is damaged"};
    ByteReader in(bytes);
    uint32_t format = 0;
    if (!in.read(format)) {
        return bad;
    }
    if (format != kFormat && format != kRelaxedFormat) {
        return {ErrorCode::kUnsupported, "it has another format"};
    }
    ProfileIdentity identity;
    identity.relaxed = format == kRelaxedFormat;
    uint32_t speed = 0;
    uint16_t count = 0;
    if (!read_identity(in, identity) || !in.read(speed) || !in.read(count) ||
        count > TunedProfile::kMaxChoices) {
        return bad;
    }
    // Read all of it once before `out` is changed.
    ByteReader ahead = in;
    for (size_t i = 0; i < count; ++i) {
        TunedChoice ignored;
        if (!read_choice(ahead, ignored)) {
            return bad;
        }
    }
    if (ahead.remaining() != 0) {
        return bad;
    }
    out.identity = identity;
    out.milli_tokens_per_second = speed;
    out.count = count;
    for (size_t i = 0; i < count; ++i) {
        (void)read_choice(in, out.choices[i]);
    }
    return {};
}

}  // namespace bareflow
