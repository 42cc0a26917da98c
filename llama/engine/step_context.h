// Everything that an operator reads and writes while a batch is computed.
//
// Several processors run units of one step at once. They write to distinct elements of the vectors;
// everything else changes between two steps only, but for GateUpTime, which is atomic.
#pragma once

#include <cstdint>

#include "compute/kernels/bindings.h"
#include "compute/numbers/quant.h"
#include "llama/engine/attention_plan.h"
#include "llama/engine/batch.h"
#include "llama/engine/kv_cache.h"
#include "llama/engine/step_program.h"

namespace bareflow::llama {

// The batch that is being computed.
struct Batch {
    const BatchToken *tokens = nullptr;  // [given]
    const uint32_t *wanting = nullptr;   // [wanting_count] indices of tokens that want logits
    uint32_t given = 0;
    uint32_t wanting_count = 0;
    // Tokens that are computed: all, after the select step those that want logits.
    uint32_t count = 0;
    bool selected = false;               // the select step is done
    bool alone = true;                   // only one processor computes
    bool singly = false;                 // present step: products of one token after the other
    compute::ActivationForms forms = 0;  // that the kernels in use read
    AttentionPlan all_attention;         // of all tokens
    AttentionPlan last_attention;        // of those that want logits

    [[nodiscard]] const AttentionPlan &attention() const {
        return selected ? last_attention : all_attention;
    }
};

// Tokens of a batch whose products with one matrix are computed together.
struct Panel {
    uint32_t first = 0;
    uint32_t tokens = 0;
};

// Where the time of the gate-up steps goes, summed over all processors.
struct GateUpTime {
    uint64_t ticks = 0;
    uint64_t silu_ticks = 0;  // of these
};

struct StepContext {
    StepProgram program;
    Batch batch;
    KvCache kv;
    compute::UnpackMemory unpack;
    GateUpTime gate_up;
    float score_scale = 0.0f;  // 1 / sqrt(head_size)
};

}  // namespace bareflow::llama
