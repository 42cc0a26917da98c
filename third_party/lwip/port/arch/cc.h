/* What lwIP asks of its compiler and platform (arch.h). Functions: net/lwip_port.cpp. */
#pragma once

#define LWIP_NO_INTTYPES_H 1
#define X8_F "02x"
#define U16_F "u"
#define S16_F "d"
#define X16_F "x"
#define U32_F "u"
#define S32_F "d"
#define X32_F "x"
#define SZT_F "zu"
#define BYTE_ORDER LITTLE_ENDIAN
#include <sys/types.h> /* ssize_t: lwIP would make its own, which clashes */
#define SSIZE_MAX 0x7fffffffffffffffL
#define LWIP_NO_STDIO_H 1
#define LWIP_NO_CTYPE_H 1

#ifdef __cplusplus
extern "C" {
#endif
void bareflow_lwip_assert(void) __attribute__((noreturn));
unsigned int bareflow_lwip_random(void);
#ifdef __cplusplus
}
#endif

#define LWIP_PLATFORM_DIAG(x)
/* Drops the text: the backtrace says where it failed, and all texts together are 6 KiB. */
#define LWIP_PLATFORM_ASSERT(x) bareflow_lwip_assert()
#define LWIP_RAND() bareflow_lwip_random()
