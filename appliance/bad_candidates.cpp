// Generated kernels that are wrong on purpose, and one that is right. Each has the verdict that the
// optimiser must come to. On another processor the same kernels run under a guarded call without
// the optimiser. What must hold: after each of them this processor and the other one go on.
#include "appliance/bad_candidates.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "kernel_lib/base/permanent.h"
#include "kernel_lib/cpu/guarded_call.h"
#include "kernel_lib/cpu/worker_wait.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/jit/assembler.h"
#include "kernel_lib/jit/code_buffer.h"
#include "kernel_lib/jit/optimize.h"
#include "kernel_lib/jit/profile.h"
#include "kernel_lib/memory/guarded_pages.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow {

namespace {

using jit::Alu;
using jit::Assembler;
using jit::Condition;
using jit::Gp;
using jit::Label;
using jit::mem;
using jit::Scale;

// The kernel: out[i] = 3 in[i] for kWords words.
constexpr uint32_t kWords = 512;
constexpr int32_t kWordBytes = 8;
constexpr int32_t kBytes = kWords * kWordBytes;
using Kernel = void (*)(const uint64_t *in, uint64_t *out);

// Slow on purpose, so that the right candidate is faster.
[[gnu::noinline]] void reference(const uint64_t *in, uint64_t *out) {
    for (uint32_t i = 0; i < kWords; ++i) {
        volatile uint64_t sum = 0;
        for (int j = 0; j < 3; ++j) {
            sum = sum + in[i];
        }
        out[i] = sum;
    }
}

// In: rdi: in, rsi: out. Clobbers rax, rcx and the flags. Long mode.
void triple(Assembler &a) {
    const Label next = a.new_label();
    a.alu(Alu::kXor, Gp::kRcx, Gp::kRcx);
    a.bind(next);
    a.mov(Gp::kRax, mem(Gp::kRdi, Gp::kRcx, Scale::k1));
    a.lea(Gp::kRax, mem(Gp::kRax, Gp::kRax, Scale::k2));
    a.mov(mem(Gp::kRsi, Gp::kRcx, Scale::k1), Gp::kRax);
    a.add(Gp::kRcx, kWordBytes);
    a.alu(Alu::kCmp, Gp::kRcx, kBytes);
    a.jcc(Condition::kNotEqual, next);
}

struct BadCandidate {
    std::string_view name;
    void (*write)(Assembler &a);
    TryVerdict verdict;
};
constexpr BadCandidate kCandidates[] = {
    {"wrong",
     [](Assembler &a) {
         triple(a);
         a.mov(mem(Gp::kRsi, kBytes - kWordBytes), Gp::kRcx);
         a.ret();
     },
     TryVerdict::kDiffered},
    {"nothing done", [](Assembler &a) { a.ret(); }, TryVerdict::kDiffered},
    {"reads behind",
     [](Assembler &a) {
         triple(a);
         a.mov(Gp::kRax, mem(Gp::kRdi, kBytes));
         a.ret();
     },
     TryVerdict::kFaulted},
    {"reads before",
     [](Assembler &a) {
         triple(a);
         a.mov(Gp::kRax, mem(Gp::kRdi, -kWordBytes));
         a.ret();
     },
     TryVerdict::kFaulted},
    {"writes behind",
     [](Assembler &a) {
         triple(a);
         a.mov(mem(Gp::kRsi, kBytes), Gp::kRax);
         a.ret();
     },
     TryVerdict::kFaulted},
    {"null pointer",
     [](Assembler &a) {
         a.alu(Alu::kXor, Gp::kRax, Gp::kRax);
         a.mov(Gp::kRax, mem(Gp::kRax));
         a.ret();
     },
     TryVerdict::kFaulted},
    // The code buffer puts int3 after every kernel.
    {"runs off its end", [](Assembler &a) { triple(a); }, TryVerdict::kFaulted},
    {"writes its caller's code",
     [](Assembler &a) {
         a.mov(Gp::kRax, mem(Gp::kRsp));
         a.mov(mem(Gp::kRax), Gp::kRax);
         a.ret();
     },
     TryVerdict::kFaulted},
    {"keeps no register",
     [](Assembler &a) {
         triple(a);
         for (const Gp reg : {Gp::kRbx, Gp::kRbp, Gp::kR12, Gp::kR13, Gp::kR14, Gp::kR15}) {
             a.alu(Alu::kXor, reg, reg);
         }
         a.ret();
     },
     TryVerdict::kFaulted},
    {"loses its stack",
     [](Assembler &a) {
         a.alu(Alu::kXor, Gp::kRsp, Gp::kRsp);
         a.push(Gp::kRax);
         a.ret();
     },
     TryVerdict::kFaulted},
    {"never ends",
     [](Assembler &a) {
         const Label here = a.new_label();
         a.bind(here);
         a.jmp(here);
     },
     TryVerdict::kOverran},
    {"never ends, no stack",
     [](Assembler &a) {
         const Label here = a.new_label();
         a.alu(Alu::kXor, Gp::kRsp, Gp::kRsp);
         a.bind(here);
         a.jmp(here);
     },
     TryVerdict::kOverran},
    // After all these, a good candidate must still win.
    {"right",
     [](Assembler &a) {
         triple(a);
         a.ret();
     },
     TryVerdict::kWon},
};
constexpr size_t kCount = std::size(kCandidates);
constexpr size_t kCodeRoom = 256;
constexpr size_t kCodePages = kCount + 1;

class Target final : public OptimizationTarget {
  public:
    [[nodiscard]] Status create() {
        BF_TRY(code_.create(kCodePages));
        BF_ASSIGN(in_, GuardedPages::create(kBytes));
        BF_ASSIGN(out_, GuardedPages::create(kBytes));
        for (size_t i = 0; i < kCount; ++i) {
            BF_ASSIGN(const auto region, code_.open(kCandidates[i].name, kCodeRoom));
            Assembler a(code_.room(region));
            kCandidates[i].write(a);
            BF_ASSIGN(const size_t bytes, a.finish());
            const void *const start = code_.seal(region, bytes);
            kernels_[i] = reinterpret_cast<Kernel>(reinterpret_cast<uintptr_t>(start));
        }
        for (uint32_t i = 0; i < kWords; ++i) {
            in()[i] = (i + 1) * 0x9e3779b97f4a7c15;
        }
        return {};
    }

