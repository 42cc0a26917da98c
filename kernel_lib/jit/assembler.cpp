// Writes instructions byte by byte. What must hold: nothing is written past the room, and an
// operand that an instruction cannot encode marks the code as failed instead of encoding something
// else.
#include "kernel_lib/jit/assembler.h"

namespace bareflow::jit {

namespace {

constexpr unsigned number(Gp reg) {
    return static_cast<unsigned>(reg);
}
constexpr unsigned number(Vec reg) {
    return reg.number;
}
constexpr bool wide(Width width) {
    return width == Width::k64;
}
constexpr bool fits_int8(int32_t value) {
    return value >= -128 && value <= 127;
}

constexpr uint8_t kScalarSingle = 0xf3;
constexpr std::array<uint8_t, 4> kPrefixByte = {0, 0x66, 0xf3, 0xf2};

// The numbers of a memory operand's base and index; 0 where it has none.
constexpr unsigned base_of(const Mem &m) {
    return m.constant ? 0 : number(m.base);
}
constexpr unsigned index_of(const Mem &m) {
    return m.constant || m.index == Gp::kRsp ? 0 : number(m.index);
}

// Log2 of the unit in which EVEX counts short displacements.
constexpr unsigned tuple_shift(OpTuple tuple, unsigned length) {
    const auto t = static_cast<unsigned>(tuple);
    constexpr auto kFull = static_cast<unsigned>(OpTuple::kFull);
    return t < kFull ? t : 4 + length - (t - kFull);
}
constexpr uint8_t evex_encoding(unsigned length) {
    return static_cast<uint8_t>(kEvex128 << length);
}
constexpr uint8_t vex_encoding(unsigned length) {
    return length > 1 ? uint8_t{0} : static_cast<uint8_t>(kVex128 << length);
}

}  // namespace

void Assembler::fail(ErrorCode code, std::string_view message) {
    if (status_.ok()) {
        status_ = Status(code, message);
    }
}

// Writes the lowest `count` bytes of `value`, or none of them when the room is too small.
void Assembler::put(uint64_t value, unsigned count) {
    if (out_.size() - len_ < count) {
        fail(ErrorCode::kExhausted, "generated code does not fit into its room");
        return;
    }
    for (; count != 0; --count, value >>= 8) {
        out_[len_++] = static_cast<uint8_t>(value);
    }
}
void Assembler::byte(unsigned value) {
    put(value, 1);
}
void Assembler::word32(uint32_t value) {
    put(value, 4);
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
    if (op.map != 0) {
        byte(op.map);
    }
    byte(op.byte);
}

void Assembler::with_register(Opcode op, unsigned reg, unsigned rm) {
    opcode(op, reg, 0, rm);
    byte(0xc0 | (reg & 7) << 3 | (rm & 7));
}

void Assembler::with_memory(Opcode op, unsigned reg, const Mem &address, unsigned tail) {
    opcode(op, reg, index_of(address), base_of(address));
    this->address(reg, address, 0, tail);
}

// Short displacements count units of 2^shift bytes.
void Assembler::address(unsigned reg, const Mem &m, unsigned shift, unsigned tail) {
    reg = (reg & 7) << 3;
    if (m.constant) {
        byte(reg | 5);
        // The distance counts from the end of the instruction.
        word32(static_cast<uint32_t>(constants_.distance + m.disp -
                                     static_cast<int64_t>(len_ + 4 + tail)));
        return;
    }
    const bool indexed = m.index != Gp::kRsp;
    const unsigned base = number(m.base) & 7;
    const int32_t units = m.disp >> shift;
    // A base of rbp or r13 cannot be encoded without a displacement; one of rsp or r12 needs a SIB
    // byte.
    const unsigned mode = m.disp == 0 && base != 5                                 ? 0u
                          : fits_int8(units) && (m.disp & ((1 << shift) - 1)) == 0 ? 1u
                                                                                   : 2u;
    const bool sib = indexed || base == 4;
    byte(mode << 6 | reg | (sib ? 4u : base));
    if (sib) {
        const unsigned scale = indexed ? static_cast<unsigned>(m.scale) : 0;
        byte(scale << 6 | (indexed ? number(m.index) & 7 : 4u) << 3 | base);
    }
    if (mode == 1) {
        byte(static_cast<uint8_t>(units));
    } else if (mode == 2) {
        word32(static_cast<uint32_t>(m.disp));
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

// Always with a 32-bit distance. It costs a few bytes, but not in the loops that matter.
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
    put(0x800f | static_cast<unsigned>(condition) << 8, 2);
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
void Assembler::mov(Gp to, const Mem &from, Width width) {
    with_memory({.byte = 0x8b, .wide = wide(width)}, number(to), from);
}
void Assembler::mov(const Mem &to, Gp from, Width width) {
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
        put(value, 8);
    }
}

// Byte registers 4 to 7 are spl, bpl, sil, dil only with a REX prefix: W is set, which changes
// nothing else.
void Assembler::movzx8(Gp to, Gp from) {
    with_register({.byte = 0xb6, .escape = true, .wide = true}, number(to), number(from));
}
void Assembler::movzx8(Gp to, const Mem &from) {
    with_memory({.byte = 0xb6, .escape = true}, number(to), from);
}
void Assembler::movzx16(Gp to, Gp from) {
    with_register({.byte = 0xb7, .escape = true}, number(to), number(from));
}
void Assembler::movzx16(Gp to, const Mem &from) {
    with_memory({.byte = 0xb7, .escape = true}, number(to), from);
}
void Assembler::movsx8(Gp to, Gp from) {
    with_register({.byte = 0xbe, .escape = true, .wide = true}, number(to), number(from));
}
void Assembler::movsx8(Gp to, const Mem &from) {
    with_memory({.byte = 0xbe, .escape = true, .wide = true}, number(to), from);
}
void Assembler::movsx16(Gp to, Gp from) {
    with_register({.byte = 0xbf, .escape = true, .wide = true}, number(to), number(from));
}
void Assembler::movsx16(Gp to, const Mem &from) {
    with_memory({.byte = 0xbf, .escape = true, .wide = true}, number(to), from);
}
void Assembler::movsxd(Gp to, Gp from) {
    with_register({.byte = 0x63, .wide = true}, number(to), number(from));
}
void Assembler::movsxd(Gp to, const Mem &from) {
    with_memory({.byte = 0x63, .wide = true}, number(to), from);
}

void Assembler::lea(Gp to, const Mem &address) {
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
void Assembler::alu(Alu op, Gp to, const Mem &from, Width width) {
    const auto code = static_cast<uint8_t>(static_cast<unsigned>(op) << 3 | 3);
    with_memory({.byte = code, .wide = wide(width)}, number(to), from);
}
void Assembler::alu(Alu op, const Mem &to, Gp from, Width width) {
    const auto code = static_cast<uint8_t>(static_cast<unsigned>(op) << 3 | 1);
    with_memory({.byte = code, .wide = wide(width)}, number(from), to);
}
void Assembler::alu(Alu op, Gp to, int32_t value, Width width) {
    const bool small = fits_int8(value);
    const uint8_t code = small ? 0x83 : 0x81;
    with_register({.byte = code, .wide = wide(width)}, static_cast<unsigned>(op), number(to));
    small ? byte(static_cast<uint8_t>(value)) : word32(static_cast<uint32_t>(value));
}
void Assembler::alu(Alu op, const Mem &to, int32_t value, Width width) {
    const bool small = fits_int8(value);
    const uint8_t code = small ? 0x83 : 0x81;
    with_memory({.byte = code, .wide = wide(width)}, static_cast<unsigned>(op), to, small ? 1 : 4);
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
void Assembler::imul(Gp to, const Mem &from, Width width) {
    with_memory({.byte = 0xaf, .escape = true, .wide = wide(width)}, number(to), from);
}
void Assembler::imul(Gp to, Gp from, int32_t value, Width width) {
    const bool small = fits_int8(value);
    const uint8_t code = small ? 0x6b : 0x69;
    with_register({.byte = code, .wide = wide(width)}, number(to), number(from));
    small ? byte(static_cast<uint8_t>(value)) : word32(static_cast<uint32_t>(value));
}
void Assembler::imul(Gp to, const Mem &from, int32_t value, Width width) {
    const bool small = fits_int8(value);
    const uint8_t code = small ? 0x6b : 0x69;
    with_memory({.byte = code, .wide = wide(width)}, number(to), from, small ? 1 : 4);
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
void Assembler::movss(Xmm to, const Mem &from) {
    sse(op::movss, to, from);
}
void Assembler::movss(const Mem &to, Xmm from) {
    sse(op::movss_store, to, from);
}
void Assembler::ss(Ss op, Xmm to, Xmm from) {
    sse(ops_detail::ss(static_cast<uint8_t>(op)), to, from);
}
void Assembler::ss(Ss op, Xmm to, const Mem &from) {
    sse(ops_detail::ss(static_cast<uint8_t>(op)), to, from);
}
void Assembler::cvtsi2ss(Xmm to, Gp from, Width width) {
    sse(wide(width) ? op::cvtsi2ss_64 : op::cvtsi2ss_32, to, general(from));
}
void Assembler::cvtsi2ss(Xmm to, const Mem &from, Width width) {
    sse(wide(width) ? op::cvtsi2ss_64 : op::cvtsi2ss_32, to, from);
}
void Assembler::xorps(Xmm to, Xmm from) {
    sse(op::xorps, to, from);
}

// ------------------------------------------------------------------ vectors

void Assembler::operands(unsigned reg, Rm rm, unsigned shift, unsigned tail) {
    if (rm.memory != nullptr) {
        address(reg, *rm.memory, shift, tail);
    } else {
        byte(0xc0 | (reg & 7) << 3 | (rm.number & 7));
    }
}

void Assembler::sse(VectorOp op, Vec to, Vec from, unsigned value) {
    if (op.shape == OpShape::kVmi) {
        // A shift in place: the register field extends the opcode.
        sse(op, op.extension, {to.number}, value);
    } else if (op.shape == OpShape::kMr) {
        sse(op, from.number, {to.number}, value);
    } else {
        sse(op, to.number, {from.number}, value);
    }
}
void Assembler::sse(VectorOp op, Vec to, const Mem &from, unsigned value) {
    sse(op, to.number, {.memory = &from}, value);
}
void Assembler::sse(VectorOp op, const Mem &to, Vec from, unsigned value) {
    sse(op, from.number, {.memory = &to}, value);
}

void Assembler::sse(VectorOp op, unsigned reg, Rm rm, unsigned value) {
    const bool in_memory = rm.memory != nullptr;
    if ((op.encodings & kSse) == 0 || reg > 15 || rm.number > 15 ||
        op.rm == (in_memory ? OpRm::kRegister : OpRm::kMemory) ||
        (in_memory && rm.memory->broadcast)) {
        fail(ErrorCode::kInvalid, "no such SSE instruction");
        return;
    }
    const Opcode code = {.byte = op.opcode,
                         .escape = true,
                         .wide = op.vex_w != 0,
                         .prefix = kPrefixByte[static_cast<size_t>(op.prefix)],
                         .map = static_cast<uint8_t>(op.map == OpMap::k0F38   ? 0x38
                                                     : op.map == OpMap::k0F3A ? 0x3a
                                                                              : 0)};
    opcode(code, reg, in_memory ? index_of(*rm.memory) : 0,
           in_memory ? base_of(*rm.memory) : rm.number);
    operands(reg, rm, 0, op.immediate);
    if (op.immediate != 0) {
        byte(value & 0xff);
    }
}

namespace {
constexpr unsigned longer(Vec a, Vec b) {
    return a.length > b.length ? a.length : b.length;
}
}  // namespace

void Assembler::avx(VectorOp op, Vec to, Vec from, unsigned value) {
    const unsigned length = longer(to, from);
    switch (op.shape) {
        case OpShape::kVmi:
            return avx(op, length, {op.extension, 0, to.mask, to.zero}, to, {from.number}, value);
        case OpShape::kMr:
            return avx(op, length, {from.number, 0, to.mask, to.zero}, {}, {to.number}, value);
        case OpShape::kRm:
            return avx(op, length, to, {}, {from.number}, value);
        case OpShape::kRvm:
            return avx(op, length, to, to, {from.number}, value);
    }
}
void Assembler::avx(VectorOp op, Vec to, const Mem &from, unsigned value) {
    avx(op, to.length, to, op.shape == OpShape::kRvm ? to : Vec{}, {.memory = &from}, value);
}
void Assembler::avx(VectorOp op, const Mem &to, Vec from, unsigned value) {
    avx(op, from.length, from, {}, {.memory = &to}, value);
}
void Assembler::avx(VectorOp op, Vec to, Vec a, Vec b, unsigned value) {
    avx(op, longer(to, longer(a, b) == a.length ? a : b), to, a, {b.number}, value);
}
void Assembler::avx(VectorOp op, Vec to, Vec a, const Mem &b, unsigned value) {
    avx(op, longer(to, a), to, a, {.memory = &b}, value);
}

void Assembler::avx(VectorOp op, unsigned length, Vec reg, Vec third, Rm rm, unsigned value) {
    const bool in_memory = rm.memory != nullptr;
    const bool broadcast = in_memory && rm.memory->broadcast;
    const bool high = ((reg.number | third.number | rm.number) & 16) != 0;
    const bool extended = high || reg.mask != 0 || broadcast;
    if ((in_memory && (op.narrows != 0 || op.rm == OpRm::kRegister)) ||
        (!in_memory && op.rm == OpRm::kMemory) || (broadcast && op.element == 0) ||
        (reg.mask != 0 && op.mask == OpMask::kNone) ||
        (reg.zero &&
         (reg.mask == 0 || op.mask == OpMask::kKeeps || (in_memory && op.shape == OpShape::kMr)))) {
        fail(ErrorCode::kInvalid, "no such AVX operand");
        return;
    }
    if (!extended && (op.encodings & vex_encoding(length)) != 0) {
        vex(op, length, reg.number, third.number, rm);
    } else if ((op.encodings & evex_encoding(length)) != 0) {
        evex(op, length, reg, third.number, rm);
    } else {
        fail(ErrorCode::kInvalid, "no such AVX instruction");
        return;
    }
    if (op.immediate != 0) {
        byte(value & 0xff);
    }
}

// SDM 2, 2.3.5: two bytes where X, B, W and the map allow it. Register bits are stored inverted.
void Assembler::vex(VectorOp op, unsigned length, unsigned reg, unsigned third, Rm rm) {
    const unsigned index = rm.memory != nullptr ? index_of(*rm.memory) : 0;
    const unsigned base = rm.memory != nullptr ? base_of(*rm.memory) : rm.number;
    const unsigned last = (~third & 15) << 3 | length << 2 | static_cast<unsigned>(op.prefix);
    const unsigned r = reg < 8 ? 0x80 : 0;
    if (index < 8 && base < 8 && op.vex_w == 0 && op.map == OpMap::k0F) {
        put(0xc5u | (r | last) << 8 | op.opcode << 16, 3);
    } else {
        const unsigned first =
            r | (index < 8 ? 0x40u : 0) | (base < 8 ? 0x20u : 0) | static_cast<unsigned>(op.map);
        word32(0xc4u | first << 8 | (op.vex_w << 7 | last) << 16 | uint32_t{op.opcode} << 24);
    }
    operands(reg, rm, 0, op.immediate);
}

// SDM 2, 2.7.1. The fifth bit of M, a register, is in X.
void Assembler::evex(VectorOp op, unsigned length, Vec reg, unsigned third, Rm rm) {
    const Mem *const memory = rm.memory;
    const bool broadcast = memory != nullptr && memory->broadcast;
    const unsigned x = memory != nullptr ? index_of(*memory) : rm.number >> 1;
    const unsigned b = memory != nullptr ? base_of(*memory) : rm.number;
    const unsigned p0 = ((reg.number & 8) == 0 ? 0x80u : 0) | ((x & 8) == 0 ? 0x40u : 0) |
                        ((b & 8) == 0 ? 0x20u : 0) | ((reg.number & 16) == 0 ? 0x10u : 0) |
                        static_cast<unsigned>(op.map);
    const unsigned p1 = op.evex_w << 7 | (~third & 15) << 3 | 4 | static_cast<unsigned>(op.prefix);
    const unsigned p2 = (reg.zero ? 0x80u : 0) | length << 5 | (broadcast ? 0x10u : 0) |
                        ((third & 16) == 0 ? 8u : 0) | reg.mask;
    word32(0x62 | p0 << 8 | p1 << 16 | p2 << 24);
    byte(op.opcode);
    const unsigned shift = broadcast ? unsigned{op.element} : tuple_shift(op.tuple, length);
    operands(reg.number, rm, shift, op.immediate);
}

void Assembler::vzeroupper() {
    put(0x77f8c5, 3);
}

void Assembler::prefetch(Prefetch hint, const Mem &address) {
    with_memory({.byte = 0x18, .escape = true}, static_cast<unsigned>(hint), address);
}

// ------------------------------------------------------------------ constants

// Looks at every multiple of the size for these bytes. The first place that holds them, or that is
// still free, is taken.
Mem Assembler::constant(std::span<const uint8_t> bytes) {
    const size_t step = bytes.size();
    const size_t room = step == 0 || (step & (step - 1)) != 0 || step > kMaxConstant
                            ? 0
                            : constants_.room.size() / step * step;
    uint8_t *const pool = constants_.room.data();
    for (size_t at = 0; at < room; at += step) {
        const bool fresh = at >= constant_len_;
        if (fresh) {
            __builtin_memset(pool + constant_len_, 0, at + step - constant_len_);
            __builtin_memcpy(pool + at, bytes.data(), step);
            constant_len_ = at + step;
        }
        if (at + step <= constant_len_ && __builtin_memcmp(pool + at, bytes.data(), step) == 0) {
            return {.base = Gp::kRax, .disp = static_cast<int32_t>(at), .constant = true};
        }
    }
    fail(ErrorCode::kExhausted, "no room for a constant of generated code");
    return {.base = Gp::kRax, .constant = true};
}

}  // namespace bareflow::jit
