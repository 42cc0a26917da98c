// Enumeration, register blocks and capabilities on a made-up bus, with bridges that loop and sizes
// that cannot be.
#include "drivers/pci/pci.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/fakes/fake_pci.h"

namespace bareflow {
namespace {

using fakes::FakePci;
using Kind = PciBar::Kind;

std::vector<PciAddress> addresses(const PciInventory &inventory) {
    std::vector<PciAddress> out;
    for (const PciFunction &function : inventory.all()) {
        out.push_back(function.address);
    }
    return out;
}

PciFunction only_function(FakePci &bus) {
    PciInventory inventory;
    enumerate_pci(bus, inventory);
    EXPECT_EQ(inventory.count, 1u);
    return inventory.functions[0];
}

TEST(PciEnumerate, EmptyBusCostsOneReadADevice) {
    FakePci bus;
    PciInventory inventory;
    enumerate_pci(bus, inventory);
    EXPECT_EQ(inventory.count, 0u);
    EXPECT_FALSE(inventory.truncated);
    EXPECT_EQ(bus.reads, 32u);
}

TEST(PciEnumerate, ReadsIdsAndClass) {
    FakePci bus;
    FakePci::Function &card = bus.add({0, 3, 0}, 0x8086, 0x100E);
    card.set_class(0x02, 0x00, 0x07);
    card.set8(pci::kRevisionAndClass, 0x03);
    card.set32(pci::kSubsystem, 0x11001AF4);
    const PciFunction found = only_function(bus);
    EXPECT_TRUE(found.is(0x8086, 0x100E));
    EXPECT_TRUE(found.is_class(0x02, 0x00));
    EXPECT_EQ(found.prog_if, 0x07);
    EXPECT_EQ(found.revision, 0x03);
    EXPECT_EQ(found.subsystem_vendor, 0x1AF4);
    EXPECT_EQ(found.subsystem, 0x1100);
    EXPECT_EQ(pci_name(found), "Intel 82540EM network card");
}

TEST(PciEnumerate, FunctionsOnlyOfMultiFunctionDevices) {
    FakePci bus;
    bus.add({0, 1, 0}, 1, 1).set8(pci::kHeaderType, pci::kHeaderMultiFunction);
    bus.add({0, 1, 3}, 1, 2);  // with a gap before it
    bus.add({0, 2, 0}, 1, 3);
    bus.add({0, 2, 1}, 1, 4);  // an alias of a single-function device: not read
    bus.add({0, 3, 1}, 1, 5);  // no function 0: no device
    PciInventory inventory;
    enumerate_pci(bus, inventory);
    EXPECT_EQ(addresses(inventory), (std::vector<PciAddress>{{0, 1, 0}, {0, 1, 3}, {0, 2, 0}}));
}

TEST(PciEnumerate, FollowsBridges) {
    FakePci bus;
    bus.add_bridge({0, 5, 0}, 1);
    bus.add_bridge({1, 0, 0}, 7);
    bus.add({7, 31, 0}, 2, 2);
    PciInventory inventory;
    enumerate_pci(bus, inventory);
    EXPECT_EQ(addresses(inventory), (std::vector<PciAddress>{{0, 5, 0}, {1, 0, 0}, {7, 31, 0}}));
}

TEST(PciEnumerate, BridgesThatLoopAreWalkedOnce) {
    FakePci bus;
    bus.add_bridge({0, 1, 0}, 0);
    bus.add_bridge({0, 2, 0}, 1);
    bus.add_bridge({1, 2, 0}, 1);
    bus.add_bridge({1, 3, 0}, 0);
    PciInventory inventory;
    enumerate_pci(bus, inventory);
    EXPECT_EQ(inventory.count, 4u);
}

TEST(PciEnumerate, MoreThanFitAreCutAndSaid) {
    FakePci bus;
    for (uint8_t device = 0; device < 32; ++device) {
        for (uint8_t function = 0; function < 8; ++function) {
            bus.add({0, device, function}, 1, 1).set8(pci::kHeaderType, pci::kHeaderMultiFunction);
        }
    }
    PciInventory inventory;
    enumerate_pci(bus, inventory);
    EXPECT_EQ(inventory.count, kMaxPciFunctions);
    EXPECT_TRUE(inventory.truncated);
}

TEST(PciEnumerate, EveryBusBehindItsOwnBridge) {
    FakePci bus;
    for (unsigned i = 0; i < 255; ++i) {
        bus.add_bridge({static_cast<uint8_t>(i), 0, 0}, static_cast<uint8_t>(i + 1));
    }
    PciInventory inventory;
    enumerate_pci(bus, inventory);
    EXPECT_EQ(inventory.count, kMaxPciFunctions);
    EXPECT_TRUE(inventory.truncated);
}

struct BarCase {
    const char *name;
    uint32_t value;
    uint32_t writable;
    uint32_t next_value;
    uint32_t next_writable;
    ErrorCode code;
    Kind kind;
    uint64_t address;
    uint64_t len;
};

class PciBars : public testing::TestWithParam<BarCase> {};

TEST_P(PciBars, ReadsWhatIsThere) {
    const BarCase &want = GetParam();
    FakePci bus;
    FakePci::Function &card = bus.add({0, 3, 0}, 1, 1);
    card.set32(pci::kBar0 + 4, want.value);
    card.bar_writable[1] = want.writable;
    card.set32(pci::kBar0 + 8, want.next_value);
    card.bar_writable[2] = want.next_writable;
    card.set16(pci::kCommand, 0x0107);  // decoding, as firmware leaves it
    const PciFunction function = only_function(bus);
    const Result<PciBar> bar = read_bar(bus, function, 1);
    EXPECT_EQ(bar.error().code, want.code);
    if (bar) {
        EXPECT_EQ(bar->kind, want.kind);
        EXPECT_EQ(bar->address, want.address);
        EXPECT_EQ(bar->len_bytes, want.len);
    }
    // Everything is as it was.
    EXPECT_EQ(card.get32(pci::kBar0 + 4), want.value);
    EXPECT_EQ(card.get32(pci::kBar0 + 8), want.next_value);
    EXPECT_EQ(card.get16(pci::kCommand), 0x0107);
}

INSTANTIATE_TEST_SUITE_P(
    Pci, PciBars,
    testing::Values(
        BarCase{"memory", 0xFEBC0000, 0xFFFE0000, 0, 0, ErrorCode::kOk, Kind::kMemory, 0xFEBC0000,
                0x20000},
        BarCase{"memory_prefetchable", 0xFD000008, 0xFF000000, 0, 0, ErrorCode::kOk, Kind::kMemory,
                0xFD000000, 0x1000000},
        BarCase{"memory_64", 0xFE000004, 0xFFFFC000, 0x1, 0xFFFFFFFF, ErrorCode::kOk, Kind::kMemory,
                0x1FE000000, 0x4000},
        BarCase{"memory_64_of_8_GiB", 0x0000000C, 0, 0x2, 0xFFFFFFFE, ErrorCode::kOk, Kind::kMemory,
                0x200000000, 0x200000000},
        BarCase{"io", 0xC041, 0xFFFFFFC0, 0, 0, ErrorCode::kOk, Kind::kIo, 0xC040, 0x40},
        BarCase{"io_16_bits_wired", 0xC041, 0x0000FFC0, 0, 0, ErrorCode::kOk, Kind::kIo, 0xC040,
                0x40},
        BarCase{"not_there", 0, 0, 0, 0, ErrorCode::kNotFound, Kind::kMemory, 0, 0},
        BarCase{"not_assigned", 0, 0xFFFFF000, 0, 0, ErrorCode::kNotFound, Kind::kMemory, 0, 0},
        BarCase{"size_with_holes", 0xF0000000, 0xF0F00000, 0, 0, ErrorCode::kInvalid, Kind::kMemory,
                0, 0},
        BarCase{"misplaced_bits_wired", 0xF0001000, 0xFFFF0000, 0, 0, ErrorCode::kInvalid,
                Kind::kMemory, 0, 0},
        BarCase{"reserved_type", 0xF0000006, 0xFFFF0000, 0, 0, ErrorCode::kInvalid, Kind::kMemory,
                0, 0},
        BarCase{"io_out_of_reach", 0x1C041, 0xFFFFFFC0, 0, 0, ErrorCode::kInvalid, Kind::kIo, 0,
                0}),
    [](const auto &which) { return which.param.name; });

TEST(PciBar, SixtyFourBitsInTheLastSlot) {
    FakePci bus;
    bus.add({0, 3, 0}, 1, 1).set_bar64(5, 0xFE000000, 0x1000);
    EXPECT_EQ(read_bar(bus, only_function(bus), 5).error().code, ErrorCode::kInvalid);
}

TEST(PciBar, OutOfRangeOrABridge) {
    FakePci bus;
    bus.add_bridge({0, 1, 0}, 0);
    const PciFunction bridge = only_function(bus);
    EXPECT_EQ(read_bar(bus, bridge, 0).error().code, ErrorCode::kInvalid);
    EXPECT_EQ(read_bar(bus, bridge, 6).error().code, ErrorCode::kInvalid);
}

using Visits = std::vector<std::pair<int, int>>;
Visits capabilities(FakePci &bus) {
    Visits out;
    for_each_capability(bus, only_function(bus), [&](uint8_t id, uint8_t offset) {
        out.emplace_back(id, offset);
        return true;
    });
    return out;
}

TEST(PciCapabilities, WalksTheList) {
    FakePci bus;
    FakePci::Function &card = bus.add({0, 3, 0}, 1, 1);
    card.add_capability(0x11, 0x98);
    card.add_capability(0x09, 0x40);
    EXPECT_EQ(capabilities(bus), (Visits{{0x09, 0x40}, {0x11, 0x98}}));
}

TEST(PciCapabilities, NoneWithoutTheStatusBit) {
    FakePci bus;
    FakePci::Function &card = bus.add({0, 3, 0}, 1, 1);
    card.add_capability(0x09, 0x40);
    card.set16(pci::kStatus, 0);
    EXPECT_TRUE(capabilities(bus).empty());
}

TEST(PciCapabilities, LoopsEnd) {
    FakePci bus;
    FakePci::Function &card = bus.add({0, 3, 0}, 1, 1);
    card.add_capability(0x01, 0x50);
    card.add_capability(0x02, 0x60);
    card.set8(0x51, 0x60);
    EXPECT_EQ(capabilities(bus), (Visits{{0x02, 0x60}, {0x01, 0x50}}));
}

TEST(PciCapabilities, PointersIntoTheHeaderEnd) {
    FakePci bus;
    FakePci::Function &card = bus.add({0, 3, 0}, 1, 1);
    card.add_capability(0x01, 0xFC);
    card.set8(0xFD, 0x3F);
    EXPECT_EQ(capabilities(bus), (Visits{{0x01, 0xFC}}));
}

TEST(PciCommand, SetsExactlyWhatIsAsked) {
    FakePci bus;
    FakePci::Function &card = bus.add({0, 3, 0}, 1, 1);
    card.set16(pci::kCommand, 0x0503);  // I/O, memory, SERR#, INTx off
    const PciFunction function = only_function(bus);
    enable_function(bus, function, {.memory = true, .bus_master = true, .interrupt = true});
    EXPECT_EQ(card.get16(pci::kCommand), 0x0106);
    enable_function(bus, function, {});
    EXPECT_EQ(card.get16(pci::kCommand), 0x0500);
}

TEST(PciCommand, InterruptLines) {
    FakePci bus;
    FakePci::Function &card = bus.add({0, 3, 0}, 1, 1);
    const PciFunction function = only_function(bus);
    for (const auto &[value, line] :
         {std::pair{0, -1}, {1, 1}, {11, 11}, {15, 15}, {16, -1}, {255, -1}}) {
        card.set8(pci::kInterruptLine, static_cast<uint8_t>(value));
        EXPECT_EQ(interrupt_line(bus, function), line) << value;
    }
}

// Mechanism #1: the accesses of the ports.
struct PortLog {
    std::vector<std::pair<uint16_t, uint64_t>> writes;
    uint32_t answer = 0;
};
struct LogPorts {
    PortLog *log;
    uint32_t in32(uint16_t port) {
        EXPECT_EQ(port, pci::kConfigDataPort);
        return log->answer;
    }
    void out32(uint16_t port, uint32_t value) { log->writes.emplace_back(port, value); }
    void out16(uint16_t port, uint16_t value) { log->writes.emplace_back(port, value); }
};

TEST(PciPorts, SpeaksMechanismOne) {
    PortLog log;
    log.answer = 0x12345678;
    PciPortConfig config{LogPorts{&log}};
    const PciAddress where{0xAB, 31, 7};
    EXPECT_EQ(config.read32(where, 0xFC), 0x12345678u);
    EXPECT_EQ(config.read16(where, 0xFE), 0x1234u);
    EXPECT_EQ(config.read8(where, 0xFD), 0x56u);
    config.write16(where, 0x06, 0xBEEF);
    config.write32(where, 0x10, 0xFFFFFFFF);
    const std::vector<std::pair<uint16_t, uint64_t>> want{
        {0xCF8, 0x80ABFFFC}, {0xCF8, 0x80ABFFFC}, {0xCF8, 0x80ABFFFC}, {0xCF8, 0x80ABFF04},
        {0xCFE, 0xBEEF},     {0xCF8, 0x80ABFF10}, {0xCFC, 0xFFFFFFFF}};
    EXPECT_EQ(log.writes, want);
}

TEST(FakePciItself, CatchesSizingWhileDecoding) {
    FakePci bus;
    bus.add({0, 3, 0}, 1, 1).set16(pci::kCommand, pci::kCommandMemory);
    bus.write32({0, 3, 0}, pci::kBar0, 0xFFFFFFFF);
    bus.write16({0, 3, 0}, pci::kStatus, 0xFFFF);
    EXPECT_EQ(bus.violations.take().size(), 2u);
}

}  // namespace
}  // namespace bareflow
