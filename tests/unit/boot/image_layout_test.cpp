// The header and the options sector of a disk: read back, and refused if anything is wrong.
#include "boot/image_layout.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace bareflow {
namespace {

using image_format::Header;

// The head of a disk as tools/make_image.py writes it. Tests damage it before or after its checksum
// is made.
class Head {
  public:
    Header header{};
    std::string options = "context=256 jit=off";

    Head() {
        std::memcpy(header.magic, image_format::kMagic.data(), sizeof(header.magic));
        header.version = image_format::kVersion;
        header.kernel_sector = image_format::kKernelSector;
        header.kernel_sectors = 100;
        header.kernel_address = 0x100000;
        header.kernel_file_bytes = 51'000;
        header.kernel_end = 0x180000;
        header.kernel_entry = 0x100000;
        header.kernel_sum = 0xDEADBEEF;
        header.options_len_bytes = static_cast<uint32_t>(options.size());
        header.model_sector = 128;
        header.model_len_bytes = 1'000'001;
        header.packed_address = 0x170000;
        header.packed_len_bytes = 51'100;
        header.memory_end = 0x180000;
    }
    [[nodiscard]] std::vector<uint8_t> bytes() const {
        std::vector<uint8_t> out(kImageHeadBytes);
        Header balanced = header;
        balanced.balance = 0;
        std::vector<uint32_t> words(sizeof(Header) / 4);
        std::memcpy(words.data(), &balanced, sizeof(balanced));
        uint32_t sum = 0;
        for (const uint32_t word : words) {
            sum += word;
        }
        balanced.balance = 0 - sum;
        std::memcpy(&out[image_format::kHeaderSector * kImageSectorBytes], &balanced,
                    sizeof(balanced));
        std::memcpy(&out[image_format::kOptionsSector * kImageSectorBytes], options.data(),
                    options.size());
        return out;
    }
    [[nodiscard]] ErrorCode error() const { return parse_image_layout(bytes()).error().code; }
};

TEST(ImageLayout, TellsModelAndOptions) {
    const std::vector<uint8_t> bytes = Head().bytes();
    const Result<ImageLayout> layout = parse_image_layout(bytes);
    ASSERT_TRUE(layout.ok()) << layout.error().message;
    EXPECT_EQ(layout->model_first_sector, 128U);
    EXPECT_EQ(layout->model_len_bytes, 1'000'001U);
    EXPECT_EQ(layout->options, "context=256 jit=off");
}

TEST(ImageLayout, NoModelIsFine) {
    Head head;
    head.header.model_len_bytes = 0;
    head.header.model_sector = 0;
    const std::vector<uint8_t> bytes = head.bytes();
    const Result<ImageLayout> layout = parse_image_layout(bytes);
    ASSERT_TRUE(layout.ok());
    EXPECT_EQ(layout->model_len_bytes, 0U);
}

TEST(ImageLayout, OptionsMayFillTheirSector) {
    Head head;
    head.options = std::string(kMaxImageOptionsBytes, 'x');
    head.header.options_len_bytes = kMaxImageOptionsBytes;
    const std::vector<uint8_t> bytes = head.bytes();
    const Result<ImageLayout> layout = parse_image_layout(bytes);
    ASSERT_TRUE(layout.ok());
    EXPECT_EQ(layout->options.size(), kMaxImageOptionsBytes);
}

TEST(ImageLayout, OtherDisksAreNotFound) {
    EXPECT_EQ(parse_image_layout({}).error().code, ErrorCode::kNotFound);
    EXPECT_EQ(parse_image_layout(std::vector<uint8_t>(kImageHeadBytes)).error().code,
              ErrorCode::kNotFound);
    std::vector<uint8_t> cut = Head().bytes();
    cut.pop_back();
    EXPECT_EQ(parse_image_layout(cut).error().code, ErrorCode::kNotFound);
}

TEST(ImageLayout, OtherVersionIsUnsupported) {
    Head head;
    head.header.version = image_format::kVersion + 1;
    EXPECT_EQ(head.error(), ErrorCode::kUnsupported);
}

TEST(ImageLayout, EveryFlippedBitOfTheHeaderIsNoticed) {
    const std::vector<uint8_t> good = Head().bytes();
    constexpr size_t kBegin = image_format::kHeaderSector * kImageSectorBytes;
    for (size_t at = kBegin; at < kBegin + kImageSectorBytes; ++at) {
        for (int bit = 0; bit < 8; ++bit) {
            std::vector<uint8_t> bad = good;
            bad[at] ^= static_cast<uint8_t>(1 << bit);
            EXPECT_FALSE(parse_image_layout(bad).ok()) << at - kBegin << " bit " << bit;
        }
    }
}

TEST(ImageLayout, LyingHeadersAreInvalid) {
    const auto spoilt = [](auto change) {
        Head head;
        change(head);
        return head.error();
    };
    EXPECT_EQ(spoilt([](Head &h) { h.header.options_len_bytes = 512; }), ErrorCode::kInvalid);
    EXPECT_EQ(spoilt([](Head &h) { h.header.options_len_bytes = 0xFFFF'FFFF; }),
              ErrorCode::kInvalid);
    EXPECT_EQ(spoilt([](Head &h) { h.options[3] = '\n'; }), ErrorCode::kInvalid);
    EXPECT_EQ(spoilt([](Head &h) { h.options[3] = '\xC3'; }), ErrorCode::kInvalid);
    EXPECT_EQ(spoilt([](Head &h) { h.header.model_sector = 123; }), ErrorCode::kInvalid);
    EXPECT_EQ(spoilt([](Head &h) { h.header.model_sector = ~uint64_t{0}; }), ErrorCode::kInvalid);
    EXPECT_EQ(spoilt([](Head &h) { h.header.model_len_bytes = ~uint64_t{0}; }),
              ErrorCode::kInvalid);
    EXPECT_EQ(spoilt([](Head &h) { h.header.kernel_sector = 0; }), ErrorCode::kInvalid);
    EXPECT_EQ(spoilt([](Head &h) { h.header.kernel_sectors = 0xFFFF'FFFF; }), ErrorCode::kInvalid);
}

}  // namespace
}  // namespace bareflow
