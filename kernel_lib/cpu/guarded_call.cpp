// The part of guarded calls that both builds share: how long a function may take, and the code that
// enters it and comes back. That code is in assembly, because it must control every register.
#include "kernel_lib/cpu/guarded_call.h"

#include <algorithm>
#include <cstddef>

#include "kernel_lib/platform/platform.h"

namespace bareflow {

static_assert(offsetof(GuardedReturn, stack) == 0 && offsetof(GuardedReturn, frame) == 8 &&
              offsetof(GuardedReturn, mxcsr) == 16 && offsetof(GuardedReturn, scratch) == 20);

std::string_view outcome_name(GuardedOutcome outcome) {
    return outcome == GuardedOutcome::kReturned  ? "returned"
           : outcome == GuardedOutcome::kFaulted ? "faulted"
                                                 : "overran";
}

uint64_t guard_patience_ticks(uint64_t like_ticks, uint64_t ticks_per_second) {
    constexpr uint64_t kTimes = 20;
    constexpr uint64_t kLeastPerSecond = 100;
    return std::clamp(std::min(like_ticks, ticks_per_second) * kTimes,
                      ticks_per_second / kLeastPerSecond, ticks_per_second);
}

GuardedOutcome guarded_call_like(GuardedFunction function, void *context, uint64_t like_ticks) {
    constexpr uint64_t kTimesAgain = 4;
    const uint64_t per_second = platform::ticks_per_second();
    const uint64_t patience = guard_patience_ticks(like_ticks, per_second);
    const GuardedOutcome outcome = guarded_call(function, context, platform::ticks() + patience);
    if (outcome != GuardedOutcome::kOverran || patience == per_second) {
        return outcome;
    }
    return guarded_call(function, context,
                        platform::ticks() + std::min(kTimesAgain * patience, per_second));
}

}  // namespace bareflow

// The function runs with `back` in every preserved register but rbp. Afterwards these registers,
// rsp, rbp, the direction flag and MXCSR are compared; of MXCSR, the flags in bits 0 to 5 may
// differ. If anything else differs, ud2 raises a fault, which ends the call like any other fault of
// the function. back->stack is written last and cleared first, because the interrupt of a deadline
// may come at any instruction.
asm(R"(
    .pushsection .text.bareflow_guarded_enter, "ax", @progbits
    .globl bareflow_guarded_enter
    .type bareflow_guarded_enter, @function
    .globl bareflow_guarded_resume
bareflow_guarded_enter:
    pushq %rbp
    movq %rsp, %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $8, %rsp
    movq %rbp, 8(%rdi)
    stmxcsr 16(%rdi)
    movq %rsp, (%rdi)
    movq %rdi, %rbx
    movq %rdi, %r12
    movq %rdi, %r13
    movq %rdi, %r14
    movq %rdi, %r15
    movq %rsi, %rax
    movq %rdx, %rdi
    cld
    callq *%rax
    cmpq %r12, %rbx
    jne 1f
    cmpq %r13, %rbx
    jne 1f
    cmpq %r14, %rbx
    jne 1f
    cmpq %r15, %rbx
    jne 1f
    cmpq (%rbx), %rsp
    jne 1f
    cmpq 8(%rbx), %rbp
    jne 1f
    pushfq
    popq %rax
    testl $0x400, %eax
    jne 1f
    stmxcsr 20(%rbx)
    movl 20(%rbx), %eax
    xorl 16(%rbx), %eax
    testl $0xffffffc0, %eax
    jne 1f
    movq %rbx, %rdi
    xorl %esi, %esi
    movq $0, (%rbx)
bareflow_guarded_resume:
    cld
    ldmxcsr 16(%rdi)
    movl %esi, %eax
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    retq
1:  ud2
    .size bareflow_guarded_enter, . - bareflow_guarded_enter
    .popsection
)");
