// Every vector instruction in every encoding, with every register in every place and every shape of
// address, against LLVM's disassembler.
#include "kernel_lib/jit/vector_ops.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/jit/vector_cases.h"

namespace bareflow::jit {
namespace {

constexpr uint8_t kEncodings[] = {kSse, kVex128, kVex256, kEvex128, kEvex256, kEvex512};

// VEX is taken where it can be: EVEX shows only when something in it needs EVEX.
bool reachable(const VectorCase &c) {
    if (!c.evex()) {
        return true;
    }
    const uint8_t vex = c.encoding == kEvex128 ? kVex128 : c.encoding == kEvex256 ? kVex256 : 0;
    const bool forced =
        c.mask != 0 || c.r > 15 || c.m > 15 ||
        (c.v > 15 && c.op().shape != OpShape::kRm && c.op().shape != OpShape::kMr) ||
        (c.in_memory && c.memory.broadcast);
    return (c.op().encodings & vex) == 0 || forced;
}

// Registers that a place can hold in this encoding: in EVEX 32 vectors, but 16 general and 8 masks.
struct Limits {
    unsigned r, v, m;
};
Limits limits(const VectorCase &c) {
    using cases_detail::Kind;
    const auto kinds = cases_detail::kinds_of(c.named->name);
    const unsigned vectors = c.evex() ? 32 : 16;
    const auto of = [&](Kind kind) {
        return kind == Kind::kVector ? vectors : kind == Kind::kMask ? 8u : 16u;
    };
    return {of(kinds.r), vectors, of(kinds.m)};
}

class VectorOpsTest : public ::testing::Test {
  protected:
    void expect(const VectorCase &c) {
        if (!reachable(c)) {
            return;
        }
        ++cases_;
        const std::string wrong = check(llvm_, c);
        if (!wrong.empty() && ++wrong_ < 40) {
            ADD_FAILURE() << wrong;
        }
    }
    template <typename Body>
    void for_every_encoding(Body body) {
        for (const NamedOp &named : kVectorOps) {
            for (const uint8_t encoding : kEncodings) {
                if ((named.op.encodings & encoding) != 0) {
                    VectorCase c;
                    c.named = &named;
                    c.encoding = encoding;
                    // Anything but 0, so that a lost bit shows.
                    c.value = 5;
                    body(c);
                }
            }
        }
    }

