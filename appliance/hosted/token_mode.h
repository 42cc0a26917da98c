// The engine without a server, for tests and measurements: tokens (or a prompt) on the command
// line, tokens and logits on standard output.
//
//     bareflow --model FILE --tokens 1,403,7 --max-tokens 16 [--logits]
//     bareflow --model FILE --tokens '1,403,7;1,9' --slots 2
//     bareflow --model FILE --prompt "Once upon a time" --max-tokens 64
//
// With --tokens it prints "token N" for each token made and "finish REASON" at the end. With
// --logits it prints "logits " and the bits of all logits before each token, eight hexadecimal
// digits for each logit. With --prompt it prints the text while it is made. The speed goes to
// standard error.
//
// Semicolons separate several prompts. --slots of them are worked on at a time, and the next one
// starts when a slot is free. "text N" says which prompt the following lines belong to.
//
// Also:
//   --context N, --batch N      as EngineConfig has them
//   --kv f16|q8_0               type of the KV cache
//   --slice-us N                length of a slice; 0: the shortest that the engine makes
//   --threads N                 processors that compute; 0: all
//   --isa NAME                  no kernel beyond this instruction set (instruction_set.h)
//   --numerics exact|fast       fast: use the relaxed float operations where there are any
//   --seed, --temperature ...   the members of SamplingParams by name; greedy without a temperature
//   --logit-bias 7:-1.5,9:2     biases by token
//   --logprobs N                prints "logprobs TOKEN:BITS,..." after each token
#pragma once

#include <cstdint>
#include <optional>

#include "compute/kernels/instruction_set.h"
#include "llama/engine/engine.h"

namespace bareflow {

struct TokenModeOptions {
    const char *model_path = nullptr;
    const char *tokens = nullptr;  // nullptr if there is a prompt
    const char *prompt = nullptr;  // nullptr if there are tokens
    bool logits = false;
    uint32_t max_tokens = 16;
    llama::EngineConfig engine;
    uint32_t slice_us = 10000;
    uint32_t threads = 1;
    bool relaxed = false;
    std::optional<compute::InstructionSet> most;  // none: no limit beyond the processor's
    llama::SamplingParams sampling{.temperature = 0.0f};
};

// False: the command line is not understood. The options point into `argv`.
[[nodiscard]] bool parse_token_mode(int argc, char **argv, TokenModeOptions &out);
// Whether the command line asks for this mode (it has --tokens or --prompt).
[[nodiscard]] bool token_mode_wanted(int argc, char **argv);
// Returns the exit code of the process: 0, 1 (cannot run) or 2 (bad command line).
[[nodiscard]] int run_token_mode(int argc, char **argv);

}  // namespace bareflow
