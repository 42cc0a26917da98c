// Takes a batch, walks through the steps of the program, and copies prefixes. What a step does is
// said by the operator table, how it is run by SharedStep.
#include "llama/engine/transformer.h"

#include "compute/numbers/math.h"
#include "compute/numbers/ops.h"
#include "llama/engine/operators.h"

namespace bareflow::llama {
namespace {

// Positions that copy_prefix() copies between two looks at the clock.
constexpr uint32_t kCopyPositions = 256;

}  // namespace

uint64_t Transformer::position_bytes(const HyperParameters &p, compute::KvType type) {
    return KvCache::position_bytes(type, p.layers, p.kv_heads, p.head_size);
}

uint64_t Transformer::scratch_bytes(const HyperParameters &p, const TransformerConfig &config) {
    return Scratch::at(nullptr, p, config).bytes +
           OpCosts::bytes_for(StepProgram::cost_capacity(p));
}

Result<Transformer> Transformer::create(const Model &model, const TransformerConfig &config) {
    const HyperParameters &p = model.parameters();
    if (config.positions == 0 || config.positions > max_positions(p)) {
        return Error{ErrorCode::kTooLarge, "context length out of range"};
    }
    if (config.batch == 0 || config.batch > kMaxBatch || config.sequences == 0 ||
        config.sequences > config.batch) {
        return Error{ErrorCode::kTooLarge, "batch out of range"};
    }
    Transformer t;
    BF_ASSIGN(t.context_.kv, KvCache::create({.type = config.kv_type,
                                              .layers = p.layers,
                                              .kv_heads = p.kv_heads,
                                              .head_size = p.head_size,
                                              .sequences = config.sequences,
                                              .positions = config.positions}));
    BF_ASSIGN(t.memory_, Buffer<uint8_t>::create(Scratch::at(nullptr, p, config).bytes));
    t.scratch_ = Scratch::at(t.memory_.data(), p, config);
    BF_ASSIGN(t.shared_.costs(), OpCosts::create(StepProgram::cost_capacity(p)));
    t.context_.program = StepProgram(model, config, t.scratch_, t.costs(), t.fused_steps());
    t.context_.score_scale =
        static_cast<float>(1.0 / compute::sqrt_f64(static_cast<double>(p.head_size)));
    compute::rope_frequencies(static_cast<double>(p.rope_base), p.rope_dim,
                              model.rope_divisors().f32(), static_cast<double>(p.rope_factor),
                              t.scratch_.buffers.inv_freq);
    return t;
}

// ------------------------------------------------------------------ one batch

void Transformer::check(std::span<const BatchToken> tokens, uint32_t index) const {
    const BatchToken &token = tokens[index];
    if (token.token < 0 ||
        static_cast<uint32_t>(token.token) >= context_.program.parameters().vocab ||
        token.position >= config().positions || token.sequence >= config().sequences) {
        platform::panic("transformer: token, position or sequence out of range");
    }
    for (uint32_t i = 0; i < index; ++i) {
        const bool before = i + 1 == index;
        if (tokens[i].sequence == token.sequence &&
            (before ? tokens[i].position + 1 != token.position
                    : tokens[i + 1].sequence != token.sequence)) {
            platform::panic("transformer: the tokens of a sequence are apart");
        }
    }
}

// Copies the tokens into the batch.
void Transformer::take(std::span<const BatchToken> tokens) {
    Batch &batch = context_.batch;
    batch.wanting_count = 0;
    for (uint32_t i = 0; i < tokens.size(); ++i) {
        check(tokens, i);
        scratch_.tokens[i] = tokens[i];
        if (tokens[i].want_logits) {
            if (batch.wanting_count == config().sequences) {
                platform::panic("transformer: too many tokens want logits");
            }
            scratch_.wanting[batch.wanting_count++] = i;
        }
    }
    batch.tokens = scratch_.tokens;
    batch.wanting = scratch_.wanting;
    batch.given = static_cast<uint32_t>(tokens.size());
    batch.count = batch.given;
    batch.selected = false;
}

void Transformer::plan_attention() {
    Batch &batch = context_.batch;
    const HyperParameters &p = context_.program.parameters();
    const AttentionPlan::Means means = {.heads = p.heads,
                                        .kv_heads = p.kv_heads,
                                        .processors = shared_.processors(),
                                        .score_floats = scratch_.buffers.score_floats};
    batch.all_attention.make(scratch_.tiles, {.all = batch.tokens, .count = batch.given}, means);
    batch.last_attention.make(
        scratch_.last_tiles,
        {.all = batch.tokens, .selected = batch.wanting, .count = batch.wanting_count}, means);
}

void Transformer::begin(std::span<const BatchToken> tokens) {
    if (tokens.empty() || tokens.size() > config().batch) {
        platform::panic("transformer: more tokens than a batch has");
    }
    const StepProgram &program = context_.program;
    if (step_ < step_end_) {
        shared_.abandon(context_, program.steps()[step_]);
    }
    take(tokens);
    step_ = 0;
    step_end_ = context_.batch.wanting_count != 0 ? static_cast<uint32_t>(program.steps().size())
                                                  : program.steps_without_logits();
    units_done_ = 0;
    plan_attention();
    if (translation_drops_ != 0) {
        --translation_drops_;
        platform::publish_code();  // drops them, on every processor
    }
    shared_.begin_batch(context_);
}

bool Transformer::advance(uint64_t deadline_ticks) {
    uint64_t now = platform::ticks();
    while (step_ < step_end_) {
        const Step &step = context_.program.steps()[step_];
        if (units_done_ == 0 && shared_.postpone(context_, step)) {
            ++step_;
            continue;
        }
        const uint32_t units = operator_of(step).units(context_, step);
        units_done_ += shared_.run(context_, step, units_done_, deadline_ticks, now);
        if (units_done_ == units) {
            units_done_ = 0;
            ++step_;
            if (step_ == step_end_) {
                shared_.finish_batch();
            }
        }
        if (now >= deadline_ticks) {
            break;
        }
    }
    return step_ == step_end_;
}

std::span<float> Transformer::logits(uint32_t index) {
    const uint32_t vocab = context_.program.parameters().vocab;
    for (uint32_t i = 0; i < context_.batch.wanting_count; ++i) {
        if (scratch_.wanting[i] == index) {
            return {scratch_.buffers[Operand::kLogits] + uint64_t{i} * vocab, vocab};
        }
    }
    platform::panic("transformer: logits of a token that did not want them");
}

// ------------------------------------------------------------------ prefixes

bool Transformer::copy_prefix(uint32_t from, uint32_t to, uint32_t positions,
                              uint64_t deadline_ticks) {
    if (from >= config().sequences || to >= config().sequences || from == to ||
        positions > config().positions) {
        platform::panic("transformer: no such prefix");
    }
    const HyperParameters &p = context_.program.parameters();
    const Copy wanted{from, to, positions, copy_.done};
    if (!(copy_ == wanted)) {
        copy_ = {from, to, positions, 0};
    }
    const uint32_t pieces = (positions + kCopyPositions - 1) / kCopyPositions;
    const uint64_t all = uint64_t{2} * p.layers * p.kv_heads * pieces;
    while (copy_.done < all) {
        const auto piece = static_cast<uint32_t>(copy_.done % pieces);
        const auto head = static_cast<uint32_t>(copy_.done / pieces % p.kv_heads);
        const auto plane = static_cast<uint32_t>(copy_.done / pieces / p.kv_heads);
        const uint32_t begin = piece * kCopyPositions;
        const uint32_t end =
            positions - begin < kCopyPositions ? positions : begin + kCopyPositions;
        context_.kv.copy(plane, head, from, to, begin, end);
        ++copy_.done;
        if (copy_.done < all && platform::ticks() >= deadline_ticks) {
            return false;
        }
    }
    copy_ = {};
    return true;
}

}  // namespace bareflow::llama
