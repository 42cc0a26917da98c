// Code that is written at one address and run at another: protection of pages, publishing to other
// processors, full buffers, and names of addresses.
#include "kernel_lib/jit/code_buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "kernel_lib/cpu/exception_frame.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/jit/assembler.h"
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

TEST(CodeBufferTest, WrittenAtOneAddressRunAtAnother) {
    CodeBuffer buffer;
    ASSERT_TRUE(buffer.create(8).ok());
    const auto region = buffer.open("answer", 100, 10);
    ASSERT_TRUE(region.ok());
    const std::span<uint8_t> room = buffer.room(region.value());
    EXPECT_GE(room.size(), 100u);
    EXPECT_EQ(protection(room.data()), "rw-");
    EXPECT_TRUE(std::ranges::all_of(room, [](uint8_t byte) { return byte == 0xcc; }));
    write_constant(room, 42);
    const ConstantPool pool = buffer.constants(region.value());
    EXPECT_EQ(protection(pool.room.data()), "rw-");
    EXPECT_GE(pool.room.size(), 10u);
    const void *const code = buffer.seal(region.value(), 6);
    EXPECT_NE(code, room.data());
    EXPECT_EQ(protection(room.data()), "rw-");
    EXPECT_EQ(protection(code), "r-x");
    EXPECT_EQ(protection(static_cast<const uint8_t *>(code) + pool.distance), "r--");
    EXPECT_EQ(call(code), 42);
    EXPECT_EQ(buffer.code_bytes(region.value()), 6u);

    // A second one is written while the first one runs.
    const auto other = buffer.open("other", 10);
    ASSERT_TRUE(other.ok());
    EXPECT_EQ(call(code), 42);
    write_constant(buffer.room(other.value()), 7);
    const void *const other_code = buffer.seal(other.value(), 6);
    buffer.release(region.value());
    EXPECT_EQ(*static_cast<const uint8_t *>(code), 0xcc);  // who still calls it is stopped
    EXPECT_EQ(call(other_code), 7);
}

TEST(CodeBufferTest, ConstantsAreReadWhereTheCodeRuns) {
    CodeBuffer buffer;
    ASSERT_TRUE(buffer.create(4).ok());
    const auto first = buffer.open("first", 100, 64);
    const auto second = buffer.open("second", 100, 65);
    ASSERT_TRUE(first.ok() && second.ok());
    int64_t expected = 1000;
    for (const auto region : {first.value(), second.value()}) {
        const ConstantPool pool = buffer.constants(region);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(pool.room.data()) % 64, 0u);
        Assembler a(buffer.room(region), pool);
        (void)a.constant_of(uint8_t{1});
        a.mov(Gp::kRax, a.constant_of(++expected));
        a.ret();
        const auto bytes = a.finish();
        ASSERT_TRUE(bytes.ok());
        EXPECT_EQ(call(buffer.seal(region, bytes.value())), expected);
    }
    // All of the room for constants, and not a line more.
    buffer.release(first.value());
    const size_t all = CodeBuffer::kConstantPages * kPage;
    EXPECT_EQ(buffer.open("x", 1, all - 64).error().code, ErrorCode::kExhausted);
    EXPECT_EQ(buffer.pages_in_use(), 1u);
    buffer.release(second.value());
    EXPECT_TRUE(buffer.open("x", 1, all).ok());
    EXPECT_EQ(buffer.open("x", 1, 1).error().code, ErrorCode::kExhausted);
    EXPECT_EQ(buffer.open("x", 1, SIZE_MAX).error().code, ErrorCode::kExhausted);
    EXPECT_TRUE(buffer.open("x", 1).ok());
}

// An owner who lets go of everything but `kept`.
struct Owner {
    CodeBuffer buffer;
    std::vector<CodeBuffer::Region> asked;
    CodeBuffer::Region kept = 0xffff;

    static bool give_up(void *self, CodeBuffer::Region region) {
        auto &owner = *static_cast<Owner *>(self);
        owner.asked.push_back(region);
        return region != owner.kept;
    }
    CodeBuffer::Region add(uint64_t heat) {
        const auto region = buffer.open("x", kPage - CodeBuffer::kHeadBytes);
        EXPECT_TRUE(region.ok());
        (void)buffer.seal(region.value(), 10);
        buffer.set_heat(region.value(), heat);
        return region.value();
    }
};

