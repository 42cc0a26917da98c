// Lists of capabilities on a fake bus: those of a real device, and ones that cannot be right.
#include "drivers/virtio/virtio_pci.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <utility>

#include "tests/fakes/fake_pci.h"

namespace bareflow {
namespace {

using fakes::FakePci;

struct Capability {
    uint8_t at, type, bar;
    uint32_t offset, len;
    uint8_t cap_len = 16;
    uint32_t multiplier = 4;
};
constexpr Capability kCommon{0x40, 1, 4, 0x0000, 0x1000};
constexpr Capability kIsr{0x50, 3, 4, 0x1000, 0x1000};
constexpr Capability kDevice{0x60, 4, 4, 0x2000, 0x1000};
constexpr Capability kNotify{0x70, 2, 4, 0x3000, 0x1000, 20, 4};

class VirtioPciTest : public testing::Test {
  protected:
    VirtioPciTest() : card_(bus_.add({0, 4, 0}, 0x1AF4, 0x1000)) {
        card_.set32(pci::kSubsystem, 0x00011AF4);
        card_.set_bar(0, 0xC000, 0x40, pci::kBarIo);
        card_.set_bar64(4, 0xFE000000, 0x4000);
    }
    void add(const Capability &cap) {
        card_.add_capability(pci::kCapabilityVendorSpecific, cap.at);
        card_.set8(cap.at + virtio::kCapLen, cap.cap_len);
        card_.set8(cap.at + virtio::kCapType, cap.type);
        card_.set8(cap.at + virtio::kCapBar, cap.bar);
        card_.set32(cap.at + virtio::kCapOffset, cap.offset);
        card_.set32(cap.at + virtio::kCapLength, cap.len);
        if (cap.cap_len >= 20 && cap.at <= 0xEC) {
            card_.set32(cap.at + virtio::kCapNotifyMultiplier, cap.multiplier);
        }
    }
    void add_all(std::initializer_list<Capability> caps) {
        for (const Capability &cap : caps) {
            add(cap);
        }
    }
    Result<VirtioLayout> find() { return find_virtio_layout(bus_, function()); }
    PciFunction function() {
        PciInventory inventory;
        enumerate_pci(bus_, inventory);
        return inventory.functions[0];
    }

    FakePci bus_;
    FakePci::Function &card_;
};

TEST_F(VirtioPciTest, FindsTheFourStructures) {
    add_all({kCommon, kIsr, kDevice, kNotify});
    const auto layout = find();
    ASSERT_TRUE(layout.ok()) << layout.error().message;
    EXPECT_EQ(layout->common.offset, 0x0000u);
    EXPECT_EQ(layout->isr.offset, 0x1000u);
    EXPECT_EQ(layout->device.offset, 0x2000u);
    EXPECT_EQ(layout->notify.offset, 0x3000u);
    EXPECT_EQ(layout->notify.bar, 4);
    EXPECT_EQ(layout->notify_multiplier, 4u);
}

TEST_F(VirtioPciTest, FirstUsableOneOfAKindCounts) {
    // The list is walked from the one added last.
    add_all({kIsr, kDevice, kNotify, kCommon});
    add({0x90, 1, 7, 0, 0x1000});      // reserved register block
    add({0xA0, 1, 0, 0, 0x40});        // in I/O space
    add({0xB0, 1, 4, 0, 0x1000, 12});  // too short for a capability
    add({0xC0, 200, 4, 0, 0x1000});    // reserved type
    const auto layout = find();
    ASSERT_TRUE(layout.ok()) << layout.error().message;
    EXPECT_EQ(layout->common.len_bytes, 0x1000u);
}

TEST_F(VirtioPciTest, DeviceStructureMayBeMissing) {
    add_all({kCommon, kIsr, kNotify});
    const auto layout = find();
    ASSERT_TRUE(layout.ok());
    EXPECT_EQ(layout->device.len_bytes, 0u);
}

TEST_F(VirtioPciTest, LegacyDevicesAreRefused) {
    EXPECT_EQ(find().error().code, ErrorCode::kUnsupported);
    add_all({kCommon, kNotify});
    EXPECT_EQ(find().error().code, ErrorCode::kUnsupported);
}

TEST_F(VirtioPciTest, StructuresThatCannotBeRight) {
    const std::pair<const char *, Capability> wrong[] = {
        {"common too short", {0x40, 1, 4, 0, 0x37}},
        {"common misaligned", {0x40, 1, 4, 2, 0x38}},
        {"common past the end of all addresses", {0x40, 1, 4, 0xFFFFFFFC, 0x38}},
        {"notify too short", {0x70, 2, 4, 0x3000, 1, 20, 4}},
        {"notify misaligned", {0x70, 2, 4, 0x3001, 0x1000, 20, 4}},
        {"multiplier odd", {0x70, 2, 4, 0x3000, 0x1000, 20, 1}},
        {"multiplier no power of two", {0x70, 2, 4, 0x3000, 0x1000, 20, 6}},
        {"device misaligned", {0x60, 4, 4, 0x2001, 0x1000}},
    };
    for (const auto &[name, cap] : wrong) {
        for (const Capability &good : {kCommon, kIsr, kDevice, kNotify}) {
            add(good.type == cap.type ? cap : good);
        }
        EXPECT_EQ(find().error().code, ErrorCode::kInvalid) << name;
        card_.set8(pci::kCapabilitiesPointer, 0);
    }
}

TEST_F(VirtioPciTest, CapabilityThatRunsOutOfTheSpace) {
    add_all({kCommon, kIsr});
    add({0xF0, 2, 4, 0x3000, 0x1000, 20});
    EXPECT_EQ(find().error().code, ErrorCode::kUnsupported);
}

TEST_F(VirtioPciTest, TypesOfDevices) {
    PciFunction some = function();
    EXPECT_EQ(virtio_type(some), virtio::kTypeNetwork);
    some.subsystem = 2;
    EXPECT_EQ(virtio_type(some), virtio::kTypeBlock);
    some.device = 0x1044;
    EXPECT_EQ(virtio_type(some), virtio::kTypeEntropy);
    some.device = 0x1080;
    EXPECT_EQ(virtio_type(some), 0);
    some.device = 0x0FFF;
    EXPECT_EQ(virtio_type(some), 0);
    some.device = 0x1041;
    some.vendor = 0x8086;
    EXPECT_EQ(virtio_type(some), 0);
}

}  // namespace
}  // namespace bareflow
