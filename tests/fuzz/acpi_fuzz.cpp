// ACPI tables: the input lies at 1 MiB, and its first bytes are also the pointer in the BIOS area.
// Checksums are corrected when a table is read, because few inputs would pass them otherwise.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernel_lib/cpu/acpi.h"

namespace {

using namespace bareflow;

constexpr uint64_t kHigh = 0x10'0000;
constexpr size_t kBiosBytes = 0x2'0000;
constexpr size_t kHighBytes = 8192;
constexpr size_t kPointerAt = 0x1'0000;
constexpr size_t kHeaderBytes = 36;
constexpr size_t kSumAt = 9;

class Memory final : public FirmwareMemory {
  public:
    explicit Memory(std::vector<uint8_t> data) : high_(std::move(data)), bios_(kBiosBytes) {
        static constexpr char kSignature[] = "RSD PTR ";
        std::memcpy(&bios_[kPointerAt], high_.data(), 36);
        std::memcpy(&bios_[kPointerAt], kSignature, 8);
        set_sum(&bios_[kPointerAt], 20, 8);
        set_sum(&bios_[kPointerAt], 36, 32);
    }
    const uint8_t *at(uint64_t address, size_t bytes) override {
        if (address >= 0xE'0000 && address < kHigh && bytes <= kHigh - address) {
            return &bios_[address - 0xE'0000];
        }
        if (address < kHigh || address - kHigh >= high_.size() ||
            bytes > high_.size() - (address - kHigh)) {
            return nullptr;
        }
        uint8_t *const at = &high_[address - kHigh];
        if (bytes >= kHeaderBytes) {
            set_sum(at, bytes, kSumAt);
        }
        return at;
    }

  private:
    static void set_sum(uint8_t *bytes, size_t count, size_t at) {
        bytes[at] = 0;
        uint8_t sum = 0;
        for (size_t i = 0; i < count; ++i) {
            sum = static_cast<uint8_t>(sum + bytes[i]);
        }
        bytes[at] = static_cast<uint8_t>(-sum);
    }
    std::vector<uint8_t> high_;
    std::vector<uint8_t> bios_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    std::vector<uint8_t> bytes(data, data + std::min(size, kHighBytes));
    bytes.resize(std::max<size_t>(bytes.size(), kHeaderBytes));
    Memory memory(std::move(bytes));
    const auto list = find_processors(memory, 0);
    if (!list) {
        if (list.error().message.empty()) {
            std::abort();
        }
        return 0;
    }
    if (list->count > ProcessorList::kMaxListed) {
        std::abort();
    }
    for (size_t i = 0; i < list->count; ++i) {
        for (size_t j = 0; j < i; ++j) {
            if (list->apic_ids[i] == list->apic_ids[j] || list->apic_ids[i] == 255) {
                std::abort();
            }
        }
    }
    return 0;
}