    const char *name() const override { return "selftest"; }
    uint32_t candidate_count(int level) const override { return level == 1 ? kCount : 0; }
    std::string_view candidate_name(int /*level*/, uint32_t index) const override {
        return kCandidates[index].name;
    }
    Prepared prepare(int /*level*/, uint32_t index) override {
        candidate_ = kernels_[index];
        return Prepared::kReady;
    }
    Check check_some() override {
        std::fill_n(out(), kWords, 0);
        run_candidate();
        for (uint32_t i = 0; i < kWords; ++i) {
            if (out()[i] != 3 * in()[i]) {
                return Check::kDiffers;
            }
        }
        return Check::kEqual;
    }
    void run_candidate() override { candidate_(in(), out()); }
    void run_current() override { current_(in(), out()); }
    void run_reference() override { reference(in(), out()); }
    uint64_t code_bytes() const override { return 0; }
    void install() override { current_ = candidate_; }
    void drop() override {}
    int start(JitMode /*mode*/) override {
        current_ = reference;
        return 0;
    }

    void call(size_t index) { kernels_[index](in(), out()); }

  private:
    // Exactly one page: the page after it is not mapped.
    static_assert(kBytes == platform::kPageBytes);
    uint64_t *in() { return reinterpret_cast<uint64_t *>(in_.data()); }
    uint64_t *out() { return reinterpret_cast<uint64_t *>(out_.data()); }

