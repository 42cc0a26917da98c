; MBR: loads stage2 by EDD (INT 13h AH=42h) and jumps to it.
;
; In:  real mode, loaded by the BIOS at 0:7C00, DL = boot drive.
; Out: 0:LOW_STAGE2 with DL = boot drive, DS=ES=SS=0, SP = LOW_STAGE1, interrupts on;
;      BootInfo.tsc_at_entry holds the time-stamp counter (0: processor without one).
; A failure ends in one sentence on screen and serial line, then halt.
; tools/make_image.py fills the partition table at 446.
bits 16
org 0x7C00
%include "boot/boot_info.inc"
%include "boot/long_mode.inc"

READ_TRIES equ 4

start:
    cli
    jmp 0:.segments
.segments:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, LOW_STAGE1
    sti
    cld
    mov [drive], dl

    ; RDTSC only where CPUID says so (a 486 has neither).
    mov dword [LOW_BOOT_INFO + BI_TSC_AT_ENTRY], 0
    mov dword [LOW_BOOT_INFO + BI_TSC_AT_ENTRY + 4], 0
    without_cpuid .no_tsc
    mov eax, 1
    cpuid
    test dl, 1 << 4
    jz .no_tsc
    rdtsc
    mov [LOW_BOOT_INFO + BI_TSC_AT_ENTRY], eax
    mov [LOW_BOOT_INFO + BI_TSC_AT_ENTRY + 4], edx
.no_tsc:

    ; 115200 baud, 8N1, FIFO on.
    mov si, uart_setup
    mov cx, (uart_setup.end - uart_setup) / 2
.uart:
    lodsw
    mov dx, COM1
    add dl, al
    mov al, ah
    out dx, al
    loop .uart

    mov ah, 0x41
    mov bx, 0x55AA
    mov dl, [drive]
    int 0x13
    jc .no_edd
    cmp bx, 0xAA55
    jne .no_edd
    test cl, 1
    jz .no_edd

    mov bp, READ_TRIES
.read:
    mov ah, 0x42
    mov dl, [drive]
    mov si, packet
    int 0x13
    jnc .loaded
    xor ah, ah
    mov dl, [drive]
    int 0x13
    mov byte [packet + 2], IMAGE_STAGE2_SECTORS
    dec bp
    jnz .read
    mov si, text_read
    mov bl, EXIT_DISK_READ
    jmp fail
.loaded:
    mov dl, [drive]
    jmp 0:LOW_STAGE2
.no_edd:
    mov si, text_edd
    mov bl, EXIT_NO_EDD

%include "boot/bios/bios_fail.inc"

; Register offset, value.
uart_setup:
    db 1, 0x00, 3, 0x80, 0, 1, 1, 0, 3, 0x03, 2, 0xC7, 4, 0x0B
.end:
text_read: db "BareFlow: the disk could not be read.", 13, 10, 0
text_edd:  db "BareFlow: this BIOS cannot read a disk by sector number (no EDD).", 13, 10, 0

drive: db 0
align 4
packet:                                 ; EDD 3.0 disk address packet
    db 16, 0
    dw IMAGE_STAGE2_SECTORS
    dw LOW_STAGE2, 0
    dq IMAGE_STAGE2_LBA

    times 446 - ($ - $$) db 0
    times 64 db 0                       ; partition table
    dw 0xAA55
