// The table of settings and its parser. What must hold: a word that is not understood changes
// nothing and is reported in one sentence, because its text may come from outside the program. Each
// setting is one line in kEntries; docs/SETTINGS.md repeats the table and a test compares the two.
#include "appliance/settings.h"

#include <array>
#include <optional>

#include "compute/kernels/instruction_set.h"
#include "kernel_lib/cpu/worker_pool.h"

namespace bareflow {
namespace {

constexpr uint64_t kMaxThreshold = uint64_t{1} << 40;
constexpr uint32_t kMaxContext = 1 << 20;

// The value of a text of decimal digits, or nothing: also when it is outside [low, high].
std::optional<uint64_t> number(std::string_view text, uint64_t low, uint64_t high) {
    uint64_t value = 0;
    for (const char c : text) {
        if (c < '0' || c > '9' || value > high / 10) {
            return {};
        }
        value = value * 10 + static_cast<uint64_t>(c - '0');
    }
    if (text.empty() || value < low || value > high) {
        return {};
    }
    return value;
}

template <typename T>
bool take_number(std::string_view text, uint64_t low, uint64_t high, T &out) {
    const auto value = number(text, low, high);
    if (value) {
        out = static_cast<T>(*value);
    }
    return value.has_value();
}

template <typename T>
struct Choice {
    std::string_view word;
    T value;
};

template <typename T, size_t N>
bool take_choice(std::string_view text, const std::array<Choice<T>, N> &choices, T &out) {
    for (const auto &choice : choices) {
        if (choice.word == text) {
            out = choice.value;
            return true;
        }
    }
    return false;
}

bool take_ipv4(std::string_view text, SettingsIpv4 &out) {
    SettingsIpv4 result;
    for (int i = 0; i < 4; i++) {
        const size_t end = i < 3 ? text.find('.') : text.size();
        if (end > 3 ||  // npos, too
            !take_number(text.substr(0, end), 0, 255, result.octets[i])) {
            return false;
        }
        text.remove_prefix(i < 3 ? end + 1 : end);
    }
    out = result;
    return true;
}

bool take_address(std::string_view text, Settings &settings) {
    if (text == "dhcp") {
        settings.address = {};
        return true;
    }
    uint8_t prefix_len = 24;
    if (const size_t slash = text.find('/'); slash != std::string_view::npos) {
        if (!take_number(text.substr(slash + 1), 1, 30, prefix_len)) {
            return false;
        }
        text = text.substr(0, slash);
    }
    SettingsIpv4 address;
    if (!take_ipv4(text, address) || address == SettingsIpv4{}) {
        return false;
    }
    settings.address = address;
    settings.prefix_len = prefix_len;
    return true;
}

constexpr std::array<Choice<JitMode>, 3> kJitModes{
    {{"off", JitMode::kOff}, {"baseline", JitMode::kBaseline}, {"full", JitMode::kFull}}};
constexpr std::array<Choice<ConsoleMode>, 4> kConsoleModes{{{"both", ConsoleMode::kBoth},
                                                            {"serial", ConsoleMode::kSerial},
                                                            {"vga", ConsoleMode::kVga},
                                                            {"none", ConsoleMode::kNone}}};
constexpr std::array<Choice<bool>, 2> kSwitch{{{"on", true}, {"off", false}}};
constexpr std::array<Choice<bool>, 2> kNumerics{{{"exact", false}, {"fast", true}}};
constexpr std::array<Choice<StateMode>, 3> kStateModes{
    {{"keep", StateMode::kKeep}, {"off", StateMode::kOff}, {"continual", StateMode::kContinual}}};
constexpr std::array<Choice<ModelSource>, 4> kModelSources{{{"auto", ModelSource::kAuto},
                                                            {"image", ModelSource::kImage},
                                                            {"disk", ModelSource::kDisk},
                                                            {"initrd", ModelSource::kInitrd}}};
constexpr std::array<Choice<compute::KvType>, 2> kKvTypes{
    {{"f16", compute::KvType::kF16}, {"q8_0", compute::KvType::kQ8_0}}};
constexpr std::array<Choice<compute::WeightMode>, 4> kWeightModes{
    {{"auto", compute::WeightMode::kAuto},
     {"owned", compute::WeightMode::kOwned},
     {"mapped", compute::WeightMode::kMapped},
     {"tight", compute::WeightMode::kTight}}};
constexpr std::array<Choice<compute::InstructionSet>, 6> kInstructionSets{
    {{"sse2", compute::InstructionSet::kSse2},
     {"ssse3", compute::InstructionSet::kSsse3},
     {"avx2", compute::InstructionSet::kAvx2},
     {"avx_vnni", compute::InstructionSet::kAvxVnni},
     {"avx512", compute::InstructionSet::kAvx512},
     {"amx", compute::InstructionSet::kAmx}}};
constexpr std::array<Choice<SelfTest>, 14> kSelfTests{{{"none", SelfTest::kNone},
                                                       {"page_fault", SelfTest::kPageFault},
                                                       {"divide", SelfTest::kDivide},
                                                       {"stack", SelfTest::kStack},
                                                       {"invalid_opcode", SelfTest::kInvalidOpcode},
                                                       {"panic", SelfTest::kPanic},
                                                       {"write_code", SelfTest::kWriteCode},
                                                       {"run_data", SelfTest::kRunData},
                                                       {"recovery", SelfTest::kRecovery},
                                                       {"processor", SelfTest::kProcessor},
                                                       {"reboot", SelfTest::kReboot},
                                                       {"candidates", SelfTest::kCandidates},
                                                       {"code", SelfTest::kCode},
                                                       {"generated", SelfTest::kGenerated}}};

struct Entry {
    SettingDescription description;
    bool (*take)(std::string_view value, Settings &settings);
};

constexpr auto kEntries = std::to_array<Entry>({
    {{"address", "dhcp, or a.b.c.d[/prefix]", "the appliance's IPv4 address (default: dhcp)"},
     take_address},
    {{"gateway", "a.b.c.d", "the router, with a static address (default: none)"},
     [](std::string_view v, Settings &s) { return take_ipv4(v, s.gateway); }},
    {{"port", "1-65535", "the TCP port the HTTP server listens on (default: 80)"},
     [](std::string_view v, Settings &s) { return take_number(v, 1, 65535, s.port); }},
    {{"context", "0-1048576",
      "context length of a slot, in tokens; 0: the model's own (default: 0)"},
     [](std::string_view v, Settings &s) { return take_number(v, 0, kMaxContext, s.context); }},
    {{"slots", "1-16", "requests served together; fewer where memory is short (default: 4)"},
     [](std::string_view v, Settings &s) {
         return take_number(v, 1, llama::EngineConfig::kMaxSlots, s.slots);
     }},
    {{"kv", "f16, q8_0", "what keys and values are kept in; q8_0 takes about half (default: f16)"},
     [](std::string_view v, Settings &s) { return take_choice(v, kKvTypes, s.kv); }},
    {{"model", "auto, image, disk, initrd",
      "where the model is taken from; auto: the first of the others that has one (default: auto)"},
     [](std::string_view v, Settings &s) { return take_choice(v, kModelSources, s.model); }},
    {{"jit", "off, baseline, full",
      "portable code; what CPUID names; what is measured to be fastest (default: full)"},
     [](std::string_view v, Settings &s) { return take_choice(v, kJitModes, s.jit); }},
    {{"jit.isa", "sse2, ssse3, avx2, avx_vnni, avx512, amx",
      "no kernel beyond this instruction set (default: amx)"},
     [](std::string_view v, Settings &s) { return take_choice(v, kInstructionSets, s.jit_isa); }},
    {{"jit.warm", "1-2^40", "calls after which a kernel is considered for level 1 (default: 16)"},
     [](std::string_view v, Settings &s) { return take_number(v, 1, kMaxThreshold, s.jit_warm); }},
    {{"jit.hot", "1-2^40", "calls for level 2; not below jit.warm (default: 128)"},
     [](std::string_view v, Settings &s) { return take_number(v, 1, kMaxThreshold, s.jit_hot); }},
    {{"jit.very_hot", "1-2^40", "calls for level 3; not below jit.hot (default: 1024)"},
     [](std::string_view v, Settings &s) {
         return take_number(v, 1, kMaxThreshold, s.jit_very_hot);
     }},
    {{"numerics", "exact, fast",
      "fast: float operations may differ from the reference by 1/4096 of the greatest result "
      "(default: exact)"},
     [](std::string_view v, Settings &s) { return take_choice(v, kNumerics, s.relaxed); }},
    {{"weights", "auto, owned, mapped, tight", "what memory repacking may take (default: auto)"},
     [](std::string_view v, Settings &s) { return take_choice(v, kWeightModes, s.weights); }},
    {{"profile", "on, off",
      "calls and cycles of every operation; off: to see what counting costs, no level 2 then "
      "(default: on)"},
     [](std::string_view v, Settings &s) { return take_choice(v, kSwitch, s.profile); }},
    {{"state", "keep, off, continual",
      "what was tuned is remembered on a state disk; continual: saved all the time, for tests "
      "(default: keep)"},
     [](std::string_view v, Settings &s) { return take_choice(v, kStateModes, s.state); }},
    {{"console", "both, serial, vga, none", "where prompts may be typed (default: both)"},
     [](std::string_view v, Settings &s) { return take_choice(v, kConsoleModes, s.console); }},
    {{"max_tokens", "1-1048576", "the most tokens one request may ask for (default: 4096)"},
     [](std::string_view v, Settings &s) { return take_number(v, 1, kMaxContext, s.max_tokens); }},
    {{"queue", "0-64", "requests that may wait for the model; more get 503 (default: 8)"},
     [](std::string_view v, Settings &s) { return take_number(v, 0, 64, s.queue); }},
    {{"threads", "0-16", "processors that compute; 0: all there are (default)"},
     [](std::string_view v, Settings &s) {
         return take_number(v, 0, WorkerPool::kMaxProcessors, s.threads);
     }},
    {{"selftest",
      "none, page_fault, divide, stack, invalid_opcode, panic, write_code, run_data, recovery, "
      "processor, reboot, candidates, code, generated",
      "a fault made on purpose, to see the report (default: none)"},
     [](std::string_view v, Settings &s) { return take_choice(v, kSelfTests, s.selftest); }},
});

constexpr auto kDescriptions = [] {
    std::array<SettingDescription, kEntries.size()> result;
    for (size_t i = 0; i < result.size(); i++) {
        result[i] = kEntries[i].description;
    }
    return result;
}();

constexpr bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// A word for a sentence. It may be long and hold any byte: it is cut, and what is not printable
// ASCII becomes '?'.
struct Shown {
    char text[48];
    size_t len = 0;
    explicit Shown(std::string_view word) {
        for (const char c : word) {
            if (len == sizeof(text)) {
                break;
            }
            text[len++] = c >= ' ' && c < 0x7f ? c : '?';
        }
    }
    [[nodiscard]] std::string_view view() const { return {text, len}; }
};

void apply_word(std::string_view word, std::string_view source, Settings &settings,
                SettingsListener &listener) {
    char sentence[256];
    TextWriter out(sentence);
    const size_t equals = word.find('=');
    if (equals == std::string_view::npos || equals == 0) {
        out.put("setting '", Shown(word).view(), "' (", source, ") is not key=value; ignored");
        listener.on_bad_setting(out.view());
        return;
    }
    const std::string_view key = word.substr(0, equals);
    const std::string_view value = word.substr(equals + 1);
    for (const Entry &entry : kEntries) {
        if (entry.description.key != key) {
            continue;
        }
        if (!entry.take(value, settings)) {
            out.put("setting '", key, "' (", source, ") cannot be '", Shown(value).view(),
                    "', only ", entry.description.values, "; ignored");
            listener.on_bad_setting(out.view());
        }
        return;
    }
    out.put("setting '", Shown(key).view(), "' (", source, ") is unknown; ignored");
    listener.on_bad_setting(out.view());
}

}  // namespace

void apply_settings(std::string_view text, std::string_view source, Settings &settings,
                    SettingsListener &listener) {
    text = text.substr(0, text.find('\0'));
    while (!text.empty()) {
        size_t len = 0;
        while (len < text.size() && !is_blank(text[len])) {
            len++;
        }
        if (len > 0) {
            apply_word(text.substr(0, len), source, settings, listener);
        }
        text.remove_prefix(len < text.size() ? len + 1 : len);
    }
    if (settings.jit_warm > settings.jit_hot || settings.jit_hot > settings.jit_very_hot) {
        listener.on_bad_setting(
            "jit.warm <= jit.hot <= jit.very_hot does not hold; the defaults are used");
        const Settings defaults;
        settings.jit_warm = defaults.jit_warm;
        settings.jit_hot = defaults.jit_hot;
        settings.jit_very_hot = defaults.jit_very_hot;
    }
}

std::span<const SettingDescription> setting_descriptions() {
    return kDescriptions;
}

}  // namespace bareflow
