// Reads the firmware's tables without trusting them. No byte is read that was not asked for through
// the memory interface. No length is believed before it was held against a limit.
#include "kernel_lib/cpu/acpi.h"

#include <optional>
#include <string_view>

namespace bareflow {

namespace {

// 5.2.5.1: on a 16-byte boundary of the BIOS area, or in the first KiB of the extended BIOS data
// area, which ends at 640 KiB.
struct SearchRange {
    uint64_t begin;
    size_t bytes;
};
constexpr SearchRange kSearch[] = {{0xE'0000, 0x2'0000}, {0x9'FC00, 0x400}};
constexpr size_t kRsdpStep = 16;
constexpr size_t kRsdpBytes = 20;          // revision 0, and what its checksum covers
constexpr size_t kRsdpExtendedBytes = 36;  // from revision 2 on
constexpr size_t kRsdpRevision = 15;
constexpr size_t kRsdpRsdt = 16;
constexpr size_t kRsdpXsdt = 24;

constexpr size_t kHeaderBytes = 36;
constexpr size_t kHeaderLength = 4;
// Real tables have a few KiB.
constexpr size_t kMaxTableBytes = 64 * 1024;
constexpr size_t kMaxTables = 256;

constexpr size_t kMadtEntries = 44;
constexpr uint8_t kEntryLocalApic = 0;  // length 8: id at 3, flags at 4
constexpr size_t kLocalApicBytes = 8;
constexpr uint8_t kEntryX2Apic = 9;  // length 16: id at 4, flags at 8
constexpr size_t kX2ApicBytes = 16;
constexpr uint32_t kEnabled = 1;
constexpr uint32_t kNotAddressable = 255;

uint64_t load(const uint8_t *from, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = bytes; i-- != 0;) {
        value = value << 8 | from[i];
    }
    return value;
}
uint32_t load32(const uint8_t *from) {
    return static_cast<uint32_t>(load(from, 4));
}

bool sums_to_zero(std::span<const uint8_t> bytes) {
    uint8_t sum = 0;
    for (const uint8_t byte : bytes) {
        sum = static_cast<uint8_t>(sum + byte);
    }
    return sum == 0;
}

bool has_signature(const uint8_t *at, std::string_view signature) {
    return std::string_view(reinterpret_cast<const char *>(at), signature.size()) == signature;
}

bool is_rsdp(const uint8_t *at) {
    return has_signature(at, "RSD PTR ") && sums_to_zero({at, kRsdpBytes});
}

uint64_t search_rsdp(FirmwareMemory &memory) {
    for (const SearchRange &range : kSearch) {
        const uint8_t *const bytes = memory.at(range.begin, range.bytes);
        for (size_t i = 0; bytes != nullptr && i + kRsdpBytes <= range.bytes; i += kRsdpStep) {
            if (is_rsdp(bytes + i)) {
                return range.begin + i;
            }
        }
    }
    return 0;
}

// A whole table, checked; empty when it is not to be believed or not there.
std::span<const uint8_t> table_at(FirmwareMemory &memory, uint64_t address,
                                  std::string_view signature) {
    const uint8_t *const header = address == 0 ? nullptr : memory.at(address, kHeaderBytes);
    if (header == nullptr || !has_signature(header, signature)) {
        return {};
    }
    const uint32_t len = load32(header + kHeaderLength);
    if (len < kHeaderBytes || len > kMaxTableBytes) {
        return {};
    }
    const uint8_t *const whole = memory.at(address, len);
    if (whole == nullptr || !sums_to_zero({whole, len})) {
        return {};
    }
    return {whole, len};
}

// The first MADT that a root table's pointers (of `width` bytes) lead to; nullopt: it names none.
// An empty span: it names one, which is damaged.
std::optional<std::span<const uint8_t>> madt_of(FirmwareMemory &memory,
                                                std::span<const uint8_t> root, size_t width) {
    size_t left = kMaxTables;
    for (size_t at = kHeaderBytes; at + width <= root.size() && left-- != 0; at += width) {
        const uint64_t address = load(root.data() + at, width);
        const uint8_t *const header = address == 0 ? nullptr : memory.at(address, kHeaderBytes);
        if (header != nullptr && has_signature(header, "APIC")) {
            return table_at(memory, address, "APIC");
        }
    }
    return std::nullopt;
}

void add(ProcessorList &list, uint32_t apic_id, uint32_t flags) {
    if ((flags & kEnabled) == 0) {
        return;
    }
    for (const uint8_t known : list.ids()) {
        if (known == apic_id) {
            return;
        }
    }
    if (apic_id >= kNotAddressable || list.count == ProcessorList::kMaxListed) {
        ++list.left_out;
        return;
    }
    list.apic_ids[list.count++] = static_cast<uint8_t>(apic_id);
}

Result<ProcessorList> parse_madt(std::span<const uint8_t> madt) {
    constexpr Error kDamaged{ErrorCode::kInvalid, "ACPI's list of processors is damaged"};
    if (madt.size() < kMadtEntries) {
        return kDamaged;
    }
    ProcessorList list;
    for (std::span<const uint8_t> left = madt.subspan(kMadtEntries); !left.empty();) {
        if (left.size() < 2 || left[1] < 2 || left[1] > left.size()) {
            return kDamaged;
        }
        const std::span<const uint8_t> entry = left.first(left[1]);
        left = left.subspan(entry.size());
        if (entry[0] == kEntryLocalApic && entry.size() >= kLocalApicBytes) {
            add(list, entry[3], load32(&entry[4]));
        } else if (entry[0] == kEntryX2Apic && entry.size() >= kX2ApicBytes) {
            add(list, load32(&entry[4]), load32(&entry[8]));
        }
    }
    return list;
}

}  // namespace

Result<ProcessorList> find_processors(FirmwareMemory &memory, uint64_t rsdp) {
    // A loader that tells nonsense is not believed more than the BIOS area.
    const uint8_t *root = rsdp == 0 ? nullptr : memory.at(rsdp, kRsdpBytes);
    if (root == nullptr || !is_rsdp(root)) {
        rsdp = search_rsdp(memory);
        root = rsdp == 0 ? nullptr : memory.at(rsdp, kRsdpBytes);
    }
    if (root == nullptr) {
        return Error{ErrorCode::kNotFound, "no ACPI tables"};
    }
    std::optional<std::span<const uint8_t>> madt;
    if (root[kRsdpRevision] >= 2) {
        const uint8_t *const extended = memory.at(rsdp, kRsdpExtendedBytes);
        if (extended != nullptr && sums_to_zero({extended, kRsdpExtendedBytes})) {
            madt = madt_of(memory, table_at(memory, load(extended + kRsdpXsdt, 8), "XSDT"), 8);
        }
    }
    if (!madt) {
        madt = madt_of(memory, table_at(memory, load32(root + kRsdpRsdt), "RSDT"), 4);
    }
    if (!madt) {
        return Error{ErrorCode::kNotFound, "ACPI has no list of processors"};
    }
    return parse_madt(*madt);
}

}  // namespace bareflow