    LlvmDisassembler llvm_;
    size_t cases_ = 0;
    size_t wrong_ = 0;
};

TEST(VectorOpListTest, NoneIsForgotten) {
    std::ifstream header("kernel_lib/jit/vector_ops.h");
    ASSERT_TRUE(header.is_open()) << "run from the top of the tree";
    std::vector<std::string> names;
    for (std::string line; std::getline(header, line);) {
        constexpr std::string_view kStart = "inline constexpr VectorOp ";
        if (line.rfind(kStart, 0) == 0) {
            line.erase(0, kStart.size());
            names.push_back(line.substr(0, line.find(' ')));
        }
    }
    ASSERT_EQ(names.size(), std::size(kVectorOps));
    for (size_t i = 0; i < names.size(); ++i) {
        EXPECT_EQ(names[i], kVectorOps[i].name);
    }
}

TEST_F(VectorOpsTest, EveryRegisterInEveryPlace) {
    for_every_encoding([&](VectorCase c) {
        if (c.op().rm == OpRm::kMemory) {
            return;
        }
        const Limits most = limits(c);
        for (unsigned i = 0; i < 32; ++i) {
            for (const unsigned other : {1u, 9u, 18u, 30u}) {
                c.r = static_cast<uint8_t>(i % most.r);
                c.v = static_cast<uint8_t>(other % most.v);
                c.m = static_cast<uint8_t>((other + 1) % most.m);
                expect(c);
                c.r = static_cast<uint8_t>(other % most.r);
                c.v = static_cast<uint8_t>(i % most.v);
                expect(c);
                c.v = static_cast<uint8_t>((other + 1) % most.v);
                c.m = static_cast<uint8_t>(i % most.m);
                expect(c);
            }
        }
    });
    EXPECT_GT(cases_, 100'000u);
}

// Displacements about every limit: of a byte, and of a byte counted in units.
std::vector<Mem> addresses(int unit) {
    std::vector<Mem> all;
    for (size_t base = 0; base < kGpCount; ++base) {
        for (const int32_t disp : {0, 1, 127, 128, -128, -129, unit, -unit, 127 * unit, 128 * unit,
                                   -128 * unit, -129 * unit, 127 * unit + 1, 0x12345678}) {
            all.push_back(mem(static_cast<Gp>(base), disp));
            const auto index = static_cast<Gp>((base * 5 + 3) % kGpCount);
            if (index != Gp::kRsp) {
                all.push_back(
                    mem(static_cast<Gp>(base), index, static_cast<Scale>(base % 4), disp));
            }
        }
    }
    return all;
}

TEST_F(VectorOpsTest, EveryShapeOfAddress) {
    for_every_encoding([&](VectorCase c) {
        if (c.op().rm == OpRm::kRegister || c.op().narrows != 0) {
            return;
        }
        c.in_memory = true;
        const Limits most = limits(c);
        uint8_t number = 0;
        for (const bool one : {false, true}) {
            if (one && (!c.evex() || c.op().element == 0)) {
                continue;
            }
            c.memory.broadcast = one;
            for (Mem m : addresses(c.unit())) {
                m.broadcast = one;
                c.memory = m;
                c.r = static_cast<uint8_t>(++number % most.r);
                c.v = static_cast<uint8_t>((number + 17) % most.v);
                expect(c);
            }
        }
    });
    EXPECT_GT(cases_, 100'000u);
}

TEST_F(VectorOpsTest, EveryMask) {
    for_every_encoding([&](VectorCase c) {
        if (!c.evex() || c.op().mask == OpMask::kNone) {
            return;
        }
        const Limits most = limits(c);
        for (const bool memory : {false, true}) {
            c.in_memory = memory;
            if (c.op().rm == (memory ? OpRm::kRegister : OpRm::kMemory) ||
                (memory && c.op().narrows != 0)) {
                continue;
            }
            for (unsigned k = 1; k < 8; ++k) {
                for (const bool zero : {false, true}) {
                    if (zero && (c.op().mask == OpMask::kKeeps ||
                                 (memory && c.op().shape == OpShape::kMr))) {
                        continue;
                    }
                    c.mask = static_cast<uint8_t>(k);
                    c.zero = zero;
                    c.r = static_cast<uint8_t>(k * 4 % most.r);
                    c.v = static_cast<uint8_t>(k * 3 % most.v);
                    c.m = static_cast<uint8_t>(k * 2 % most.m);
                    expect(c);
                }
            }
        }
    });
    EXPECT_GT(cases_, 5'000u);
}

TEST_F(VectorOpsTest, EveryConstant) {
    for_every_encoding([&](VectorCase c) {
        c.in_memory = c.op().rm == OpRm::kMemory;
        for (unsigned value = 0; value < 256 && c.op().immediate != 0; ++value) {
            // Above 7 these have names of their own, or are reserved.
            if (value > 7 && std::string(c.named->name).find("cmp") != std::string::npos) {
                break;
            }
            c.value = static_cast<uint8_t>(value);
            expect(c);
        }
    });
    EXPECT_GT(cases_, 10'000u);
}

TEST_F(VectorOpsTest, WithoutOperands) {
    uint8_t bytes[16];
    Assembler a(bytes);
    a.vzeroupper();
    size_t len = 0;
    EXPECT_EQ(llvm_.read({bytes, a.size()}, len), "vzeroupper");
    EXPECT_EQ(len, a.size());
    constexpr const char *kHints[] = {"nta", "t0", "t1", "t2"};
    for (unsigned hint = 0; hint < 4; ++hint) {
        for (const Mem &m : addresses(1)) {
            Assembler b(bytes);
            b.prefetch(static_cast<Prefetch>(hint), m);
            EXPECT_EQ(llvm_.read({bytes, b.size()}, len),
                      std::string("prefetch") + kHints[hint] + " " + text_of(m, 0));
        }
    }
}

// The constants of a kernel, read through RIP; the instruction's own constant lies behind the
// address.
TEST_F(VectorOpsTest, ConstantsAreFound) {
    alignas(64) uint8_t memory[256] = {};
    uint8_t *const pool = memory;
    uint8_t *const code = memory + 128;
    Assembler a({code, 128}, {{pool, 64}, pool - code});
    const float half = 0.5f;
    const uint64_t wide = 0x1122334455667788;
    const Mem first = a.constant_of(half);
    const Mem second = a.constant_of(wide);
    EXPECT_EQ(first.disp, 0);
    EXPECT_EQ(second.disp, 8);
    EXPECT_EQ(a.constant_of(half).disp, 0);  // kept once
    EXPECT_EQ(a.constant_of(0u).disp, 4);    // the gap holds it already
    EXPECT_EQ(a.constant_bytes(), 16u);
    EXPECT_EQ(std::memcmp(pool, &half, 4), 0);
    EXPECT_EQ(std::memcmp(pool + 8, &wide, 8), 0);
    struct Expected {
        std::string text;
        const uint8_t *target;
    };
    std::vector<Expected> expected;
    const auto add = [&](const char *before, const char *after, const uint8_t *target) {
        expected.push_back({std::string(before) + "@(%rip)" + after, target});
    };
    a.avx(op::vbroadcastss, ymm(9), first);
    add("vbroadcastss ", ", %ymm9", pool);
    a.avx(op::vpermq, ymm(1), second, 7);
    add("vpermq $7, ", ", %ymm1", pool + 8);
    a.avx(op::paddd, zmm(1), zmm(2), broadcast(first));
    add("vpaddd ", "{1to16}, %zmm2, %zmm1", pool);
    a.sse(op::mulps, xmm(3), first);
    add("mulps ", ", %xmm3", pool);
    a.imul(Gp::kR9, second, 1000);
    add("imulq $1000, ", ", %r9", pool + 8);
    a.mov(Gp::kRcx, second);
    add("movq ", ", %rcx", pool + 8);
    ASSERT_TRUE(a.finish().ok());
    size_t at = 0;
    for (const Expected &e : expected) {
        size_t len = 0;
        std::string said = llvm_.read({code + at, 128 - at}, len);
        at += len;
        const std::string distance = std::to_string(e.target - (code + at));
        std::string text = e.text;
        text.replace(text.find('@'), 1, distance);
        EXPECT_EQ(said, text);
    }
    EXPECT_EQ(at, a.size());
}

TEST_F(VectorOpsTest, ConstantsThatDoNotFitAreRefused) {
    uint8_t code[64];
    uint8_t pool[16];
    Assembler a(code, {pool, 0});
    (void)a.constant_of(uint64_t{1});
    (void)a.constant_of(uint64_t{2});
    EXPECT_TRUE(a.finish().ok());
    (void)a.constant_of(uint64_t{3});
    EXPECT_EQ(a.finish().error().code, ErrorCode::kExhausted);
    const std::array<uint8_t, 3> odd{};
    for (const std::span<const uint8_t> bytes : {std::span<const uint8_t>(odd), {}}) {
        Assembler b(code, {pool, 0});
        (void)b.constant(bytes);
        EXPECT_FALSE(b.finish().ok());
    }
}

TEST_F(VectorOpsTest, WhatHasNoEncodingIsRefused) {
    const auto refused = [](auto emit) {
        uint8_t bytes[32];
        Assembler a(bytes);
        emit(a);
        const auto result = a.finish();
        return !result.ok() && result.error().code == ErrorCode::kInvalid;
    };
    const Mem m = mem(Gp::kRax);
    EXPECT_TRUE(refused([&](Assembler &a) { a.sse(op::paddb, xmm(16), xmm(0)); }));
    EXPECT_TRUE(refused([&](Assembler &a) { a.sse(op::paddb, xmm(0), xmm(16)); }));
    EXPECT_TRUE(refused([&](Assembler &a) { a.sse(op::vpermq, xmm(0), xmm(1)); }));
    EXPECT_TRUE(refused([&](Assembler &a) { a.sse(op::addps, xmm(0), broadcast(m)); }));
    EXPECT_TRUE(refused([&](Assembler &a) { a.sse(op::movhlps, xmm(0), m); }));
    EXPECT_TRUE(refused([&](Assembler &a) { a.sse(op::movss, xmm(0), xmm(1)); }));
    EXPECT_TRUE(refused([&](Assembler &a) { a.avx(op::pand, zmm(0), zmm(1), zmm(2)); }));
    EXPECT_TRUE(refused([&](Assembler &a) { a.avx(op::pand, ymm(0), ymm(1), ymm(16)); }));
    EXPECT_TRUE(refused([&](Assembler &a) { a.avx(op::vpermq, xmm(0), xmm(1), 1); }));
    EXPECT_TRUE(refused([&](Assembler &a) { a.avx(op::addss, ymm(0), ymm(1), ymm(2)); }));
    EXPECT_TRUE(refused([&](Assembler &a) { a.avx(op::paddb, ymm(0), ymm(1), broadcast(m)); }));
    EXPECT_TRUE(refused([&](Assembler &a) { a.avx(op::cvtpd2ps, xmm(0), m); }));
    EXPECT_TRUE(
        refused([&](Assembler &a) { a.avx(op::psadbw, zmm(0).masked(1), zmm(1), zmm(2)); }));
    EXPECT_TRUE(
        refused([&](Assembler &a) { a.avx(op::vmovdqu8_store, m, zmm(0).masked(1, true)); }));
    EXPECT_TRUE(refused(
        [&](Assembler &a) { a.avx(op::vpcmpub, mask(1).masked(2, true), zmm(1), zmm(2), 1); }));
    EXPECT_TRUE(
        refused([&](Assembler &a) { a.avx(op::paddd, ymm(0).masked(0, true), ymm(1), ymm(2)); }));
    EXPECT_FALSE(refused([&](Assembler &a) { a.avx(op::paddd, ymm(0), ymm(1), ymm(2)); }));
}

TEST_F(VectorOpsTest, NeverPastTheRoom) {
    for (size_t room = 0; room < 12; ++room) {
        uint8_t bytes[16];
        std::fill(std::begin(bytes), std::end(bytes), uint8_t{0xee});
        Assembler a(std::span(bytes).first(room));
        a.avx(op::vpermq, zmm(17), mem(Gp::kR9, Gp::kR10, Scale::k8, 0x1001), 1);
        EXPECT_EQ(a.finish().ok(), room >= 12) << room;
        EXPECT_TRUE(
            std::all_of(bytes + room, std::end(bytes), [](uint8_t b) { return b == 0xee; }));
    }
}

}  // namespace
}  // namespace bareflow::jit
