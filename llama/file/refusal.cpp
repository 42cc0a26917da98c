#include "llama/file/refusal.h"

namespace bareflow::llama {

Error refuse(TextWriter &detail, ErrorCode code, Sentence message, Sentence format,
             RefusalArguments arguments) {
    detail.clear();
    const RefusalArgument *argument = arguments.begin();
    for (const char c : format.text) {
        if (c != '%' && c != '@' && c != '#') {
            detail.append(c);
            continue;
        }
        const std::string_view text(argument->text,
                                    argument->text == nullptr ? 0 : argument->value);
        if (c == '@') {
            detail.append(JsonString{text});
        } else if (argument->text != nullptr) {
            detail.append(text);
        } else if (c == '#') {
            detail.append(static_cast<int64_t>(argument->value));
        } else {
            detail.append(argument->value);
        }
        ++argument;
    }
    return Error{code, message.text};
}

Error refuse(TextWriter &detail, ErrorCode code, Sentence message) {
    return passed_on(detail, Error{code, message.text});
}

Error passed_on(TextWriter &detail, Error error) {
    detail.clear();
    detail.append(error.message);
    return error;
}

}  // namespace bareflow::llama
