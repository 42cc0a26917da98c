// Registers, fields and descriptors of the Intel 8254x network cards.
// Source: PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, revision
// 4.0 (317453-006EN), "SDM" below. The 82574L keeps these; where it differs, its datasheet
// (317694-026) is named.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace bareflow::e1000 {

// SDM section 13.4: register offsets in BAR 0.
inline constexpr uint32_t kCtrl = 0x00000;    // 13.4.1
inline constexpr uint32_t kStatus = 0x00008;  // 13.4.2
inline constexpr uint32_t kEerd = 0x00014;    // 13.4.4
inline constexpr uint32_t kIcr = 0x000C0;     // 13.4.17, cleared by reading
inline constexpr uint32_t kItr = 0x000C4;     // 13.4.18
inline constexpr uint32_t kIms = 0x000D0;     // 13.4.20
inline constexpr uint32_t kImc = 0x000D8;     // 13.4.21
inline constexpr uint32_t kRctl = 0x00100;    // 13.4.22
inline constexpr uint32_t kTctl = 0x00400;    // 13.4.33
inline constexpr uint32_t kTipg = 0x00410;    // 13.4.34
inline constexpr uint32_t kRdbal = 0x02800;   // 13.4.25
inline constexpr uint32_t kRdbah = 0x02804;
inline constexpr uint32_t kRdlen = 0x02808;
inline constexpr uint32_t kRdh = 0x02810;
inline constexpr uint32_t kRdt = 0x02818;
inline constexpr uint32_t kRdtr = 0x02820;   // 13.4.30, receive delay timer
inline constexpr uint32_t kRadv = 0x0282C;   // 13.4.31
inline constexpr uint32_t kTdbal = 0x03800;  // 13.4.36
inline constexpr uint32_t kTdbah = 0x03804;
inline constexpr uint32_t kTdlen = 0x03808;
inline constexpr uint32_t kTdh = 0x03810;
inline constexpr uint32_t kTdt = 0x03818;
inline constexpr uint32_t kMta = 0x05200;  // 13.5.1, multicast table
inline constexpr uint32_t kMtaEntries = 128;
inline constexpr uint32_t kRal0 = 0x05400;  // 13.5.2, receive address 0
inline constexpr uint32_t kRah0 = 0x05404;  // 13.5.3

// BAR 0 is 128 KiB of registers (SDM section 4.1).
inline constexpr size_t kRegisterBytes = 0x20000;

// SDM section 13.4.1.
inline constexpr uint32_t kCtrlFullDuplex = 1u << 0;
inline constexpr uint32_t kCtrlLinkReset = 1u << 3;
inline constexpr uint32_t kCtrlAutoSpeed = 1u << 5;
inline constexpr uint32_t kCtrlSetLinkUp = 1u << 6;
inline constexpr uint32_t kCtrlInvertLossOfSignal = 1u << 7;
inline constexpr uint32_t kCtrlReset = 1u << 26;
inline constexpr uint32_t kCtrlVlanMode = 1u << 30;
inline constexpr uint32_t kCtrlPhyReset = 1u << 31;

// SDM section 13.4.2.
inline constexpr uint32_t kStatusLinkUp = 1u << 1;

// EEPROM read register, SDM section 13.4.4 and 5.3.1. The 82541, the 82547 and the 82574L have the
// second layout.
struct EerdLayout {
    uint32_t done;
    unsigned address_shift;
};
inline constexpr uint32_t kEerdStart = 1u << 0;
inline constexpr unsigned kEerdDataShift = 16;
inline constexpr EerdLayout kEerd8254x{1u << 4, 8};
inline constexpr EerdLayout kEerd82574{1u << 1, 2};
// SDM section 5.6.1: the Ethernet address is in EEPROM words 0-2, low byte first.
inline constexpr uint32_t kEepromMacWord = 0;

// SDM table 13-63: interrupt causes, the same in ICR, IMS and IMC.
inline constexpr uint32_t kIntLinkChange = 1u << 2;
inline constexpr uint32_t kIntRxMinThreshold = 1u << 4;
inline constexpr uint32_t kIntRxOverrun = 1u << 6;
inline constexpr uint32_t kIntRxTimer = 1u << 7;  // a frame has arrived
inline constexpr uint32_t kIntAll = 0xFFFFFFFF;

