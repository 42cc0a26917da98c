// ACPI tables built in a fake memory: the list of processors, and tables that are damaged, too
// short or untruthful about their length.
#include "kernel_lib/cpu/acpi.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace bareflow {
namespace {

// Pieces of memory; all between them is not there.
class FakeMemory final : public FirmwareMemory {
  public:
    const uint8_t *at(uint64_t address, size_t bytes) override {
        asked = std::max(asked, bytes);
        auto piece = pieces.upper_bound(address);
        if (piece == pieces.begin()) {
            return nullptr;
        }
        --piece;
        const uint64_t offset = address - piece->first;
        const std::vector<uint8_t> &data = piece->second;
        return offset <= data.size() && bytes <= data.size() - offset ? data.data() + offset
                                                                      : nullptr;
    }
    std::map<uint64_t, std::vector<uint8_t>> pieces;
    size_t asked = 0;
};

using Bytes = std::vector<uint8_t>;

void put(Bytes &out, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) {
        out.push_back(static_cast<uint8_t>(value >> (8 * i)));
    }
}

void fix_sum(Bytes &bytes, size_t at, size_t count) {
    bytes[at] = 0;
    uint8_t sum = 0;
    for (size_t i = 0; i < count; ++i) {
        sum = static_cast<uint8_t>(sum + bytes[i]);
    }
    bytes[at] = static_cast<uint8_t>(-sum);
}

Bytes table(const std::string &signature, const Bytes &body) {
    Bytes out(signature.begin(), signature.end());
    put(out, 36 + body.size(), 4);
    out.resize(36);
    out.insert(out.end(), body.begin(), body.end());
    fix_sum(out, 9, out.size());
    return out;
}

Bytes local_apic(uint8_t id, uint32_t flags = 1) {
    Bytes out = {0, 8, 0, id};
    put(out, flags, 4);
    return out;
}
Bytes x2apic(uint32_t id, uint32_t flags = 1) {
    Bytes out = {9, 16, 0, 0};
    put(out, id, 4);
    put(out, flags, 4);
    put(out, 0, 4);
    return out;
}

constexpr uint64_t kRsdp = 0xF'5A40;
constexpr uint64_t kRoot = 0x7FE'1000;
constexpr uint64_t kXsdt = 0x7FE'1800;
constexpr uint64_t kOther = 0x7FE'2000;
constexpr uint64_t kMadt = 0x7FE'3000;

Bytes madt(const std::vector<Bytes> &entries) {
    Bytes body(8);
    for (const Bytes &entry : entries) {
        body.insert(body.end(), entry.begin(), entry.end());
    }
    return table("APIC", body);
}

Bytes rsdp(uint8_t revision, uint64_t rsdt, uint64_t xsdt = 0) {
    Bytes out;
    for (const char c : std::string("RSD PTR ")) {
        out.push_back(static_cast<uint8_t>(c));
    }
    out.resize(15);
    out.push_back(revision);
    put(out, rsdt, 4);
    fix_sum(out, 8, 20);
    if (revision >= 2) {
        put(out, 36, 4);
        put(out, xsdt, 8);
        put(out, 0, 4);
        fix_sum(out, 32, 36);
    }
    return out;
}

