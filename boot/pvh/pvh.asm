; The ELF's two entries: PVH (`qemu-system-x86_64 -kernel bareflow.elf`, 32-bit protected mode) and
; the 64-bit one, which both ways of booting end in. Assembled into the kernel.
%include "boot/boot_info.inc"
%include "boot/long_mode.inc"

COM1           equ 0x3F8
VGA_TEXT       equ 0xB8000
SEL_CODE64     equ 0x08
; Xen public/arch-x86/hvm/start_info.h
START_MAGIC    equ 0x336EC578
SI_MAGIC       equ 0
SI_VERSION     equ 4
SI_MODULES     equ 12
SI_MODULE_LIST equ 16
SI_CMDLINE     equ 24
SI_RSDP        equ 32
SI_MEMMAP      equ 40
SI_MEMMAP_LEN  equ 48
MODULE_ADDRESS equ 0
MODULE_BYTES   equ 8

extern bareflow_start
extern boot_stack_top
extern __stack_chk_guard
global pvh_entry
global boot_entry64

; Xen public/elfnote.h: XEN_ELFNOTE_PHYS32_ENTRY.
section .note.pvh note alloc noexec nowrite align=4
    dd 4, 4, 18
    db "Xen", 0
    dd pvh_entry

; In:  32-bit protected mode, flat segments, paging off, interrupts off, EBX = hvm_start_info.
; Out: boot_entry64 with RDI = BootInfo.
section .text.boot progbits alloc exec nowrite align=16
bits 32
pvh_entry:
    cld
    mov esp, boot_stack_top
    mov ebp, ebx

    without_long_mode .no_long_mode

    rdtsc
    mov [pvh_boot_info + BI_TSC_AT_ENTRY], eax
    mov [pvh_boot_info + BI_TSC_AT_ENTRY + 4], edx
    mov dword [pvh_boot_info + BI_MAGIC], BOOT_INFO_MAGIC
    mov dword [pvh_boot_info + BI_SOURCE], BOOT_SOURCE_PVH

    cmp dword [ebp + SI_MAGIC], START_MAGIC
    jne .no_memory_map
    mov eax, [ebp + SI_CMDLINE]
    mov [pvh_boot_info + BI_COMMAND_LINE], eax
    mov eax, [ebp + SI_CMDLINE + 4]
    mov [pvh_boot_info + BI_COMMAND_LINE + 4], eax
    mov eax, [ebp + SI_RSDP]
    mov [pvh_boot_info + BI_ACPI_RSDP], eax
    mov eax, [ebp + SI_RSDP + 4]
    mov [pvh_boot_info + BI_ACPI_RSDP + 4], eax

    cmp dword [ebp + SI_MODULES], 0
    je .no_module
    mov esi, [ebp + SI_MODULE_LIST]
    mov eax, [esi + MODULE_ADDRESS]
    mov [pvh_boot_info + BI_INITRD], eax
    mov eax, [esi + MODULE_ADDRESS + 4]
    mov [pvh_boot_info + BI_INITRD + 4], eax
    mov eax, [esi + MODULE_BYTES]
    mov [pvh_boot_info + BI_INITRD_LEN], eax
    mov eax, [esi + MODULE_BYTES + 4]
    mov [pvh_boot_info + BI_INITRD_LEN + 4], eax
.no_module:

    ; The memory map has the layout of BootInfo's: base, length, type, reserved.
    cmp dword [ebp + SI_VERSION], 1
    jb .no_memory_map
    mov ecx, [ebp + SI_MEMMAP_LEN]
    test ecx, ecx
    jz .no_memory_map
    cmp ecx, BOOT_INFO_MAX_RANGES
    jbe .fits
    mov ecx, BOOT_INFO_MAX_RANGES
