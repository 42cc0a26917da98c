// What a disk says about itself comes from outside. A size that cannot be is refused. Every other
// field can at most name a feature that the disk then fails to have.
#include "drivers/block/ata_identify.h"

#include <algorithm>

namespace bareflow {
namespace {

// ATA8 table 22: words of IDENTIFY DEVICE data.
constexpr size_t kWordGeneral = 0;
constexpr uint16_t kGeneralNotAta = 1u << 15;
constexpr size_t kWordModel = 27;  // 20 words, the first character in the high byte
constexpr size_t kModelWords = 20;
constexpr size_t kWordCapabilities = 49;
constexpr uint16_t kCapabilityDma = 1u << 8;
constexpr uint16_t kCapabilityLba = 1u << 9;
constexpr size_t kWordLba28Sectors = 60;  // 2 words
constexpr size_t kWordCommandSets = 83;
constexpr uint16_t kCommandSetLba48 = 1u << 10;
constexpr uint16_t kCommandSetFlush = 1u << 12;
constexpr uint16_t kCommandSetFlushExt = 1u << 13;
constexpr size_t kWordLba48Sectors = 100;  // 4 words
constexpr size_t kWordSectorSize = 106;
constexpr uint16_t kSectorSizeLongLogical = 1u << 12;
// Words 83 and 106 hold something when bit 14 is one and bit 15 zero.
constexpr bool valid_word(uint16_t word) {
    return (word & 0xC000) == 0x4000;
}

void copy_model(std::span<const uint16_t, kIdentifyWords> words, AtaIdentity &out) {
    for (size_t i = 0; i < kModelWords; ++i) {
        const uint16_t pair = words[kWordModel + i];
        const char both[2] = {static_cast<char>(pair >> 8), static_cast<char>(pair & 0xFF)};
        for (const char c : both) {
            out.model_text[out.model_len++] = c >= ' ' && c <= '~' ? c : ' ';
        }
    }
    while (out.model_len > 0 && out.model_text[out.model_len - 1] == ' ') {
        --out.model_len;
    }
}

}  // namespace

Result<AtaIdentity> parse_identify(std::span<const uint16_t, kIdentifyWords> words) {
    if ((words[kWordGeneral] & kGeneralNotAta) != 0) {
        return Error{ErrorCode::kUnsupported, "not an ATA disk"};
    }
    if ((words[kWordCapabilities] & kCapabilityLba) == 0) {
        return Error{ErrorCode::kUnsupported, "disk without logical block addresses"};
    }
    if (valid_word(words[kWordSectorSize]) &&
        (words[kWordSectorSize] & kSectorSizeLongLogical) != 0) {
        return Error{ErrorCode::kUnsupported, "disk with sectors longer than 512 bytes"};
    }
    AtaIdentity out;
    out.dma = (words[kWordCapabilities] & kCapabilityDma) != 0;
    const uint16_t sets = words[kWordCommandSets];
    if (valid_word(sets)) {
        out.lba48 = (sets & kCommandSetLba48) != 0;
        out.flush = (sets & kCommandSetFlush) != 0;
        out.flush_ext = out.lba48 && (sets & kCommandSetFlushExt) != 0;
    }
    const size_t first = out.lba48 ? kWordLba48Sectors : kWordLba28Sectors;
    const unsigned count = out.lba48 ? 4 : 2;
    for (unsigned i = 0; i < count; ++i) {
        out.sector_count |= uint64_t{words[first + i]} << 16 * i;
    }
    const uint64_t limit = out.lba48 ? ata::kLba48Limit : ata::kLba28Limit;
    if (out.sector_count == 0 || out.sector_count > limit) {
        return Error{ErrorCode::kInvalid, "disk claims an impossible size"};
    }
    copy_model(words, out);
    return out;
}

size_t fill_prd_table(std::span<ata::PrdEntry> table, uint64_t address, size_t len_bytes) {
    constexpr uint64_t kReach = 1ull << 32;
    if (len_bytes == 0 || ((address | len_bytes) & 1) != 0 || len_bytes > kReach ||
        address > kReach - len_bytes) {
        return 0;
    }
    size_t count = 0;
    while (len_bytes > 0) {
        if (count == table.size()) {
            return 0;
        }
        const size_t to_boundary = ata::kPrdMaxBytes - address % ata::kPrdMaxBytes;
        const size_t piece = std::min(len_bytes, to_boundary);
        table[count++] = {static_cast<uint32_t>(address), static_cast<uint16_t>(piece), 0};
        address += piece;
        len_bytes -= piece;
    }
    table[count - 1].flags = ata::kPrdEnd;
    return count;
}

std::string_view ata_error_text(uint8_t error) {
    if ((error & ata::kErrorUncorrectable) != 0) {
        return "disk cannot read the sector";
    }
    if ((error & ata::kErrorInterfaceCrc) != 0) {
        return "data was damaged on the way to or from the disk";
    }
    if ((error & ata::kErrorIdNotFound) != 0) {
        return "disk has no such sector";
    }
    if ((error & ata::kErrorAbort) != 0) {
        return "disk refused the command";
    }
    return "disk reports an error";
}

}  // namespace bareflow
