// Under names of our own, so that the tests test these and not the C library's.
#include "kernel_lib/memory/string.h"

#include <limits>

#include "kernel_lib/memory/string_impl.h"

#define BF_NO_BUILTIN __attribute__((no_builtin))

namespace bareflow {

BF_NO_BUILTIN void *bf_memcpy(void *to, const void *from, size_t bytes) {
    return string_impl::copy(to, from, bytes);
}
BF_NO_BUILTIN void *bf_memmove(void *to, const void *from, size_t bytes) {
    return string_impl::move(to, from, bytes);
}
BF_NO_BUILTIN void *bf_memset(void *to, int value, size_t bytes) {
    return string_impl::fill(to, value, bytes);
}
BF_NO_BUILTIN int bf_memcmp(const void *a, const void *b, size_t bytes) {
    return string_impl::compare(a, b, bytes);
}
BF_NO_BUILTIN const void *bf_memchr(const void *from, int value, size_t bytes) {
    return string_impl::find_byte(from, value, bytes);
}
BF_NO_BUILTIN size_t bf_strlen(const char *text) {
    return string_impl::length(text);
}
BF_NO_BUILTIN int bf_strcmp(const char *a, const char *b) {
    return string_impl::compare_text(a, b, std::numeric_limits<size_t>::max());
}
BF_NO_BUILTIN int bf_strncmp(const char *a, const char *b, size_t most) {
    return string_impl::compare_text(a, b, most);
}
BF_NO_BUILTIN const char *bf_strchr(const char *text, int c) {
    return string_impl::find_char(text, c);
}
BF_NO_BUILTIN char *bf_strncpy(char *to, const char *from, size_t bytes) {
    return string_impl::copy_text(to, from, bytes);
}

}  // namespace bareflow
