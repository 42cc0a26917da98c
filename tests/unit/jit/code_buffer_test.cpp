#include "kernel_lib/jit/code_buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "kernel_lib/cpu/exception_frame.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::jit {
namespace {

constexpr size_t kPage = platform::kPageBytes;

// "rwx" bits of the page that holds `address`, from the kernel's own table.
std::string protection(const void *address) {
    std::ifstream maps("/proc/self/maps");
    std::string line;
    const auto wanted = reinterpret_cast<uintptr_t>(address);
    while (std::getline(maps, line)) {
        uintptr_t begin = 0;
        uintptr_t end = 0;
        char bits[8] = {};
        if (sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, bits) == 3 && begin <= wanted &&
            wanted < end) {
            return {bits, 3};
        }
    }
    return "none";
}

// mov eax, value; ret
void write_constant(std::span<uint8_t> room, uint8_t value) {
    const uint8_t code[] = {0xb8, value, 0, 0, 0, 0xc3};
    std::copy(std::begin(code), std::end(code), room.begin());
}
int call(const void *code) {
    return reinterpret_cast<int (*)()>(reinterpret_cast<uintptr_t>(code))();
}

TEST(CodeBufferTest, WriteThenSealNeverBoth) {
    CodeBuffer buffer;
    ASSERT_TRUE(buffer.create(8).ok());
    const auto region = buffer.open("answer", 100);
    ASSERT_TRUE(region.ok());
    const std::span<uint8_t> room = buffer.room(region.value());
    EXPECT_GE(room.size(), 100u);
    EXPECT_EQ(protection(room.data()), "rw-");
    EXPECT_TRUE(std::ranges::all_of(room, [](uint8_t byte) { return byte == 0xcc; }));
    write_constant(room, 42);
    const auto code = buffer.seal(region.value(), 6);
    ASSERT_TRUE(code.ok());
    EXPECT_EQ(protection(code.value()), "r-x");
    EXPECT_EQ(call(code.value()), 42);
    EXPECT_EQ(buffer.code_bytes(region.value()), 6u);

    // A second one is written while the first one runs.
    const auto other = buffer.open("other", 10);
    ASSERT_TRUE(other.ok());
    EXPECT_EQ(protection(code.value()), "r-x");
    EXPECT_EQ(protection(buffer.room(other.value()).data()), "rw-");
    EXPECT_EQ(call(code.value()), 42);
    write_constant(buffer.room(other.value()), 7);
    const auto other_code = buffer.seal(other.value(), 6);
    ASSERT_TRUE(other_code.ok());
    buffer.release(region.value());
    EXPECT_EQ(protection(code.value()), "rw-");
    EXPECT_EQ(protection(other_code.value()), "r-x");
    EXPECT_EQ(call(other_code.value()), 7);
}

// No page of the process is ever writable and executable.
TEST(CodeBufferTest, NothingInTheProcessIsWritableAndExecutable) {
    CodeBuffer buffer;
    ASSERT_TRUE(buffer.create(4).ok());
    const auto region = buffer.open("a", 1);
    write_constant(buffer.room(region.value()), 1);
    ASSERT_TRUE(buffer.seal(region.value(), 6).ok());
    std::ifstream maps("/proc/self/maps");
    std::string line;
    size_t lines = 0;
    while (std::getline(maps, line)) {
        EXPECT_EQ(line.find(" rwx"), std::string::npos) << line;
        ++lines;
    }
    EXPECT_GT(lines, 5u);
}

TEST(CodeBufferTest, AddressesHaveNames) {
    CodeBuffer buffer;
    ASSERT_TRUE(buffer.create(8).ok());
    const auto a = buffer.open("q8_0_gemv 64x32 jit r4 u2", 5000);
    const auto b = buffer.open(std::string(100, 'n'), 100);
    const void *const code_a = buffer.seal(a.value(), 4500).value();
    const void *const code_b = buffer.seal(b.value(), 100).value();
    const auto address_a = reinterpret_cast<uintptr_t>(code_a);
    const auto place = buffer.lookup(address_a + 4499);
    ASSERT_TRUE(place.has_value());
    EXPECT_EQ(place->name, "q8_0_gemv 64x32 jit r4 u2");
    EXPECT_EQ(place->offset, 4499u);
    const auto cut = buffer.lookup(reinterpret_cast<uintptr_t>(code_b));
    ASSERT_TRUE(cut.has_value());
    EXPECT_EQ(cut->name, std::string(CodeBuffer::kNameBytes, 'n'));
    EXPECT_EQ(cut->offset, 0u);
    EXPECT_FALSE(buffer.lookup(address_a - kPage).has_value());
    EXPECT_FALSE(buffer.lookup(address_a + 100 * kPage).has_value());
    EXPECT_FALSE(buffer.lookup(0).has_value());
    buffer.release(a.value());
    EXPECT_FALSE(buffer.lookup(address_a).has_value());
}

