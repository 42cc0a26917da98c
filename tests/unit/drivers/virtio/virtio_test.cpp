// The parts that all virtio devices share: finding the structures, the queue, the entropy device.
#include <gtest/gtest.h>

#include <random>

#include "drivers/virtio/virtio_pci.h"
#include "drivers/virtio/virtio_rng.h"
#include "tests/fakes/fake_pci.h"
#include "tests/fakes/fake_virtio.h"

namespace bareflow {
namespace {

using fakes::DmaMemory;
using fakes::FakePci;
using fakes::FakeVirtioRegs;
using fakes::FakeVirtioRng;

// ------------------------------------------------------------------------------- capabilities

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

// ------------------------------------------------------------------------------- the queue

class VirtqueueTest : public testing::Test {
  protected:
    static constexpr uint16_t kSize = 8;
    VirtqueueTest() { queue_.init(memory_.data(), kSize); }

    uint16_t *used() {
        return reinterpret_cast<uint16_t *>(
            memory_.data() + (queue_.device_address() - queue_.descriptor_address()));
    }
    void give_back(uint32_t id, uint32_t len) {
        const virtio::UsedElement element{id, len};
        std::memcpy(used() + 2 + 4 * (used()[1] % kSize), &element, sizeof element);
        ++used()[1];
    }

