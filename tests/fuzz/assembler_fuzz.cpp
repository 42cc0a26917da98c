// Instructions drawn at random. One that has an encoding must read in LLVM's disassembler as it was
// asked for. One without sense must be refused or still be one whole instruction. Nothing may be
// written past the room.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/unit/jit/vector_cases.h"

using namespace bareflow::jit;

namespace {

class Draw {
  public:
    Draw(const uint8_t *data, size_t size) : at_(data), end_(data + size) {}
    [[nodiscard]] bool empty() const { return at_ == end_; }
    uint8_t byte() { return at_ == end_ ? 0 : *at_++; }
    int32_t word() {
        uint32_t value = 0;
        for (int i = 0; i < 4; ++i) {
            value = value << 8 | byte();
        }
        return static_cast<int32_t>(value);
    }

  private:
    const uint8_t *at_;
    const uint8_t *end_;
};

void must(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "assembler_fuzz: %s\n", what);
        abort();
    }
}

Mem draw_memory(Draw &draw) {
    Mem m = mem(static_cast<Gp>(draw.byte() % kGpCount));
    m.index = static_cast<Gp>(draw.byte() % kGpCount);
    m.scale = m.index == Gp::kRsp ? Scale::k1 : static_cast<Scale>(draw.byte() % 4);
    // Displacements of every size, many of them multiples.
    m.disp = draw.word() >> draw.byte() % 32;
    m.disp = static_cast<int32_t>(static_cast<uint32_t>(m.disp) << draw.byte() % 7);
    return m;
}

// Operands that belong together.
void sensible(Draw &draw, LlvmDisassembler &llvm) {
    VectorCase c;
    c.named = &kVectorOps[draw.byte() % std::size(kVectorOps)];
    const VectorOp &op = c.op();
    c.encoding = static_cast<uint8_t>(1 << draw.byte() % 6);
    if ((op.encodings & c.encoding) == 0) {
        return;
    }
    const auto kinds = cases_detail::kinds_of(c.named->name);
    const auto number = [&](cases_detail::Kind kind) {
        const unsigned most = kind == cases_detail::Kind::kMask     ? 8
                              : kind != cases_detail::Kind::kVector ? 16
                              : c.evex()                            ? 32
                                                                    : 16;
        return static_cast<uint8_t>(draw.byte() % most);
    };
    c.r = number(kinds.r);
    c.v = number(cases_detail::Kind::kVector);
    c.m = number(kinds.m);
    c.in_memory =
        op.rm == OpRm::kMemory || (op.rm == OpRm::kAny && op.narrows == 0 && draw.byte() % 2 != 0);
    c.memory = draw_memory(draw);
    c.memory.broadcast = c.in_memory && c.evex() && op.element != 0 && draw.byte() % 2 != 0;
    c.value = draw.byte() & 7;  // from 8 on the disassembler has other names for comparisons
    if (c.evex() && op.mask != OpMask::kNone) {
        c.mask = draw.byte() & 7;
        c.zero = c.mask != 0 && op.mask == OpMask::kAny &&
                 !(c.in_memory && op.shape == OpShape::kMr) && draw.byte() % 2 != 0;
    }
    const std::string wrong = check(llvm, c);
    must(wrong.empty(), wrong.c_str());
}

// Any operands for any instruction.
void senseless(Draw &draw, LlvmDisassembler &llvm) {
    constexpr uint8_t kUntouched = 0xee;
    std::array<uint8_t, 32> bytes;
    bytes.fill(kUntouched);
    const size_t room = draw.byte() % 17;
    Assembler a(std::span(bytes).first(room));
    const VectorOp op = kVectorOps[draw.byte() % std::size(kVectorOps)].op;
    const auto vec = [&] {
        return Vec{static_cast<uint8_t>(draw.byte() & 31), static_cast<uint8_t>(draw.byte() % 3),
                   static_cast<uint8_t>(draw.byte() & 7), draw.byte() % 2 != 0};
    };
    Mem m = draw_memory(draw);
    m.broadcast = draw.byte() % 2 != 0;
    const unsigned value = draw.byte();
    switch (draw.byte() % 8) {
        case 0:
            a.sse(op, vec(), vec(), value);
            break;
        case 1:
            a.sse(op, vec(), m, value);
            break;
        case 2:
            a.sse(op, m, vec(), value);
            break;
        case 3:
            a.avx(op, vec(), vec(), value);
            break;
        case 4:
            a.avx(op, vec(), m, value);
            break;
        case 5:
            a.avx(op, m, vec(), value);
            break;
        case 6:
            a.avx(op, vec(), vec(), vec(), value);
            break;
        default:
            a.avx(op, vec(), vec(), m, value);
            break;
    }
    if (const auto len = a.finish()) {
        must(len.value() != 0 && len.value() <= 15, "an instruction of no length");
        size_t read = 0;
        (void)llvm.read({bytes.data(), len.value()}, read);
        // A register that an operand cannot hold may make the instruction undefined, but never
        // longer or shorter.
        must(read == len.value() || read <= 1, "the disassembler sees another length");
    }
    must(std::all_of(bytes.begin() + static_cast<ptrdiff_t>(room), bytes.end(),
                     [](uint8_t b) { return b == kUntouched; }),
         "written past the room");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static LlvmDisassembler llvm;
    Draw draw(data, std::min<size_t>(size, 1024));
    while (!draw.empty()) {
        draw.byte() % 4 != 0 ? sensible(draw, llvm) : senseless(draw, llvm);
    }
    return 0;
}
