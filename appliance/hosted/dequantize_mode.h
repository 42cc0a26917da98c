// The values of weights, for tests: reads blocks of one type from standard input and writes their
// values to standard output as f32 (little endian).
//
//     bareflow --dequantize Q4_K < blocks > values
#pragma once

namespace bareflow {

// Whether the command line asks for this mode (its first word is --dequantize).
[[nodiscard]] bool dequantize_mode_wanted(int argc, char **argv);
// Returns the exit code of the process: 0, 1 (the input is no whole number of blocks) or 2 (bad
// command line).
[[nodiscard]] int run_dequantize_mode(int argc, char **argv);

}  // namespace bareflow
