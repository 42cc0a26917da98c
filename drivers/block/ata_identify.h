// The parts of the ATA driver that touch no hardware: what a disk says about itself, and the table
// that tells the bus master where memory is.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "drivers/block/ata_regs.h"
#include "kernel_lib/base/result.h"

namespace bareflow {

inline constexpr size_t kIdentifyWords = 256;

struct AtaIdentity {
    uint64_t sector_count = 0;
    bool lba48 = false;
    bool dma = false;
    bool flush = false;      // FLUSH CACHE is there
    bool flush_ext = false;  // FLUSH CACHE EXT is there
    std::array<char, 40> model_text{};
    uint8_t model_len = 0;

    [[nodiscard]] std::string_view model() const { return {model_text.data(), model_len}; }
};

// The answer to IDENTIFY DEVICE (ATA8 section 7.17). kUnsupported: a disk that cannot be addressed
// by LBA, or with sectors other than 512 bytes; kInvalid: an impossible size.
[[nodiscard]] Result<AtaIdentity> parse_identify(std::span<const uint16_t, kIdentifyWords> words);

// Cuts [address, address + len_bytes) into pieces that a bus master can take, the last one marked.
// Returns the number of pieces; 0 if they do not fit `table`, or if the memory has an odd address
// or length or is not below 4 GiB.
[[nodiscard]] size_t fill_prd_table(std::span<ata::PrdEntry> table, uint64_t address,
                                    size_t len_bytes);

// The sentence for an error register (ATA8 section 6.3).
[[nodiscard]] std::string_view ata_error_text(uint8_t error);

}  // namespace bareflow
