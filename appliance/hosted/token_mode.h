// The engine without a server, for tests and measurements: tokens (or a prompt) on the command
// line, tokens and logits on standard output.
//
//     bareflow --model FILE --tokens 1,403,7 --max-tokens 16 [--logits]
//     bareflow --model FILE --tokens '1,403,7;1,9' --slots 2
//     bareflow --model FILE --prompt "Once upon a time" --max-tokens 64
//
// Prints "token N" for each token made and "finish REASON" at the end; with --logits, before each
// token, "logits " and the bits of all logits, eight hexadecimal digits each. With --prompt: the
// text as it comes instead. Speed goes to standard error.
// Several prompts, by semicolons, are worked on as many at a time as there are --slots, each one
// begun as soon as one is free; "text N" says whose lines follow.
// Also: --context N, --batch N (tokens computed together), --kv f16|q8_0 (the cache), --slice-us N
// (the length of a slice; 0: the shortest steps there are),
// --threads N (0: all processors), --isa NAME (kernels need no more than that,
// compute/kernels/gemv.h),
// --numerics exact|fast (fast: by the relaxed float operations, wherever there is one),
// and how tokens are chosen (greedily unless a temperature is given): --seed, --temperature and the
// other settings of SamplingParams by name; --logit-bias 7:-1.5,9:2 and --logprobs N, which prints
// "logprobs TOKEN:BITS,..." after each token.
#pragma once

#include <cstdint>
#include <optional>

#include "compute/kernels/instruction_set.h"
#include "llama/engine/engine.h"

namespace bareflow {

struct TokenModeOptions {
    const char *model_path = nullptr;
    const char *tokens = nullptr;  // one of the two
    const char *prompt = nullptr;
    bool logits = false;
    uint32_t max_tokens = 16;
    llama::EngineConfig engine;
    uint32_t slice_us = 10000;
    uint32_t threads = 1;
    bool relaxed = false;
    std::optional<compute::InstructionSet> most;  // none: whatever the processor can run
    llama::SamplingParams sampling{.temperature = 0.0f};
};

// False for a command line that is not understood. Points into `argv`.
[[nodiscard]] bool parse_token_mode(int argc, char **argv, TokenModeOptions &out);
// Whether the command line asks for this mode (it has --tokens or --prompt).
[[nodiscard]] bool token_mode_wanted(int argc, char **argv);
// Returns the exit code of the process: 0, 1 (cannot run) or 2 (bad command line).
[[nodiscard]] int run_token_mode(int argc, char **argv);

}  // namespace bareflow
