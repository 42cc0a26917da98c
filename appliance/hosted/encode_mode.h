// The tokenizer without a model, for tests: texts on standard input, one a line in hexadecimal
// digits ("-": the empty text); for each, one line with its tokens, "=", and in hexadecimal digits
// the text that they give back.
//
//     bareflow --encode FILE [--parse-special]
//
// The file needs nothing but a vocabulary.
#pragma once

namespace bareflow {

// Whether the command line asks for this mode (its first word is --encode).
[[nodiscard]] bool encode_mode_wanted(int argc, char **argv);
// Returns the exit code of the process: 0, 1 (cannot run) or 2 (bad command line).
[[nodiscard]] int run_encode_mode(int argc, char **argv);

}  // namespace bareflow
