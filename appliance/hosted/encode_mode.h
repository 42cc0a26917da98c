// The tokenizer without a model, for tests. Each line of standard input is a text in hexadecimal
// digits ("-": the empty text). For each text one line is written: its tokens, "=", and the text
// that these tokens decode to, in hexadecimal digits.
//
//     bareflow --encode FILE [--parse-special]
//
// The file needs a vocabulary only, no weights.
#pragma once

namespace bareflow {

// Whether the command line asks for this mode (its first word is --encode).
[[nodiscard]] bool encode_mode_wanted(int argc, char **argv);
// Returns the exit code of the process: 0, 1 (cannot run) or 2 (bad command line).
[[nodiscard]] int run_encode_mode(int argc, char **argv);

}  // namespace bareflow
