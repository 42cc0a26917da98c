// The settings: `key=value` words from the image, the kernel line and fw_cfg; a later word replaces
// an earlier one. Pure: text to values. docs/SETTINGS.md is the table for people; a test compares
// it with the code.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "compute/kernels/instruction_set.h"
#include "compute/tuning/weight_placement.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/jit/adaptive.h"
#include "llama/engine/engine.h"

namespace bareflow {

enum class ConsoleMode : uint8_t { kBoth, kSerial, kVga, kNone };
enum class ModelSource : uint8_t {
    kAuto,  // the image, then any other disk, then the initrd
    kImage,
    kDisk,
    kInitrd,
};
enum class StateMode : uint8_t {
    kKeep,       // the tuned profile, on a state disk when there is one
    kOff,        // neither read nor written
    kContinual,  // saved all the time, for tests that kill the machine
};
enum class SelfTest : uint8_t {
    kNone,
    kPageFault,
    kDivide,
    kStack,
    kInvalidOpcode,
    kPanic,
    kWriteCode,  // writes to the program's own code
    kRunData,    // jumps into data
    kRecovery,   // a fault that the recovery hook handles; the program goes on
    kProcessor,  // an invalid opcode on another processor than the first
    kReboot,
    kCandidates,  // candidates that go wrong in every way; the program goes on
    kCode,        // generated code on every processor, page tables checked; the program goes on
    kGenerated,   // a fault inside generated code
};

struct SettingsIpv4 {
    uint8_t octets[4] = {0, 0, 0, 0};
    bool operator==(const SettingsIpv4 &) const = default;
};

struct Settings {
    SettingsIpv4 address;  // 0.0.0.0: DHCP
    uint8_t prefix_len = 24;
    SettingsIpv4 gateway;
    uint16_t port = 80;
    uint32_t context = 0;  // tokens; 0: the model's own
    uint32_t slots = 4;    // requests served at a time
    compute::KvType kv = compute::KvType::kF16;
    ModelSource model = ModelSource::kAuto;
    JitMode jit = JitMode::kFull;
    compute::InstructionSet jit_isa =
        compute::InstructionSet::kAmx;  // the best that kernels may use
    uint64_t jit_warm = 16;
    uint64_t jit_hot = 128;
    uint64_t jit_very_hot = 1024;
    bool relaxed = false;  // numerics=fast: results may differ from the reference by kTolerance
    compute::WeightMode weights = compute::WeightMode::kAuto;
    bool profile = true;  // false: nothing is counted, nothing gets beyond level 1
    StateMode state = StateMode::kKeep;
    ConsoleMode console = ConsoleMode::kBoth;
    uint32_t max_tokens = 4096;  // limit of the tokens that one request may ask for
    uint32_t threads = 0;        // processors that compute; 0: all
    uint32_t queue = 8;          // requests that may wait
    SelfTest selftest = SelfTest::kNone;
};

// Is told about every word that was refused: one whole sentence, valid during the call only.
class SettingsListener {
  public:
    virtual void on_bad_setting(std::string_view sentence) = 0;

  protected:
    ~SettingsListener() = default;
};

// Applies the words of `text` to `settings`. Blanks, tabs and line ends separate words; NUL ends
// the text. `source` says in the sentences where the text came from. A bad word leaves its setting
// as it was.
void apply_settings(std::string_view text, std::string_view source, Settings &settings,
                    SettingsListener &listener);

// One row of the table, for docs, `help` and tests.
struct SettingDescription {
    std::string_view key;
    std::string_view values;
    std::string_view meaning;
};
[[nodiscard]] std::span<const SettingDescription> setting_descriptions();

}  // namespace bareflow
