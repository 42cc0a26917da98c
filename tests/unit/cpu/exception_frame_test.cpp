// The text of a crash report for made-up registers, and the walk along made-up stacks, among them
// loops and unreadable addresses.
#include "kernel_lib/cpu/exception_frame.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>

namespace bareflow {
namespace {

InterruptFrame sample_frame(uint64_t vector, uint64_t error_code) {
    InterruptFrame frame{};
    frame.rax = 0xA1;
    frame.rbx = 0xB1;
    frame.rcx = 0xC1;
    frame.rdx = 0xD1;
    frame.rsi = 0x51;
    frame.rdi = 0xD2;
    frame.rbp = 0xB9;
    frame.r8 = 0x108;
    frame.r9 = 0x109;
    frame.r10 = 0x110;
    frame.r11 = 0x111;
    frame.r12 = 0x112;
    frame.r13 = 0x113;
    frame.r14 = 0x114;
    frame.r15 = 0x115;
    frame.vector = vector;
    frame.error_code = error_code;
    frame.rip = 0x100ABC;
    frame.cs = 8;
    frame.rflags = 0x10246;
    frame.rsp = 0x12AF00;
    frame.ss = 0x10;
    return frame;
}

std::string told(const InterruptFrame &frame, std::span<const uint64_t> calls = {},
                 std::string_view note = {}) {
    std::array<char, kExceptionTextBytes> text;
    TextWriter out(text);
    format_exception(out, frame, {.cr2 = 0xDEAD000, .cr3 = 0x13A000}, calls, note);
    EXPECT_FALSE(out.truncated());
    return std::string(out.view());
}

TEST(FormatException, WholeText) {
    const std::array<uint64_t, 2> calls = {0x105A95, 0x10022D};
    EXPECT_EQ(told(sample_frame(0, 0), calls),
              "EXCEPTION 0: divide error, error code 0x0000\n"
              "  RIP 0000000000100abc  CS 0008  RFLAGS 00010246\n"
              "  RSP 000000000012af00  SS 0010\n"
              "  RAX 00000000000000a1  RBX 00000000000000b1  RCX 00000000000000c1\n"
              "  RDX 00000000000000d1  RSI 0000000000000051  RDI 00000000000000d2\n"
              "  RBP 00000000000000b9  R8  0000000000000108  R9  0000000000000109\n"
              "  R10 0000000000000110  R11 0000000000000111  R12 0000000000000112\n"
              "  R13 0000000000000113  R14 0000000000000114  R15 0000000000000115\n"
              "  CR2 000000000dead000  CR3 000000000013a000\n"
              "  called from 0000000000105a95\n"
              "  called from 000000000010022d\n");
}

TEST(FormatException, PageFaultsSayWhatWasTried) {
    const auto line = [](uint64_t error_code) { return told(sample_frame(14, error_code)); };
    EXPECT_NE(line(0).find("reading at 000000000dead000: no memory is mapped there"),
              std::string::npos);
    EXPECT_NE(line(2).find("writing at 000000000dead000: no memory"), std::string::npos);
    EXPECT_NE(line(3).find("writing at 000000000dead000: not allowed there"), std::string::npos);
    EXPECT_NE(line(0x11).find("executing at 000000000dead000: not allowed"), std::string::npos);
    EXPECT_NE(line(9).find("a damaged page table entry"), std::string::npos);
    EXPECT_EQ(told(sample_frame(13, 0)).find("reading at"), std::string::npos);
}

TEST(FormatException, NoteAndLongestTextFit) {
    std::array<uint64_t, kMaxBacktrace> calls;
    calls.fill(~uint64_t{0});
    InterruptFrame frame;
    std::memset(&frame, 0xFF, sizeof(frame));
    frame.vector = 14;
    const std::string text =
        told(frame, calls, "stack overflow: the double fault stack ran out of all its space");
    EXPECT_NE(text.find("  stack overflow: the double fault"), std::string::npos);
    EXPECT_LT(text.size() + sizeof("The machine stops here.\n"), kExceptionTextBytes);
}

TEST(FormatException, EveryVectorHasAName) {
    EXPECT_EQ(exception_name(6), "invalid opcode");
    EXPECT_EQ(exception_name(8), "double fault");
    EXPECT_EQ(exception_name(13), "general protection fault");
    EXPECT_EQ(exception_name(14), "page fault");
    EXPECT_EQ(exception_name(21), "control protection exception");
    for (uint64_t vector = 22; vector < 40; ++vector) {
        EXPECT_EQ(exception_name(vector), "reserved exception");
    }
}

// A made-up stack: frames of (caller's rbp, return address).
class WalkFrames : public ::testing::Test {
  protected:
    alignas(16) std::array<uint64_t, 16> stack_{};
    uint64_t at(size_t index) { return reinterpret_cast<uint64_t>(&stack_[index]); }
    auto inside() {
        return [this](uint64_t address) { return address >= at(0) && address <= at(15) - 8; };
    }
    std::array<uint64_t, 4> calls_{};
};

TEST_F(WalkFrames, FollowsTheChainToItsEnd) {
    stack_[0] = at(4);
    stack_[1] = 0x111;
    stack_[4] = at(6);
    stack_[5] = 0x222;
    stack_[6] = 0;
    stack_[7] = 0x333;
    ASSERT_EQ(walk_frames(at(0), inside(), calls_), 3U);
    EXPECT_EQ(calls_, (std::array<uint64_t, 4>{0x111, 0x222, 0x333, 0}));
}

TEST_F(WalkFrames, StopsAtWhatCannotBeRead) {
    stack_[0] = 0x7000'0000'0000;
    stack_[1] = 0x111;
    EXPECT_EQ(walk_frames(at(0), inside(), calls_), 1U);
    EXPECT_EQ(walk_frames(0, inside(), calls_), 0U);
    EXPECT_EQ(walk_frames(at(0) + 1, inside(), calls_), 0U);
    EXPECT_EQ(walk_frames(at(15) + 8, inside(), calls_), 0U);
    EXPECT_EQ(walk_frames(~uint64_t{7}, inside(), calls_), 0U);
}

TEST_F(WalkFrames, LoopsEnd) {
    stack_[2] = at(2);
    stack_[3] = 0x111;
    EXPECT_EQ(walk_frames(at(2), inside(), calls_), 1U);
    stack_[4] = at(2);  // back down
    stack_[5] = 0x222;
    EXPECT_EQ(walk_frames(at(4), inside(), calls_), 1U);
}

TEST_F(WalkFrames, LongChainsAreCut) {
    for (size_t i = 0; i + 3 < stack_.size(); i += 2) {
        stack_[i] = at(i + 2);
        stack_[i + 1] = 0x100 + i;
    }
    EXPECT_EQ(walk_frames(at(0), inside(), calls_), 4U);
}

}  // namespace
}  // namespace bareflow
