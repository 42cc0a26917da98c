// Chat formats without a model, for tests: a JSON object with the members of a chat request on each
// line of standard input, and for each the prompt that a template makes of it, as a JSON string on
// a line. A line that begins with "! " has the reason of a refusal instead.
//
//     bareflow --render-chat TEMPLATE_FILE BOS EOS < requests
//
// BOS and EOS: the texts that stand for bos_token and eos_token. Whether the template was
// recognised, and as what, goes to standard error.
#pragma once

namespace bareflow {

// Whether the command line asks for this mode (its first word is --render-chat).
[[nodiscard]] bool render_chat_mode_wanted(int argc, char **argv);
// Returns the exit code of the process: 0, 1 (cannot run) or 2 (bad command line).
[[nodiscard]] int run_render_chat_mode(int argc, char **argv);

}  // namespace bareflow
