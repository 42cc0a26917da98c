// Vector instructions of the assembler as test cases: what to write, and what LLVM's disassembler
// (AT&T syntax) must read back. Shared by the unit test and the fuzzer.
#pragma once

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include "kernel_lib/jit/assembler.h"
#include "kernel_lib/jit/vector_ops.h"

namespace bareflow::jit {

struct NamedOp {
    const char *name;
    VectorOp op;
};
#define VECTOR_OP(x) {#x, op::x}
// clang-format off
inline constexpr NamedOp kVectorOps[] = {
    VECTOR_OP(paddb),
    VECTOR_OP(paddw),
    VECTOR_OP(paddd),
    VECTOR_OP(paddq),
    VECTOR_OP(psubb),
    VECTOR_OP(psubw),
    VECTOR_OP(psubd),
    VECTOR_OP(psubq),
    VECTOR_OP(paddsb),
    VECTOR_OP(paddsw),
    VECTOR_OP(paddusb),
    VECTOR_OP(paddusw),
    VECTOR_OP(psubsb),
    VECTOR_OP(psubsw),
    VECTOR_OP(psubusb),
    VECTOR_OP(psubusw),
    VECTOR_OP(pmullw),
    VECTOR_OP(pmulhw),
    VECTOR_OP(pmulhuw),
    VECTOR_OP(pmulhrsw),
    VECTOR_OP(pmulld),
    VECTOR_OP(vpmullq),
    VECTOR_OP(pmuludq),
    VECTOR_OP(pmuldq),
    VECTOR_OP(pmaddwd),
    VECTOR_OP(pmaddubsw),
    VECTOR_OP(psadbw),
    VECTOR_OP(pavgb),
    VECTOR_OP(pminub),
    VECTOR_OP(pmaxub),
    VECTOR_OP(pminsw),
    VECTOR_OP(pmaxsw),
    VECTOR_OP(pminsb),
    VECTOR_OP(pmaxsb),
    VECTOR_OP(pminuw),
    VECTOR_OP(pmaxuw),
    VECTOR_OP(pminsd),
    VECTOR_OP(pmaxsd),
    VECTOR_OP(pminud),
    VECTOR_OP(pmaxud),
    VECTOR_OP(psignb),
    VECTOR_OP(psignw),
    VECTOR_OP(psignd),
    VECTOR_OP(phaddw),
    VECTOR_OP(phaddd),
    VECTOR_OP(pand),
    VECTOR_OP(pandn),
    VECTOR_OP(por),
    VECTOR_OP(pxor),
    VECTOR_OP(vpandd),
    VECTOR_OP(vpandq),
    VECTOR_OP(vpandnd),
    VECTOR_OP(vpord),
    VECTOR_OP(vpxord),
    VECTOR_OP(vpternlogd),
    VECTOR_OP(pcmpeqb),
    VECTOR_OP(pcmpeqw),
    VECTOR_OP(pcmpeqd),
    VECTOR_OP(pcmpgtb),
    VECTOR_OP(pcmpgtw),
    VECTOR_OP(pcmpgtd),
    VECTOR_OP(pcmpeqq),
    VECTOR_OP(pcmpgtq),
    VECTOR_OP(vpdpbusd),
    VECTOR_OP(vpdpbusd_vex),
    VECTOR_OP(vpdpwssd),
    VECTOR_OP(vpdpwssd_vex),
    VECTOR_OP(vpsllvd),
    VECTOR_OP(vpsrlvd),
    VECTOR_OP(vpsravd),
    VECTOR_OP(vpsllvq),
    VECTOR_OP(vpsrlvq),
    VECTOR_OP(pshufb),
    VECTOR_OP(palignr),
    VECTOR_OP(pblendw),
    VECTOR_OP(vpblendd),
    VECTOR_OP(packsswb),
    VECTOR_OP(packuswb),
    VECTOR_OP(packssdw),
    VECTOR_OP(packusdw),
    VECTOR_OP(punpcklbw),
    VECTOR_OP(punpcklwd),
    VECTOR_OP(punpckldq),
    VECTOR_OP(punpcklqdq),
    VECTOR_OP(punpckhbw),
    VECTOR_OP(punpckhwd),
    VECTOR_OP(punpckhdq),
    VECTOR_OP(punpckhqdq),
    VECTOR_OP(unpcklps),
    VECTOR_OP(unpckhps),
    VECTOR_OP(shufps),
    VECTOR_OP(movhlps),
    VECTOR_OP(movlhps),
    VECTOR_OP(vpermd),
    VECTOR_OP(vpermps),
    VECTOR_OP(vpermw),
    VECTOR_OP(vperm2i128),
    VECTOR_OP(vperm2f128),
    VECTOR_OP(vshufi32x4),
    VECTOR_OP(valignd),
    VECTOR_OP(vinserti128),
    VECTOR_OP(vinsertf128),
    VECTOR_OP(vinserti32x4),
    VECTOR_OP(vinserti64x4),
    VECTOR_OP(pabsb),
    VECTOR_OP(pabsw),
    VECTOR_OP(pabsd),
    VECTOR_OP(pmovsxbw),
    VECTOR_OP(pmovsxbd),
    VECTOR_OP(pmovsxbq),
    VECTOR_OP(pmovsxwd),
    VECTOR_OP(pmovsxwq),
    VECTOR_OP(pmovsxdq),
    VECTOR_OP(pmovzxbw),
    VECTOR_OP(pmovzxbd),
    VECTOR_OP(pmovzxbq),
    VECTOR_OP(pmovzxwd),
    VECTOR_OP(pmovzxwq),
    VECTOR_OP(pmovzxdq),
    VECTOR_OP(pshufd),
    VECTOR_OP(pshuflw),
    VECTOR_OP(pshufhw),
    VECTOR_OP(vpermq),
    VECTOR_OP(vpermpd),
    VECTOR_OP(vpermilps),
    VECTOR_OP(movshdup),
    VECTOR_OP(movsldup),
    VECTOR_OP(vbroadcastss),
    VECTOR_OP(vbroadcastsd),
    VECTOR_OP(vpbroadcastb),
    VECTOR_OP(vpbroadcastw),
    VECTOR_OP(vpbroadcastd),
    VECTOR_OP(vpbroadcastq),
    VECTOR_OP(vbroadcasti128),
    VECTOR_OP(vbroadcastf128),
    VECTOR_OP(vbroadcasti32x4),
    VECTOR_OP(vbroadcasti64x4),
    VECTOR_OP(psllw),
    VECTOR_OP(psrlw),
    VECTOR_OP(psraw),
    VECTOR_OP(pslld),
    VECTOR_OP(psrld),
    VECTOR_OP(psrad),
    VECTOR_OP(psllq),
    VECTOR_OP(psrlq),
    VECTOR_OP(vpsraq),
    VECTOR_OP(pslldq),
    VECTOR_OP(psrldq),
    VECTOR_OP(movdqu),
    VECTOR_OP(movdqu_store),
    VECTOR_OP(movdqa),
    VECTOR_OP(movdqa_store),
    VECTOR_OP(vmovdqu8),
    VECTOR_OP(vmovdqu8_store),
    VECTOR_OP(vmovdqu16),
    VECTOR_OP(vmovdqu16_store),
    VECTOR_OP(vmovdqu32),
    VECTOR_OP(vmovdqu32_store),
    VECTOR_OP(vmovdqu64),
    VECTOR_OP(vmovdqu64_store),
    VECTOR_OP(movups),
    VECTOR_OP(movups_store),
    VECTOR_OP(movaps),
    VECTOR_OP(movaps_store),
    VECTOR_OP(movupd),
    VECTOR_OP(movupd_store),
    VECTOR_OP(movntps_store),
    VECTOR_OP(movss),
    VECTOR_OP(movss_store),
    VECTOR_OP(movsd),
    VECTOR_OP(movsd_store),
    VECTOR_OP(movq),
    VECTOR_OP(movq_store),
    VECTOR_OP(vextracti128),
    VECTOR_OP(vextractf128),
    VECTOR_OP(vextracti32x4),
    VECTOR_OP(vextractf32x4),
    VECTOR_OP(vextracti32x8),
    VECTOR_OP(vextracti64x4),
    VECTOR_OP(vextractf64x4),
    VECTOR_OP(vpmovdb),
    VECTOR_OP(vpmovdw),
    VECTOR_OP(vpmovsdb),
    VECTOR_OP(vpmovqd),
    VECTOR_OP(addps),
    VECTOR_OP(addpd),
    VECTOR_OP(addss),
    VECTOR_OP(addsd),
    VECTOR_OP(mulps),
    VECTOR_OP(mulpd),
    VECTOR_OP(mulss),
    VECTOR_OP(mulsd),
    VECTOR_OP(subps),
    VECTOR_OP(subpd),
    VECTOR_OP(subss),
    VECTOR_OP(subsd),
    VECTOR_OP(minps),
    VECTOR_OP(minss),
    VECTOR_OP(divps),
    VECTOR_OP(divpd),
    VECTOR_OP(divss),
    VECTOR_OP(maxps),
    VECTOR_OP(maxss),
    VECTOR_OP(sqrtps),
    VECTOR_OP(sqrtss),
    VECTOR_OP(andps),
    VECTOR_OP(andnps),
    VECTOR_OP(orps),
    VECTOR_OP(xorps),
    VECTOR_OP(haddps),
    VECTOR_OP(cmpps),
    VECTOR_OP(roundps),
    VECTOR_OP(vrndscaleps),
    VECTOR_OP(fmadd231ps),
    VECTOR_OP(fmadd231pd),
    VECTOR_OP(fmadd231ss),
    VECTOR_OP(fmadd213ps),
    VECTOR_OP(fnmadd231ps),
    VECTOR_OP(cvtdq2ps),
    VECTOR_OP(cvtps2dq),
    VECTOR_OP(cvttps2dq),
    VECTOR_OP(cvtdq2pd),
    VECTOR_OP(cvtps2pd),
    VECTOR_OP(cvtpd2ps),
    VECTOR_OP(cvttpd2dq),
    VECTOR_OP(vcvtqq2pd),
    VECTOR_OP(vcvtqq2ps),
    VECTOR_OP(cvtss2sd),
    VECTOR_OP(cvtsd2ss),
    VECTOR_OP(vcvtph2ps),
    VECTOR_OP(vcvtps2ph),
    VECTOR_OP(movd_from),
    VECTOR_OP(movq_from),
    VECTOR_OP(movd_to),
    VECTOR_OP(movq_to),
    VECTOR_OP(pinsrd),
    VECTOR_OP(pinsrw),
    VECTOR_OP(pextrd),
    VECTOR_OP(pextrq),
    VECTOR_OP(cvtsi2ss_32),
    VECTOR_OP(cvtsi2ss_64),
    VECTOR_OP(cvtsi2sd_64),
    VECTOR_OP(pmovmskb),
    VECTOR_OP(movmskps),
    VECTOR_OP(kmovw_from),
    VECTOR_OP(kmovd_from),
    VECTOR_OP(kmovq_from),
    VECTOR_OP(kmovw_to),
    VECTOR_OP(kmovd_to),
    VECTOR_OP(kmovq_to),
    VECTOR_OP(vpcmpb),
    VECTOR_OP(vptestmb),
    VECTOR_OP(vpcmpub),
    VECTOR_OP(vpcmpd),
    VECTOR_OP(vpcmpud),
};
// clang-format on
#undef VECTOR_OP

// The C interface of LLVM's library (llvm-c/Disassembler.h), which comes with the tools.
class LlvmDisassembler {
  public:
    LlvmDisassembler() {
        void *const library = dlopen("libLLVM.so.19.1", RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr) {
            fail(dlerror());
        }
        for (const char *name : {"LLVMInitializeX86TargetInfo", "LLVMInitializeX86TargetMC",
                                 "LLVMInitializeX86Disassembler"}) {
            find<void (*)()>(library, name)();
        }
        using Create = void *(*)(const char *, void *, int, void *, void *);
        context_ = find<Create>(library, "LLVMCreateDisasm")("x86_64-linux-gnu", nullptr, 0,
                                                             nullptr, nullptr);
        disassemble_ = find<Disassemble>(library, "LLVMDisasmInstruction");
        dispose_ = find<void (*)(void *)>(library, "LLVMDisasmDispose");
        if (context_ == nullptr) {
            fail("LLVM has no disassembler for x86-64");
        }
    }

