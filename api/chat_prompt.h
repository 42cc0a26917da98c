// A chat's messages as the prompt of a job, in the format of the model.
#pragma once

#include <span>

#include "api/chat_template.h"
#include "api/completion_job.h"
#include "http/exchange.h"
#include "kernel_lib/base/text_writer.h"

namespace bareflow::api {

// False: what was wrong is in `error`; its message and the field's name are in `message`'s buffer.
[[nodiscard]] bool write_chat_prompt(const ChatTemplate &chat,
                                     std::span<const ChatMessage> messages, JobPrompt &prompt,
                                     TextWriter &message, http::ErrorAnswer &error);

}  // namespace bareflow::api