.fits:
    mov [pvh_boot_info + BI_RANGE_COUNT], ecx
    imul ecx, ecx, BI_RANGE_BYTES / 4
    mov esi, [ebp + SI_MEMMAP]
    mov edi, pvh_boot_info + BI_RANGES
    rep movsd

    map_low_memory pvh_page_tables      ; .bss: the loader has zeroed it
    mov eax, cr0
    or eax, (1 << 31) | 1
    mov cr0, eax
    lgdt [gdt_pointer]
    jmp SEL_CODE64:.long
bits 64
.long:
    mov edi, pvh_boot_info
    jmp boot_entry64
bits 32

.no_long_mode:
    mov esi, text_long_mode
    mov bl, EXIT_NO_LONG_MODE
    jmp fail32
.no_memory_map:
    mov esi, text_memory_map
    mov bl, EXIT_NO_MEMORY_MAP

; ESI = text, BL = exit code. Serial line and top of the screen. Never returns.
fail32:
    mov edi, uart_setup
    mov ecx, (uart_setup.end - uart_setup) / 2
.uart:
    mov edx, COM1
    add dl, [edi]
    mov al, [edi + 1]
    out dx, al
    add edi, 2
    dec ecx
    jnz .uart
    mov edi, VGA_TEXT
    mov ah, 0x4F                        ; white on red
.next:
    lodsb
    test al, al
    jz .stop
    cmp al, ' '
    jb .serial
    stosw
.serial:
    push eax
    mov edx, COM1 + 5
    mov ecx, 0xFFFF
.wait:
    in al, dx
    test al, 0x20
    loopz .wait
    pop eax
    mov edx, COM1
    out dx, al
    jmp .next
.stop:
    mov al, bl
    out DEBUG_EXIT_PORT, al
.halt:
    cli
    hlt
    jmp .halt

; In:  long mode, memory below 4 GiB mapped one to one and writable, RDI = BootInfo, interrupts off.
; Out: bareflow_start(BootInfo *) on the boot stack, SSE on, write protection on. Never returns.
bits 64
boot_entry64:
    rdtsc
    mov [rdi + BI_TSC_AT_KERNEL], eax
    mov [rdi + BI_TSC_AT_KERNEL + 4], edx
    mov rcx, cr0
    and rcx, ~((1 << 2) | (1 << 3))     ; EM, TS off
    or rcx, (1 << 1) | (1 << 5) | (1 << 16) ; MP, NE, WP
    mov cr0, rcx
    mov rcx, cr4
    or rcx, (1 << 9) | (1 << 10)        ; OSFXSR, OSXMMEXCPT
    mov cr4, rcx
    fninit
    push 0x1F80                         ; all SSE exceptions masked, round to nearest
    ldmxcsr [rsp]
    mov rsp, boot_stack_top
    xor ebp, ebp                        ; end of every backtrace
    ; A first stack canary from the counter; a better one follows once there is entropy.
    shl rdx, 32
    or rax, rdx
    mov rcx, 0x9E3779B97F4A7C15
    imul rax, rcx
    xor al, al                          ; a zero byte stops string overruns
    mov [__stack_chk_guard], rax
    call bareflow_start
.halt:
    cli
    hlt
    jmp .halt

section .rodata.boot progbits alloc noexec nowrite align=8
gdt:
    dq 0
    dq 0x00AF9A000000FFFF               ; 64-bit code
gdt_pointer:
    dw gdt_pointer - gdt - 1
    dd gdt
; Register offset, value: 115200 baud, 8N1, FIFO on.
uart_setup:
    db 1, 0x00, 3, 0x80, 0, 1, 1, 0, 3, 0x03, 2, 0xC7, 4, 0x0B
.end:
text_long_mode:  db "BareFlow: this processor has no 64-bit mode; an x86-64 processor is needed.", 13, 10, 0
text_memory_map: db "BareFlow: whoever started this program gave no memory map.", 13, 10, 0

section .bss.boot nobits alloc noexec write align=4096
pvh_page_tables: resb 6 * 4096
pvh_boot_info:   resb BOOT_INFO_BYTES
