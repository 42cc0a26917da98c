// PCI configuration space: registers and fields.
// Source: PCI Local Bus Specification 3.0, chapter 6 (sections named at each group), and
// PCI-to-PCI Bridge Architecture Specification 1.2, section 3.2.
#pragma once

#include <cstdint>

namespace bareflow::pci {

// Configuration mechanism #1, section 3.2.2.3.2.
inline constexpr uint16_t kConfigAddressPort = 0xCF8;
inline constexpr uint16_t kConfigDataPort = 0xCFC;
inline constexpr uint32_t kConfigEnable = 1u << 31;

// Section 6.1, figure 6-1: the common header.
inline constexpr uint8_t kVendorId = 0x00;  // 16 bits; 0xFFFF: no function here
inline constexpr uint8_t kCommand = 0x04;   // 16 bits
inline constexpr uint8_t kStatus = 0x06;    // 16 bits, write one to clear
inline constexpr uint8_t kRevisionAndClass = 0x08;
inline constexpr uint8_t kHeaderType = 0x0E;  // 8 bits
inline constexpr uint8_t kBar0 = 0x10;
inline constexpr uint8_t kSubsystem = 0x2C;  // vendor, then id; header type 0
inline constexpr uint8_t kCapabilitiesPointer = 0x34;
inline constexpr uint8_t kInterruptLine = 0x3C;  // 8 bits
inline constexpr uint16_t kNoVendor = 0xFFFF;

// Section 6.2.2, table 6-1.
inline constexpr uint16_t kCommandIo = 1u << 0;
inline constexpr uint16_t kCommandMemory = 1u << 1;
inline constexpr uint16_t kCommandBusMaster = 1u << 2;
inline constexpr uint16_t kCommandIntxDisable = 1u << 10;
// Section 6.2.3, table 6-2.
inline constexpr uint16_t kStatusCapabilities = 1u << 4;

// Section 6.2.1, header type.
inline constexpr uint8_t kHeaderMultiFunction = 0x80;
inline constexpr uint8_t kHeaderLayoutMask = 0x7F;
inline constexpr uint8_t kHeaderDevice = 0x00;
inline constexpr uint8_t kHeaderBridge = 0x01;
// Bridge specification, section 3.2.5.3: a byte at 19h.
inline constexpr uint8_t kBridgeSecondaryBus = 0x19;

// Section 6.2.5.1, base address registers.
inline constexpr uint32_t kBarIo = 1u << 0;
inline constexpr uint32_t kBarIoMask = ~0x3u;
inline constexpr uint32_t kBarTypeMask = 0x6;
inline constexpr uint32_t kBarType64 = 0x4;
inline constexpr uint32_t kBarTypeReserved = 0x6;
inline constexpr uint32_t kBarMemoryMask = ~0xFu;
inline constexpr uint8_t kBarCount = 6;  // header type 0

// Section 6.7 and appendix H.
inline constexpr uint8_t kFirstCapability = 0x40;
inline constexpr uint8_t kCapabilityVendorSpecific = 0x09;

// Class codes, appendix D.
inline constexpr uint8_t kClassStorage = 0x01;
inline constexpr uint8_t kSubclassIde = 0x01;
inline constexpr uint8_t kClassNetwork = 0x02;
inline constexpr uint8_t kClassBridge = 0x06;
inline constexpr uint8_t kSubclassPciBridge = 0x04;

inline constexpr uint8_t kDevicesPerBus = 32;
inline constexpr uint8_t kFunctionsPerDevice = 8;

}  // namespace bareflow::pci