    DmaMemory memory_{Virtqueue::bytes_needed(kSize)};
    Virtqueue queue_;
};

TEST_F(VirtqueueTest, PartsAreWhereTheyMayBe) {
    for (const uint16_t size : {1, 2, 4, 64}) {
        DmaMemory memory(Virtqueue::bytes_needed(size));
        Virtqueue queue;
        queue.init(memory.data(), size);
        EXPECT_EQ(queue.descriptor_address() % 16, 0u);
        EXPECT_EQ(queue.driver_address() - queue.descriptor_address(), 16u * size);
        EXPECT_GE(queue.device_address(), queue.driver_address() + 6 + 2 * size);
        EXPECT_EQ(queue.device_address() % 4, 0u);
    }
}

TEST_F(VirtqueueTest, IndexesWrapAt65536) {
    Virtqueue::Used got;
    for (uint32_t i = 0; i < 70000; ++i) {
        const auto head = static_cast<uint16_t>(i % kSize);
        queue_.set(head, memory_.data(), 100, virtio::kDescWrite);
        queue_.submit(head, 100);
        ASSERT_FALSE(queue_.take(got));
        give_back(head, i % 101);
        ASSERT_TRUE(queue_.take(got)) << i;
        ASSERT_EQ(got.head, head);
        ASSERT_EQ(got.len_bytes, i % 101);
    }
}

TEST_F(VirtqueueTest, ChainsComeBackInAnyOrder) {
    for (uint16_t i = 0; i < kSize; ++i) {
        queue_.submit(i, 10);
    }
    for (const uint16_t head : {3, 0, 7, 1, 2, 6, 5, 4}) {
        give_back(head, 1);
        Virtqueue::Used got;
        ASSERT_TRUE(queue_.take(got));
        EXPECT_EQ(got.head, head);
    }
    EXPECT_EQ(queue_.in_flight(), 0);
}

TEST_F(VirtqueueTest, WhatCannotBeBreaksTheQueue) {
    struct Case {
        const char *name;
        uint32_t id, len;
        uint16_t jump;
    };
    const Case cases[] = {
        {"head out of the table", kSize, 0, 0},     {"head far out", 0xFFFFFFFF, 0, 0},
        {"head that was never submitted", 5, 0, 0}, {"longer than allowed", 0, 11, 0},
        {"much longer", 0, 0xFFFFFFFF, 0},          {"more entries than chains", 0, 1, 1},
        {"index gone backwards", 0, 1, 0xFFF0},
    };
    for (const Case &wrong : cases) {
        std::fill(memory_.span().begin(), memory_.span().end(), uint8_t{0});
        queue_.init(memory_.data(), kSize);
        queue_.submit(0, 10);
        give_back(wrong.id, wrong.len);
        used()[1] = static_cast<uint16_t>(used()[1] + wrong.jump);
        Virtqueue::Used got;
        EXPECT_FALSE(queue_.take(got)) << wrong.name;
        EXPECT_TRUE(queue_.broken()) << wrong.name;
        EXPECT_FALSE(queue_.take(got)) << wrong.name;
    }
}

TEST_F(VirtqueueTest, TheSameChainTwice) {
    queue_.submit(0, 10);
    queue_.submit(1, 10);
    give_back(0, 1);
    give_back(0, 1);
    Virtqueue::Used got;
    EXPECT_TRUE(queue_.take(got));
    EXPECT_FALSE(queue_.take(got));
    EXPECT_TRUE(queue_.broken());
}

using VirtqueueDeathTest = VirtqueueTest;
TEST_F(VirtqueueDeathTest, OurOwnMistakesPanic) {
    queue_.submit(0, 10);
    EXPECT_DEATH(queue_.submit(0, 10), "twice");
    EXPECT_DEATH(queue_.submit(kSize, 10), "twice");
    EXPECT_DEATH(queue_.init(memory_.data(), 3), "forbidden size");
}

// ------------------------------------------------------------------------------- entropy

class VirtioRngTest : public testing::Test {
  protected:
    using Driver = VirtioRng<FakeVirtioRegs>;
    VirtioRngTest() { fake_.dma.allow(memory_.span()); }
    Result<Driver> start() { return Driver::create(FakeVirtioRegs(fake_), memory_.span(), 20); }
    DmaMemory memory_{4096};
    FakeVirtioRng fake_;
};

TEST_F(VirtioRngTest, FillsAnyLength) {
    auto source = start();
    ASSERT_TRUE(source.ok()) << source.error().message;
    EXPECT_FALSE(fake_.interrupt_asserted());
    uint8_t expected = 1;
    for (const size_t len : {1, 255, 256, 257, 1000}) {
        std::vector<uint8_t> bytes(len);
        ASSERT_TRUE(source->fill(bytes).ok());
        for (const uint8_t byte : bytes) {
            ASSERT_EQ(byte, expected++);
        }
    }
    EXPECT_FALSE(fake_.interrupt_asserted());
}

TEST_F(VirtioRngTest, DeviceThatGivesLittleAtATime) {
    fake_.at_most = 7;
    auto source = start();
    ASSERT_TRUE(source.ok());
    std::vector<uint8_t> bytes(100);
    ASSERT_TRUE(source->fill(bytes).ok());
    for (size_t i = 0; i < bytes.size(); ++i) {
        ASSERT_EQ(bytes[i], i + 1);
    }
}

TEST_F(VirtioRngTest, Faults) {
    for (const auto &[fault, code] : {std::pair{FakeVirtioRng::Fault::kHang, ErrorCode::kTimeout},
                                      {FakeVirtioRng::Fault::kNothing, ErrorCode::kDevice},
                                      {FakeVirtioRng::Fault::kTooMuch, ErrorCode::kDevice}}) {
        std::fill(memory_.span().begin(), memory_.span().end(), uint8_t{0});
        auto source = start();
        ASSERT_TRUE(source.ok());
        fake_.fault = fault;
        std::array<uint8_t, 16> bytes;
        EXPECT_EQ(source->fill(bytes).code(), code);
        EXPECT_FALSE(fake_.running()) << "it was reset";
        EXPECT_EQ(source->fill(bytes).code(), ErrorCode::kDevice);
        fake_.fault = FakeVirtioRng::Fault::kNone;
    }
}

// ------------------------------------------------------------------------------- the handshake

TEST_F(VirtioRngTest, NeedsTheModernInterface) {
    fake_.offered = 1ull << 28;
    EXPECT_EQ(start().error().code, ErrorCode::kUnsupported);
    EXPECT_NE(fake_.status() & virtio::kStatusFailed, 0);
}

TEST_F(VirtioRngTest, FeaturesThatTheDeviceRefuses) {
    fake_.refuses_features = true;
    EXPECT_EQ(start().error().code, ErrorCode::kUnsupported);
    EXPECT_NE(fake_.status() & virtio::kStatusFailed, 0);
}

TEST_F(VirtioRngTest, ResetThatNeverEnds) {
    fake_.reset_hangs = true;
    EXPECT_EQ(start().error().code, ErrorCode::kTimeout);
}

TEST_F(VirtioRngTest, DeviceThatIsNotThere) {
    fake_.gone = true;
    EXPECT_EQ(start().error().code, ErrorCode::kTimeout);
}

TEST_F(VirtioRngTest, QueuesThatCannotBeUsed) {
    fake_.queue_max = 0;
    EXPECT_EQ(start().error().code, ErrorCode::kDevice);
    fake_.queue_max = 3;
    EXPECT_EQ(start().error().code, ErrorCode::kDevice);
    fake_.queue_max = 1;
    EXPECT_TRUE(start().ok());
    EXPECT_EQ(fake_.queue_size(0), 1);
    fake_.notify_len = 1;
    EXPECT_EQ(start().error().code, ErrorCode::kDevice);
}

TEST_F(VirtioRngTest, TooLittleMemory) {
    EXPECT_EQ(VirtioRng<FakeVirtioRegs>::create(FakeVirtioRegs(fake_), memory_.span().first(4095))
                  .error()
                  .code,
              ErrorCode::kTooLarge);
}

TEST(FakeVirtioItself, Bites) {
    FakeVirtioRng fake;
    using Region = fakes::FakeVirtio::Region;
    const auto caught = [&fake](const char *what) {
        const auto list = fake.violations.take();
        return std::any_of(list.begin(), list.end(), [what](const std::string &violation) {
            return violation.find(what) != std::string::npos;
        });
    };
    fake.write(Region::kCommon, virtio::kDeviceStatus, 1, 1);
    EXPECT_TRUE(caught("before its reset"));
    fake.write(Region::kCommon, virtio::kDeviceStatus, 1, 0);
    while (fake.read(Region::kCommon, virtio::kDeviceStatus, 1) != 0) {
    }
    fake.write(Region::kCommon, virtio::kDeviceStatus, 1, 1);
    fake.write(Region::kCommon, virtio::kDeviceStatus, 1, 1 | 2 | 8);
    EXPECT_TRUE(caught("out of order"));
    fake.write(Region::kCommon, virtio::kDeviceStatus, 1, 1 | 2);
    fake.write(Region::kCommon, virtio::kDriverFeature, 4, 1);
    EXPECT_TRUE(caught("not offered"));
    fake.write(Region::kCommon, virtio::kQueueEnable, 2, 1);
    EXPECT_TRUE(caught("outside its step"));
    fake.write(Region::kNotify, 0, 2, 0);
    EXPECT_TRUE(caught("before DRIVER_OK"));
    fake.write(Region::kNotify, 4, 2, 0);
    EXPECT_TRUE(caught("another queue's place"));
    (void)fake.read(Region::kCommon, virtio::kQueueSize, 4);
    EXPECT_TRUE(caught("another width"));
    fake.write(Region::kCommon, virtio::kConfigGeneration, 1, 0);
    EXPECT_TRUE(caught("read-only"));
}

}  // namespace
}  // namespace bareflow
