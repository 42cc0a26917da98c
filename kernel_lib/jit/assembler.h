// An x86-64 assembler for the instructions that generated kernels use: operands are typed, output
// is bounded, labels are local to one function. Encodings: Intel SDM volume 2 (instruction format
// in chapter 2, instructions in 3 to 5).
//
// Nothing is checked after every instruction. Output that does not fit makes finish() fail. So do a
// label jumped to and never bound, and an operand that has no encoding (rsp as an index, a shift by
// 64, xmm16 in SSE). The bytes are position independent: they may be written in one place and run
// in another, as long as code and constants keep their distance.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/vector_ops.h"

namespace bareflow::jit {

// Numbered as in ModRM.
enum class Gp : uint8_t {
    kRax,
    kRcx,
    kRdx,
    kRbx,
    kRsp,
    kRbp,
    kRsi,
    kRdi,
    kR8,
    kR9,
    kR10,
    kR11,
    kR12,
    kR13,
    kR14,
    kR15,
};
inline constexpr size_t kGpCount = 16;

// A vector register: number 0 .. 31, and how much of it, as L'L of EVEX. Mask registers and, where
// an instruction says so, general ones stand in its place.
struct Vec {
    uint8_t number = 0;
    uint8_t length = 0;  // 0: 128 bits, 1: 256, 2: 512
    uint8_t mask = 0;    // EVEX: elements to write; 0: all
    bool zero = false;   // the others become 0 instead of staying

    // Of a result; of a store: on what is stored.
    [[nodiscard]] constexpr Vec masked(unsigned by, bool zeroed = false) const {
        return {number, length, static_cast<uint8_t>(by & 7), zeroed};
    }
    bool operator==(const Vec &) const = default;
};
using Xmm = Vec;
inline constexpr size_t kXmmCount = 16;  // without AVX-512
constexpr Vec xmm(unsigned number) {
    return {static_cast<uint8_t>(number & 31), 0};
}
constexpr Vec ymm(unsigned number) {
    return {static_cast<uint8_t>(number & 31), 1};
}
constexpr Vec zmm(unsigned number) {
    return {static_cast<uint8_t>(number & 31), 2};
}
constexpr Vec mask(unsigned number) {
    return {static_cast<uint8_t>(number & 7)};
}
constexpr Vec general(Gp reg) {
    return {static_cast<uint8_t>(reg)};
}

enum class Scale : uint8_t { k1, k2, k4, k8 };

// [base + index * scale + disp]
struct Mem {
    Gp base;
    int32_t disp = 0;
    Gp index = Gp::kRsp;  // rsp: none
    Scale scale = Scale::k1;
    bool broadcast = false;  // EVEX: one element, for all
    bool constant = false;   // `disp` bytes into the constants; base and index don't count
};
constexpr Mem mem(Gp base, int32_t disp = 0) {
    return {.base = base, .disp = disp};
}
constexpr Mem mem(Gp base, Gp index, Scale scale, int32_t disp = 0) {
    return {.base = base, .disp = disp, .index = index, .scale = scale};
}

constexpr Mem broadcast(Mem from) {
    from.broadcast = true;
    return from;
}

// Of integer operations. 32-bit results clear the upper half of their register.
enum class Width : uint8_t { k32, k64 };

// Numbered as in Jcc.
enum class Condition : uint8_t {
    kOverflow,
    kNoOverflow,
    kBelow,
    kAboveEqual,
    kEqual,
    kNotEqual,
    kBelowEqual,
    kAbove,
    kSign,
    kNoSign,
    kParity,
    kNoParity,
    kLess,
    kGreaterEqual,
    kLessEqual,
    kGreater,
};

// Two-operand arithmetic; numbered as in the opcode map.
enum class Alu : uint8_t { kAdd = 0, kOr = 1, kAnd = 4, kSub = 5, kXor = 6, kCmp = 7 };
enum class Shift : uint8_t { kShl = 4, kShr = 5, kSar = 7 };
// Scalar floats; the opcode after F3 0F.
enum class Ss : uint8_t { kSqrt = 0x51, kAdd = 0x58, kMul = 0x59, kSub = 0x5c, kDiv = 0x5e };

enum class Prefetch : uint8_t { kNta, kT0, kT1, kT2 };

struct Label {
    uint16_t id = 0;
};

// Where constants go: read through RIP, at a fixed distance from the code, on pages of their own.
struct ConstantPool {
    std::span<uint8_t> room;
    int64_t distance = 0;  // from the first byte of the code to room's first, where they run
};

class Assembler {
  public:
    explicit Assembler(std::span<uint8_t> out, ConstantPool constants = {})
        : out_(out), constants_(constants) {}

    // Bytes written until now, at most the room given.
    [[nodiscard]] size_t size() const { return len_; }
    // The length of the code, or why there is none: kExhausted (room, labels), kInvalid.
    [[nodiscard]] Result<size_t> finish();

    // The bytes (1, 2, 4, .. 64 of them), aligned to their size; equal ones are kept once.
    [[nodiscard]] Mem constant(std::span<const uint8_t> bytes);
    template <typename T>
    [[nodiscard]] Mem constant_of(const T &value) {
        return constant({reinterpret_cast<const uint8_t *>(&value), sizeof(value)});
    }
    [[nodiscard]] size_t constant_bytes() const { return constant_len_; }

    [[nodiscard]] Label new_label();
    void bind(Label label);
    void jmp(Label target);
    void jcc(Condition condition, Label target);

