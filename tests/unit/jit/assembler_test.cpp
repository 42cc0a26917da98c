// Every instruction in every form, compared with what LLVM's disassembler reads from the bytes.
// Some of the code also runs.
#include "kernel_lib/jit/assembler.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace bareflow::jit {
namespace {

constexpr const char *kNames64[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr const char *kNames32[] = {"eax", "ecx", "edx",  "ebx",  "esp",  "ebp",  "esi",  "edi",
                                    "r8d", "r9d", "r10d", "r11d", "r12d", "r13d", "r14d", "r15d"};
constexpr const char *kNames16[] = {"ax",  "cx",  "dx",   "bx",   "sp",   "bp",   "si",   "di",
                                    "r8w", "r9w", "r10w", "r11w", "r12w", "r13w", "r14w", "r15w"};
constexpr const char *kNames8[] = {"al",  "cl",  "dl",   "bl",   "spl",  "bpl",  "sil",  "dil",
                                   "r8b", "r9b", "r10b", "r11b", "r12b", "r13b", "r14b", "r15b"};
constexpr Width kWidths[] = {Width::k32, Width::k64};
constexpr std::pair<Alu, const char *> kAlus[] = {{Alu::kAdd, "add"}, {Alu::kOr, "or"},
                                                  {Alu::kAnd, "and"}, {Alu::kSub, "sub"},
                                                  {Alu::kXor, "xor"}, {Alu::kCmp, "cmp"}};
constexpr std::pair<Shift, const char *> kShifts[] = {
    {Shift::kShl, "shl"}, {Shift::kShr, "shr"}, {Shift::kSar, "sar"}};
constexpr std::pair<Ss, const char *> kSs[] = {{Ss::kSqrt, "sqrtss"},
                                               {Ss::kAdd, "addss"},
                                               {Ss::kMul, "mulss"},
                                               {Ss::kSub, "subss"},
                                               {Ss::kDiv, "divss"}};
constexpr int32_t kImmediates[] = {0, 1, -1, 127, -128, 128, -129, 0x12345678, INT32_MIN};

Gp gp(size_t i) {
    return static_cast<Gp>(i);
}
std::string name(Gp reg, int bits = 64) {
    const auto i = static_cast<size_t>(reg);
    return bits == 64   ? kNames64[i]
           : bits == 32 ? kNames32[i]
           : bits == 16 ? kNames16[i]
                        : kNames8[i];
}
std::string name(Gp reg, Width width) {
    return name(reg, width == Width::k64 ? 64 : 32);
}
std::string name(Xmm reg) {
    return "xmm" + std::to_string(reg.number);
}
std::string pointer(int bits) {
    return bits == 64   ? "qword ptr "
           : bits == 32 ? "dword ptr "
           : bits == 16 ? "word ptr "
                        : "byte ptr ";
}
std::string pointer(Width width) {
    return pointer(width == Width::k64 ? 64 : 32);
}
std::string name(Mem m) {
    std::string text = "[" + name(m.base);
    if (m.index != Gp::kRsp) {
        const int scale = 1 << static_cast<int>(m.scale);
        text += " + " + (scale == 1 ? "" : std::to_string(scale) + "*") + name(m.index);
    }
    if (m.disp != 0) {
        text += (m.disp < 0 ? " - " : " + ") + std::to_string(std::abs(int64_t{m.disp}));
    }
    return text + "]";
}

// Collects instructions and what they should be called, then asks LLVM's disassembler.
class Batch {
  public:
    void add(const std::string &expected, const std::function<void(Assembler &)> &emit) {
        uint8_t bytes[32];
        Assembler a(bytes);
        emit(a);
        const auto len = a.finish();
        ASSERT_TRUE(len.ok()) << expected;
        ASSERT_LE(len.value(), 15u) << expected;
        for (size_t i = 0; i < len.value(); ++i) {
            char hex[8];
            snprintf(hex, sizeof(hex), "0x%02x ", bytes[i]);
            input_ += hex;
        }
        input_ += '\n';
        expected_.push_back(expected);
    }
    // A missing disassembler fails the test: it is part of the tool chain.
    void check() const {
        const std::string folder = ::testing::TempDir();
        const std::string in = folder + "assembler_test.in";
        const std::string out = folder + "assembler_test.out";
        std::ofstream(in) << input_;
        const std::string command =
            "llvm-mc-19 --disassemble --triple=x86_64 --output-asm-variant=1 '" + in + "' > '" +
            out + "' 2>&1";
        ASSERT_EQ(std::system(command.c_str()), 0) << command;
        std::ifstream lines(out);
        std::string line;
        std::getline(lines, line);  // .text
        size_t wrong = 0;
        for (const std::string &expected : expected_) {
            ASSERT_TRUE(std::getline(lines, line)) << "no line for " << expected;
            std::string normal;
            for (const char c : line) {
                normal += c == '\t' ? ' ' : c;
            }
            normal.erase(0, 1);
            normal.erase(std::min(normal.find('#'), normal.size()));  // an explanation
            normal.erase(normal.find_last_not_of(' ') + 1);
            // Immediates of 32-bit operations are printed with or without their sign.
            const size_t last = normal.rfind(' ') + 1;
            if (const unsigned long long value = strtoull(normal.c_str() + last, nullptr, 10);
                value > INT32_MAX && value <= UINT32_MAX) {
                normal.replace(last, std::string::npos,
                               std::to_string(static_cast<int32_t>(value)));
            }
            if (normal != expected) {
                EXPECT_EQ(normal, expected);
                ASSERT_LT(++wrong, 10u);
            }
        }
        EXPECT_FALSE(std::getline(lines, line)) << line;
        remove(in.c_str());
        remove(out.c_str());
    }
    [[nodiscard]] size_t size() const { return expected_.size(); }

  private:
    std::string input_;
    std::vector<std::string> expected_;
};

// Every base with every index, scale and displacement size.
std::vector<Mem> all_addresses() {
    std::vector<Mem> all;
    for (size_t base = 0; base < kGpCount; ++base) {
        for (const int32_t disp : {0, 1, 127, -128, 128, -129, 0x12345678}) {
            all.push_back(mem(gp(base), disp));
            for (size_t index = 0; index < kGpCount; ++index) {
                for (int scale = 0; scale < 4 && gp(index) != Gp::kRsp; ++scale) {
                    all.push_back(mem(gp(base), gp(index), static_cast<Scale>(scale), disp));
                }
            }
        }
    }
    return all;
}
// Enough to see every special case of ModRM and SIB with any operation.
std::vector<Mem> some_addresses() {
    std::vector<Mem> some;
    for (size_t base = 0; base < kGpCount; ++base) {
        some.push_back(mem(gp(base)));
        some.push_back(mem(gp(base), gp((base + 8) % 16 == 4 ? 5 : (base + 8) % 16), Scale::k8, 8));
        some.push_back(mem(gp(base), -300));
    }
    return some;
}

TEST(AssemblerTest, EveryAddressForm) {
    Batch batch;
    size_t reg = 0;
    for (const Mem m : all_addresses()) {
        const Gp r = gp(reg++ % kGpCount);
        batch.add("mov " + name(r) + ", qword ptr " + name(m), [&](Assembler &a) { a.mov(r, m); });
    }
    EXPECT_EQ(batch.size(), 16u * 7 * 61);
    batch.check();
}

TEST(AssemblerTest, EveryInstructionWithEveryRegister) {
    Batch batch;
    for (size_t i = 0; i < kGpCount; ++i) {
        for (size_t j = 0; j < kGpCount; ++j) {
            const Gp to = gp(i);
            const Gp from = gp(j);
            const Xmm x = xmm(static_cast<unsigned>(i));
            const Xmm y = xmm(static_cast<unsigned>(j));
            for (const Width w : kWidths) {
                const std::string both = name(to, w) + ", " + name(from, w);
                for (const auto &[op, text] : kAlus) {
                    batch.add(text + (" " + both), [&](Assembler &a) { a.alu(op, to, from, w); });
                }
                batch.add("mov " + both, [&](Assembler &a) { a.mov(to, from, w); });
                batch.add("test " + both, [&](Assembler &a) { a.test(to, from, w); });
                batch.add("imul " + both, [&](Assembler &a) { a.imul(to, from, w); });
                for (const int32_t value : {7, -1000}) {
                    batch.add("imul " + both + ", " + std::to_string(value),
                              [&](Assembler &a) { a.imul(to, from, value, w); });
                }
                batch.add("cvtsi2ss " + name(x) + ", " + name(from, w),
                          [&](Assembler &a) { a.cvtsi2ss(x, from, w); });
            }
            batch.add("movzx " + name(to) + ", " + name(from, 8),
                      [&](Assembler &a) { a.movzx8(to, from); });
            batch.add("movzx " + name(to, 32) + ", " + name(from, 16),
                      [&](Assembler &a) { a.movzx16(to, from); });
            batch.add("movsx " + name(to) + ", " + name(from, 8),
                      [&](Assembler &a) { a.movsx8(to, from); });
            batch.add("movsx " + name(to) + ", " + name(from, 16),
                      [&](Assembler &a) { a.movsx16(to, from); });
            batch.add("movsxd " + name(to) + ", " + name(from, 32),
                      [&](Assembler &a) { a.movsxd(to, from); });
            const std::string floats = name(x) + ", " + name(y);
            batch.add("movss " + floats, [&](Assembler &a) { a.movss(x, y); });
            batch.add("xorps " + floats, [&](Assembler &a) { a.xorps(x, y); });
            for (const auto &[op, text] : kSs) {
                batch.add(text + (" " + floats), [&](Assembler &a) { a.ss(op, x, y); });
            }
        }
    }
    batch.check();
}

TEST(AssemblerTest, EveryInstructionWithMemory) {
    Batch batch;
    size_t reg = 0;
    for (const Mem m : some_addresses()) {
        const Gp r = gp(reg++ % kGpCount);
        const Xmm x = xmm(static_cast<unsigned>(reg % kXmmCount));
        const std::string at = name(m);
        for (const Width w : kWidths) {
            const std::string load = name(r, w) + ", " + pointer(w) + at;
            const std::string store = pointer(w) + at + ", " + name(r, w);
            batch.add("mov " + load, [&](Assembler &a) { a.mov(r, m, w); });
            batch.add("mov " + store, [&](Assembler &a) { a.mov(m, r, w); });
            for (const auto &[op, text] : kAlus) {
                batch.add(text + (" " + load), [&](Assembler &a) { a.alu(op, r, m, w); });
                batch.add(text + (" " + store), [&](Assembler &a) { a.alu(op, m, r, w); });
                for (const int32_t value : {1, -129}) {
                    batch.add(text + (" " + pointer(w) + at + ", " + std::to_string(value)),
                              [&](Assembler &a) { a.alu(op, m, value, w); });
                }
            }
            batch.add("imul " + load, [&](Assembler &a) { a.imul(r, m, w); });
            for (const int32_t value : {7, -1000}) {
                batch.add("imul " + load + ", " + std::to_string(value),
                          [&](Assembler &a) { a.imul(r, m, value, w); });
            }
            batch.add("cvtsi2ss " + name(x) + ", " + pointer(w) + at,
                      [&](Assembler &a) { a.cvtsi2ss(x, m, w); });
        }
        batch.add("lea " + name(r) + ", " + at, [&](Assembler &a) { a.lea(r, m); });
        batch.add("movzx " + name(r, 32) + ", " + pointer(8) + at,
                  [&](Assembler &a) { a.movzx8(r, m); });
        batch.add("movzx " + name(r, 32) + ", " + pointer(16) + at,
                  [&](Assembler &a) { a.movzx16(r, m); });
        batch.add("movsx " + name(r) + ", " + pointer(8) + at,
                  [&](Assembler &a) { a.movsx8(r, m); });
        batch.add("movsx " + name(r) + ", " + pointer(16) + at,
                  [&](Assembler &a) { a.movsx16(r, m); });
        batch.add("movsxd " + name(r) + ", " + pointer(32) + at,
                  [&](Assembler &a) { a.movsxd(r, m); });
        batch.add("movss " + name(x) + ", dword ptr " + at, [&](Assembler &a) { a.movss(x, m); });
        batch.add("movss dword ptr " + at + ", " + name(x), [&](Assembler &a) { a.movss(m, x); });
        for (const auto &[op, text] : kSs) {
            batch.add(text + (" " + name(x) + ", dword ptr " + at),
                      [&](Assembler &a) { a.ss(op, x, m); });
        }
    }
    batch.check();
}

TEST(AssemblerTest, EveryInstructionWithOneRegister) {
    Batch batch;
    for (size_t i = 0; i < kGpCount; ++i) {
        const Gp r = gp(i);
        for (const Width w : kWidths) {
            for (const auto &[op, text] : kAlus) {
                for (const int32_t value : kImmediates) {
                    batch.add(text + (" " + name(r, w) + ", " + std::to_string(value)),
                              [&](Assembler &a) { a.alu(op, r, value, w); });
                }
            }
            for (const auto &[op, text] : kShifts) {
                for (unsigned bits = 0; bits < (w == Width::k64 ? 64u : 32u); ++bits) {
                    batch.add(text + (" " + name(r, w) + ", " + std::to_string(bits)),
                              [&](Assembler &a) { a.shift(op, r, bits, w); });
                }
            }
            batch.add("neg " + name(r, w), [&](Assembler &a) { a.neg(r, w); });
        }
        batch.add("push " + name(r), [&](Assembler &a) { a.push(r); });
        batch.add("pop " + name(r), [&](Assembler &a) { a.pop(r); });
        for (const uint64_t value : {0ul, 1ul, 0x7ffffffful, 0x80000000ul, 0xfffffffful}) {
            batch.add("mov " + name(r, 32) + ", " + std::to_string(static_cast<int32_t>(value)),
                      [&](Assembler &a) { a.mov(r, value); });
        }
        for (const int64_t value : {int64_t{-1}, int64_t{INT32_MIN}}) {
            batch.add("mov " + name(r) + ", " + std::to_string(value),
                      [&](Assembler &a) { a.mov(r, static_cast<uint64_t>(value)); });
        }
        for (const int64_t value : {INT64_MAX, INT64_MIN, int64_t{INT32_MIN} - 1, 1l << 32}) {
            batch.add("movabs " + name(r) + ", " + std::to_string(value),
                      [&](Assembler &a) { a.mov(r, static_cast<uint64_t>(value)); });
        }
    }
    batch.add("ret", [&](Assembler &a) { a.ret(); });
    batch.check();
}

TEST(AssemblerTest, JumpsForwardsAndBackwards) {
    constexpr const char *kJumps[] = {"jo", "jno", "jb", "jae", "je", "jne", "jbe", "ja",
                                      "js", "jns", "jp", "jnp", "jl", "jge", "jle", "jg"};
    Batch batch;
    for (unsigned i = 0; i < 16; ++i) {
        batch.add(std::string(kJumps[i]) + " 0", [&](Assembler &a) {
            const Label next = a.new_label();
            a.jcc(static_cast<Condition>(i), next);
            a.bind(next);
        });
        batch.add(std::string(kJumps[i]) + " -6", [&](Assembler &a) {
            const Label here = a.new_label();
            a.bind(here);
            a.jcc(static_cast<Condition>(i), here);
        });
    }
    batch.add("jmp -5", [&](Assembler &a) {
        const Label here = a.new_label();
        a.bind(here);
        a.jmp(here);
    });
    batch.check();
}

// A fixed seed: instructions drawn at random with random operands come back as they went in.
TEST(AssemblerTest, RandomInstructionsRoundTrip) {
    std::mt19937_64 random(20261122);
    const std::vector<Mem> addresses = all_addresses();
    Batch batch;
    for (int i = 0; i < 5000; ++i) {
        const Gp r = gp(random() % kGpCount);
        const Gp s = gp(random() % kGpCount);
        const Xmm x = xmm(static_cast<unsigned>(random() % kXmmCount));
        Mem m = addresses[random() % addresses.size()];
        m.disp = static_cast<int32_t>(random()) >> random() % 32;
        const Width w = kWidths[random() % 2];
        const auto &[alu, alu_text] = kAlus[random() % std::size(kAlus)];
        const auto value = static_cast<int32_t>(random()) >> random() % 32;
        const std::string number = std::to_string(value);
        switch (random() % 8) {
            case 0:
                batch.add(alu_text + (" " + name(r, w) + ", " + name(s, w)),
                          [&, op = alu](Assembler &a) { a.alu(op, r, s, w); });
                break;
            case 1:
                batch.add(alu_text + (" " + name(r, w) + ", " + pointer(w) + name(m)),
                          [&, op = alu](Assembler &a) { a.alu(op, r, m, w); });
                break;
            case 2:
                batch.add(alu_text + (" " + pointer(w) + name(m) + ", " + number),
                          [&, op = alu](Assembler &a) { a.alu(op, m, value, w); });
                break;
            case 3:
                batch.add("imul " + name(r, w) + ", " + pointer(w) + name(m) + ", " + number,
                          [&](Assembler &a) { a.imul(r, m, value, w); });
                break;
            case 4:
                batch.add("lea " + name(r) + ", " + name(m), [&](Assembler &a) { a.lea(r, m); });
                break;
            case 5:
                batch.add("movss dword ptr " + name(m) + ", " + name(x),
                          [&](Assembler &a) { a.movss(m, x); });
                break;
            case 6:
                batch.add("mov " + pointer(w) + name(m) + ", " + name(r, w),
                          [&](Assembler &a) { a.mov(m, r, w); });
                break;
            default:
                batch.add("cvtsi2ss " + name(x) + ", " + pointer(w) + name(m),
                          [&](Assembler &a) { a.cvtsi2ss(x, m, w); });
                break;
        }
    }
    batch.check();
}

TEST(AssemblerTest, NeverWritesPastItsRoom) {
    for (size_t room = 0; room < 40; ++room) {
        uint8_t bytes[64];
        std::fill(std::begin(bytes), std::end(bytes), uint8_t{0xee});
        Assembler a(std::span(bytes).first(room));
        const Label end = a.new_label();
        a.mov(Gp::kRax, 0x123456789abcdef0);
        a.jcc(Condition::kLess, end);
        a.alu(Alu::kAdd, mem(Gp::kR12, Gp::kR13, Scale::k8, 0x1000), 0x1000);
        a.bind(end);
        a.ret();
        const bool fits = room >= 10 + 6 + 12 + 1;
        const auto result = a.finish();
        EXPECT_EQ(result.ok(), fits) << room;
        if (!fits) {
            EXPECT_EQ(result.error().code, ErrorCode::kExhausted);
        }
        EXPECT_TRUE(
            std::all_of(bytes + room, std::end(bytes), [](uint8_t b) { return b == 0xee; }));
    }
}

TEST(AssemblerTest, MistakesAreErrors) {
    uint8_t bytes[1024];
    {
        Assembler a(bytes);
        a.jmp(a.new_label());
        EXPECT_EQ(a.finish().error().code, ErrorCode::kInvalid);
    }
    {
        Assembler a(bytes);
        const Label label = a.new_label();
        a.bind(label);
        a.bind(label);
        EXPECT_EQ(a.finish().error().code, ErrorCode::kInvalid);
    }
    {
        Assembler a(bytes);
        a.shift(Shift::kShl, Gp::kRax, 32, Width::k32);
        EXPECT_EQ(a.finish().error().code, ErrorCode::kInvalid);
    }
    {
        Assembler a(bytes);
        Label label;
        for (int i = 0; i < 33; ++i) {
            label = a.new_label();
            a.bind(label);
        }
        EXPECT_EQ(a.finish().error().code, ErrorCode::kExhausted);
    }
    {
        Assembler a(bytes);
        const Label label = a.new_label();
        a.bind(label);
        for (int i = 0; i < 65; ++i) {
            a.jmp(label);
        }
        EXPECT_EQ(a.finish().error().code, ErrorCode::kExhausted);
    }
}

// The code runs: the sum of n, n - 1, ..., 1 by a loop with a forward and a backward jump.
TEST(AssemblerTest, AssembledCodeRuns) {
    void *const page =
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(page, MAP_FAILED);
    // UBSan looks at the bytes before a function.
    uint8_t *const start = static_cast<uint8_t *>(page) + 16;
    Assembler a(std::span(start, 4000));
    const Label again = a.new_label();
    const Label end = a.new_label();
    a.alu(Alu::kXor, Gp::kRax, Gp::kRax, Width::k32);
    a.bind(again);
    a.test(Gp::kRdi, Gp::kRdi);
    a.jcc(Condition::kEqual, end);
    a.add(Gp::kRax, Gp::kRdi);
    a.alu(Alu::kSub, Gp::kRdi, 1);
    a.jmp(again);
    a.bind(end);
    a.ret();
    ASSERT_TRUE(a.finish().ok());
    ASSERT_EQ(mprotect(page, 4096, PROT_READ | PROT_EXEC), 0);
    const auto sum = reinterpret_cast<uint64_t (*)(uint64_t)>(start);
    EXPECT_EQ(sum(0), 0u);
    EXPECT_EQ(sum(100), 5050u);
    munmap(page, 4096);
}

}  // namespace
}  // namespace bareflow::jit
