; Where a processor begins that was started by INIT and SIPI: copied to a page below 1 MiB, whose
; address is CS * 16 there. platform/metal/processors.cpp fills in the parameters, one processor
; after the other.
;
; In:  real mode, CS = page / 16, interrupts off. The page is mapped one to one and executable in
;      the page tables of CR3.
; Out: long mode, `p_entry` (argument RDI) on `p_stack`, flat segments of the table below, control
;      registers as given. Or, when the processor lacks what is needed: `p_refused` = 1, halted.
; Clobbers everything.

MSR_EFER   equ 0xC0000080
CPUID_EXT  equ 0x80000001
SEL_CODE64 equ 0x08
SEL_DATA   equ 0x10

global processor_start_begin
global processor_start_end

%define at(label) (label - processor_start_begin)

section .rodata.processor_start progbits alloc noexec nowrite align=16
bits 16
processor_start_begin:
    jmp short start
    align 8, db 0
; ProcessorStart of processors.cpp.
p_cr3:      dq 0
p_entry:    dq 0
p_argument: dq 0
p_stack:    dq 0
p_page:     dd 0                          ; where this copy lies
p_cr0:      dd 0
p_cr4:      dd 0                          ; PAE and no more: the rest follows once faults can be told
p_efer:     dd 0
p_needed:   dd 0                          ; of CPUID 80000001h EDX
p_refused:  dd 0

start:
    cli
    cld
    mov ax, cs
    mov ds, ax
    mov eax, 0x80000000
    cpuid
    cmp eax, CPUID_EXT
    jb .refuse
    mov eax, CPUID_EXT
    cpuid
    and edx, [at(p_needed)]
    cmp edx, [at(p_needed)]
    jne .refuse
    mov ebp, [at(p_page)]
    lea eax, [ebp + at(gdt)]
    mov [at(gdt_pointer) + 2], eax
    o32 lgdt [at(gdt_pointer)]
    lea eax, [ebp + at(in_long_mode)]
    mov [at(far_target)], eax
    mov eax, [at(p_cr4)]
    mov cr4, eax
    mov eax, [at(p_cr3)]
    mov cr3, eax
    mov ecx, MSR_EFER
    mov eax, [at(p_efer)]
    xor edx, edx
    wrmsr
    mov eax, [at(p_cr0)]
    mov cr0, eax                        ; protection and paging at once: long mode
    jmp far dword [at(far_target)]
.refuse:
    mov dword [at(p_refused)], 1
.halt:
    hlt
    jmp .halt

bits 64
in_long_mode:
    mov eax, SEL_DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov ebp, ebp
    mov rsp, [rbp + at(p_stack)]
    mov rdi, [rbp + at(p_argument)]
    mov rax, [rbp + at(p_entry)]
    xor ebp, ebp                        ; end of every backtrace
    push rbp                            ; in the place of a return address
    jmp rax

align 8, db 0
gdt:
    dq 0
    dq 0x00AF9B000000FFFF               ; 64-bit code, accessed: this page is read-only then
    dq 0x00CF93000000FFFF               ; data, accessed
gdt_pointer:
    dw gdt_pointer - gdt - 1
    dd 0
far_target:
    dd 0
    dw SEL_CODE64
processor_start_end:
