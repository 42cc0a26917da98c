; Stage 2 of the disk boot: from real mode to the 64-bit entry of the kernel.
;
; In:  0:LOW_STAGE2, DL = boot drive, DS=ES=SS=0, BootInfo.tsc_at_entry filled (stage1.asm).
; Out: the kernel's entry in long mode, first 4 GiB mapped one to one, RDI = BootInfo,
;      interrupts off.
; Every failure is one sentence on screen and serial line, an isa-debug-exit code, then halt.
bits 16
org 0x8000
%include "boot/boot_info.inc"
%include "boot/long_mode.inc"

READ_TRIES    equ 4
; A call reads at most 127 sectors. That is the limit of some BIOSes, and it stays inside one 64 KiB
; segment.
CHUNK_SECTORS equ 127
SEL_CODE32    equ 0x08
SEL_DATA32    equ 0x10
SEL_CODE16    equ 0x18
SEL_DATA16    equ 0x20
SEL_CODE64    equ 0x28

; From real mode to 32 bits with flat segments (SS as it was), interrupts off. Clobbers EAX.
%macro enter_protected_mode 0
    cli
    lgdt [gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp SEL_CODE32:%%protected
bits 32
%%protected:
    mov ax, SEL_DATA32
    mov ds, ax
    mov es, ax
%endmacro

start:
    mov [drive], dl
    call check_processor
    call clear_boot_info
    call read_memory_map
    call enable_a20
    call read_header
    call check_memory
    call load_kernel
    jmp enter_long_mode

; Fails if the processor has no long mode. Clobbers EAX EBX ECX EDX.
check_processor:
    without_long_mode .none
    ret
.none:
    mov si, text_long_mode
    mov bl, EXIT_NO_LONG_MODE
    jmp fail

; Zeroes BootInfo except tsc_at_entry, and fills in what is known now. Clobbers EAX ECX DI.
clear_boot_info:
    mov di, LOW_BOOT_INFO + BI_TSC_AT_KERNEL
    mov cx, (BOOT_INFO_BYTES - BI_TSC_AT_KERNEL) / 4
    xor eax, eax
    rep stosd
    mov dword [LOW_BOOT_INFO + BI_MAGIC], BOOT_INFO_MAGIC
    mov dword [LOW_BOOT_INFO + BI_SOURCE], BOOT_SOURCE_BIOS_DISK
    mov al, [drive]
    mov [LOW_BOOT_INFO + BI_BIOS_DRIVE], al
    ret

; INT 15h E820h into BootInfo (ACPI 6.4, 15.1). Clobbers all.
read_memory_map:
    xor ebx, ebx
    mov di, LOW_BOOT_INFO + BI_RANGES
.next:
    mov dword [di + BI_RANGE_RESERVED], 1
    mov eax, 0xE820
    mov edx, 0x534D4150                 ; "SMAP"
    mov ecx, BI_RANGE_BYTES
    int 0x15
    jc .done
    cmp eax, 0x534D4150
    jne .done
    cmp ecx, 24
    jb .keep                            ; no extended attributes
    test byte [di + BI_RANGE_RESERVED], 1
    jz .skip                            ; "ignore this entry"
.keep:
    mov eax, [di + BI_RANGE_LEN]
    or eax, [di + BI_RANGE_LEN + 4]
    jz .skip
    mov dword [di + BI_RANGE_RESERVED], 0
    add di, BI_RANGE_BYTES
    inc dword [LOW_BOOT_INFO + BI_RANGE_COUNT]
    cmp dword [LOW_BOOT_INFO + BI_RANGE_COUNT], BOOT_INFO_MAX_RANGES - 1
    jae .done
.skip:
    test ebx, ebx
    jnz .next
.done:
    cmp dword [LOW_BOOT_INFO + BI_RANGE_COUNT], 0
    je .none
    mov dword [di + BI_RANGE_RESERVED], 0
    ret
.none:
    mov si, text_memory_map
    mov bl, EXIT_NO_MEMORY_MAP
    jmp fail

; A20 by BIOS, port 92h, then the keyboard controller. Clobbers AX BX CX DX DI SI.
enable_a20:
    call a20_open
    jnz .done
    mov ax, 0x2401
    int 0x15
    call a20_open
    jnz .done
    in al, 0x92
    or al, 2
    and al, 0xFE                        ; bit 0 would reset
    out 0x92, al
    call a20_open
    jnz .done
    call .wait_8042
    mov al, 0xD1
    out 0x64, al
    call .wait_8042
    mov al, 0xDF
    out 0x60, al
    call .wait_8042
    mov cx, 0xFFFF
.settle:
    push cx
    call a20_open
    pop cx
    jnz .done
    loop .settle
    mov si, text_a20
    mov bl, EXIT_NO_A20
    jmp fail
.done:
    ret
.wait_8042:
    mov cx, 0xFFFF
.busy:
    in al, 0x64
    test al, 2
    loopnz .busy
    ret

; ZF clear when FFFF:0510 and 0:0500 are different bytes. Clobbers AX CX; restores the bytes.
a20_open:
    push es
    mov ax, 0xFFFF
    mov es, ax
    mov al, [0x500]
    mov ah, [es:0x510]
    push ax
    mov byte [0x500], 0x55
    mov byte [es:0x510], 0xAA
    cmp byte [0x500], 0x55
    sete cl
    pop ax
    mov [es:0x510], ah
    mov [0x500], al
    pop es
    test cl, cl
    ret

; Header and options sectors; the disk must hold the whole kernel. Clobbers all.
read_header:
    mov dword [packet.lba], IMAGE_HEADER_LBA
    mov word [packet.sectors], 2
    mov word [packet.offset], LOW_IMAGE_HEADER
    mov word [packet.segment], 0
    call read_sectors
    mov si, LOW_IMAGE_HEADER
    mov di, image_magic
    mov cx, 8
    repe cmpsb
    jne .bad
    mov eax, [LOW_IMAGE_HEADER + IH_OPTIONS_LEN]
    cmp eax, 511
    ja .bad
    mov bx, ax
    mov byte [LOW_OPTIONS + bx], 0
    mov dword [LOW_BOOT_INFO + BI_COMMAND_LINE], LOW_OPTIONS

    ; EDD "get drive parameters": a disk that ends inside the kernel is named, not read.
    mov ah, 0x48
    mov dl, [drive]
    mov si, LOW_SCRATCH
    mov word [si], 0x1A
    int 0x13
    jc .unknown
    cmp dword [LOW_SCRATCH + 0x14], 0
    jne .unknown                        ; over 2 TiB: surely long enough
    mov eax, [LOW_SCRATCH + 0x10]
    test eax, eax
    jz .unknown
    mov ecx, [LOW_IMAGE_HEADER + IH_KERNEL_LBA]
    add ecx, [LOW_IMAGE_HEADER + IH_KERNEL_SECTORS]
    cmp eax, ecx
    jb .short
.unknown:
    ret
.short:
    mov si, text_short
    mov bl, EXIT_DISK_TOO_SHORT
    jmp fail
.bad:
    mov si, text_image
    mov bl, EXIT_BAD_IMAGE
    jmp fail

; One usable range must hold the kernel with its zeroed data, and its packed form. Clobbers EAX EBX
; ECX EDX SI.
check_memory:
    mov ecx, [LOW_BOOT_INFO + BI_RANGE_COUNT]
    mov si, LOW_BOOT_INFO + BI_RANGES
.next:
    cmp dword [si + BI_RANGE_TYPE], 1
    jne .other
    cmp dword [si + BI_RANGE_BASE + 4], 0
    jne .other
    mov eax, [si + BI_RANGE_BASE]
    cmp eax, [LOW_IMAGE_HEADER + IH_KERNEL_ADDRESS]
    ja .other
    mov edx, [si + BI_RANGE_LEN + 4]
    add eax, [si + BI_RANGE_LEN]
    adc edx, 0
    jnz .enough                         ; ends above 4 GiB
    cmp eax, [LOW_IMAGE_HEADER + IH_MEMORY_END]
    jae .enough
.other:
    add si, BI_RANGE_BYTES
    dec ecx
    jnz .next
    mov si, text_memory
    mov bl, EXIT_TOO_LITTLE_MEMORY
    jmp fail
.enough:
    ret

; Reads the packed kernel in chunks below 1 MiB and copies each up. Clobbers all.
load_kernel:
    mov eax, [LOW_IMAGE_HEADER + IH_KERNEL_LBA]
    mov [packet.lba], eax
    mov eax, [LOW_IMAGE_HEADER + IH_KERNEL_SECTORS]
    mov [sectors_left], eax
    mov eax, [LOW_IMAGE_HEADER + IH_PACKED_ADDRESS]
    mov [copy_to], eax
.chunk:
    mov eax, [sectors_left]
    test eax, eax
    jz .loaded
    cmp eax, CHUNK_SECTORS
    jbe .last
    mov eax, CHUNK_SECTORS
.last:
    sub [sectors_left], eax
    mov [packet.sectors], ax
    mov word [packet.offset], 0
    mov word [packet.segment], LOW_BOUNCE >> 4
    push eax
    call read_sectors
    pop eax
    add [packet.lba], eax
    shl eax, 9 - 2
    mov [copy_dwords], eax
    call copy_up
    jmp .chunk
.loaded:
    mov eax, [kernel_sum]
    cmp eax, [LOW_IMAGE_HEADER + IH_KERNEL_SUM]
    jne read_header.bad
    ret

; packet -> memory, with retries. Clobbers AX BX CX DX SI BP.
read_sectors:
    mov ax, [packet.sectors]
    mov [sectors_wanted], ax
    mov bp, READ_TRIES
.try:
    mov ax, [sectors_wanted]            ; a failed call leaves the number it managed
    mov [packet.sectors], ax
    mov ah, 0x42
    mov dl, [drive]
    mov si, packet
    push bp
    int 0x13
    pop bp
    jnc .done
    xor ah, ah
    mov dl, [drive]
    push bp
    int 0x13
    pop bp
    dec bp
    jnz .try
    mov si, text_read
    mov bl, EXIT_DISK_READ
    jmp fail
.done:
    ret

; copy_dwords from LOW_BOUNCE to copy_to (advanced), summed into kernel_sum. Goes through protected
; mode each time: a BIOS call may have reset the segment limits. Clobbers EAX EBX ECX ESI EDI.
copy_up:
    enter_protected_mode
    mov esi, LOW_BOUNCE
    mov edi, [copy_to]
    mov ecx, [copy_dwords]
    mov ebx, [kernel_sum]
.dword:
    mov eax, [esi]
    mov [edi], eax
    add ebx, eax
    add esi, 4
    add edi, 4
    dec ecx
    jnz .dword
    mov [copy_to], edi
    mov [kernel_sum], ebx
    jmp SEL_CODE16:.leave
bits 16
.leave:
    mov ax, SEL_DATA16
    mov ds, ax
    mov es, ax
    mov eax, cr0
    and al, 0xFE
    mov cr0, eax
    jmp 0:.real
.real:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    sti
    ret

enter_long_mode:
    enter_protected_mode
    mov ss, ax
    mov esp, LOW_STAGE1

    cld
    xor eax, eax
    mov edi, LOW_PAGE_TABLES
    mov ecx, 6 * 4096 / 4
    rep stosd
    map_low_memory LOW_PAGE_TABLES
    mov eax, cr0
    or eax, 1 << 31
    mov cr0, eax
    jmp SEL_CODE64:.long
bits 64
.long:
    mov edi, [LOW_IMAGE_HEADER + IH_PACKED_ADDRESS]
    mov esi, [LOW_IMAGE_HEADER + IH_PACKED_BYTES]
    mov edx, [LOW_IMAGE_HEADER + IH_KERNEL_ADDRESS]
    mov ecx, [LOW_IMAGE_HEADER + IH_KERNEL_FILE_BYTES]
    mov r8d, LOW_BOUNCE
    mov esp, LOW_PAGE_TABLES            ; not near code: TCG runs code of written pages slowly
    call unpack_kernel
    test al, al
    jz .damaged

    ; Clear the kernel's zeroed data: parts of the packed kernel may lie there.
    mov edi, [LOW_IMAGE_HEADER + IH_KERNEL_ADDRESS]
    add edi, [LOW_IMAGE_HEADER + IH_KERNEL_FILE_BYTES]
    mov ecx, [LOW_IMAGE_HEADER + IH_KERNEL_END]
    sub ecx, edi
    shr ecx, 2                          ; both ends are multiples of 4 (make_image.py)
    xor eax, eax
    rep stosd

    mov edi, LOW_BOOT_INFO
    mov eax, [LOW_IMAGE_HEADER + IH_KERNEL_ENTRY]
    jmp rax

; Back to real mode, where the BIOS can print the failure (Intel SDM 3, 9.8.5.4 and 9.9.2).
.damaged:
    push SEL_CODE32
    push .compatible
    retfq
bits 32
.compatible:
    mov eax, cr0
    and eax, ~(1 << 31)
    mov cr0, eax
    mov ax, SEL_DATA16
    mov ss, ax
    mov word [LOW_STAGE1 - 2], read_header.bad
    mov esp, LOW_STAGE1 - 2             ; .leave returns there
    jmp SEL_CODE16:copy_up.leave

; boot/bios/unpack.cpp: position-independent, its entry first.
; In:  RDI = packed bytes, RSI = their length, RDX = unpacked bytes, RCX = their length, R8 = scratch.
; Out: AL = 1; 0: the packed bytes are damaged.
bits 64
align 16
unpack_kernel:
    incbin "unpack.bin"
bits 16

%include "boot/bios/bios_fail.inc"

image_magic:     db "BFIMAGE1"
text_long_mode:  db "BareFlow: this processor has no 64-bit mode; an x86-64 processor is needed.", 13, 10, 0
text_memory_map: db "BareFlow: this BIOS does not say how much memory there is (no E820).", 13, 10, 0
text_memory:     db "BareFlow: there is too little memory for the program; give the machine more.", 13, 10, 0
text_a20:        db "BareFlow: memory above 1 MiB cannot be reached (A20 stays closed).", 13, 10, 0
text_read:       db "BareFlow: the disk could not be read.", 13, 10, 0
text_short:      db "BareFlow: the disk is too short, the image on it was cut off.", 13, 10, 0
text_image:      db "BareFlow: the image on this disk is damaged.", 13, 10, 0

align 8
gdt:
    dq 0
    dq 0x00CF9A000000FFFF               ; 32-bit code
    dq 0x00CF92000000FFFF               ; 32-bit data
    dq 0x00009A000000FFFF               ; 16-bit code, for the way back
    dq 0x000092000000FFFF               ; 16-bit data
    dq 0x00AF9A000000FFFF               ; 64-bit code
gdt_pointer:
    dw gdt_pointer - gdt - 1
    dd gdt

align 4
packet:                                 ; EDD 3.0 disk address packet
    db 16, 0
.sectors: dw 0
.offset:  dw 0
.segment: dw 0
.lba:     dq 0
sectors_left:   dd 0
copy_to:        dd 0
copy_dwords:    dd 0
kernel_sum:     dd 0
sectors_wanted: dw 0
drive:          db 0

    times IMAGE_STAGE2_SECTORS * 512 - ($ - $$) db 0