// SDM table 13-67. Buffer size 00b with BSEX 0 is 2048 bytes; RDMTS 00b: half the ring.
inline constexpr uint32_t kRctlEnable = 1u << 1;
inline constexpr uint32_t kRctlAcceptBroadcast = 1u << 15;
inline constexpr uint32_t kRctlStripCrc = 1u << 26;
inline constexpr uint32_t kRctlReserved =
    1u << 0 | 1u << 10 | 1u << 11 | 1u << 14 | 1u << 21 | 1u << 24 | 0xFu << 27 | 1u << 31;
inline constexpr uint32_t kRctlLongPackets = 1u << 5;
inline constexpr uint32_t kRctlBufferSizeMask = 3u << 16;
inline constexpr uint32_t kRctlBufferExtend = 1u << 25;

// SDM section 13.4.33; the thresholds are those it recommends for full duplex.
inline constexpr uint32_t kTctlEnable = 1u << 1;
inline constexpr uint32_t kTctlPadShort = 1u << 3;
inline constexpr uint32_t kTctlCollisionThreshold = 0x0Fu << 4;
inline constexpr uint32_t kTctlCollisionDistance = 0x40u << 12;
inline constexpr uint32_t kTctlReserved = 1u << 0 | 1u << 2 | 0xFu << 26 | 3u << 30;
// SDM table 13-77, copper link: IPGT 10 (8 for the 82544), IPGR1 8, IPGR2 6.
inline constexpr uint32_t kTipgCopper = 10u | 8u << 10 | 6u << 20;
inline constexpr uint32_t kTipgCopper82544 = 8u | 8u << 10 | 6u << 20;

// SDM table 13-91.
inline constexpr uint32_t kRahAddressValid = 1u << 31;

// SDM section 3.2.3: legacy receive descriptor.
struct RxDescriptor {
    uint64_t address;
    uint16_t len_bytes;
    uint16_t checksum;
    uint8_t status;
    uint8_t errors;
    uint16_t special;
};
static_assert(sizeof(RxDescriptor) == 16);
inline constexpr uint8_t kRxDone = 1u << 0;         // table 3-2
inline constexpr uint8_t kRxEndOfPacket = 1u << 1;  // table 3-2
// Table 3-3: CRC or alignment, symbol, sequence, carrier extension, data error. The two checksum
// bits (5, 6) are no reason to drop a frame.
inline constexpr uint8_t kRxFrameErrors = 1u << 0 | 1u << 1 | 1u << 2 | 1u << 4 | 1u << 7;

// SDM section 3.3.3: legacy transmit descriptor.
struct TxDescriptor {
    uint64_t address;
    uint16_t len_bytes;
    uint8_t checksum_offset;
    uint8_t command;
    uint8_t status;
    uint8_t checksum_start;
    uint16_t special;
};
static_assert(sizeof(TxDescriptor) == 16);
inline constexpr uint8_t kTxEndOfPacket = 1u << 0;  // command
inline constexpr uint8_t kTxInsertCrc = 1u << 1;
inline constexpr uint8_t kTxReportStatus = 1u << 3;
inline constexpr uint8_t kTxDone = 1u << 0;  // status

// Rings are a multiple of 128 bytes long and 16-byte aligned (SDM section 3.2.6, 3.4).
inline constexpr uint32_t kRingLenUnit = 128;

// The cards whose legacy descriptor path this driver was run on, all in QEMU (SDM table 5-1;
// 82574L datasheet section 9.1.5.2).
struct Model {
    uint16_t device;
    EerdLayout eerd;
    uint32_t tipg;
    const char *name;
};
inline constexpr std::array kModels{
    Model{0x100E, kEerd8254x, kTipgCopper, "82540EM"},
    Model{0x100C, kEerd8254x, kTipgCopper82544, "82544GC"},
    Model{0x100F, kEerd8254x, kTipgCopper, "82545EM"},
    Model{0x10D3, kEerd82574, kTipgCopper, "82574L"},
};
constexpr const Model *find_model(uint16_t device) {
    for (const Model &model : kModels) {
        if (model.device == device) {
            return &model;
        }
    }
    return nullptr;
}

}  // namespace bareflow::e1000
