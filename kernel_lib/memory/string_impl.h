// The bodies behind string.h and the C names, for string_hosted.cpp and string_metal.cpp only. Each
// is marked so that the compiler neither turns its loop into a call of itself nor instruments it.
#pragma once

#include <cstddef>
#include <cstdint>

#define BF_STRING_BODY [[gnu::always_inline]] __attribute__((no_builtin)) inline

namespace bareflow::string_impl {

using Vector = long long __attribute__((vector_size(16)));

template <typename T>
BF_STRING_BODY T load(const uint8_t *from) {
    T value;
    __builtin_memcpy_inline(&value, from, sizeof(T));
    return value;
}
template <typename T>
BF_STRING_BODY void store(uint8_t *to, T value) {
    __builtin_memcpy_inline(to, &value, sizeof(T));
}

// Both ends in two moves that overlap; all loads come before all stores, so any overlap of the two
// areas is right. sizeof(T) <= bytes <= 2 * sizeof(T).
template <typename T>
BF_STRING_BODY void move_ends(uint8_t *to, const uint8_t *from, size_t bytes) {
    const T head = load<T>(from);
    const T tail = load<T>(from + bytes - sizeof(T));
    store(to, head);
    store(to + bytes - sizeof(T), tail);
}

// At most 32 bytes, any overlap.
BF_STRING_BODY void move_small(uint8_t *to, const uint8_t *from, size_t bytes) {
    if (bytes >= 16) {
        move_ends<Vector>(to, from, bytes);
    } else if (bytes >= 8) {
        move_ends<uint64_t>(to, from, bytes);
    } else if (bytes >= 4) {
        move_ends<uint32_t>(to, from, bytes);
    } else if (bytes >= 2) {
        move_ends<uint16_t>(to, from, bytes);
    } else if (bytes == 1) {
        *to = *from;
    }
}

// Low to high; more than 32 bytes; right when `to` is below `from` or they do not overlap. The last
// 32 bytes are loaded first, as the moves before may reach them.
BF_STRING_BODY void move_up(uint8_t *to, const uint8_t *from, size_t bytes) {
    const Vector last0 = load<Vector>(from + bytes - 32);
    const Vector last1 = load<Vector>(from + bytes - 16);
    uint8_t *const end = to + bytes;
    while (bytes > 64) {
        const Vector a = load<Vector>(from);
        const Vector b = load<Vector>(from + 16);
        const Vector c = load<Vector>(from + 32);
        const Vector d = load<Vector>(from + 48);
        store(to, a);
        store(to + 16, b);
        store(to + 32, c);
        store(to + 48, d);
        to += 64;
        from += 64;
        bytes -= 64;
    }
    if (bytes > 32) {
        const Vector a = load<Vector>(from);
        const Vector b = load<Vector>(from + 16);
        store(to, a);
        store(to + 16, b);
    }
    store(end - 32, last0);
    store(end - 16, last1);
}

// High to low; more than 32 bytes; right when `to` is above `from`.
BF_STRING_BODY void move_down(uint8_t *to, const uint8_t *from, size_t bytes) {
    const Vector first0 = load<Vector>(from);
    const Vector first1 = load<Vector>(from + 16);
    while (bytes > 32) {
        bytes -= 32;
        const Vector a = load<Vector>(from + bytes);
        const Vector b = load<Vector>(from + bytes + 16);
        store(to + bytes, a);
        store(to + bytes + 16, b);
    }
    store(to, first0);
    store(to + 16, first1);
}

BF_STRING_BODY void *copy(void *to, const void *from, size_t bytes) {
    auto *out = static_cast<uint8_t *>(to);
    const auto *in = static_cast<const uint8_t *>(from);
    if (bytes <= 32) {
        move_small(out, in, bytes);
    } else {
        move_up(out, in, bytes);
    }
    return to;
}

BF_STRING_BODY void *move(void *to, const void *from, size_t bytes) {
    auto *out = static_cast<uint8_t *>(to);
    const auto *in = static_cast<const uint8_t *>(from);
    if (bytes <= 32) {
        move_small(out, in, bytes);
    } else if (reinterpret_cast<uintptr_t>(out) - reinterpret_cast<uintptr_t>(in) >= bytes) {
        move_up(out, in, bytes);  // `to` below `from` (the difference wraps), or far above
    } else {
        move_down(out, in, bytes);
    }
    return to;
}

BF_STRING_BODY void *fill(void *to, int value, size_t bytes) {
    auto *out = static_cast<uint8_t *>(to);
    const uint64_t word = uint64_t{0x0101010101010101} * static_cast<uint8_t>(value);
    if (bytes >= 16) {
        const Vector vector = {static_cast<long long>(word), static_cast<long long>(word)};
        uint8_t *const end = out + bytes;
        while (bytes > 64) {
            store(out, vector);
            store(out + 16, vector);
            store(out + 32, vector);
            store(out + 48, vector);
            out += 64;
            bytes -= 64;
        }
        if (bytes > 32) {
            store(out, vector);
            store(out + 16, vector);
            store(end - 32, vector);
        } else if (bytes > 16) {
            store(out, vector);
        }
        store(end - 16, vector);
    } else if (bytes >= 8) {
        store(out, word);
        store(out + bytes - 8, word);
    } else if (bytes >= 4) {
        store(out, static_cast<uint32_t>(word));
        store(out + bytes - 4, static_cast<uint32_t>(word));
    } else {
        for (size_t i = 0; i < bytes; ++i) {
            out[i] = static_cast<uint8_t>(value);
        }
    }
    return to;
}

BF_STRING_BODY int compare(const void *a, const void *b, size_t bytes) {
    const auto *left = static_cast<const uint8_t *>(a);
    const auto *right = static_cast<const uint8_t *>(b);
    while (bytes >= 8) {
        const auto l = load<uint64_t>(left);
        const auto r = load<uint64_t>(right);
        if (l != r) {
            return __builtin_bswap64(l) < __builtin_bswap64(r) ? -1 : 1;
        }
        left += 8;
        right += 8;
        bytes -= 8;
    }
    for (size_t i = 0; i < bytes; ++i) {
        if (left[i] != right[i]) {
            return left[i] < right[i] ? -1 : 1;
        }
    }
    return 0;
}

BF_STRING_BODY const void *find_byte(const void *from, int value, size_t bytes) {
    const auto *in = static_cast<const uint8_t *>(from);
    for (size_t i = 0; i < bytes; ++i) {
        if (in[i] == static_cast<uint8_t>(value)) {
            return in + i;
        }
    }
    return nullptr;
}

BF_STRING_BODY size_t length(const char *text) {
    size_t len = 0;
    while (text[len] != '\0') {
        ++len;
    }
    return len;
}

BF_STRING_BODY int compare_text(const char *a, const char *b, size_t most) {
    for (size_t i = 0; i < most; ++i) {
        const auto l = static_cast<uint8_t>(a[i]);
        const auto r = static_cast<uint8_t>(b[i]);
        if (l != r) {
            return l < r ? -1 : 1;
        }
        if (l == 0) {
            break;
        }
    }
    return 0;
}

// Finds the terminator too, as C's strchr does.
BF_STRING_BODY const char *find_char(const char *text, int c) {
    for (;; ++text) {
        if (*text == static_cast<char>(c)) {
            return text;
        }
        if (*text == '\0') {
            return nullptr;
        }
    }
}

// Fills up with zeros; no terminator when `from` is too long, as C's strncpy does.
BF_STRING_BODY char *copy_text(char *to, const char *from, size_t bytes) {
    size_t i = 0;
    for (; i < bytes && from[i] != '\0'; ++i) {
        to[i] = from[i];
    }
    for (; i < bytes; ++i) {
        to[i] = '\0';
    }
    return to;
}

}  // namespace bareflow::string_impl
