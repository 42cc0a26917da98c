// VIRTIO over PCI: structures, fields and bits.
// Source: Virtual I/O Device (VIRTIO) Version 1.2, OASIS Committee Specification 01; sections named
// at each group.
#pragma once

#include <cstdint>

namespace bareflow::virtio {

// Section 5: device types.
inline constexpr uint16_t kTypeNetwork = 1;
inline constexpr uint16_t kTypeBlock = 2;
inline constexpr uint16_t kTypeEntropy = 4;

// Section 4.1.4: struct virtio_pci_cap, offsets from the capability.
inline constexpr uint8_t kCapLen = 2;
inline constexpr uint8_t kCapType = 3;
inline constexpr uint8_t kCapBar = 4;
inline constexpr uint8_t kCapOffset = 8;
inline constexpr uint8_t kCapLength = 12;
inline constexpr uint8_t kCapBytes = 16;
inline constexpr uint8_t kCapNotifyMultiplier = 16;  // section 4.1.4.4
inline constexpr uint8_t kCapNotifyBytes = 20;
inline constexpr uint8_t kCfgCommon = 1;
inline constexpr uint8_t kCfgNotify = 2;
inline constexpr uint8_t kCfgIsr = 3;
inline constexpr uint8_t kCfgDevice = 4;

// Section 4.1.4.3: struct virtio_pci_common_cfg.
inline constexpr uint32_t kDeviceFeatureSelect = 0x00;  // 32 bits
inline constexpr uint32_t kDeviceFeature = 0x04;        // 32
inline constexpr uint32_t kDriverFeatureSelect = 0x08;  // 32
inline constexpr uint32_t kDriverFeature = 0x0C;        // 32
inline constexpr uint32_t kConfigMsixVector = 0x10;     // 16
inline constexpr uint32_t kNumQueues = 0x12;            // 16
inline constexpr uint32_t kDeviceStatus = 0x14;         // 8
inline constexpr uint32_t kConfigGeneration = 0x15;     // 8
inline constexpr uint32_t kQueueSelect = 0x16;          // 16
inline constexpr uint32_t kQueueSize = 0x18;            // 16
inline constexpr uint32_t kQueueMsixVector = 0x1A;      // 16
inline constexpr uint32_t kQueueEnable = 0x1C;          // 16
inline constexpr uint32_t kQueueNotifyOff = 0x1E;       // 16
inline constexpr uint32_t kQueueDesc = 0x20;            // 64, as two halves
inline constexpr uint32_t kQueueDriver = 0x28;          // 64
inline constexpr uint32_t kQueueDevice = 0x30;          // 64
inline constexpr uint32_t kCommonBytes = 0x38;

// Section 2.1: device status.
inline constexpr uint8_t kStatusAcknowledge = 1;
inline constexpr uint8_t kStatusDriver = 2;
inline constexpr uint8_t kStatusDriverOk = 4;
inline constexpr uint8_t kStatusFeaturesOk = 8;
inline constexpr uint8_t kStatusNeedsReset = 64;
inline constexpr uint8_t kStatusFailed = 128;

// Section 4.1.4.5: ISR status, cleared by reading.
inline constexpr uint8_t kIsrQueue = 1u << 0;
inline constexpr uint8_t kIsrConfig = 1u << 1;

// Section 6: feature bits of every device.
inline constexpr uint64_t kFeatureVersion1 = 1ull << 32;

// Section 2.7.5: descriptor table.
struct Descriptor {
    uint64_t address;
    uint32_t len_bytes;
    uint16_t flags;
    uint16_t next;
};
static_assert(sizeof(Descriptor) == 16);
inline constexpr uint16_t kDescNext = 1;
inline constexpr uint16_t kDescWrite = 2;
// Section 2.7.6: the available ring is flags, idx, then heads; section 2.7.8: the used ring is
// flags, idx, then elements.
inline constexpr uint16_t kAvailNoInterrupt = 1;
inline constexpr uint16_t kUsedNoNotify = 1;
struct UsedElement {
    uint32_t id;
    uint32_t len_bytes;
};
static_assert(sizeof(UsedElement) == 8);

// Section 5.1.3: network features; 5.1.4: configuration.
inline constexpr uint64_t kNetFeatureMac = 1ull << 5;
inline constexpr uint64_t kNetFeatureStatus = 1ull << 16;
inline constexpr uint32_t kNetConfigMac = 0;     // 6 times 8 bits
inline constexpr uint32_t kNetConfigStatus = 6;  // 16 bits
inline constexpr uint16_t kNetStatusLinkUp = 1;
inline constexpr uint16_t kNetReceiveQueue = 0;
inline constexpr uint16_t kNetTransmitQueue = 1;
// Section 5.1.6: struct virtio_net_hdr; with VERSION_1 num_buffers is always there.
struct NetHeader {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
    uint16_t num_buffers;
};
static_assert(sizeof(NetHeader) == 12);

// Section 5.2.3: block features; 5.2.4: configuration.
inline constexpr uint64_t kBlkFeatureSizeMax = 1ull << 1;
inline constexpr uint64_t kBlkFeatureReadOnly = 1ull << 5;
inline constexpr uint64_t kBlkFeatureFlush = 1ull << 9;
inline constexpr uint32_t kBlkConfigCapacity = 0;  // 64 bits, 512-byte sectors
inline constexpr uint32_t kBlkConfigSizeMax = 8;   // 32 bits
// Section 5.2.6: requests.
struct BlkHeader {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
};
static_assert(sizeof(BlkHeader) == 16);
inline constexpr uint32_t kBlkIn = 0;
inline constexpr uint32_t kBlkOut = 1;
inline constexpr uint32_t kBlkFlush = 4;
inline constexpr uint8_t kBlkStatusOk = 0;
inline constexpr uint8_t kBlkStatusIoError = 1;
inline constexpr uint8_t kBlkStatusUnsupported = 2;

}  // namespace bareflow::virtio