TEST(CodeBufferTest, CrashReportsNameGeneratedCodeOfEveryBuffer) {
    const auto report = [](const void *code, size_t offset) {
        char text[2048];
        TextWriter out(text);
        const uint64_t address = reinterpret_cast<uintptr_t>(code) + offset;
        InterruptFrame frame{};
        frame.rip = address;
        format_exception(out, frame, {}, std::span(&address, 1), {});
        return std::string(out.view());
    };
    const void *code = nullptr;
    {
        CodeBuffer first;
        CodeBuffer second;
        ASSERT_TRUE(first.create(2).ok());
        ASSERT_TRUE(second.create(2).ok());
        for (CodeBuffer *buffer : {&first, &second}) {
            const auto region = buffer->open("q4_k_gemv 2048x5632 avx2 r4", 100);
            code = buffer->seal(region.value(), 100).value();
            const std::string text = report(code, 0x21);
            const std::string name = " in q4_k_gemv 2048x5632 avx2 r4 + 0x21\n";
            EXPECT_NE(text.find(name), std::string::npos) << text;
            EXPECT_NE(text.find(name, text.find("called from")), std::string::npos) << text;
        }
        EXPECT_EQ(report(code, 2 * kPage).find(" in "), std::string::npos);
    }
    EXPECT_EQ(report(code, 0x21).find(" in "), std::string::npos);
}

TEST(CodeBufferTest, AFullBufferRefuses) {
    CodeBuffer buffer;
    ASSERT_TRUE(buffer.create(4).ok());
    EXPECT_EQ(buffer.open("too large", 4 * kPage).error().code, ErrorCode::kExhausted);
    EXPECT_EQ(buffer.open("absurd", SIZE_MAX).error().code, ErrorCode::kExhausted);
    EXPECT_EQ(buffer.open("nothing", 0).error().code, ErrorCode::kExhausted);
    std::vector<CodeBuffer::Region> regions;
    for (int i = 0; i < 4; ++i) {
        const auto region = buffer.open("one page", kPage - CodeBuffer::kHeadBytes);
        ASSERT_TRUE(region.ok());
        regions.push_back(region.value());
    }
    EXPECT_EQ(buffer.pages_in_use(), 4u);
    EXPECT_EQ(buffer.open("more", 1).error().code, ErrorCode::kExhausted);
    // Two free pages that don't touch are no room for one of two.
    buffer.release(regions[0]);
    buffer.release(regions[2]);
    EXPECT_EQ(buffer.open("two pages", kPage).error().code, ErrorCode::kExhausted);
    buffer.release(regions[1]);
    const auto three = buffer.open("three pages", 2 * kPage);
    ASSERT_TRUE(three.ok());
    // Sealing gives back what was not needed.
    ASSERT_TRUE(buffer.seal(three.value(), 10).ok());
    EXPECT_EQ(buffer.pages_in_use(), 2u);
    EXPECT_TRUE(buffer.open("one", 1).ok());
}

TEST(CodeBufferTest, RegionsAreBoundedToo) {
    CodeBuffer buffer;
    ASSERT_TRUE(buffer.create(CodeBuffer::kMaxPages).ok());
    for (size_t i = 0; i < CodeBuffer::kMaxRegions; ++i) {
        ASSERT_TRUE(buffer.open("x", 1).ok());
    }
    EXPECT_EQ(buffer.open("x", 1).error().code, ErrorCode::kExhausted);
}

TEST(CodeBufferDeathTest, MisuseIsOurOwnMistake) {
    CodeBuffer buffer;
    ASSERT_TRUE(buffer.create(2).ok());
    const auto region = buffer.open("x", 1);
    ASSERT_TRUE(buffer.seal(region.value(), 1).ok());
    EXPECT_DEATH((void)buffer.room(region.value()), "open region");
    EXPECT_DEATH((void)buffer.seal(region.value(), 1), "open region");
    buffer.release(region.value());
    EXPECT_DEATH(buffer.release(region.value()), "twice");
}

}  // namespace
}  // namespace bareflow::jit