Bytes bios_area(const Bytes &pointer, uint64_t address) {
    Bytes out(0x2'0000);
    std::memcpy(&out[address - 0xE'0000], pointer.data(), pointer.size());
    return out;
}

Bytes pointers(const std::string &signature, size_t width, std::vector<uint64_t> addresses) {
    Bytes body;
    for (const uint64_t address : addresses) {
        put(body, address, width);
    }
    return table(signature, body);
}

// As SeaBIOS leaves it: revision 0, an RSDT, FACP first.
FakeMemory machine(const std::vector<Bytes> &entries) {
    FakeMemory memory;
    memory.pieces[0xE'0000] = bios_area(rsdp(0, kRoot), kRsdp);
    memory.pieces[kRoot] = pointers("RSDT", 4, {kOther, kMadt});
    memory.pieces[kOther] = table("FACP", Bytes(80));
    memory.pieces[kMadt] = madt(entries);
    return memory;
}

std::vector<uint8_t> ids(const Result<ProcessorList> &list) {
    EXPECT_TRUE(list.ok());
    return {list->ids().begin(), list->ids().end()};
}

TEST(AcpiTest, ProcessorsAreListed) {
    FakeMemory memory = machine({local_apic(0),
                                 local_apic(1),
                                 {1, 12, 0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0},
                                 local_apic(7),
                                 local_apic(3, 0),
                                 local_apic(4, 2)});
    EXPECT_EQ(ids(find_processors(memory, 0)), (std::vector<uint8_t>{0, 1, 7}));
    EXPECT_EQ(ids(find_processors(memory, kRsdp)), (std::vector<uint8_t>{0, 1, 7}));
    // When the address from the loader is wrong, the BIOS area is searched.
    EXPECT_EQ(ids(find_processors(memory, kMadt)), (std::vector<uint8_t>{0, 1, 7}));
    EXPECT_EQ(ids(find_processors(memory, ~uint64_t{0})), (std::vector<uint8_t>{0, 1, 7}));
}

TEST(AcpiTest, TheExtendedTableComesFirst) {
    FakeMemory memory = machine({local_apic(0)});
    memory.pieces[0xE'0000] = bios_area(rsdp(2, kRoot, kXsdt), kRsdp);
    memory.pieces[kXsdt] = pointers("XSDT", 8, {kOther, 0x1'2345'6000});
    memory.pieces[0x1'2345'6000] = madt({local_apic(0), local_apic(1)});
    EXPECT_EQ(ids(find_processors(memory, 0)), (std::vector<uint8_t>{0, 1}));
    // Damaged, the old one serves.
    memory.pieces[kXsdt][20] ^= 1;
    EXPECT_EQ(ids(find_processors(memory, 0)), (std::vector<uint8_t>{0}));
}

TEST(AcpiTest, LongIdentifiersAndDuplicates) {
    FakeMemory memory = machine({local_apic(0), x2apic(1), x2apic(0), local_apic(1), x2apic(300),
                                 local_apic(255), x2apic(2, 0)});
    const auto list = find_processors(memory, 0);
    EXPECT_EQ(ids(list), (std::vector<uint8_t>{0, 1}));
    EXPECT_EQ(list->left_out, 2u);
}

TEST(AcpiTest, MoreThanThereIsRoomFor) {
    std::vector<Bytes> entries;
    for (uint32_t id = 0; id < 250; ++id) {
        entries.push_back(local_apic(static_cast<uint8_t>(id)));
    }
    FakeMemory memory = machine(entries);
    const auto list = find_processors(memory, 0);
    ASSERT_TRUE(list.ok());
    EXPECT_EQ(list->count, ProcessorList::kMaxListed);
    EXPECT_EQ(list->left_out, 250 - ProcessorList::kMaxListed);
}

TEST(AcpiTest, TheExtendedBiosDataAreaIsSearched) {
    FakeMemory memory = machine({local_apic(5)});
    memory.pieces[0xE'0000] = Bytes(0x2'0000);
    EXPECT_EQ(find_processors(memory, 0).error().code, ErrorCode::kNotFound);
    Bytes area(0x400);
    const Bytes pointer = rsdp(0, kRoot);
    std::memcpy(&area[0x3E0], pointer.data(), 20);
    memory.pieces[0x9'FC00] = area;
    EXPECT_EQ(ids(find_processors(memory, 0)), (std::vector<uint8_t>{5}));
}

TEST(AcpiTest, DamagedTablesAreRefused) {
    struct Case {
        const char *name;
        std::function<void(FakeMemory &)> damage;
        ErrorCode code;
    };
    const auto refit = [](Bytes &bytes) { fix_sum(bytes, 9, bytes.size()); };
    const Case cases[] = {
        {"no BIOS area", [](FakeMemory &m) { m.pieces.erase(0xE'0000); }, ErrorCode::kNotFound},
        {"sum of the pointer", [](FakeMemory &m) { m.pieces[0xE'0000][kRsdp - 0xE'0000 + 9] ^= 1; },
         ErrorCode::kNotFound},
        {"no root table", [](FakeMemory &m) { m.pieces.erase(kRoot); }, ErrorCode::kNotFound},
        {"sum of the root table", [](FakeMemory &m) { m.pieces[kRoot][37] ^= 1; },
         ErrorCode::kNotFound},
        {"root table of another kind",
         [&](FakeMemory &m) {
             m.pieces[kRoot][0] = 'X';
             refit(m.pieces[kRoot]);
         },
         ErrorCode::kNotFound},
        {"root table without pointers",
         [](FakeMemory &m) { m.pieces[kRoot] = pointers("RSDT", 4, {}); }, ErrorCode::kNotFound},
        {"pointers to nowhere",
         [](FakeMemory &m) { m.pieces[kRoot] = pointers("RSDT", 4, {0, 0xFFFF'FFF0, 4}); },
         ErrorCode::kNotFound},
        {"sum of the list", [](FakeMemory &m) { m.pieces[kMadt][40] ^= 1; }, ErrorCode::kInvalid},
        {"list longer than memory",
         [](FakeMemory &m) { m.pieces[kMadt].resize(m.pieces[kMadt].size() - 1); },
         ErrorCode::kInvalid},
        {"list shorter than its header",
         [](FakeMemory &m) { m.pieces[kMadt] = table("APIC", Bytes(7)); }, ErrorCode::kInvalid},
        {"length below the header", [](FakeMemory &m) { m.pieces[kMadt][4] = 35; },
         ErrorCode::kInvalid},
        {"entry of length 0", [](FakeMemory &m) { m.pieces[kMadt] = madt({{0, 0}}); },
         ErrorCode::kInvalid},
        {"entry of length 1", [](FakeMemory &m) { m.pieces[kMadt] = madt({{0, 1}}); },
         ErrorCode::kInvalid},
        {"entry past the end", [](FakeMemory &m) { m.pieces[kMadt] = madt({{0, 8, 0, 0}}); },
         ErrorCode::kInvalid},
        {"half an entry", [](FakeMemory &m) { m.pieces[kMadt] = madt({{0}}); },
         ErrorCode::kInvalid},
    };
    for (const Case &c : cases) {
        FakeMemory memory = machine({local_apic(0)});
        c.damage(memory);
        const auto list = find_processors(memory, 0);
        ASSERT_FALSE(list.ok()) << c.name;
        EXPECT_EQ(list.error().code, c.code) << c.name;
        EXPECT_FALSE(list.error().message.empty()) << c.name;
    }
}

TEST(AcpiTest, AClaimedLengthIsNotRead) {
    FakeMemory memory = machine({local_apic(0)});
    Bytes &list = memory.pieces[kMadt];
    list[4] = list[5] = list[6] = list[7] = 0xFF;
    EXPECT_FALSE(find_processors(memory, 0).ok());
    EXPECT_LE(memory.asked, 0x2'0000u);
}

TEST(AcpiTest, EntriesTooShortForTheirKindAreSkipped) {
    FakeMemory memory =
        machine({{0, 7, 0, 3, 1, 0, 0}, {9, 12, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0}, local_apic(6)});
    EXPECT_EQ(ids(find_processors(memory, 0)), (std::vector<uint8_t>{6}));
}

}  // namespace
}  // namespace bareflow
