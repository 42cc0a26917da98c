// Included before every metal source (Makefile). libstdc++'s bounds checks (_GLIBCXX_ASSERTIONS)
// would carry the text of each condition and the full name of each template they stand in, some
// 40 KiB of the image. Here they only call: the backtrace says where.
#pragma once

#ifdef __cplusplus
#include <cstddef>

[[noreturn]] void bareflow_library_check_failed() noexcept;

#undef __glibcxx_assert_impl
#define __glibcxx_assert_impl(condition)             \
    if (__builtin_expect(!bool(condition), false)) { \
        __glibcxx_constexpr_assert(false);           \
        bareflow_library_check_failed();             \
    }
#endif
