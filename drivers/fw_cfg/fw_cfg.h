// Files that QEMU hands to the machine (-fw_cfg name=opt/...,string=...), read by ports.
// Source: QEMU's docs/specs/fw_cfg ("QEMU Firmware Configuration Device"); sections named below.
//
// Template over the ports (in8, out16), so that a fake can stand behind them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernel_lib/base/result.h"

namespace bareflow {

namespace fw_cfg {
// "x86, x86_64: Register Locations".
inline constexpr uint16_t kSelectorPort = 0x510;  // 16 bits, write
inline constexpr uint16_t kDataPort = 0x511;      // 8 bits, read: the item's next byte
// "Firmware Configuration Items".
inline constexpr uint16_t kSignature = 0x0000;
inline constexpr uint16_t kFileDirectory = 0x0019;
inline constexpr std::string_view kSignatureText = "QEMU";
// "File Directory": a count, then entries of size, selector, reserved, name; all big endian.
inline constexpr size_t kNameBytes = 56;
// Our own limit: QEMU's default machine has about 20 entries.
inline constexpr uint32_t kMaxFiles = 1024;
// Where users put settings, by the manual's convention ("opt/RFQDN/...").
inline constexpr std::string_view kOptionsFile = "opt/bareflow/options";
inline constexpr size_t kMaxOptionsBytes = 4096;
}  // namespace fw_cfg

template <typename Ports>
class FwCfg {
  public:
    explicit FwCfg(Ports ports) : ports_(ports) {}

    [[nodiscard]] bool present() {
        select(fw_cfg::kSignature);
        bool same = true;
        for (const char c : fw_cfg::kSignatureText) {
            same = static_cast<char>(ports_.in8(fw_cfg::kDataPort)) == c && same;
        }
        return same;
    }

    // Copies a file into `out` and returns its length. kNotFound: no such device or file;
    // kTooLarge: longer than `out`, nothing copied; kDevice: the directory cannot be right.
    [[nodiscard]] Result<size_t> read_file(std::string_view name, std::span<uint8_t> out) {
        if (!present()) {
            return Error{ErrorCode::kNotFound, "no firmware configuration device"};
        }
        select(fw_cfg::kFileDirectory);
        const uint32_t count = read_big_endian(4);
        if (count > fw_cfg::kMaxFiles) {
            return Error{ErrorCode::kDevice, "firmware configuration lists too many files"};
        }
        for (uint32_t i = 0; i < count; ++i) {
            const uint32_t len = read_big_endian(4);
            const auto selector = static_cast<uint16_t>(read_big_endian(2));
            (void)read_big_endian(2);
            if (!next_name_is(name)) {
                continue;
            }
            if (len > out.size()) {
                return Error{ErrorCode::kTooLarge, "firmware configuration file is too long"};
            }
            select(selector);
            for (uint32_t at = 0; at < len; ++at) {
                out[at] = ports_.in8(fw_cfg::kDataPort);
            }
            return size_t{len};
        }
        return Error{ErrorCode::kNotFound, "no such firmware configuration file"};
    }

  private:
    void select(uint16_t item) { ports_.out16(fw_cfg::kSelectorPort, item); }
    [[nodiscard]] uint32_t read_big_endian(unsigned bytes) {
        uint32_t value = 0;
        for (unsigned i = 0; i < bytes; ++i) {
            value = value << 8 | ports_.in8(fw_cfg::kDataPort);
        }
        return value;
    }
    // Always reads the whole name field, because the next entry follows it.
    [[nodiscard]] bool next_name_is(std::string_view name) {
        bool same = name.size() < fw_cfg::kNameBytes;
        for (size_t i = 0; i < fw_cfg::kNameBytes; ++i) {
            const auto c = static_cast<char>(ports_.in8(fw_cfg::kDataPort));
            if (i < name.size()) {
                same = same && c == name[i];
            } else if (i == name.size()) {
                same = same && c == '\0';
            }
        }
        return same;
    }

    Ports ports_;
};

}  // namespace bareflow
