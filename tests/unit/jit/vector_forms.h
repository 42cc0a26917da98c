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
#define FORM(x) {#x, op::x}
// clang-format off
inline constexpr NamedOp kVectorForms[] = {
    FORM(paddb),
    FORM(paddw),
    FORM(paddd),
    FORM(paddq),
    FORM(psubb),
    FORM(psubw),
    FORM(psubd),
    FORM(psubq),
    FORM(paddsb),
    FORM(paddsw),
    FORM(paddusb),
    FORM(paddusw),
    FORM(psubsb),
    FORM(psubsw),
    FORM(psubusb),
    FORM(psubusw),
    FORM(pmullw),
    FORM(pmulhw),
    FORM(pmulhuw),
    FORM(pmulhrsw),
    FORM(pmulld),
    FORM(vpmullq),
    FORM(pmuludq),
    FORM(pmuldq),
    FORM(pmaddwd),
    FORM(pmaddubsw),
    FORM(psadbw),
    FORM(pavgb),
    FORM(pminub),
    FORM(pmaxub),
    FORM(pminsw),
    FORM(pmaxsw),
    FORM(pminsb),
    FORM(pmaxsb),
    FORM(pminuw),
    FORM(pmaxuw),
    FORM(pminsd),
    FORM(pmaxsd),
    FORM(pminud),
    FORM(pmaxud),
    FORM(psignb),
    FORM(psignw),
    FORM(psignd),
    FORM(phaddw),
    FORM(phaddd),
    FORM(pand),
    FORM(pandn),
    FORM(por),
    FORM(pxor),
    FORM(vpandd),
    FORM(vpandq),
    FORM(vpandnd),
    FORM(vpord),
    FORM(vpxord),
    FORM(vpternlogd),
    FORM(pcmpeqb),
    FORM(pcmpeqw),
    FORM(pcmpeqd),
    FORM(pcmpgtb),
    FORM(pcmpgtw),
    FORM(pcmpgtd),
    FORM(pcmpeqq),
    FORM(pcmpgtq),
    FORM(vpdpbusd),
    FORM(vpdpbusd_vex),
    FORM(vpdpwssd),
    FORM(vpdpwssd_vex),
    FORM(vpsllvd),
    FORM(vpsrlvd),
    FORM(vpsravd),
    FORM(vpsllvq),
    FORM(vpsrlvq),
    FORM(pshufb),
    FORM(palignr),
    FORM(pblendw),
    FORM(vpblendd),
    FORM(packsswb),
    FORM(packuswb),
    FORM(packssdw),
    FORM(packusdw),
    FORM(punpcklbw),
    FORM(punpcklwd),
    FORM(punpckldq),
    FORM(punpcklqdq),
    FORM(punpckhbw),
    FORM(punpckhwd),
    FORM(punpckhdq),
    FORM(punpckhqdq),
    FORM(unpcklps),
    FORM(unpckhps),
    FORM(shufps),
    FORM(movhlps),
    FORM(movlhps),
    FORM(vpermd),
    FORM(vpermps),
    FORM(vpermw),
    FORM(vperm2i128),
    FORM(vperm2f128),
    FORM(vshufi32x4),
    FORM(valignd),
    FORM(vinserti128),
    FORM(vinsertf128),
    FORM(vinserti32x4),
    FORM(vinserti64x4),
    FORM(pabsb),
    FORM(pabsw),
    FORM(pabsd),
    FORM(pmovsxbw),
    FORM(pmovsxbd),
    FORM(pmovsxbq),
    FORM(pmovsxwd),
    FORM(pmovsxwq),
    FORM(pmovsxdq),
    FORM(pmovzxbw),
    FORM(pmovzxbd),
    FORM(pmovzxbq),
    FORM(pmovzxwd),
    FORM(pmovzxwq),
    FORM(pmovzxdq),
    FORM(pshufd),
    FORM(pshuflw),
    FORM(pshufhw),
    FORM(vpermq),
    FORM(vpermpd),
    FORM(vpermilps),
    FORM(movshdup),
    FORM(movsldup),
    FORM(vbroadcastss),
    FORM(vbroadcastsd),
    FORM(vpbroadcastb),
    FORM(vpbroadcastw),
    FORM(vpbroadcastd),
    FORM(vpbroadcastq),
    FORM(vbroadcasti128),
    FORM(vbroadcastf128),
    FORM(vbroadcasti32x4),
    FORM(vbroadcasti64x4),
    FORM(psllw),
    FORM(psrlw),
    FORM(psraw),
    FORM(pslld),
    FORM(psrld),
    FORM(psrad),
    FORM(psllq),
    FORM(psrlq),
    FORM(vpsraq),
    FORM(pslldq),
    FORM(psrldq),
    FORM(movdqu),
    FORM(movdqu_store),
    FORM(movdqa),
    FORM(movdqa_store),
    FORM(vmovdqu8),
    FORM(vmovdqu8_store),
    FORM(vmovdqu16),
    FORM(vmovdqu16_store),
    FORM(vmovdqu32),
    FORM(vmovdqu32_store),
    FORM(vmovdqu64),
    FORM(vmovdqu64_store),
    FORM(movups),
    FORM(movups_store),
    FORM(movaps),
    FORM(movaps_store),
    FORM(movupd),
    FORM(movupd_store),
    FORM(movntps_store),
    FORM(movss),
    FORM(movss_store),
    FORM(movsd),
    FORM(movsd_store),
    FORM(movq),
    FORM(movq_store),
    FORM(vextracti128),
    FORM(vextractf128),
    FORM(vextracti32x4),
    FORM(vextractf32x4),
    FORM(vextracti32x8),
    FORM(vextracti64x4),
    FORM(vextractf64x4),
    FORM(vpmovdb),
    FORM(vpmovdw),
    FORM(vpmovsdb),
    FORM(vpmovqd),
    FORM(addps),
    FORM(addpd),
    FORM(addss),
    FORM(addsd),
    FORM(mulps),
    FORM(mulpd),
    FORM(mulss),
    FORM(mulsd),
    FORM(subps),
    FORM(subpd),
    FORM(subss),
    FORM(subsd),
    FORM(minps),
    FORM(minss),
    FORM(divps),
    FORM(divpd),
    FORM(divss),
    FORM(maxps),
    FORM(maxss),
    FORM(sqrtps),
    FORM(sqrtss),
    FORM(andps),
    FORM(andnps),
    FORM(orps),
    FORM(xorps),
    FORM(haddps),
    FORM(cmpps),
    FORM(roundps),
    FORM(vrndscaleps),
    FORM(fmadd231ps),
    FORM(fmadd231pd),
    FORM(fmadd231ss),
    FORM(fmadd213ps),
    FORM(fnmadd231ps),
    FORM(cvtdq2ps),
    FORM(cvtps2dq),
    FORM(cvttps2dq),
    FORM(cvtdq2pd),
    FORM(cvtps2pd),
    FORM(cvtpd2ps),
    FORM(cvttpd2dq),
    FORM(vcvtqq2pd),
    FORM(vcvtqq2ps),
    FORM(cvtss2sd),
    FORM(cvtsd2ss),
    FORM(vcvtph2ps),
    FORM(vcvtps2ph),
    FORM(movd_from),
    FORM(movq_from),
    FORM(movd_to),
    FORM(movq_to),
    FORM(pinsrd),
    FORM(pinsrw),
    FORM(pextrd),
    FORM(pextrq),
    FORM(cvtsi2ss_32),
    FORM(cvtsi2ss_64),
    FORM(cvtsi2sd_64),
    FORM(pmovmskb),
    FORM(movmskps),
    FORM(kmovw_from),
    FORM(kmovd_from),
    FORM(kmovq_from),
    FORM(kmovw_to),
    FORM(kmovd_to),
    FORM(kmovq_to),
    FORM(vpcmpb),
    FORM(vptestmb),
    FORM(vpcmpub),
    FORM(vpcmpd),
    FORM(vpcmpud),
};
// clang-format on
#undef FORM

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
    const NamedOp *form = nullptr;
    uint8_t encoding = kVex128;  // one bit of VectorOp::forms
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
    [[nodiscard]] const VectorOp &op() const { return form->op; }
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

namespace forms_detail {

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

}  // namespace forms_detail

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
    using namespace forms_detail;
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
    using namespace forms_detail;
    const VectorOp &op = c.op();
    const std::string full = c.form->name;
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
    using forms_detail::Kind;
    const auto kinds = forms_detail::kinds_of(c.form->name);
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

// Puts what the disassembler said into the form of text_of: no "{vex}", immediates of a byte
// without sign.
inline std::string normal(std::string text) {
    if (forms_detail::starts(text, "{vex}")) {
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
