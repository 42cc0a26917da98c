// Answers to IDENTIFY, good and bad, and the table of memory pieces against a twin that walks
// through it.
#include "drivers/block/ata_identify.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <vector>

#include "tests/fakes/fake_ata.h"

namespace bareflow {
namespace {

using fakes::FakeAtaChannel;

using Words = std::array<uint16_t, kIdentifyWords>;
Words good_words() {
    FakeAtaChannel channel;
    return channel.add_disk(0, 8).identify;
}

TEST(AtaIdentify, RefusesWhatItCannotUse) {
    Words words = good_words();
    EXPECT_TRUE(parse_identify(words).ok());
    words[0] = 0x8580;
    EXPECT_EQ(parse_identify(words).error().code, ErrorCode::kUnsupported);
    words = good_words();
    words[49] = 0x0100;
    EXPECT_EQ(parse_identify(words).error().code, ErrorCode::kUnsupported);
    words = good_words();
    words[106] = 0x5000;
    EXPECT_EQ(parse_identify(words).error().code, ErrorCode::kUnsupported);
    words[106] = 0x1000;  // not marked valid, so it means nothing
    EXPECT_TRUE(parse_identify(words).ok());
    words = good_words();
    words[100] = 0;
    EXPECT_EQ(parse_identify(words).error().code, ErrorCode::kInvalid);
    words[103] = 0xFFFF;
    EXPECT_EQ(parse_identify(words).error().code, ErrorCode::kInvalid);
    EXPECT_EQ(parse_identify(Words{}).error().code, ErrorCode::kUnsupported);
}

TEST(AtaIdentify, ModelIsCleanText) {
    Words words = good_words();
    words[27] = 0x1B07;
    EXPECT_EQ(parse_identify(words)->model(), "  KE DISK");
    for (size_t i = 27; i < 47; ++i) {
        words[i] = 0x2020;
    }
    EXPECT_EQ(parse_identify(words)->model(), "");
}

// The table of pieces against a byte-by-byte twin.
TEST(AtaPrd, CoversExactlyTheMemory) {
    std::mt19937_64 random(3);
    std::vector<ata::PrdEntry> table(512);
    for (int i = 0; i < 2000; ++i) {
        const uint64_t address = (random() % (1ull << 32)) & ~1ull;
        const size_t len = 2 + (random() % (1u << (1 + random() % 24)) & ~1ull);
        const size_t count = fill_prd_table(table, address, len);
        if (address + len > 1ull << 32) {
            EXPECT_EQ(count, 0u);
            continue;
        }
        ASSERT_GT(count, 0u);
        uint64_t at = address;
        for (size_t k = 0; k < count; ++k) {
            const uint64_t piece = table[k].len_bytes == 0 ? 65536 : table[k].len_bytes;
            ASSERT_EQ(table[k].address, at);
            ASSERT_EQ(at >> 16, (at + piece - 1) >> 16);
            ASSERT_EQ(table[k].flags, k + 1 == count ? ata::kPrdEnd : 0);
            at += piece;
        }
        ASSERT_EQ(at, address + len);
    }
}

TEST(AtaPrd, RefusesWhatDoesNotFit) {
    std::array<ata::PrdEntry, 2> table;
    EXPECT_EQ(fill_prd_table(table, 0x10000, 0x20000), 2u);
    EXPECT_EQ(table[1].len_bytes, 0);
    EXPECT_EQ(fill_prd_table(table, 0x10000, 0x20002), 0u);
    EXPECT_EQ(fill_prd_table(table, 0x1FFFE, 0x10004), 0u);
    EXPECT_EQ(fill_prd_table(table, 1, 512), 0u);
    EXPECT_EQ(fill_prd_table(table, 0, 0), 0u);
    EXPECT_EQ(fill_prd_table(table, 0, 511), 0u);
    EXPECT_EQ(fill_prd_table(table, 0xFFFFFE00, 512), 1u);
    EXPECT_EQ(fill_prd_table(table, 0xFFFFFE00, 514), 0u);
    EXPECT_EQ(fill_prd_table(table, ~0ull - 1, 512), 0u);
}

TEST(AtaError, TheGravestBitNamesTheError) {
    EXPECT_EQ(ata_error_text(ata::kErrorUncorrectable | ata::kErrorAbort),
              "disk cannot read the sector");
    EXPECT_EQ(ata_error_text(ata::kErrorInterfaceCrc | ata::kErrorAbort),
              "data was damaged on the way to or from the disk");
    EXPECT_EQ(ata_error_text(ata::kErrorIdNotFound | ata::kErrorAbort), "disk has no such sector");
    EXPECT_EQ(ata_error_text(ata::kErrorAbort), "disk refused the command");
    EXPECT_EQ(ata_error_text(0), "disk reports an error");
}

}  // namespace
}  // namespace bareflow