    jit::CodeBuffer code_;
    GuardedPages in_;
    GuardedPages out_;
    std::array<Kernel, kCount> kernels_{};
    Kernel candidate_ = nullptr;
    Kernel current_ = reference;
};

// Calls each candidate once, on the first processor other than the boot processor that takes part.
struct Elsewhere {
    Target &target;
    std::atomic<uint32_t> processor = 0;
    std::atomic<bool> done = false;
    uint64_t like_ticks = 0;  // time that the reference takes
    std::array<GuardedOutcome, kCount> outcomes{};
};

void try_elsewhere(void *context, uint32_t /*begin*/, uint32_t /*end*/) {
    auto &work = *static_cast<Elsewhere *>(context);
    constexpr uint64_t kPatienceMs = 20'000;
    const uint64_t patience = ms_to_ticks(kPatienceMs);
    const uint32_t self = platform::processor_index();
    uint32_t nobody = 0;
    if (self == 0 || !work.processor.compare_exchange_strong(nobody, self)) {
        const uint64_t since = platform::ticks();
        while (!work.done.load() && platform::ticks() - since < patience) {
            worker_pause();
        }
        return;
    }
    for (size_t i = 0; i < kCount; ++i) {
        struct Call {
            Target *target;
            size_t index;
        } call{&work.target, i};
        work.outcomes[i] = guarded_call_like(
            [](void *c) {
                const Call &what = *static_cast<Call *>(c);
                what.target->call(what.index);
            },
            &call, work.like_ticks);
    }
    work.done.store(true);
}

GuardedOutcome outcome_of(TryVerdict verdict) {
    return verdict == TryVerdict::kFaulted   ? GuardedOutcome::kFaulted
           : verdict == TryVerdict::kOverran ? GuardedOutcome::kOverran
                                             : GuardedOutcome::kReturned;
}

bool all_elsewhere(WorkerPool &pool, Target &target) {
    Elsewhere work{target};
    const uint64_t before = platform::ticks();
    target.run_reference();
    work.like_ticks = platform::ticks() - before;
    pool.run(try_elsewhere, &work, 2, 1);
    if (!work.done.load()) {
        log_line("selftest: no other processor took part");
        return false;
    }
    bool good = true;
    for (size_t i = 0; i < kCount; ++i) {
        log_line("selftest: processor ", work.processor.load(), ": '", kCandidates[i].name, "' ",
                 outcome_name(work.outcomes[i]));
        good = good && work.outcomes[i] == outcome_of(kCandidates[i].verdict);
    }
    return good;
}

// Guarded calls whose deadline has passed before they begin: the alarm goes off on the way in.
bool call_when_late() {
    constexpr int kCalls = 1000;
    int other = 0;
    for (int i = 0; i < kCalls; ++i) {
        const auto outcome = guarded_call([](void *) {}, nullptr, platform::ticks());
        other += outcome == GuardedOutcome::kFaulted;
    }
    log_line("selftest: ", kCalls, " calls with no time left, ", other, " of them faulted");
    return other == 0;
}

Profiler &own_profiler() {
    static constinit Profiler profile;
    return profile;
}

}  // namespace

bool try_bad_candidates(WorkerPool &pool) {
    const bool late_is_fine = call_when_late();
    Target target;
    if (const Status made = target.create(); !made) {
        log_line("selftest: ", made.message());
        return false;
    }
    std::array<OptimizationTry, kCount> log;
    Optimizer optimizer(own_profiler, platform::ticks, log);
    const FunctionId id = own_profiler().key(target.name());
    for (uint64_t i = 0; i < own_profiler().thresholds().warm; ++i) {
        own_profiler().begin(id, 0);
        own_profiler().end(id, 1);
    }
    bool good = optimizer.add(target).ok();
    while (optimizer.has_work()) {
        (void)optimizer.work(platform::ticks() + ms_to_ticks(10));
    }
    good = good && late_is_fine && optimizer.try_count() == kCount;
    for (size_t i = 0; i < optimizer.try_count(); ++i) {
        const OptimizationTry &tried = optimizer.try_at(i);
        log_line("selftest: '", tried.variant(), "' ", verdict_name(tried.verdict));
        good = good && tried.verdict == kCandidates[i].verdict;
    }
    if (pool.size() > 1) {
        good = all_elsewhere(pool, target) && good;
    }
    optimizer.remove_all();
    log_line("selftest: ", kCount, " candidates, ",
             good ? "all ended as they should" : "not all ended as they should");
    return good;
}

void crash_in_generated_code() {
    static constinit Permanent<jit::CodeBuffer> storage;
    jit::CodeBuffer &code = storage.emplace();
    if (!code.create(1)) {
        return;
    }
    const auto region = code.open("selftest_gemv 64x32 r4", kCodeRoom);
    if (!region) {
        return;
    }
    Assembler a(code.room(*region));
    a.push(Gp::kRbp);
    a.mov(Gp::kRbp, Gp::kRsp);
    a.alu(Alu::kXor, Gp::kRax, Gp::kRax);
    a.mov(Gp::kRax, mem(Gp::kRax));  // at offset 7
    a.pop(Gp::kRbp);
    a.ret();
    const auto bytes = a.finish();
    if (bytes) {
        const void *const start = code.seal(*region, *bytes);
        reinterpret_cast<void (*)()>(reinterpret_cast<uintptr_t>(start))();
    }
}

}  // namespace bareflow
