// How the readers of model files say no: a static sentence in the Error, and in the caller's
// `detail` the full one with the names and numbers. Names out of the file are written as
// JsonString, so that no control character of a stranger reaches a console.
#pragma once

#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"

namespace bareflow::llama {

template <typename... Parts>
[[nodiscard]] Error refuse(TextWriter &detail, ErrorCode code, std::string_view message,
                           const Parts &...parts) {
    detail.clear();
    if constexpr (sizeof...(parts) == 0) {
        detail.put(message);
    } else {
        detail.put(parts...);
    }
    return Error{code, message};
}

// For errors that come with a static sentence only: "out of memory".
[[nodiscard]] inline Error passed_on(TextWriter &detail, Error error) {
    return refuse(detail, error.code, error.message);
}

}  // namespace bareflow::llama
