// How the readers of model files say no: a static sentence in the Error, and in the caller's
// `detail` the full one with the names and numbers.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"

namespace bareflow::llama {

// A number, or a text.
struct RefusalArgument {
    const char *text = nullptr;  // nullptr: a number
    uint64_t value = 0;          // the number, or the text's length

    constexpr RefusalArgument(std::string_view from) : text(from.data()), value(from.size()) {}
    constexpr RefusalArgument(std::unsigned_integral auto number) : value(number) {}
    constexpr RefusalArgument(std::signed_integral auto number)
        : value(static_cast<uint64_t>(int64_t{number})) {}
};

using RefusalArguments = std::initializer_list<RefusalArgument>;

// A literal whose length is known to the compiler.
struct Sentence {
    std::string_view text;
    consteval Sentence(const char *literal) : text(literal) {}
};

// `format` with its arguments in order: % a text or an unsigned number, # a signed number, @ a name
// out of the file, written as a JSON string so that no control character of a stranger reaches a
// console. No template: there are many refusals, and each should cost few bytes of code.
[[nodiscard]] Error refuse(TextWriter &detail, ErrorCode code, Sentence message, Sentence format,
                           RefusalArguments arguments);
// `message` says it all.
[[nodiscard]] Error refuse(TextWriter &detail, ErrorCode code, Sentence message);
// For errors that come with a static sentence only: "out of memory".
[[nodiscard]] Error passed_on(TextWriter &detail, Error error);

}  // namespace bareflow::llama
