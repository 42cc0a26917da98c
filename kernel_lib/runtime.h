/* BareFlow runtime library (kernel_lib.a): the public C interface to the machine.
 *
 * Usable from C and C++. No function here allocates unless it says so, and none may be called from
 * an interrupt handler unless it says so. One thread of control (the boot processor) calls them.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- Screen: 80x25 text at 0xB8000 --- */

/* Clears the screen, homes the cursor, sets light grey on black. Call once before vga_puts. */
void vga_init(void);
/* Writes text at the cursor and scrolls. Understands \n \r \t \b; other control bytes are dropped.
 * Bytes over 0x7e print as '?'. */
void vga_puts(const char *text);
/* Foreground and background, 0-15 and 0-7, for the text that follows. */
void vga_set_color(uint8_t foreground, uint8_t background);

/* --- Serial line: 16550 at COM1, 115200 baud, 8N1 --- */

/* Sets the line up. Returns 0, or -1 when there is no UART (loop-back test failed). */
int serial_init(void);
/* Writes text, "\n" as "\r\n"; waits for room with a deadline, so that a dead line costs little. */
void serial_puts(const char *text);
/* Next received byte, or -1 when there is none. */
int serial_getchar(void);

/* --- Keyboard: PS/2, scancode set 1 --- */

enum {
    KEY_UP = 0x100,
    KEY_DOWN,
    KEY_LEFT,
    KEY_RIGHT,
    KEY_HOME,
    KEY_END,
    KEY_DELETE,
};
/* Next key as a character (enter '\n', backspace '\b', escape 27, ctrl-letter 1-26) or one of
 * KEY_*; -1 when there is none. Never waits. */
int keyboard_getchar(void);

/* --- Memory --- */

/* 16-byte aligned. NULL when there is no room or bytes is 0. */
void *malloc(size_t bytes);
void *calloc(size_t count, size_t bytes);
void *realloc(void *memory, size_t bytes);
/* alignment: a power of two, at most 4096. */
void *aligned_alloc(size_t alignment, size_t bytes);
/* NULL is ignored. A pointer that is no live allocation, or whose end was overrun, is a panic in
 * the checked build. */
void free(void *memory);

void *memcpy(void *restrict_to, const void *restrict_from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
size_t strlen(const char *text);

/* --- Processor --- */

/* The time-stamp counter, ordered after all earlier loads (LFENCE; RDTSC). Any context. */
uint64_t cpu_rdtsc(void);
/* CPUID leaf/subleaf; registers[0..3] = EAX, EBX, ECX, EDX. Any context. */
void cpu_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4]);

#ifdef __cplusplus
}
#endif
