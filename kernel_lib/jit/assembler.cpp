#include "kernel_lib/jit/assembler.h"

namespace bareflow::jit {

namespace {

constexpr unsigned number(Gp reg) {
    return static_cast<unsigned>(reg);
}
constexpr unsigned number(Xmm reg) {
    return static_cast<unsigned>(reg);
}
constexpr bool wide(Width width) {
    return width == Width::k64;
}
constexpr bool fits_int8(int32_t value) {
    return value >= -128 && value <= 127;
}

constexpr uint8_t kScalarSingle = 0xf3;

}  // namespace

void Assembler::fail(ErrorCode code, std::string_view message) {
    if (status_.ok()) {
        status_ = Status(code, message);
    }
}

void Assembler::byte(unsigned value) {
    if (len_ == out_.size()) {
        fail(ErrorCode::kExhausted, "generated code does not fit into its room");
        return;
    }
    out_[len_++] = static_cast<uint8_t>(value);
}

void Assembler::word32(uint32_t value) {
    for (unsigned shift = 0; shift < 32; shift += 8) {
        byte(value >> shift);
    }
}

// A mandatory prefix stands before REX, REX before the escape byte.
void Assembler::opcode(Opcode op, unsigned reg, unsigned index, unsigned base) {
    if (op.prefix != 0) {
        byte(op.prefix);
    }
    const unsigned rex = (op.wide ? 8u : 0u) | (reg >> 3) << 2 | (index >> 3) << 1 | (base >> 3);
    if (rex != 0) {
        byte(0x40 | rex);
    }
    if (op.escape) {
        byte(0x0f);
    }
    byte(op.byte);
}

void Assembler::with_register(Opcode op, unsigned reg, unsigned rm) {
    opcode(op, reg, 0, rm);
    byte(0xc0 | (reg & 7) << 3 | (rm & 7));
}

void Assembler::with_memory(Opcode op, unsigned reg, Mem address) {
    const bool indexed = address.index != Gp::kRsp;
    const unsigned base = number(address.base);
    const unsigned index = indexed ? number(address.index) : 0;
    opcode(op, reg, index, base);
    // A base of rbp or r13 has no form without a displacement; one of rsp or r12 needs a SIB byte.
    const unsigned mode = address.disp == 0 && (base & 7) != 5 ? 0u
                          : fits_int8(address.disp)            ? 1u
                                                               : 2u;
    const bool sib = indexed || (base & 7) == 4;
    byte(mode << 6 | (reg & 7) << 3 | (sib ? 4u : base & 7));
    if (sib) {
        const unsigned scale = indexed ? static_cast<unsigned>(address.scale) : 0;
        byte(scale << 6 | (indexed ? index & 7 : 4u) << 3 | (base & 7));
    }
    if (mode == 1) {
        byte(static_cast<uint8_t>(address.disp));
    } else if (mode == 2) {
        word32(static_cast<uint32_t>(address.disp));
    }
}

// ------------------------------------------------------------------ labels

Label Assembler::new_label() {
    if (label_count_ == kMaxLabels) {
        fail(ErrorCode::kExhausted, "too many labels in generated code");
        return {};
    }
    label_at_[label_count_] = kUnbound;
    return {label_count_++};
}

void Assembler::bind(Label label) {
    if (label.id >= label_count_ || label_at_[label.id] != kUnbound) {
        fail(ErrorCode::kInvalid, "label bound twice");
        return;
    }
    label_at_[label.id] = static_cast<uint32_t>(len_);
}

// Always a 32-bit distance: a few bytes more, outside the loops that matter.
void Assembler::jump(Label target) {
    if (jump_count_ == kMaxJumps || target.id >= label_count_) {
        fail(ErrorCode::kExhausted, "too many jumps in generated code");
        return;
    }
    jumps_[jump_count_++] = {static_cast<uint32_t>(len_), target.id};
    word32(0);
}

void Assembler::jmp(Label target) {
    byte(0xe9);
    jump(target);
}

void Assembler::jcc(Condition condition, Label target) {
    byte(0x0f);
    byte(0x80 | static_cast<unsigned>(condition));
    jump(target);
}

Result<size_t> Assembler::finish() {
    for (size_t i = 0; i < jump_count_; ++i) {
        const uint32_t target = label_at_[jumps_[i].label];
        if (target == kUnbound) {
            fail(ErrorCode::kInvalid, "jump to a label that is nowhere");
        }
        if (!status_.ok()) {
            break;
        }
        const uint32_t distance = target - (jumps_[i].at + 4);
        for (unsigned j = 0; j < 4; ++j) {
            out_[jumps_[i].at + j] = static_cast<uint8_t>(distance >> 8 * j);
        }
    }
    if (!status_.ok()) {
        return status_;
    }
    return len_;
}

// ------------------------------------------------------------------ moves

void Assembler::mov(Gp to, Gp from, Width width) {
    with_register({.byte = 0x89, .wide = wide(width)}, number(from), number(to));
}
void Assembler::mov(Gp to, Mem from, Width width) {
    with_memory({.byte = 0x8b, .wide = wide(width)}, number(to), from);
}
void Assembler::mov(Mem to, Gp from, Width width) {
    with_memory({.byte = 0x89, .wide = wide(width)}, number(from), to);
}

void Assembler::mov(Gp to, uint64_t value) {
    const auto low = static_cast<uint32_t>(value);
    if (value == low) {
        opcode({.byte = static_cast<uint8_t>(0xb8 | (number(to) & 7))}, 0, 0, number(to));
        word32(low);
    } else if (static_cast<int64_t>(value) == static_cast<int32_t>(low)) {
        with_register({.byte = 0xc7, .wide = true}, 0, number(to));
        word32(low);
    } else {
        opcode({.byte = static_cast<uint8_t>(0xb8 | (number(to) & 7)), .wide = true}, 0, 0,
               number(to));
        word32(low);
        word32(static_cast<uint32_t>(value >> 32));
    }
}

// Byte registers 4 to 7 are spl, bpl, sil, dil only with a REX prefix: W is set, which changes
// nothing else.
void Assembler::movzx8(Gp to, Gp from) {
    with_register({.byte = 0xb6, .escape = true, .wide = true}, number(to), number(from));
}
void Assembler::movzx8(Gp to, Mem from) {
    with_memory({.byte = 0xb6, .escape = true}, number(to), from);
}
void Assembler::movzx16(Gp to, Gp from) {
    with_register({.byte = 0xb7, .escape = true}, number(to), number(from));
}
void Assembler::movzx16(Gp to, Mem from) {
    with_memory({.byte = 0xb7, .escape = true}, number(to), from);
}
void Assembler::movsx8(Gp to, Gp from) {
    with_register({.byte = 0xbe, .escape = true, .wide = true}, number(to), number(from));
}
void Assembler::movsx8(Gp to, Mem from) {
    with_memory({.byte = 0xbe, .escape = true, .wide = true}, number(to), from);
}
void Assembler::movsx16(Gp to, Gp from) {
    with_register({.byte = 0xbf, .escape = true, .wide = true}, number(to), number(from));
}
void Assembler::movsx16(Gp to, Mem from) {
    with_memory({.byte = 0xbf, .escape = true, .wide = true}, number(to), from);
}
void Assembler::movsxd(Gp to, Gp from) {
    with_register({.byte = 0x63, .wide = true}, number(to), number(from));
}
void Assembler::movsxd(Gp to, Mem from) {
    with_memory({.byte = 0x63, .wide = true}, number(to), from);
}

void Assembler::lea(Gp to, Mem address) {
    with_memory({.byte = 0x8d, .wide = true}, number(to), address);
}
void Assembler::push(Gp from) {
    opcode({.byte = static_cast<uint8_t>(0x50 | (number(from) & 7))}, 0, 0, number(from));
}
void Assembler::pop(Gp to) {
    opcode({.byte = static_cast<uint8_t>(0x58 | (number(to) & 7))}, 0, 0, number(to));
}
void Assembler::ret() {
    byte(0xc3);
}

// ------------------------------------------------------------------ integer arithmetic

void Assembler::alu(Alu op, Gp to, Gp from, Width width) {
    const auto code = static_cast<uint8_t>(static_cast<unsigned>(op) << 3 | 1);
    with_register({.byte = code, .wide = wide(width)}, number(from), number(to));
}
void Assembler::alu(Alu op, Gp to, Mem from, Width width) {
    const auto code = static_cast<uint8_t>(static_cast<unsigned>(op) << 3 | 3);
    with_memory({.byte = code, .wide = wide(width)}, number(to), from);
}
void Assembler::alu(Alu op, Mem to, Gp from, Width width) {
    const auto code = static_cast<uint8_t>(static_cast<unsigned>(op) << 3 | 1);
    with_memory({.byte = code, .wide = wide(width)}, number(from), to);
}
void Assembler::alu(Alu op, Gp to, int32_t value, Width width) {
    const bool small = fits_int8(value);
    const uint8_t code = small ? 0x83 : 0x81;
    with_register({.byte = code, .wide = wide(width)}, static_cast<unsigned>(op), number(to));
    small ? byte(static_cast<uint8_t>(value)) : word32(static_cast<uint32_t>(value));
}
void Assembler::alu(Alu op, Mem to, int32_t value, Width width) {
    const bool small = fits_int8(value);
    const uint8_t code = small ? 0x83 : 0x81;
    with_memory({.byte = code, .wide = wide(width)}, static_cast<unsigned>(op), to);
    small ? byte(static_cast<uint8_t>(value)) : word32(static_cast<uint32_t>(value));
}

void Assembler::test(Gp a, Gp b, Width width) {
    with_register({.byte = 0x85, .wide = wide(width)}, number(b), number(a));
}
void Assembler::neg(Gp to, Width width) {
    with_register({.byte = 0xf7, .wide = wide(width)}, 3, number(to));
}

void Assembler::imul(Gp to, Gp from, Width width) {
    with_register({.byte = 0xaf, .escape = true, .wide = wide(width)}, number(to), number(from));
}
void Assembler::imul(Gp to, Mem from, Width width) {
    with_memory({.byte = 0xaf, .escape = true, .wide = wide(width)}, number(to), from);
}
void Assembler::imul(Gp to, Gp from, int32_t value, Width width) {
    const bool small = fits_int8(value);
    const uint8_t code = small ? 0x6b : 0x69;
    with_register({.byte = code, .wide = wide(width)}, number(to), number(from));
    small ? byte(static_cast<uint8_t>(value)) : word32(static_cast<uint32_t>(value));
}
void Assembler::imul(Gp to, Mem from, int32_t value, Width width) {
    const bool small = fits_int8(value);
    const uint8_t code = small ? 0x6b : 0x69;
    with_memory({.byte = code, .wide = wide(width)}, number(to), from);
    small ? byte(static_cast<uint8_t>(value)) : word32(static_cast<uint32_t>(value));
}

void Assembler::shift(Shift op, Gp to, unsigned bits, Width width) {
    if (bits >= (wide(width) ? 64u : 32u)) {
        fail(ErrorCode::kInvalid, "shift by more than the register holds");
        return;
    }
    with_register({.byte = 0xc1, .wide = wide(width)}, static_cast<unsigned>(op), number(to));
    byte(bits);
}

// ------------------------------------------------------------------ scalar floats

void Assembler::movss(Xmm to, Xmm from) {
    with_register({.byte = 0x10, .escape = true, .prefix = kScalarSingle}, number(to),
                  number(from));
}
void Assembler::movss(Xmm to, Mem from) {
    with_memory({.byte = 0x10, .escape = true, .prefix = kScalarSingle}, number(to), from);
}
void Assembler::movss(Mem to, Xmm from) {
    with_memory({.byte = 0x11, .escape = true, .prefix = kScalarSingle}, number(from), to);
}
void Assembler::ss(Ss op, Xmm to, Xmm from) {
    with_register({.byte = static_cast<uint8_t>(op), .escape = true, .prefix = kScalarSingle},
                  number(to), number(from));
}
void Assembler::ss(Ss op, Xmm to, Mem from) {
    with_memory({.byte = static_cast<uint8_t>(op), .escape = true, .prefix = kScalarSingle},
                number(to), from);
}
void Assembler::cvtsi2ss(Xmm to, Gp from, Width width) {
    with_register({.byte = 0x2a, .escape = true, .wide = wide(width), .prefix = kScalarSingle},
                  number(to), number(from));
}
void Assembler::cvtsi2ss(Xmm to, Mem from, Width width) {
    with_memory({.byte = 0x2a, .escape = true, .wide = wide(width), .prefix = kScalarSingle},
                number(to), from);
}
void Assembler::xorps(Xmm to, Xmm from) {
    with_register({.byte = 0x57, .escape = true}, number(to), number(from));
}

}  // namespace bareflow::jit
