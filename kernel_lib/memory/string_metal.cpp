// The C names: what runtime.h promises, what the compiler calls by itself, and what the third-party
// sources need at link time.
#include <limits>

#include "kernel_lib/memory/string_impl.h"

#define BF_NO_BUILTIN __attribute__((no_builtin))

using namespace bareflow;

extern "C" {

BF_NO_BUILTIN void *memcpy(void *to, const void *from, size_t bytes) {
    return string_impl::copy(to, from, bytes);
}
BF_NO_BUILTIN void *memmove(void *to, const void *from, size_t bytes) {
    return string_impl::move(to, from, bytes);
}
BF_NO_BUILTIN void *memset(void *to, int value, size_t bytes) {
    return string_impl::fill(to, value, bytes);
}
BF_NO_BUILTIN int memcmp(const void *a, const void *b, size_t bytes) {
    return string_impl::compare(a, b, bytes);
}
BF_NO_BUILTIN void *memchr(const void *from, int value, size_t bytes) {
    return const_cast<void *>(string_impl::find_byte(from, value, bytes));
}
BF_NO_BUILTIN size_t strlen(const char *text) {
    return string_impl::length(text);
}
BF_NO_BUILTIN int strcmp(const char *a, const char *b) {
    return string_impl::compare_text(a, b, std::numeric_limits<size_t>::max());
}
BF_NO_BUILTIN int strncmp(const char *a, const char *b, size_t most) {
    return string_impl::compare_text(a, b, most);
}
BF_NO_BUILTIN char *strchr(const char *text, int c) {
    return const_cast<char *>(string_impl::find_char(text, c));
}
BF_NO_BUILTIN char *strncpy(char *to, const char *from, size_t bytes) {
    return string_impl::copy_text(to, from, bytes);
}
}