TEST(CodeBufferTest, AFullBufferGivesUpTheColdest) {
    Owner owner;
    ASSERT_TRUE(owner.buffer.create(4).ok());
    owner.buffer.set_give_up(Owner::give_up, &owner);
    const auto warm = owner.add(20);
    const auto cold = owner.add(10);
    const auto hot = owner.add(30);
    const auto never = owner.add(CodeBuffer::kNeverGiveUp);
    // Nobody is colder than this one.
    EXPECT_EQ(owner.buffer.open("colder", 1, 0, 10).error().code, ErrorCode::kExhausted);
    EXPECT_TRUE(owner.asked.empty());
    const auto next = owner.buffer.open("next", 1, 0, 25);
    ASSERT_TRUE(next.ok());
    EXPECT_EQ(owner.asked, std::vector{cold});
    (void)owner.buffer.seal(next.value(), 1);
    owner.buffer.set_heat(next.value(), 25);
    // Pages that touch are needed: what is colder goes, from the coldest on, until they are there.
    // `warm` is refused once and not asked again in the same call.
    owner.asked.clear();
    owner.kept = warm;
    EXPECT_EQ(owner.buffer.open("large", 4 * kPage - 100, 0, 100).error().code,
              ErrorCode::kExhausted);
    EXPECT_EQ(owner.asked, (std::vector{warm, next.value(), hot}));
    EXPECT_EQ(owner.buffer.pages_in_use(), 2u);
    EXPECT_FALSE(owner.buffer.open("again", 3 * kPage, 0, 100).ok());
    EXPECT_EQ(owner.asked.back(), warm);
    owner.buffer.release(never);
}

// Every processor sees new code at an old address: published between two jobs, run inside them.
TEST(CodeBufferTest, ProcessorsRunWhatWasPublishedLast) {
    CodeBuffer buffer;
    ASSERT_TRUE(buffer.create(1).ok());
    WorkerPool pool;
    std::vector<std::thread> workers;
    for (uint32_t i = 1; i < 4; ++i) {
        workers.emplace_back([&, i] { pool.serve(i); });
    }
    while (pool.size() < 4) {
        std::this_thread::yield();
    }
    struct Job {
        const void *code = nullptr;
        int expected = 0;
        std::atomic<int> wrong = 0;
    } job;
    const auto check = [](void *context, uint32_t begin, uint32_t end) {
        Job &what = *static_cast<Job *>(context);
        for (uint32_t i = begin; i < end; ++i) {
            what.wrong += call(what.code) != what.expected;
        }
    };
    const void *where = nullptr;
    for (int round = 0; round < 3000; ++round) {
        const auto region = buffer.open("x", 10);
        ASSERT_TRUE(region.ok());
        write_constant(buffer.room(region.value()), static_cast<uint8_t>(round));
        job.code = buffer.seal(region.value(), 6);
        job.expected = round & 255;
        EXPECT_TRUE(where == nullptr || where == job.code);
        where = job.code;
        pool.run(check, &job, 64, 1);
        buffer.release(region.value());
    }
    EXPECT_EQ(job.wrong, 0);
    pool.stop();
    for (std::thread &worker : workers) {
        worker.join();
    }
}

// No page of the process is ever writable and executable.
TEST(CodeBufferTest, NothingInTheProcessIsWritableAndExecutable) {
    CodeBuffer buffer;
    ASSERT_TRUE(buffer.create(4).ok());
    const auto region = buffer.open("a", 1);
    write_constant(buffer.room(region.value()), 1);
    (void)buffer.seal(region.value(), 6);
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
    const void *const code_a = buffer.seal(a.value(), 4500);
    const void *const code_b = buffer.seal(b.value(), 100);
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
            code = buffer->seal(region.value(), 100);
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
    (void)buffer.seal(three.value(), 10);
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
    (void)buffer.seal(region.value(), 1);
    EXPECT_DEATH((void)buffer.room(region.value()), "open region");
    EXPECT_DEATH((void)buffer.seal(region.value(), 1), "open region");
    buffer.release(region.value());
    EXPECT_DEATH(buffer.release(region.value()), "twice");
}

}  // namespace
}  // namespace bareflow::jit