    ~LlvmDisassembler() { dispose_(context_); }
    LlvmDisassembler(const LlvmDisassembler &) = delete;
    LlvmDisassembler &operator=(const LlvmDisassembler &) = delete;

    // The first instruction of `bytes` with single spaces, and its length; 0: it is none.
    std::string read(std::span<const uint8_t> bytes, size_t &len) {
        std::array<char, 256> text{};
        std::array<uint8_t, 32> copy{};
        const size_t count = std::min(bytes.size(), copy.size());
        std::copy_n(bytes.begin(), count, copy.begin());
        len = disassemble_(context_, copy.data(), count, 0, text.data(), text.size());
        std::string out;
        for (const char *c = text.data(); *c != '\0' && *c != '#'; ++c) {
            const char next = *c == '\t' || *c == '\n' ? ' ' : *c;
            if (next != ' ' || (!out.empty() && out.back() != ' ')) {
                out += next;
            }
        }
        out.erase(out.find_last_not_of(' ') + 1);
        return out;
    }

  private:
    using Disassemble = size_t (*)(void *, uint8_t *, uint64_t, uint64_t, char *, size_t);

    // A missing disassembler fails the test: it is part of the tool chain.
    [[noreturn]] static void fail(const char *why) {
        fprintf(stderr, "LLVM's disassembler: %s\n", why);
        abort();
    }
    template <typename F>
    static F find(void *library, const char *name) {
        void *const symbol = dlsym(library, name);
        if (symbol == nullptr) {
            fail(name);
        }
        return reinterpret_cast<F>(symbol);
    }

