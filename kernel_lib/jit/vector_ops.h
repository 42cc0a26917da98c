// The vector instructions that the assembler can write, as data: one line each. Source: Intel SDM
// volume 2, the opcode tables of the instructions; tuple types (disp8*N) in table 2-34 and 2-35.
//
// An instruction is named as in SSE ("paddb"); where SSE has none, as in AVX ("vpermq").
// `encodings` says which of SSE, VEX and EVEX it has, and for which vector lengths. EVEX at 128 and
// 256 bits needs AVX-512VL. The caller must know what else the processor has to support.
#pragma once

#include <cstdint>

namespace bareflow::jit {

// Bits of VectorOp::encodings.
inline constexpr uint8_t kSse = 1;
inline constexpr uint8_t kVex128 = 2;
inline constexpr uint8_t kVex256 = 4;
inline constexpr uint8_t kEvex128 = 8;
inline constexpr uint8_t kEvex256 = 16;
inline constexpr uint8_t kEvex512 = 32;

enum class OpMap : uint8_t { k0F = 1, k0F38 = 2, k0F3A = 3 };
enum class OpPrefix : uint8_t { kNone, k66, kF3, kF2 };
// Which operand goes where. R: the register field, M: register or memory, V: the third one.
enum class OpShape : uint8_t {
    kRvm,  // to R from V and M; SSE: to R from R and M
    kRm,   // to R from M
    kMr,   // to M from R
    kVmi,  // to V from M (a register), shifted; SSE: to M
};
// What M may be.
enum class OpRm : uint8_t { kAny, kRegister, kMemory };
// Bytes of M in memory, by which EVEX scales short displacements: a fixed power of two, or a part
// of the vector.
enum class OpTuple : uint8_t { k1, k2, k4, k8, k16, k32, kFull, kHalf, kQuarter, kEighth };

// What an EVEX mask may do to the result.
enum class OpMask : uint8_t { kAny, kKeeps, kNone };

struct VectorOp {
    uint8_t opcode;
    OpMap map : 2 = OpMap::k0F;
    OpPrefix prefix : 2 = OpPrefix::k66;
    uint8_t vex_w : 1 = 0;  // W of VEX; REX.W of SSE
    uint8_t evex_w : 1 = 0;
    uint8_t immediate : 1 = 0;  // one byte
    uint8_t narrows : 1 = 0;    // R is half of M, whose length decides: no memory operand
    uint8_t encodings;
    OpShape shape : 2 = OpShape::kRvm;
    OpRm rm : 2 = OpRm::kAny;
    uint8_t extension : 3 = 0;  // kVmi: what stands in the register field
    OpTuple tuple : 4 = OpTuple::kFull;
    uint8_t element : 2 = 0;  // log2 of the bytes that EVEX can broadcast from memory; 0: it cannot
    OpMask mask : 2 = OpMask::kAny;
};

namespace ops_detail {

inline constexpr uint8_t kVex = kVex128 | kVex256;
inline constexpr uint8_t kEvex = kEvex128 | kEvex256 | kEvex512;
inline constexpr uint8_t kWideEvex = kEvex256 | kEvex512;
inline constexpr uint8_t kUpToAvx2 = kSse | kVex;
inline constexpr uint8_t kAll = kSse | kVex | kEvex;
inline constexpr uint8_t kScalar = kSse | kVex128 | kEvex128;

// Integers of one or two bytes: no broadcast.
constexpr VectorOp small(uint8_t opcode, uint8_t encodings = kAll, OpMap map = OpMap::k0F) {
    return {.opcode = opcode, .map = map, .encodings = encodings};
}
// Of four and of eight.
constexpr VectorOp dword(uint8_t opcode, uint8_t encodings = kAll, OpMap map = OpMap::k0F) {
    return {.opcode = opcode, .map = map, .encodings = encodings, .element = 2};
}
constexpr VectorOp qword(uint8_t opcode, uint8_t encodings = kAll, OpMap map = OpMap::k0F) {
    return {.opcode = opcode, .map = map, .evex_w = 1, .encodings = encodings, .element = 3};
}
// Floats: packed and scalar, single and double.
constexpr VectorOp ps(uint8_t opcode, uint8_t encodings = kAll) {
    return {.opcode = opcode, .prefix = OpPrefix::kNone, .encodings = encodings, .element = 2};
}
constexpr VectorOp pd(uint8_t opcode, uint8_t encodings = kAll) {
    return {.opcode = opcode, .evex_w = 1, .encodings = encodings, .element = 3};
}
constexpr VectorOp ss(uint8_t opcode) {
    return {.opcode = opcode, .prefix = OpPrefix::kF3, .encodings = kScalar, .tuple = OpTuple::k4};
}
constexpr VectorOp sd(uint8_t opcode) {
    return {.opcode = opcode,
            .prefix = OpPrefix::kF2,
            .evex_w = 1,
            .encodings = kScalar,
            .tuple = OpTuple::k8};
}
// Fused multiply-add: VEX.W tells double from single.
constexpr VectorOp fma(uint8_t opcode, bool wide, bool scalar) {
    VectorOp op = {.opcode = opcode,
                   .map = OpMap::k0F38,
                   .encodings = scalar ? uint8_t{kVex128 | kEvex128} : uint8_t{kVex | kEvex}};
    op.vex_w = op.evex_w = wide;
    op.tuple = !scalar ? OpTuple::kFull : wide ? OpTuple::k8 : OpTuple::k4;
    op.element = scalar ? 0 : wide ? 3 : 2;
    return op;
}
constexpr VectorOp with(VectorOp op, OpShape shape) {
    op.shape = shape;
    return op;
}
constexpr VectorOp with(VectorOp op, OpPrefix prefix) {
    op.prefix = prefix;
    return op;
}
constexpr VectorOp with(VectorOp op, OpTuple tuple) {
    op.tuple = tuple;
    return op;
}
constexpr VectorOp with(VectorOp op, OpRm rm) {
    op.rm = rm;
    return op;
}
constexpr VectorOp unmasked(VectorOp op) {
    op.mask = OpMask::kNone;
    return op;
}
constexpr VectorOp compare(VectorOp op) {
    op.mask = OpMask::kKeeps;
    op.immediate = 1;
    return op;
}
constexpr VectorOp test(VectorOp op) {
    op.mask = OpMask::kKeeps;
    return op;
}
constexpr VectorOp narrowing(VectorOp op) {
    op.narrows = 1;
    return with(op, OpShape::kRm);
}
constexpr VectorOp immediate(VectorOp op) {
    op.immediate = 1;
    return op;
}
constexpr VectorOp wide(VectorOp op) {
    op.vex_w = op.evex_w = 1;
    return op;
}
// From or to memory or a register, whole.
constexpr VectorOp move(uint8_t opcode, OpPrefix prefix, OpShape shape, uint8_t encodings,
                        bool evex_w = false) {
    return {.opcode = opcode,
            .prefix = prefix,
            .evex_w = evex_w,
            .encodings = encodings,
            .shape = shape};
}
constexpr VectorOp shift(uint8_t opcode, uint8_t extension, uint8_t encodings = kAll,
                         bool evex_w = false) {
    return {.opcode = opcode,
            .evex_w = evex_w,
            .immediate = 1,
            .encodings = encodings,
            .shape = OpShape::kVmi,
            .rm = OpRm::kRegister,
            .extension = extension};
}
// Widening of integers: `tuple` is the part of the vector that is read.
constexpr VectorOp extend(uint8_t opcode, OpTuple tuple) {
    return {.opcode = opcode,
            .map = OpMap::k0F38,
            .encodings = kAll,
            .shape = OpShape::kRm,
            .tuple = tuple};
}
constexpr VectorOp broadcast(uint8_t opcode, OpTuple tuple, uint8_t encodings,
                             bool evex_w = false) {
    return {.opcode = opcode,
            .map = OpMap::k0F38,
            .evex_w = evex_w,
            .encodings = encodings,
            .shape = OpShape::kRm,
            .tuple = tuple};
}
// A quarter or a half of a vector in or out.
constexpr VectorOp part(uint8_t opcode, OpShape shape, OpTuple tuple, uint8_t encodings,
                        bool evex_w = false) {
    return {.opcode = opcode,
            .map = OpMap::k0F3A,
            .evex_w = evex_w,
            .immediate = 1,
            .encodings = encodings,
            .shape = shape,
            .tuple = tuple};
}
// Between a vector register and a general one, or memory of its size.
constexpr VectorOp general(uint8_t opcode, OpPrefix prefix, OpShape shape, bool wide) {
    VectorOp op = {.opcode = opcode, .prefix = prefix, .encodings = kScalar, .shape = shape};
    op.vex_w = op.evex_w = wide;
    op.tuple = wide ? OpTuple::k8 : OpTuple::k4;
    return unmasked(op);
}
constexpr VectorOp opmask(uint8_t opcode, OpPrefix prefix, bool wide) {
    VectorOp op = {.opcode = opcode, .prefix = prefix, .encodings = kVex128};
    op.vex_w = wide;
    op.shape = OpShape::kRm;
    op.rm = OpRm::kRegister;
    return op;
}

}  // namespace ops_detail

// Instructions have the names of the processor's manual.
// NOLINTBEGIN(readability-identifier-naming)
namespace op {

using namespace ops_detail;  // NOLINT: the names stay in here
inline constexpr OpMap k38 = OpMap::k0F38;
inline constexpr OpMap k3A = OpMap::k0F3A;

// ------------------------------------------------------------------ integers, V and M to R
inline constexpr VectorOp paddb = small(0xfc);
inline constexpr VectorOp paddw = small(0xfd);
inline constexpr VectorOp paddd = dword(0xfe);
inline constexpr VectorOp paddq = qword(0xd4);
inline constexpr VectorOp psubb = small(0xf8);
inline constexpr VectorOp psubw = small(0xf9);
inline constexpr VectorOp psubd = dword(0xfa);
inline constexpr VectorOp psubq = qword(0xfb);
inline constexpr VectorOp paddsb = small(0xec);
inline constexpr VectorOp paddsw = small(0xed);
inline constexpr VectorOp paddusb = small(0xdc);
inline constexpr VectorOp paddusw = small(0xdd);
inline constexpr VectorOp psubsb = small(0xe8);
inline constexpr VectorOp psubsw = small(0xe9);
inline constexpr VectorOp psubusb = small(0xd8);
inline constexpr VectorOp psubusw = small(0xd9);
inline constexpr VectorOp pmullw = small(0xd5);
inline constexpr VectorOp pmulhw = small(0xe5);
inline constexpr VectorOp pmulhuw = small(0xe4);
inline constexpr VectorOp pmulhrsw = small(0x0b, kAll, k38);
inline constexpr VectorOp pmulld = dword(0x40, kAll, k38);
inline constexpr VectorOp vpmullq = wide(qword(0x40, kEvex, k38));  // AVX-512DQ
inline constexpr VectorOp pmuludq = qword(0xf4);
inline constexpr VectorOp pmuldq = qword(0x28, kAll, k38);
inline constexpr VectorOp pmaddwd = small(0xf5);
inline constexpr VectorOp pmaddubsw = small(0x04, kAll, k38);
inline constexpr VectorOp psadbw = unmasked(small(0xf6));
inline constexpr VectorOp pavgb = small(0xe0);
inline constexpr VectorOp pminub = small(0xda);
inline constexpr VectorOp pmaxub = small(0xde);
inline constexpr VectorOp pminsw = small(0xea);
inline constexpr VectorOp pmaxsw = small(0xee);
inline constexpr VectorOp pminsb = small(0x38, kAll, k38);
inline constexpr VectorOp pmaxsb = small(0x3c, kAll, k38);
inline constexpr VectorOp pminuw = small(0x3a, kAll, k38);
inline constexpr VectorOp pmaxuw = small(0x3e, kAll, k38);
inline constexpr VectorOp pminsd = dword(0x39, kAll, k38);
inline constexpr VectorOp pmaxsd = dword(0x3d, kAll, k38);
inline constexpr VectorOp pminud = dword(0x3b, kAll, k38);
inline constexpr VectorOp pmaxud = dword(0x3f, kAll, k38);
inline constexpr VectorOp psignb = small(0x08, kUpToAvx2, k38);
inline constexpr VectorOp psignw = small(0x09, kUpToAvx2, k38);
inline constexpr VectorOp psignd = small(0x0a, kUpToAvx2, k38);
inline constexpr VectorOp phaddw = small(0x01, kUpToAvx2, k38);
inline constexpr VectorOp phaddd = small(0x02, kUpToAvx2, k38);
inline constexpr VectorOp pand = small(0xdb, kUpToAvx2);
inline constexpr VectorOp pandn = small(0xdf, kUpToAvx2);
inline constexpr VectorOp por = small(0xeb, kUpToAvx2);
inline constexpr VectorOp pxor = small(0xef, kUpToAvx2);
inline constexpr VectorOp vpandd = dword(0xdb, kEvex);
inline constexpr VectorOp vpandq = qword(0xdb, kEvex);
inline constexpr VectorOp vpandnd = dword(0xdf, kEvex);
inline constexpr VectorOp vpord = dword(0xeb, kEvex);
inline constexpr VectorOp vpxord = dword(0xef, kEvex);
inline constexpr VectorOp vpternlogd = immediate(dword(0x25, kEvex, k3A));
inline constexpr VectorOp pcmpeqb = small(0x74, kUpToAvx2);
inline constexpr VectorOp pcmpeqw = small(0x75, kUpToAvx2);
inline constexpr VectorOp pcmpeqd = small(0x76, kUpToAvx2);
inline constexpr VectorOp pcmpgtb = small(0x64, kUpToAvx2);
inline constexpr VectorOp pcmpgtw = small(0x65, kUpToAvx2);
inline constexpr VectorOp pcmpgtd = small(0x66, kUpToAvx2);
inline constexpr VectorOp pcmpeqq = small(0x29, kUpToAvx2, k38);
inline constexpr VectorOp pcmpgtq = small(0x37, kUpToAvx2, k38);
inline constexpr VectorOp vpdpbusd = dword(0x50, kEvex, k38);     // AVX-512VNNI
inline constexpr VectorOp vpdpbusd_vex = small(0x50, kVex, k38);  // AVX-VNNI
inline constexpr VectorOp vpdpwssd = dword(0x52, kEvex, k38);
inline constexpr VectorOp vpdpwssd_vex = small(0x52, kVex, k38);
inline constexpr VectorOp vpsllvd = dword(0x47, kVex | kEvex, k38);
inline constexpr VectorOp vpsrlvd = dword(0x45, kVex | kEvex, k38);
inline constexpr VectorOp vpsravd = dword(0x46, kVex | kEvex, k38);
inline constexpr VectorOp vpsllvq = wide(qword(0x47, kVex | kEvex, k38));
inline constexpr VectorOp vpsrlvq = wide(qword(0x45, kVex | kEvex, k38));

// ------------------------------------------------------------------ shuffles, V and M to R
inline constexpr VectorOp pshufb = small(0x00, kAll, k38);
inline constexpr VectorOp palignr = immediate(small(0x0f, kAll, k3A));
inline constexpr VectorOp pblendw = immediate(small(0x0e, kUpToAvx2, k3A));
inline constexpr VectorOp vpblendd = immediate(small(0x02, kVex, k3A));
inline constexpr VectorOp packsswb = small(0x63);
inline constexpr VectorOp packuswb = small(0x67);
inline constexpr VectorOp packssdw = dword(0x6b);
inline constexpr VectorOp packusdw = dword(0x2b, kAll, k38);
inline constexpr VectorOp punpcklbw = small(0x60);
inline constexpr VectorOp punpcklwd = small(0x61);
inline constexpr VectorOp punpckldq = dword(0x62);
inline constexpr VectorOp punpcklqdq = qword(0x6c);
inline constexpr VectorOp punpckhbw = small(0x68);
inline constexpr VectorOp punpckhwd = small(0x69);
inline constexpr VectorOp punpckhdq = dword(0x6a);
inline constexpr VectorOp punpckhqdq = qword(0x6d);
inline constexpr VectorOp unpcklps = ps(0x14);
inline constexpr VectorOp unpckhps = ps(0x15);
inline constexpr VectorOp shufps = immediate(ps(0xc6));
inline constexpr VectorOp movhlps = unmasked(with(
    VectorOp{.opcode = 0x12, .prefix = OpPrefix::kNone, .encodings = kScalar}, OpRm::kRegister));
inline constexpr VectorOp movlhps = unmasked(with(
    VectorOp{.opcode = 0x16, .prefix = OpPrefix::kNone, .encodings = kScalar}, OpRm::kRegister));
inline constexpr VectorOp vpermd = dword(0x36, kVex256 | kWideEvex, k38);
inline constexpr VectorOp vpermps = dword(0x16, kVex256 | kWideEvex, k38);
inline constexpr VectorOp vpermw = wide(small(0x8d, kEvex, k38));
inline constexpr VectorOp vperm2i128 = immediate(small(0x46, kVex256, k3A));
inline constexpr VectorOp vperm2f128 = immediate(small(0x06, kVex256, k3A));
inline constexpr VectorOp vshufi32x4 = immediate(dword(0x43, kWideEvex, k3A));
inline constexpr VectorOp valignd = immediate(dword(0x03, kEvex, k3A));
inline constexpr VectorOp vinserti128 = part(0x38, OpShape::kRvm, OpTuple::k16, kVex256);
inline constexpr VectorOp vinsertf128 = part(0x18, OpShape::kRvm, OpTuple::k16, kVex256);
inline constexpr VectorOp vinserti32x4 = part(0x38, OpShape::kRvm, OpTuple::k16, kWideEvex);
inline constexpr VectorOp vinserti64x4 = part(0x3a, OpShape::kRvm, OpTuple::k32, kEvex512, true);

// ------------------------------------------------------------------ M to R
inline constexpr VectorOp pabsb = with(small(0x1c, kAll, k38), OpShape::kRm);
inline constexpr VectorOp pabsw = with(small(0x1d, kAll, k38), OpShape::kRm);
inline constexpr VectorOp pabsd = with(dword(0x1e, kAll, k38), OpShape::kRm);
inline constexpr VectorOp pmovsxbw = extend(0x20, OpTuple::kHalf);
inline constexpr VectorOp pmovsxbd = extend(0x21, OpTuple::kQuarter);
inline constexpr VectorOp pmovsxbq = extend(0x22, OpTuple::kEighth);
inline constexpr VectorOp pmovsxwd = extend(0x23, OpTuple::kHalf);
inline constexpr VectorOp pmovsxwq = extend(0x24, OpTuple::kQuarter);
inline constexpr VectorOp pmovsxdq = extend(0x25, OpTuple::kHalf);
inline constexpr VectorOp pmovzxbw = extend(0x30, OpTuple::kHalf);
inline constexpr VectorOp pmovzxbd = extend(0x31, OpTuple::kQuarter);
inline constexpr VectorOp pmovzxbq = extend(0x32, OpTuple::kEighth);
inline constexpr VectorOp pmovzxwd = extend(0x33, OpTuple::kHalf);
inline constexpr VectorOp pmovzxwq = extend(0x34, OpTuple::kQuarter);
inline constexpr VectorOp pmovzxdq = extend(0x35, OpTuple::kHalf);
inline constexpr VectorOp pshufd = immediate(with(dword(0x70), OpShape::kRm));
inline constexpr VectorOp pshuflw = immediate(with(with(small(0x70), OpPrefix::kF2), OpShape::kRm));
inline constexpr VectorOp pshufhw = immediate(with(with(small(0x70), OpPrefix::kF3), OpShape::kRm));
inline constexpr VectorOp vpermq =
    immediate(wide(with(qword(0x00, kVex256 | kWideEvex, k3A), OpShape::kRm)));
inline constexpr VectorOp vpermpd =
    immediate(wide(with(qword(0x01, kVex256 | kWideEvex, k3A), OpShape::kRm)));
inline constexpr VectorOp vpermilps = immediate(with(dword(0x04, kVex | kEvex, k3A), OpShape::kRm));
inline constexpr VectorOp movshdup = move(0x16, OpPrefix::kF3, OpShape::kRm, kAll);
inline constexpr VectorOp movsldup = move(0x12, OpPrefix::kF3, OpShape::kRm, kAll);
inline constexpr VectorOp vbroadcastss = broadcast(0x18, OpTuple::k4, kVex | kEvex);
inline constexpr VectorOp vbroadcastsd = broadcast(0x19, OpTuple::k8, kVex256 | kWideEvex, true);
inline constexpr VectorOp vpbroadcastb = broadcast(0x78, OpTuple::k1, kVex | kEvex);
inline constexpr VectorOp vpbroadcastw = broadcast(0x79, OpTuple::k2, kVex | kEvex);
inline constexpr VectorOp vpbroadcastd = broadcast(0x58, OpTuple::k4, kVex | kEvex);
inline constexpr VectorOp vpbroadcastq = broadcast(0x59, OpTuple::k8, kVex | kEvex, true);
inline constexpr VectorOp vbroadcasti128 =
    with(broadcast(0x5a, OpTuple::k16, kVex256), OpRm::kMemory);
inline constexpr VectorOp vbroadcastf128 =
    with(broadcast(0x1a, OpTuple::k16, kVex256), OpRm::kMemory);
inline constexpr VectorOp vbroadcasti32x4 =
    with(broadcast(0x5a, OpTuple::k16, kWideEvex), OpRm::kMemory);
inline constexpr VectorOp vbroadcasti64x4 =
    with(broadcast(0x5b, OpTuple::k32, kEvex512, true), OpRm::kMemory);

// ------------------------------------------------------------------ shifts by a constant
inline constexpr VectorOp psllw = shift(0x71, 6);
inline constexpr VectorOp psrlw = shift(0x71, 2);
inline constexpr VectorOp psraw = shift(0x71, 4);
inline constexpr VectorOp pslld = shift(0x72, 6);
inline constexpr VectorOp psrld = shift(0x72, 2);
inline constexpr VectorOp psrad = shift(0x72, 4);
inline constexpr VectorOp psllq = shift(0x73, 6, kAll, true);
inline constexpr VectorOp psrlq = shift(0x73, 2, kAll, true);
inline constexpr VectorOp vpsraq = shift(0x72, 4, kEvex, true);
inline constexpr VectorOp pslldq = unmasked(shift(0x73, 7));  // bytes of each 128 bits
inline constexpr VectorOp psrldq = unmasked(shift(0x73, 3));

// ------------------------------------------------------------------ loads and stores
inline constexpr VectorOp movdqu = move(0x6f, OpPrefix::kF3, OpShape::kRm, kUpToAvx2);
inline constexpr VectorOp movdqu_store = move(0x7f, OpPrefix::kF3, OpShape::kMr, kUpToAvx2);
inline constexpr VectorOp movdqa = move(0x6f, OpPrefix::k66, OpShape::kRm, kUpToAvx2);
inline constexpr VectorOp movdqa_store = move(0x7f, OpPrefix::k66, OpShape::kMr, kUpToAvx2);
inline constexpr VectorOp vmovdqu8 = move(0x6f, OpPrefix::kF2, OpShape::kRm, kEvex);
inline constexpr VectorOp vmovdqu8_store = move(0x7f, OpPrefix::kF2, OpShape::kMr, kEvex);
inline constexpr VectorOp vmovdqu16 = move(0x6f, OpPrefix::kF2, OpShape::kRm, kEvex, true);
inline constexpr VectorOp vmovdqu16_store = move(0x7f, OpPrefix::kF2, OpShape::kMr, kEvex, true);
inline constexpr VectorOp vmovdqu32 = move(0x6f, OpPrefix::kF3, OpShape::kRm, kEvex);
inline constexpr VectorOp vmovdqu32_store = move(0x7f, OpPrefix::kF3, OpShape::kMr, kEvex);
inline constexpr VectorOp vmovdqu64 = move(0x6f, OpPrefix::kF3, OpShape::kRm, kEvex, true);
inline constexpr VectorOp vmovdqu64_store = move(0x7f, OpPrefix::kF3, OpShape::kMr, kEvex, true);
inline constexpr VectorOp movups = move(0x10, OpPrefix::kNone, OpShape::kRm, kAll);
inline constexpr VectorOp movups_store = move(0x11, OpPrefix::kNone, OpShape::kMr, kAll);
inline constexpr VectorOp movaps = move(0x28, OpPrefix::kNone, OpShape::kRm, kAll);
inline constexpr VectorOp movaps_store = move(0x29, OpPrefix::kNone, OpShape::kMr, kAll);
inline constexpr VectorOp movupd = move(0x10, OpPrefix::k66, OpShape::kRm, kAll, true);
inline constexpr VectorOp movupd_store = move(0x11, OpPrefix::k66, OpShape::kMr, kAll, true);
inline constexpr VectorOp movntps_store =
    unmasked(with(move(0x2b, OpPrefix::kNone, OpShape::kMr, kAll), OpRm::kMemory));
inline constexpr VectorOp movss = with(with(ss(0x10), OpShape::kRm), OpRm::kMemory);
inline constexpr VectorOp movss_store = with(with(ss(0x11), OpShape::kMr), OpRm::kMemory);
inline constexpr VectorOp movsd = with(with(sd(0x10), OpShape::kRm), OpRm::kMemory);
inline constexpr VectorOp movsd_store = with(with(sd(0x11), OpShape::kMr), OpRm::kMemory);
// The lower half, the rest cleared.
inline constexpr VectorOp movq =
    unmasked(with(move(0x7e, OpPrefix::kF3, OpShape::kRm, kScalar, true), OpTuple::k8));
inline constexpr VectorOp movq_store =
    unmasked(with(move(0xd6, OpPrefix::k66, OpShape::kMr, kScalar, true), OpTuple::k8));
inline constexpr VectorOp vextracti128 = part(0x39, OpShape::kMr, OpTuple::k16, kVex256);
inline constexpr VectorOp vextractf128 = part(0x19, OpShape::kMr, OpTuple::k16, kVex256);
inline constexpr VectorOp vextracti32x4 = part(0x39, OpShape::kMr, OpTuple::k16, kWideEvex);
inline constexpr VectorOp vextractf32x4 = part(0x19, OpShape::kMr, OpTuple::k16, kWideEvex);
inline constexpr VectorOp vextracti32x8 = part(0x3b, OpShape::kMr, OpTuple::k32, kEvex512);
inline constexpr VectorOp vextracti64x4 = part(0x3b, OpShape::kMr, OpTuple::k32, kEvex512, true);
inline constexpr VectorOp vextractf64x4 = part(0x1b, OpShape::kMr, OpTuple::k32, kEvex512, true);
// Truncating stores of dwords and qwords; the third saturates.
inline constexpr VectorOp vpmovdb = with({.opcode = 0x31,
                                          .map = k38,
                                          .encodings = kEvex,
                                          .shape = OpShape::kMr,
                                          .tuple = OpTuple::kQuarter},
                                         OpPrefix::kF3);
inline constexpr VectorOp vpmovdw = with({.opcode = 0x33,
                                          .map = k38,
                                          .encodings = kEvex,
                                          .shape = OpShape::kMr,
                                          .tuple = OpTuple::kHalf},
                                         OpPrefix::kF3);
inline constexpr VectorOp vpmovsdb = with({.opcode = 0x21,
                                           .map = k38,
                                           .encodings = kEvex,
                                           .shape = OpShape::kMr,
                                           .tuple = OpTuple::kQuarter},
                                          OpPrefix::kF3);
inline constexpr VectorOp vpmovqd = with({.opcode = 0x35,
                                          .map = k38,
                                          .encodings = kEvex,
                                          .shape = OpShape::kMr,
                                          .tuple = OpTuple::kHalf},
                                         OpPrefix::kF3);

// ------------------------------------------------------------------ floats
inline constexpr VectorOp addps = ps(0x58);
inline constexpr VectorOp addpd = pd(0x58);
inline constexpr VectorOp addss = ss(0x58);
inline constexpr VectorOp addsd = sd(0x58);
inline constexpr VectorOp mulps = ps(0x59);
inline constexpr VectorOp mulpd = pd(0x59);
inline constexpr VectorOp mulss = ss(0x59);
inline constexpr VectorOp mulsd = sd(0x59);
inline constexpr VectorOp subps = ps(0x5c);
inline constexpr VectorOp subpd = pd(0x5c);
inline constexpr VectorOp subss = ss(0x5c);
inline constexpr VectorOp subsd = sd(0x5c);
inline constexpr VectorOp minps = ps(0x5d);
inline constexpr VectorOp minss = ss(0x5d);
inline constexpr VectorOp divps = ps(0x5e);
inline constexpr VectorOp divpd = pd(0x5e);
inline constexpr VectorOp divss = ss(0x5e);
inline constexpr VectorOp maxps = ps(0x5f);
inline constexpr VectorOp maxss = ss(0x5f);
inline constexpr VectorOp sqrtps = with(ps(0x51), OpShape::kRm);
inline constexpr VectorOp sqrtss = ss(0x51);
inline constexpr VectorOp andps = ps(0x54);
inline constexpr VectorOp andnps = ps(0x55);
inline constexpr VectorOp orps = ps(0x56);
inline constexpr VectorOp xorps = ps(0x57);
inline constexpr VectorOp haddps = with(ps(0x7c, kUpToAvx2), OpPrefix::kF2);
inline constexpr VectorOp cmpps = immediate(ps(0xc2, kUpToAvx2));
inline constexpr VectorOp roundps = immediate(with(small(0x08, kUpToAvx2, k3A), OpShape::kRm));
inline constexpr VectorOp vrndscaleps = immediate(with(dword(0x08, kEvex, k3A), OpShape::kRm));
inline constexpr VectorOp fmadd231ps = fma(0xb8, false, false);
inline constexpr VectorOp fmadd231pd = fma(0xb8, true, false);
inline constexpr VectorOp fmadd231ss = fma(0xb9, false, true);
inline constexpr VectorOp fmadd213ps = fma(0xa8, false, false);
inline constexpr VectorOp fnmadd231ps = fma(0xbc, false, false);
inline constexpr VectorOp cvtdq2ps = with(ps(0x5b), OpShape::kRm);
inline constexpr VectorOp cvtps2dq = with(dword(0x5b), OpShape::kRm);
inline constexpr VectorOp cvttps2dq = with(with(dword(0x5b), OpPrefix::kF3), OpShape::kRm);
inline constexpr VectorOp cvtdq2pd =
    with(with(with(dword(0xe6), OpPrefix::kF3), OpTuple::kHalf), OpShape::kRm);
inline constexpr VectorOp cvtps2pd = with(with(ps(0x5a), OpTuple::kHalf), OpShape::kRm);
inline constexpr VectorOp cvtpd2ps = narrowing(pd(0x5a));
inline constexpr VectorOp cvttpd2dq = narrowing(pd(0xe6));
// AVX-512DQ.
inline constexpr VectorOp vcvtqq2pd = with(with(qword(0xe6, kEvex), OpPrefix::kF3), OpShape::kRm);
inline constexpr VectorOp vcvtqq2ps = with(narrowing(qword(0x5b, kEvex)), OpPrefix::kNone);
inline constexpr VectorOp cvtss2sd = ss(0x5a);
inline constexpr VectorOp cvtsd2ss = sd(0x5a);
inline constexpr VectorOp vcvtph2ps =
    with(with(small(0x13, kVex | kEvex, k38), OpTuple::kHalf), OpShape::kRm);
inline constexpr VectorOp vcvtps2ph =
    immediate(with(with(small(0x1d, kVex | kEvex, k3A), OpTuple::kHalf), OpShape::kMr));

// ------------------------------------------------------------------ general registers
inline constexpr VectorOp movd_from = general(0x6e, OpPrefix::k66, OpShape::kRm, false);
inline constexpr VectorOp movq_from = general(0x6e, OpPrefix::k66, OpShape::kRm, true);
inline constexpr VectorOp movd_to = general(0x7e, OpPrefix::k66, OpShape::kMr, false);
inline constexpr VectorOp movq_to = general(0x7e, OpPrefix::k66, OpShape::kMr, true);
inline constexpr VectorOp pinsrd = [] {
    VectorOp op = immediate(general(0x22, OpPrefix::k66, OpShape::kRvm, false));
    op.map = OpMap::k0F3A;
    return op;
}();
inline constexpr VectorOp pinsrw =
    with(immediate(general(0xc4, OpPrefix::k66, OpShape::kRvm, false)), OpTuple::k2);
inline constexpr VectorOp pextrd = [] {
    VectorOp op = immediate(general(0x16, OpPrefix::k66, OpShape::kMr, false));
    op.map = OpMap::k0F3A;
    return op;
}();
inline constexpr VectorOp pextrq = [] {
    VectorOp op = immediate(general(0x16, OpPrefix::k66, OpShape::kMr, true));
    op.map = OpMap::k0F3A;
    return op;
}();
inline constexpr VectorOp cvtsi2ss_32 = general(0x2a, OpPrefix::kF3, OpShape::kRvm, false);
inline constexpr VectorOp cvtsi2ss_64 = general(0x2a, OpPrefix::kF3, OpShape::kRvm, true);
inline constexpr VectorOp cvtsi2sd_64 = general(0x2a, OpPrefix::kF2, OpShape::kRvm, true);
// A bit of every element, to a general register in R.
inline constexpr VectorOp pmovmskb =
    with(with(small(0xd7, kUpToAvx2), OpShape::kRm), OpRm::kRegister);
inline constexpr VectorOp movmskps = with(with(ps(0x50, kUpToAvx2), OpShape::kRm), OpRm::kRegister);
// Masks: to mask register R (`_from`) or general register R (`_to`).
inline constexpr VectorOp kmovw_from = opmask(0x92, OpPrefix::kNone, false);
inline constexpr VectorOp kmovd_from = opmask(0x92, OpPrefix::kF2, false);
inline constexpr VectorOp kmovq_from = opmask(0x92, OpPrefix::kF2, true);
inline constexpr VectorOp kmovw_to = opmask(0x93, OpPrefix::kNone, false);
inline constexpr VectorOp kmovd_to = opmask(0x93, OpPrefix::kF2, false);
inline constexpr VectorOp kmovq_to = opmask(0x93, OpPrefix::kF2, true);
// Compare V with M into mask register R; the constant says how.
inline constexpr VectorOp vpcmpb = compare(small(0x3f, kEvex, k3A));
inline constexpr VectorOp vptestmb = test(small(0x26, kEvex, k38));
inline constexpr VectorOp vpcmpub = compare(small(0x3e, kEvex, k3A));
inline constexpr VectorOp vpcmpd = compare(dword(0x1f, kEvex, k3A));
inline constexpr VectorOp vpcmpud = compare(dword(0x1e, kEvex, k3A));

}  // namespace op
// NOLINTEND(readability-identifier-naming)

}  // namespace bareflow::jit
