// Chat formats without a model, for tests. Each line of standard input is a JSON object with the
// members of a chat request. For each one line is written: the prompt that the template makes of it
// as a JSON string, or "! " and the reason why it was refused.
//
//     bareflow --render-chat TEMPLATE_FILE BOS EOS < requests
//
// BOS and EOS are the texts for bos_token and eos_token. Standard error says whether the template
// was recognised, and as which family.
#pragma once

namespace bareflow {

// Whether the command line asks for this mode (its first word is --render-chat).
[[nodiscard]] bool render_chat_mode_wanted(int argc, char **argv);
// Returns the exit code of the process: 0, 1 (cannot run) or 2 (bad command line).
[[nodiscard]] int run_render_chat_mode(int argc, char **argv);

}  // namespace bareflow
