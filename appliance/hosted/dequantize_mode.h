// What weights mean, for tests: blocks of one type on standard input, their values on standard
// output as f32 (little endian).
//
//     bareflow --dequantize Q4_K < blocks > values
#pragma once

namespace bareflow {

// Whether the command line asks for this mode.
[[nodiscard]] bool dequantize_mode_wanted(int argc, char **argv);
// Returns the exit code of the process: 0, 1 (input is no whole number of blocks) or 2 (bad command
// line).
[[nodiscard]] int run_dequantize_mode(int argc, char **argv);

}  // namespace bareflow
