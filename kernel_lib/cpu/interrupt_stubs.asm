; Entry points of all interrupt vectors. Each builds an InterruptFrame (cpu/exception_frame.h) and
; calls interrupt_dispatch(InterruptFrame *). Long mode; the kernel never leaves ring 0.
;
; All general registers are in the frame, where a handler may change them. XMM0-15 are saved beside
; it: handlers are ordinary code and may use SSE, whose instructions leave the upper halves of the
; wider registers alone (nothing in the kernel is compiled for AVX).
bits 64

VECTORS equ 64

extern interrupt_dispatch
global interrupt_stubs

section .text.interrupts progbits alloc exec nowrite align=16

; Eight bytes each (kStubBytes in interrupts_metal.cpp).
interrupt_stubs:
%assign vector 0
%rep VECTORS
    push qword vector
    ; The processor pushes an error code for 8, 10-14, 17, 21, 29, 30 (SDM 3, 6.13).
    %if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
    jmp near common_entry
    %else
    jmp near no_error_code
    %endif
    align 8
    %assign vector vector + 1
%endrep

no_error_code:
    push qword [rsp]                    ; the vector once more; where it was, the error code belongs
    mov qword [rsp + 8], 0
common_entry:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    mov rdi, rsp
    mov rbp, rsp                        ; callee-saved: finds the frame again
    sub rsp, 16 * 16
    and rsp, -16
    %assign i 0
    %rep 16
    movups [rsp + i * 16], xmm%[i]
    %assign i i + 1
    %endrep
    cld
    call interrupt_dispatch
    %assign i 0
    %rep 16
    movups xmm%[i], [rsp + i * 16]
    %assign i i + 1
    %endrep
    mov rsp, rbp
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16                         ; vector, error code
    iretq
