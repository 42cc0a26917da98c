// What tells one architecture of the Llama family from another, as a table. The loader reads it for
// the keys and tensors of a file, the engine for the steps of a layer. A name that is not in the
// table is refused. No state.
#pragma once

#include <cstdint>
#include <string_view>

#include "compute/numbers/rope_pairing.h"
#include "llama/model/layer_plan.h"

namespace bareflow::llama {

// Vectors that are added to a product (F32, `<matrix>.bias`).
enum class Biases : uint8_t {
    kNone,      // one in the file is refused, as any unknown tensor
    kOptional,  // those that the file has
};

struct Architecture {
    std::string_view name;  // general.architecture, and the prefix of its keys
    compute::RopePairing rope = compute::RopePairing::kAdjacent;
    Biases attention_biases = Biases::kNone;  // attn_q, attn_k, attn_v, attn_output
    Biases ffn_biases = Biases::kNone;        // ffn_gate, ffn_up, ffn_down
    const ModelPlan &(*plan)() = nullptr;     // what the engine computes
};

inline constexpr Architecture kArchitectures[] = {
    {.name = "llama",
     .rope = compute::RopePairing::kAdjacent,
     .attention_biases = Biases::kOptional,
     .ffn_biases = Biases::kOptional,
     .plan = llama_plan},
};
inline constexpr std::string_view kSupportedArchitectures = "llama";

// nullptr: not supported.
[[nodiscard]] constexpr const Architecture *find_architecture(std::string_view name) {
    for (const Architecture &architecture : kArchitectures) {
        if (architecture.name == name) {
            return &architecture;
        }
    }
    return nullptr;
}

}  // namespace bareflow::llama
