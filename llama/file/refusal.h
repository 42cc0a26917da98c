// How the readers of model files refuse one: the Error has a static sentence, and the caller's
// `detail` gets the full one with the names and numbers.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"

namespace bareflow::llama {

// A number or a text that stands in a sentence.
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

// Writes `format` with its arguments in order. % is a text or an unsigned number, # a signed
// number.
// @ is a name from the file, written as a JSON string: no control character from a file reaches a
// console. No template: there are many refusals, and each should cost few bytes of code.
[[nodiscard]] Error refuse(TextWriter &detail, ErrorCode code, Sentence message, Sentence format,
                           RefusalArguments arguments);
// `message` is the full sentence.
[[nodiscard]] Error refuse(TextWriter &detail, ErrorCode code, Sentence message);
// For errors that come with a static sentence only: "out of memory".
[[nodiscard]] Error passed_on(TextWriter &detail, Error error);

// For a reader that refuses in many places: it keeps `detail`, and has a short name for each code.
class Refusals {
  public:
    explicit Refusals(TextWriter &detail) : detail_(detail) {}
    [[nodiscard]] TextWriter &detail() { return detail_; }

    [[nodiscard]] Error invalid(Sentence message) {
        return refuse(detail_, ErrorCode::kInvalid, message);
    }
    [[nodiscard]] Error invalid(Sentence message, Sentence format, RefusalArguments arguments) {
        return refuse(detail_, ErrorCode::kInvalid, message, format, arguments);
    }
    [[nodiscard]] Error unsupported(Sentence message) {
        return refuse(detail_, ErrorCode::kUnsupported, message);
    }
    [[nodiscard]] Error unsupported(Sentence message, Sentence format, RefusalArguments arguments) {
        return refuse(detail_, ErrorCode::kUnsupported, message, format, arguments);
    }
    [[nodiscard]] Error too_large(Sentence message, Sentence format, RefusalArguments arguments) {
        return refuse(detail_, ErrorCode::kTooLarge, message, format, arguments);
    }
    [[nodiscard]] Error not_found(Sentence message, Sentence format, RefusalArguments arguments) {
        return refuse(detail_, ErrorCode::kNotFound, message, format, arguments);
    }

  private:
    TextWriter &detail_;
};

}  // namespace bareflow::llama
