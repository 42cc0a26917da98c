// ATA disks behind a PCI IDE controller: ports, registers, commands.
// Sources: "ATA8": AT Attachment 8 - ATA/ATAPI Command Set (T13/1699-D rev 6a); "ATA7": ATA/ATAPI-7
// volume 2 (T13/1532D), parallel transport; "BMIDE": Programming Interface for Bus Master IDE
// Controller, revision 1.0; "PCIIDE": PCI IDE Controller Specification, revision 1.0.
#pragma once

#include <cstdint>

namespace bareflow::ata {

// PCIIDE section 2.1: the ports of a channel in compatibility mode.
inline constexpr uint16_t kPrimaryCommand = 0x1F0;
inline constexpr uint16_t kPrimaryControl = 0x3F6;
inline constexpr uint16_t kSecondaryCommand = 0x170;
inline constexpr uint16_t kSecondaryControl = 0x376;
// PCIIDE section 2.2: in native mode the control register is at offset 2 of its block.
inline constexpr uint16_t kNativeControlOffset = 2;
// PCIIDE section 2.5 and BMIDE section 1: the class code's programming interface.
inline constexpr uint8_t kProgIfPrimaryNative = 1u << 0;
inline constexpr uint8_t kProgIfSecondaryNative = 1u << 2;
inline constexpr uint8_t kProgIfBusMaster = 1u << 7;

// ATA7 section 5.3 (table 11): offsets from the command block.
inline constexpr uint16_t kData = 0;      // 16 bits
inline constexpr uint16_t kError = 1;     // read
inline constexpr uint16_t kFeatures = 1;  // write
inline constexpr uint16_t kCount = 2;
inline constexpr uint16_t kLbaLow = 3;
inline constexpr uint16_t kLbaMid = 4;
inline constexpr uint16_t kLbaHigh = 5;
inline constexpr uint16_t kDevice = 6;
inline constexpr uint16_t kStatus = 7;   // read; acknowledges an interrupt
inline constexpr uint16_t kCommand = 7;  // write

// Status, ATA8 section 6.1 and ATA7 section 5.14.
inline constexpr uint8_t kStatusError = 1u << 0;
inline constexpr uint8_t kStatusDataRequest = 1u << 3;
inline constexpr uint8_t kStatusDeviceFault = 1u << 5;
inline constexpr uint8_t kStatusReady = 1u << 6;
inline constexpr uint8_t kStatusBusy = 1u << 7;
inline constexpr uint8_t kFloatingBus = 0xFF;  // nothing drives the wires

// Error, ATA8 section 6.3.
inline constexpr uint8_t kErrorAbort = 1u << 2;
inline constexpr uint8_t kErrorIdNotFound = 1u << 4;
inline constexpr uint8_t kErrorUncorrectable = 1u << 6;
inline constexpr uint8_t kErrorInterfaceCrc = 1u << 7;

// Device, ATA7 section 5.8; bits 7 and 5 are obsolete and written as ones.
inline constexpr uint8_t kDeviceObsolete = 1u << 7 | 1u << 5;
inline constexpr uint8_t kDeviceLba = 1u << 6;
inline constexpr uint8_t kDeviceSecond = 1u << 4;

// Device control, ATA7 section 5.7 (write; the same port reads the alternate status).
inline constexpr uint8_t kControlNoInterrupt = 1u << 1;  // nIEN
inline constexpr uint8_t kControlReset = 1u << 2;        // SRST

// Commands, ATA8 table B.2.
inline constexpr uint8_t kReadSectors = 0x20;
inline constexpr uint8_t kReadSectorsExt = 0x24;
inline constexpr uint8_t kReadDmaExt = 0x25;
inline constexpr uint8_t kWriteSectors = 0x30;
inline constexpr uint8_t kWriteSectorsExt = 0x34;
inline constexpr uint8_t kWriteDmaExt = 0x35;
inline constexpr uint8_t kReadDma = 0xC8;
inline constexpr uint8_t kWriteDma = 0xCA;
inline constexpr uint8_t kFlushCache = 0xE7;
inline constexpr uint8_t kFlushCacheExt = 0xEA;
inline constexpr uint8_t kIdentifyDevice = 0xEC;

// ATA8 sections 7.24 and 7.25: a count of 0 means these.
inline constexpr uint32_t kMaxSectorsLba28 = 256;
inline constexpr uint32_t kMaxSectorsLba48 = 65536;
inline constexpr uint64_t kLba28Limit = 1ull << 28;
inline constexpr uint64_t kLba48Limit = 1ull << 48;

// What a packet device (CD-ROM) leaves in LBA mid and high (ATA8 table 206).
inline constexpr uint8_t kPacketSignatureMid = 0x14;
inline constexpr uint8_t kPacketSignatureHigh = 0xEB;

// BMIDE section 2: offsets from the bus master block; the second channel's follow the first's.
inline constexpr uint8_t kBusMasterBar = 4;
inline constexpr uint16_t kBusMasterChannelBytes = 8;
inline constexpr uint16_t kBmCommand = 0;
inline constexpr uint16_t kBmStatus = 2;
inline constexpr uint16_t kBmTable = 4;  // 32 bits
inline constexpr uint8_t kBmCommandStart = 1u << 0;
inline constexpr uint8_t kBmCommandToMemory = 1u << 3;
inline constexpr uint8_t kBmStatusActive = 1u << 0;
inline constexpr uint8_t kBmStatusError = 1u << 1;      // write one to clear
inline constexpr uint8_t kBmStatusInterrupt = 1u << 2;  // write one to clear
inline constexpr uint8_t kBmStatusDriveCapable = 3u << 5;

// BMIDE section 1.2: one entry of the table of memory pieces.
struct PrdEntry {
    uint32_t address;    // even
    uint16_t len_bytes;  // even; 0 means 64 KiB
    uint16_t flags;
};
static_assert(sizeof(PrdEntry) == 8);
inline constexpr uint16_t kPrdEnd = 1u << 15;
inline constexpr uint32_t kPrdMaxBytes = 0x10000;  // and no piece crosses a multiple of this

}  // namespace bareflow::ata
