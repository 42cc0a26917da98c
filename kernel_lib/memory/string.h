// Our own memcpy family under names of our own: hosted only, so that the tests test these and not
// the C library's. On bare metal string_metal.cpp gives the same bodies (string_impl.h) their C
// names.
//
// Written as plain 16-byte moves: an emulator translates those well, where `rep movsb` is one trip
// round its loop a byte; on a real processor they reach the cache's bandwidth.
#pragma once

#include <cstddef>

namespace bareflow {

void *bf_memcpy(void *to, const void *from, size_t bytes);
void *bf_memmove(void *to, const void *from, size_t bytes);
void *bf_memset(void *to, int value, size_t bytes);
[[nodiscard]] int bf_memcmp(const void *a, const void *b, size_t bytes);
[[nodiscard]] const void *bf_memchr(const void *from, int value, size_t bytes);
[[nodiscard]] size_t bf_strlen(const char *text);
[[nodiscard]] int bf_strcmp(const char *a, const char *b);
[[nodiscard]] int bf_strncmp(const char *a, const char *b, size_t most);
[[nodiscard]] const char *bf_strchr(const char *text, int c);
char *bf_strncpy(char *to, const char *from, size_t bytes);

}  // namespace bareflow