    void *context_ = nullptr;
    Disassemble disassemble_ = nullptr;
    void (*dispose_)(void *) = nullptr;
};

// One instruction with its operands.
struct VectorCase {
    const NamedOp *named = nullptr;
    uint8_t encoding = kVex128;  // one bit of VectorOp::encodings
    uint8_t r = 0;
    uint8_t v = 0;
    uint8_t m = 0;
    bool in_memory = false;
    Mem memory = mem(Gp::kRax);
    uint8_t mask = 0;
    bool zero = false;
    uint8_t value = 0;

    [[nodiscard]] bool sse() const { return encoding == kSse; }
    [[nodiscard]] bool evex() const { return encoding >= kEvex128; }
    [[nodiscard]] unsigned length() const {
        return encoding == kEvex512 ? 2 : encoding == kEvex256 || encoding == kVex256 ? 1 : 0;
    }
    [[nodiscard]] const VectorOp &op() const { return named->op; }
    // Of short displacements in EVEX, by the manual's table and not by the assembler's arithmetic.
    [[nodiscard]] int unit() const {
        if (!evex()) {
            return 1;
        }
        if (memory.broadcast) {
            return op().element == 3 ? 8 : 4;
        }
        constexpr int kFixed[] = {1, 2, 4, 8, 16, 32};
        const auto tuple = static_cast<unsigned>(op().tuple);
        if (tuple < 6) {
            return kFixed[tuple];
        }
        constexpr int kParts[4][3] = {{16, 32, 64}, {8, 16, 32}, {4, 8, 16}, {2, 4, 8}};
        return kParts[tuple - 6][length()];
    }
};

namespace cases_detail {

inline constexpr const char *kGp64[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                        "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
inline constexpr const char *kGp32[] = {"eax",  "ecx",  "edx",  "ebx", "esp",  "ebp",
                                        "esi",  "edi",  "r8d",  "r9d", "r10d", "r11d",
                                        "r12d", "r13d", "r14d", "r15d"};
inline bool starts(const std::string &text, const char *with) {
    return text.rfind(with, 0) == 0;
}
inline bool has(const std::string &text, const char *part) {
    return text.find(part) != std::string::npos;
}

// What kind of register stands in a place: x vector, g32, g64, k.
enum class Kind { kVector, kGp32, kGp64, kMask };
struct Kinds {
    Kind r = Kind::kVector;
    Kind m = Kind::kVector;
};
inline Kinds kinds_of(const std::string &name) {
    const Kind general =
        starts(name, "movq_") || starts(name, "kmovq") || name == "pextrq" || has(name, "_64")
            ? Kind::kGp64
            : Kind::kGp32;
    if (name == "movq_store") {
        return {};
    }
    if (name == "pmovmskb" || name == "movmskps") {
        return {Kind::kGp32, Kind::kVector};
    }
    if (starts(name, "kmov")) {
        return has(name, "_from") ? Kinds{Kind::kMask, general} : Kinds{general, Kind::kMask};
    }
    if (starts(name, "vpcmp") || starts(name, "vptestm")) {
        return {Kind::kMask, Kind::kVector};
    }
    if (starts(name, "movd_") || starts(name, "movq_") || starts(name, "pinsr") ||
        starts(name, "pextr") || starts(name, "cvtsi2")) {
        return {Kind::kVector, general};
    }
    return {};
}

inline std::string reg(Kind kind, unsigned number, unsigned length) {
    switch (kind) {
        case Kind::kVector:
            return std::string("%") + "xyz"[length] + "mm" + std::to_string(number);
        case Kind::kGp32:
            return std::string("%") + kGp32[number & 15];
        case Kind::kGp64:
            return std::string("%") + kGp64[number & 15];
        case Kind::kMask:
            return "%k" + std::to_string(number & 7);
    }
    return {};
}

}  // namespace cases_detail

inline unsigned m_length(const VectorCase &c) {
    const unsigned length = c.length();
    const auto tuple = static_cast<unsigned>(c.op().tuple);
    if (tuple < 6) {
        return c.op().tuple == OpTuple::k32 ? 1 : 0;
    }
    const unsigned parts = tuple - 6;
    return length > parts ? length - parts : 0;
}
inline unsigned r_length(const VectorCase &c) {
    return c.op().narrows != 0 && c.length() != 0 ? c.length() - 1 : c.length();
}

inline std::string text_of(const Mem &m, int bytes) {
    using namespace cases_detail;
    std::string text = m.disp != 0 ? std::to_string(m.disp) : "";
    text += std::string("(%") + kGp64[static_cast<size_t>(m.base)];
    if (m.index != Gp::kRsp) {
        text += std::string(",%") + kGp64[static_cast<size_t>(m.index)];
        if (m.scale != Scale::k1) {
            text += "," + std::to_string(1 << static_cast<int>(m.scale));
        }
    }
    text += ")";
    return m.broadcast ? text + "{1to" + std::to_string(bytes) + "}" : text;
}

// What the disassembler should say.
inline std::string text_of(const VectorCase &c) {
    using namespace cases_detail;
    const VectorOp &op = c.op();
    const std::string full = c.named->name;
    const Kinds kinds = kinds_of(full);
    std::string name = full.substr(0, full.find('_'));
    if (!c.sse() && name[0] != 'v' && name[0] != 'k') {
        name = "v" + name;
    }
    constexpr const char *kPs[] = {"eq", "lt", "le", "unord", "neq", "nlt", "nle", "ord"};
    constexpr const char *kInt[] = {"eq", "lt", "le", nullptr, "neq", "nlt", "nle", nullptr};
    bool immediate = op.immediate != 0;
    if (has(name, "cmpps") && c.value < 8) {
        name = (c.sse() ? "cmp" : "vcmp") + std::string(kPs[c.value]) + "ps";
        immediate = false;
    } else if (starts(name, "vpcmp") && op.immediate != 0 && c.value < 8 &&
               kInt[c.value] != nullptr) {
        name = "vpcmp" + std::string(kInt[c.value]) + name.substr(5);
        immediate = false;
    }
    if (starts(full, "cvtsi2") && c.in_memory) {
        name += has(full, "_64") ? "q" : "l";
    }
    const int elements = (16 << c.length()) / (op.element == 3 ? 8 : 4) /
                         (op.tuple == OpTuple::kHalf ? (op.element == 3 ? 1 : 2) : 1);
    const std::string r = reg(kinds.r, c.r, r_length(c));
    const std::string v = reg(Kind::kVector, c.v, c.length());
    const std::string m =
        c.in_memory ? text_of(c.memory, elements) : reg(kinds.m, c.m, m_length(c));
    std::string list = immediate ? "$" + std::to_string(c.value) + ", " : "";
    std::string to = r;
    switch (op.shape) {
        case OpShape::kRvm:
            list += m + ", " + (c.sse() ? "" : v + ", ");
            break;
        case OpShape::kRm:
            list += m + ", ";
            break;
        case OpShape::kMr:
            list += r + ", ";
            to = m;
            break;
        case OpShape::kVmi:
            list += c.sse() ? "" : m + ", ";
            to = c.sse() ? m : v;
            break;
    }
    if (c.mask != 0) {
        to += " {%k" + std::to_string(c.mask) + "}" + (c.zero ? " {z}" : "");
    }
    return name + " " + list + to;
}

// Writes it through the interface that kernels use.
inline void emit(Assembler &a, const VectorCase &c) {
    const VectorOp &op = c.op();
    const auto vec = [](unsigned number, unsigned length) {
        return Vec{static_cast<uint8_t>(number), static_cast<uint8_t>(length)};
    };
    Vec r = vec(c.r, r_length(c));
    Vec v = vec(c.v, c.length());
    Vec m = vec(c.m, m_length(c));
    using cases_detail::Kind;
    const auto kinds = cases_detail::kinds_of(c.named->name);
    // Mask and general registers have no length.
    r.length = kinds.r == Kind::kVector ? r.length : 0;
    m.length = kinds.m == Kind::kVector ? m.length : 0;
    Vec &to = op.shape == OpShape::kVmi ? v : op.shape == OpShape::kMr && !c.in_memory ? m : r;
    to = to.masked(c.mask, c.zero);
    if (c.sse()) {
        if (op.shape == OpShape::kVmi) {
            a.sse(op, m, c.value);
        } else if (op.shape == OpShape::kMr) {
            c.in_memory ? a.sse(op, c.memory, r, c.value) : a.sse(op, m, r, c.value);
        } else {
            c.in_memory ? a.sse(op, r, c.memory, c.value) : a.sse(op, r, m, c.value);
        }
        return;
    }
    switch (op.shape) {
        case OpShape::kRvm:
            return c.in_memory ? a.avx(op, r, v, c.memory, c.value) : a.avx(op, r, v, m, c.value);
        case OpShape::kRm:
            return c.in_memory ? a.avx(op, r, c.memory, c.value) : a.avx(op, r, m, c.value);
        case OpShape::kMr:
            return c.in_memory ? a.avx(op, c.memory, r, c.value) : a.avx(op, m, r, c.value);
        case OpShape::kVmi:
            return a.avx(op, v, m, c.value);
    }
}

// Puts what the disassembler said into the shape of text_of: no "{vex}", immediates of a byte
// without sign.
inline std::string normal(std::string text) {
    if (cases_detail::starts(text, "{vex}")) {
        text.erase(0, 6);
    }
    const size_t at = text.find('$');
    if (at != std::string::npos) {
        const size_t end = text.find(',', at);
        const int value = atoi(text.c_str() + at + 1);
        text.replace(at + 1, end - at - 1, std::to_string(value & 255));
    }
    return text;
}

// Empty when `c` is written as it should be, else what is wrong.
inline std::string check(LlvmDisassembler &llvm, const VectorCase &c) {
    std::array<uint8_t, 16> bytes{};
    Assembler a(bytes);
    emit(a, c);
    const std::string expected = text_of(c);
    const auto len = a.finish();
    if (!len) {
        return expected + ": refused, " + std::string(len.error().message);
    }
    size_t read = 0;
    const std::string said = normal(llvm.read({bytes.data(), len.value()}, read));
    if (said != expected || read != len.value()) {
        return expected + ": LLVM says " + said + ", " + std::to_string(read) + " of " +
               std::to_string(len.value()) + " bytes";
    }
    return {};
}

}  // namespace bareflow::jit
