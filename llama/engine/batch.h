// What a batch consists of: tokens at positions of one or several sequences, and how many of each
// a transformer has room for.
#pragma once

#include <cstdint>

#include "compute/numbers/attention.h"
#include "llama/text/token.h"

namespace bareflow::llama {

struct TransformerConfig {
    uint32_t sequences = 1;  // each with its own keys and values, 0 .. sequences - 1
    uint32_t positions = 0;  // of each sequence
    uint32_t batch = 1;      // tokens of a batch, at most Transformer::kMaxBatch
    compute::KvType kv_type = compute::KvType::kF16;
};

// A token at a position of a sequence.
struct BatchToken {
    uint32_t sequence = 0;
    Token token = 0;
    uint32_t position = 0;
    bool want_logits = false;
};

}  // namespace bareflow::llama
