// The command line of the modes --tokens and --prompt. Numbers must be whole and in range; anything
// else refuses the whole command line.
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "appliance/hosted/token_mode.h"
#include "compute/kernels/instruction_set.h"

namespace bareflow {
namespace {

bool parse_u64(const char *text, uint64_t &out) {
    char *end = nullptr;
    errno = 0;
    const unsigned long long value = std::strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0') {
        return false;
    }
    out = value;
    return true;
}

bool parse_u32(const char *text, uint32_t &out) {
    uint64_t value = 0;
    if (!parse_u64(text, value) || value > UINT32_MAX) {
        return false;
    }
    out = static_cast<uint32_t>(value);
    return true;
}

bool parse_float(const char *text, float &out) {
    char *end = nullptr;
    out = std::strtof(text, &end);
    return end != text && *end == '\0';
}

bool parse_isa(const char *text, std::optional<compute::InstructionSet> &out) {
    out = compute::instruction_set_named(text);
    return out.has_value();
}

bool parse_kv(const char *text, compute::KvType &out) {
    const std::string_view name = text;
    out = name == "q8_0" ? compute::KvType::kQ8_0 : compute::KvType::kF16;
    return name == "q8_0" || name == "f16";
}

bool parse_numerics(const char *text, bool &out) {
    const std::string_view name = text;
    out = name == "fast";
    return out || name == "exact";
}

bool parse_mirostat(const char *text, bool &out) {
    uint32_t version = 0;
    if (!parse_u32(text, version) || (version != 0 && version != 2)) {
        return false;
    }
    out = version == 2;
    return true;
}

// A list of TOKEN:BIAS, separated by commas.
bool parse_biases(const char *text, llama::SamplingParams &out) {
    for (const char *at = text;; ++at) {
        if (out.logit_bias_count == llama::SamplingParams::kMaxBiases) {
            return false;
        }
        char *end = nullptr;
        const long token = std::strtol(at, &end, 10);
        if (end == at || *end != ':') {
            return false;
        }
        at = end + 1;
        const float bias = std::strtof(at, &end);
        if (end == at || (*end != ',' && *end != '\0')) {
            return false;
        }
        out.logit_biases[out.logit_bias_count++] = {static_cast<llama::Token>(token), bias};
        if (*end == '\0') {
            return true;
        }
        at = end;
    }
}

bool parse_sampling(std::string_view name, const char *value, llama::SamplingParams &out) {
    struct Number {
        std::string_view name;
        float llama::SamplingParams::*field;
    };
    static constexpr Number kNumbers[] = {
        {"--temperature", &llama::SamplingParams::temperature},
        {"--top-p", &llama::SamplingParams::top_p},
        {"--min-p", &llama::SamplingParams::min_p},
        {"--typical-p", &llama::SamplingParams::typical_p},
        {"--repeat-penalty", &llama::SamplingParams::repeat_penalty},
        {"--presence-penalty", &llama::SamplingParams::presence_penalty},
        {"--frequency-penalty", &llama::SamplingParams::frequency_penalty},
        {"--mirostat-tau", &llama::SamplingParams::mirostat_tau},
        {"--mirostat-eta", &llama::SamplingParams::mirostat_eta},
    };
    for (const Number &number : kNumbers) {
        if (name == number.name) {
            return parse_float(value, out.*number.field);
        }
    }
    if (name == "--logprobs") {
        out.wants_logprobs = true;
        return parse_u32(value, out.top_logprobs);
    }
    return (name == "--seed" && parse_u64(value, out.seed)) ||
           (name == "--top-k" && parse_u32(value, out.top_k)) ||
           (name == "--repeat-last-n" && parse_u32(value, out.repeat_last_n)) ||
           (name == "--mirostat" && parse_mirostat(value, out.mirostat)) ||
           (name == "--logit-bias" && parse_biases(value, out));
}

}  // namespace

bool parse_token_mode(int argc, char **argv, TokenModeOptions &out) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view name = argv[i];
        if (name == "--logits") {
            out.logits = true;
            continue;
        }
        if (i + 1 == argc) {
            return false;
        }
        const char *const value = argv[++i];
        if (name == "--model") {
            out.model_path = value;
        } else if (name == "--tokens") {
            out.tokens = value;
        } else if (name == "--prompt") {
            out.prompt = value;
        } else if (!(name == "--max-tokens" && parse_u32(value, out.max_tokens)) &&
                   !(name == "--context" && parse_u32(value, out.engine.context_length)) &&
                   !(name == "--slots" && parse_u32(value, out.engine.slots)) &&
                   !(name == "--batch" && parse_u32(value, out.engine.batch)) &&
                   !(name == "--kv" && parse_kv(value, out.engine.kv_type)) &&
                   !(name == "--numerics" && parse_numerics(value, out.relaxed)) &&
                   !(name == "--threads" && parse_u32(value, out.threads)) &&
                   !(name == "--isa" && parse_isa(value, out.most)) &&
                   !(name == "--slice-us" && parse_u32(value, out.slice_us)) &&
                   !parse_sampling(name, value, out.sampling)) {
            return false;
        }
    }
    return out.model_path != nullptr && (out.tokens != nullptr) != (out.prompt != nullptr);
}

}  // namespace bareflow