    // Moves.
    void mov(Gp to, Gp from, Width width = Width::k64);
    void mov(Gp to, const Mem &from, Width width = Width::k64);
    void mov(const Mem &to, Gp from, Width width = Width::k64);
    void mov(Gp to, uint64_t value);  // the shortest of three encodings
    void movzx8(Gp to, Gp from);
    void movzx8(Gp to, const Mem &from);
    void movzx16(Gp to, Gp from);
    void movzx16(Gp to, const Mem &from);
    void movsx8(Gp to, Gp from);  // to 64 bits, like the two below
    void movsx8(Gp to, const Mem &from);
    void movsx16(Gp to, Gp from);
    void movsx16(Gp to, const Mem &from);
    void movsxd(Gp to, Gp from);
    void movsxd(Gp to, const Mem &from);
    void lea(Gp to, const Mem &address);
    void push(Gp from);
    void pop(Gp to);
    void ret();

    // Arithmetic.
    void alu(Alu op, Gp to, Gp from, Width width = Width::k64);
    void alu(Alu op, Gp to, const Mem &from, Width width = Width::k64);
    void alu(Alu op, const Mem &to, Gp from, Width width = Width::k64);
    void alu(Alu op, Gp to, int32_t value, Width width = Width::k64);
    void alu(Alu op, const Mem &to, int32_t value, Width width = Width::k64);
    void add(Gp to, Gp from) { alu(Alu::kAdd, to, from); }
    void add(Gp to, const Mem &from) { alu(Alu::kAdd, to, from); }
    void add(Gp to, int32_t value) { alu(Alu::kAdd, to, value); }
    void sub(Gp to, Gp from) { alu(Alu::kSub, to, from); }
    void cmp(Gp to, Gp from) { alu(Alu::kCmp, to, from); }
    void test(Gp a, Gp b, Width width = Width::k64);
    void neg(Gp to, Width width = Width::k64);
    void imul(Gp to, Gp from, Width width = Width::k64);
    void imul(Gp to, const Mem &from, Width width = Width::k64);
    void imul(Gp to, Gp from, int32_t value, Width width = Width::k64);
    void imul(Gp to, const Mem &from, int32_t value, Width width = Width::k64);
    void shift(Shift op, Gp to, unsigned bits, Width width = Width::k64);

    // Scalar floats.
    void movss(Xmm to, Xmm from);
    void movss(Xmm to, const Mem &from);
    void movss(const Mem &to, Xmm from);
    void ss(Ss op, Xmm to, Xmm from);
    void ss(Ss op, Xmm to, const Mem &from);
    void cvtsi2ss(Xmm to, Gp from, Width width = Width::k64);
    void cvtsi2ss(Xmm to, const Mem &from, Width width = Width::k64);
    void xorps(Xmm to, Xmm from);

    // Vectors. SSE: `to op= from`, or `to = from` for instructions with one source. Stores: to
    // memory.
    void sse(VectorOp op, Vec to, Vec from, unsigned value = 0);
    void sse(VectorOp op, Vec to, const Mem &from, unsigned value = 0);
    void sse(VectorOp op, const Mem &to, Vec from, unsigned value = 0);
    // Shifts by a constant, in place.
    void sse(VectorOp op, Vec to, unsigned value) { sse(op, to, to, value); }
    // The VEX encoding where there is one for these operands, else EVEX. The longest register
    // decides on the length.
    void avx(VectorOp op, Vec to, Vec from, unsigned value = 0);
    void avx(VectorOp op, Vec to, const Mem &from, unsigned value = 0);
    void avx(VectorOp op, const Mem &to, Vec from, unsigned value = 0);
    void avx(VectorOp op, Vec to, Vec a, Vec b, unsigned value = 0);
    void avx(VectorOp op, Vec to, Vec a, const Mem &b, unsigned value = 0);
    void vzeroupper();
    void prefetch(Prefetch hint, const Mem &address);

  private:
    static constexpr size_t kMaxLabels = 32;
    static constexpr size_t kMaxJumps = 64;
    static constexpr size_t kMaxConstant = 64;
    static constexpr uint32_t kUnbound = ~0u;

    // What stands before ModRM: prefix | 0F | opcode, and whether REX.W is set.
    struct Opcode {
        uint8_t byte;
        bool escape = false;
        bool wide = false;
        uint8_t prefix = 0;
        uint8_t map = 0;  // 38 or 3A: a second escape byte
    };
    // The M of a vector instruction: a register, or memory.
    struct Rm {
        uint8_t number = 0;
        const Mem *memory = nullptr;
    };
    struct Jump {
        uint32_t at;  // where the 32-bit distance lies
        uint16_t label;
    };

    void put(uint64_t value, unsigned count);
    void byte(unsigned value);
    void word32(uint32_t value);
    void opcode(Opcode op, unsigned reg, unsigned index, unsigned base);
    void with_register(Opcode op, unsigned reg, unsigned rm);
    // `tail`: bytes of the instruction after the address.
    void with_memory(Opcode op, unsigned reg, const Mem &address, unsigned tail = 0);
    void address(unsigned reg, const Mem &m, unsigned shift, unsigned tail);
    void operands(unsigned reg, Rm rm, unsigned shift, unsigned tail);
    void sse(VectorOp op, unsigned reg, Rm rm, unsigned value);
    void avx(VectorOp op, unsigned length, Vec reg, Vec third, Rm rm, unsigned value);
    void vex(VectorOp op, unsigned length, unsigned reg, unsigned third, Rm rm);
    void evex(VectorOp op, unsigned length, Vec reg, unsigned third, Rm rm);
    void jump(Label target);
    void fail(ErrorCode code, std::string_view message);

    std::span<uint8_t> out_;
    size_t len_ = 0;
    ConstantPool constants_;
    size_t constant_len_ = 0;
    Status status_;
    std::array<uint32_t, kMaxLabels> label_at_{};
    std::array<Jump, kMaxJumps> jumps_{};
    uint16_t label_count_ = 0;
    uint16_t jump_count_ = 0;
};

}  // namespace bareflow::jit
