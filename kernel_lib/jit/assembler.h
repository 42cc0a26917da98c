// An x86-64 assembler for the instructions that generated kernels use: operands are typed, output
// is bounded, labels are local to one function. Encodings: Intel SDM volume 2 (instruction format
// in chapter 2, instructions in 3 to 5).
//
// Nothing is checked after every instruction: output that does not fit, a label jumped to and never
// bound, an operand that has no encoding (rsp as an index, a shift by 64) make finish() fail. The
// bytes are position independent: they may be written in one place and run in another.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel_lib/base/result.h"

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

enum class Xmm : uint8_t {};
inline constexpr size_t kXmmCount = 16;
constexpr Xmm xmm(unsigned number) {
    return static_cast<Xmm>(number & 15u);
}

enum class Scale : uint8_t { k1, k2, k4, k8 };

// [base + index * scale + disp]
struct Mem {
    Gp base;
    int32_t disp = 0;
    Gp index = Gp::kRsp;  // rsp: none
    Scale scale = Scale::k1;
};
constexpr Mem mem(Gp base, int32_t disp = 0) {
    return {.base = base, .disp = disp};
}
constexpr Mem mem(Gp base, Gp index, Scale scale, int32_t disp = 0) {
    return {.base = base, .disp = disp, .index = index, .scale = scale};
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

struct Label {
    uint16_t id = 0;
};

class Assembler {
  public:
    explicit Assembler(std::span<uint8_t> out) : out_(out) {}

    // Bytes so far, at most the room given.
    [[nodiscard]] size_t size() const { return len_; }
    // The length of the code, or why there is none: kExhausted (room, labels), kInvalid.
    [[nodiscard]] Result<size_t> finish();

    [[nodiscard]] Label new_label();
    void bind(Label label);
    void jmp(Label target);
    void jcc(Condition condition, Label target);

    // Moves.
    void mov(Gp to, Gp from, Width width = Width::k64);
    void mov(Gp to, Mem from, Width width = Width::k64);
    void mov(Mem to, Gp from, Width width = Width::k64);
    void mov(Gp to, uint64_t value);  // the shortest of three forms
    void movzx8(Gp to, Gp from);
    void movzx8(Gp to, Mem from);
    void movzx16(Gp to, Gp from);
    void movzx16(Gp to, Mem from);
    void movsx8(Gp to, Gp from);  // to 64 bits, like the two below
    void movsx8(Gp to, Mem from);
    void movsx16(Gp to, Gp from);
    void movsx16(Gp to, Mem from);
    void movsxd(Gp to, Gp from);
    void movsxd(Gp to, Mem from);
    void lea(Gp to, Mem address);
    void push(Gp from);
    void pop(Gp to);
    void ret();

    // Arithmetic.
    void alu(Alu op, Gp to, Gp from, Width width = Width::k64);
    void alu(Alu op, Gp to, Mem from, Width width = Width::k64);
    void alu(Alu op, Mem to, Gp from, Width width = Width::k64);
    void alu(Alu op, Gp to, int32_t value, Width width = Width::k64);
    void alu(Alu op, Mem to, int32_t value, Width width = Width::k64);
    void add(Gp to, Gp from) { alu(Alu::kAdd, to, from); }
    void add(Gp to, Mem from) { alu(Alu::kAdd, to, from); }
    void add(Gp to, int32_t value) { alu(Alu::kAdd, to, value); }
    void sub(Gp to, Gp from) { alu(Alu::kSub, to, from); }
    void cmp(Gp to, Gp from) { alu(Alu::kCmp, to, from); }
    void test(Gp a, Gp b, Width width = Width::k64);
    void neg(Gp to, Width width = Width::k64);
    void imul(Gp to, Gp from, Width width = Width::k64);
    void imul(Gp to, Mem from, Width width = Width::k64);
    void imul(Gp to, Gp from, int32_t value, Width width = Width::k64);
    void imul(Gp to, Mem from, int32_t value, Width width = Width::k64);
    void shift(Shift op, Gp to, unsigned bits, Width width = Width::k64);

    // Scalar floats.
    void movss(Xmm to, Xmm from);
    void movss(Xmm to, Mem from);
    void movss(Mem to, Xmm from);
    void ss(Ss op, Xmm to, Xmm from);
    void ss(Ss op, Xmm to, Mem from);
    void cvtsi2ss(Xmm to, Gp from, Width width = Width::k64);
    void cvtsi2ss(Xmm to, Mem from, Width width = Width::k64);
    void xorps(Xmm to, Xmm from);

  private:
    static constexpr size_t kMaxLabels = 32;
    static constexpr size_t kMaxJumps = 64;
    static constexpr uint32_t kUnbound = ~0u;

    // What stands before ModRM: prefix | 0F | opcode, and whether REX.W is set.
    struct Opcode {
        uint8_t byte;
        bool escape = false;
        bool wide = false;
        uint8_t prefix = 0;
    };
    struct Jump {
        uint32_t at;  // of the 32-bit distance
        uint16_t label;
    };

    void byte(unsigned value);
    void word32(uint32_t value);
    void opcode(Opcode op, unsigned reg, unsigned index, unsigned base);
    void with_register(Opcode op, unsigned reg, unsigned rm);
    void with_memory(Opcode op, unsigned reg, Mem address);
    void jump(Label target);
    void fail(ErrorCode code, std::string_view message);

    std::span<uint8_t> out_;
    size_t len_ = 0;
    Status status_;
    std::array<uint32_t, kMaxLabels> label_at_{};
    std::array<Jump, kMaxJumps> jumps_{};
    uint16_t label_count_ = 0;
    uint16_t jump_count_ = 0;
};

}  // namespace bareflow::jit
