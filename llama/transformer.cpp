#include "llama/transformer.h"

#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/platform/platform.h"
#include "llama/math.h"
#include "llama/weight_blocks.h"

namespace bareflow::llama {
namespace {

// Operations per layer, around all layers, and kinds of operations that are no matrix product.
constexpr uint32_t kLayerSteps = 20;
constexpr uint32_t kOuterSteps = 4;
constexpr uint32_t kLayerMatrices = 7;
constexpr uint32_t kOtherOps = 16;

// Elements of silu_mul that are one unit.
constexpr uint32_t kSiluUnit = 64;

// Rows of a matrix that one processor does together: 64 bytes of y.
constexpr uint32_t kRowGrain = 16;
constexpr uint32_t kChunksPerProcessor = 4;

constexpr uint32_t units_for(uint32_t n, uint32_t per_unit) {
    return (n + per_unit - 1) / per_unit;
}

// "q4_k_gemv "
void put_gemv_name(TensorType type, TextWriter &out) {
    for (const char c : tensor_type_info(type).name) {
        out.put(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
    }
    out.put("_gemv ");
}

}  // namespace

// Compiles the model into the list of steps. The buffers are there and stay where they are.
class Transformer::Builder {
  public:
    explicit Builder(Transformer &target) : t_(target) {}

    void compile() {
        const HyperParameters &p = t_.parameters_;
        put({.kind = StepKind::kEmbed,
             .op = op("embed", p.dim),
             .n = p.dim,
             .units = 1,
             .y = t_.x_.data()});
        for (uint32_t index = 0; index < p.layers; ++index) {
            compile_layer(index);
        }
        const uint32_t before = t_.step_count_;
        norm(t_.model_->output_norm());
        const Tensor &output = t_.model_->output();
        quantize_for(t_.normed_.data(), output);
        gemv(output, t_.normed_.data(), t_.logits_.data());
        t_.logits_steps_ = t_.step_count_ - before;
    }

  private:
    void compile_layer(uint32_t index) {
        const HyperParameters &p = t_.parameters_;
        const Layer &layer = t_.model_->layers()[index];
        float *const normed = t_.normed_.data();

        norm(layer.attention_norm);
        quantize_for(normed, layer.query, layer.key, layer.value);
        gemv(layer.query, normed, t_.q_.data());
        gemv(layer.key, normed, t_.kv_.keys(index), p.kv_dim());
        gemv(layer.value, normed, t_.kv_.values(index), p.kv_dim());
        put({.kind = StepKind::kRope,
             .op = op("rope", p.heads + p.kv_heads, p.head_size),
             .units = p.heads + p.kv_heads,
             .y = t_.kv_.keys(index),
             .y_stride = p.kv_dim()});
        put({.kind = StepKind::kAttentionScores,
             .op = op("attention_scores", p.heads, p.head_size),
             .layer = index});
        put({.kind = StepKind::kSoftmax, .op = op("softmax", p.heads), .layer = index});
        put({.kind = StepKind::kAttentionMix,
             .op = op("attention_mix", p.heads, p.head_size),
             .layer = index});
        quantize_for(t_.mixed_.data(), layer.attention_output);
        gemv(layer.attention_output, t_.mixed_.data(), t_.projected_.data());
        add_projected();

        norm(layer.ffn_norm);
        quantize_for(normed, layer.gate, layer.up);
        gemv(layer.gate, normed, t_.gate_.data());
        gemv(layer.up, normed, t_.up_.data());
        put({.kind = StepKind::kSiluMul,
             .op = op("silu_mul", p.hidden),
             .n = p.hidden,
             .units = units_for(p.hidden, kSiluUnit)});
        quantize_for(t_.gate_.data(), layer.down);
        gemv(layer.down, t_.gate_.data(), t_.projected_.data());
        add_projected();
    }

    void put(const Step &step) { t_.steps_[t_.step_count_++] = step; }

    uint16_t op(std::string_view name, uint32_t a, uint32_t b = 0) {
        char text[64];
        TextWriter out(text);
        out.put(name, ' ', a);
        if (b != 0) {
            out.put('x', b);
        }
        return static_cast<uint16_t>(t_.costs_.find_or_add(out.view()));
    }

    void norm(const Tensor &weights) {
        const uint32_t dim = t_.parameters_.dim;
        put({.kind = StepKind::kRmsNorm,
             .op = op("rms_norm", dim),
             .n = dim,
             .units = 1,
             .x = t_.x_.data(),
             .w = weights.data,
             .y = t_.normed_.data()});
    }

    void add_projected() {
        const uint32_t dim = t_.parameters_.dim;
        put({.kind = StepKind::kAdd,
             .op = op("add", dim),
             .n = dim,
             .units = 1,
             .x = t_.projected_.data(),
             .y = t_.x_.data()});
    }

    // Only if one of the matrices takes it.
    template <typename... Tensors>
    void quantize_for(const float *x, const Tensor &first, const Tensors &...others) {
        if (takes_quantized(first.type) || (takes_quantized(others.type) || ...)) {
            put({.kind = StepKind::kQuantize,
                 .op = op("quantize", first.cols),
                 .n = first.cols,
                 .units = group_count(first.cols),
                 .x = x});
        }
    }

    void gemv(const Tensor &tensor, const float *x, float *y, uint64_t y_stride = 0) {
        const uint16_t slot = find_or_add_slot(tensor);
        put({.kind = StepKind::kGemv,
             .op = static_cast<uint16_t>(t_.costs_.find_or_add(t_.slots_[slot].name)),
             .slot = slot,
             .n = tensor.cols,
             .units = tensor.rows,
             .x = x,
             .w = tensor.data,
             .y = y,
             .y_stride = y_stride});
    }

    uint16_t find_or_add_slot(const Tensor &tensor) {
        for (uint32_t i = 0; i < t_.slot_count_; ++i) {
            KernelSlot &slot = t_.slots_[i];
            if (slot.type == tensor.type && slot.rows == tensor.rows && slot.cols == tensor.cols) {
                ++slot.matrices;
                return static_cast<uint16_t>(i);
            }
        }
        char text[64];
        TextWriter name(text);
        put_gemv_name(tensor.type, name);
        name.put(tensor.rows, 'x', tensor.cols);
        const GemvVariant &variant = kernel_for(tensor.type);
        t_.slots_[t_.slot_count_] = {.name = intern_name(name.view()),
                                     .type = tensor.type,
                                     .rows = tensor.rows,
                                     .cols = tensor.cols,
                                     .row_bytes = tensor.row_bytes,
                                     .kernel = variant.kernel,
                                     .forms = variant.forms,
                                     .active = variant.kernel,
                                     .reference = gemv_variants(tensor.type)[0].kernel,
                                     .sample = tensor.data,
                                     .matrices = 1};
        return static_cast<uint16_t>(t_.slot_count_++);
    }

    Transformer &t_;
};

uint64_t Transformer::position_bytes(const HyperParameters &parameters) {
    return KvCache::position_bytes(parameters.layers, parameters.kv_dim()) +
           uint64_t{parameters.heads} * sizeof(float);
}

Result<Transformer> Transformer::create(const Model &model, uint32_t positions) {
    const HyperParameters &p = model.parameters();
    if (positions == 0 || positions > max_positions(p)) {
        return Error{ErrorCode::kTooLarge, "context length out of range"};
    }
    Transformer t;
    t.model_ = &model;
    t.parameters_ = p;
    t.max_positions_ = positions;
    t.score_scale_ = static_cast<float>(1.0 / sqrt_f64(static_cast<double>(p.head_size)));

    BF_ASSIGN(t.kv_, KvCache::create(p.layers, p.kv_dim(), positions));
    BF_ASSIGN(t.x_, Buffer<float>::create(p.dim));
    BF_ASSIGN(t.normed_, Buffer<float>::create(p.dim));
    BF_ASSIGN(t.q_, Buffer<float>::create(p.q_dim()));
    BF_ASSIGN(t.mixed_, Buffer<float>::create(p.q_dim()));
    BF_ASSIGN(t.projected_, Buffer<float>::create(p.dim));
    BF_ASSIGN(t.gate_, Buffer<float>::create(p.hidden));
    BF_ASSIGN(t.up_, Buffer<float>::create(p.hidden));
    BF_ASSIGN(t.scores_, Buffer<float>::create(uint64_t{p.heads} * positions));
    BF_ASSIGN(t.logits_, Buffer<float>::create(p.vocab));
    BF_ASSIGN(t.cos_sin_, Buffer<float>::create(p.rope_dim));
    BF_ASSIGN(t.inv_freq_, Buffer<double>::create(p.rope_dim / 2));
    BF_ASSIGN(t.softmax_, Buffer<SoftmaxState>::create(p.heads));
    uint32_t longest = p.dim > p.hidden ? p.dim : p.hidden;
    longest = longest > p.q_dim() ? longest : p.q_dim();
    BF_ASSIGN(t.activation_, ActivationBuffer::create(longest));
    const uint32_t matrices = p.layers * kLayerMatrices + 1;
    BF_ASSIGN(t.slots_, Buffer<KernelSlot>::create(matrices));
    BF_ASSIGN(t.costs_, OpCosts::create(matrices + kOtherOps));
    BF_ASSIGN(t.steps_, Buffer<Step>::create(uint64_t{p.layers} * kLayerSteps + kOuterSteps));

    rope_frequencies(static_cast<double>(p.rope_base), p.rope_dim, t.inv_freq_.data());
    Builder(t).compile();
    return t;
}

uint64_t Transformer::scratch_bytes() const {
    const uint64_t floats = x_.size() + normed_.size() + q_.size() + mixed_.size() +
                            projected_.size() + gate_.size() + up_.size() + scores_.size() +
                            logits_.size() + cos_sin_.size() + 2 * inv_freq_.size();
    return floats * sizeof(float) + softmax_.size() * sizeof(SoftmaxState) +
           activation_.size_bytes() + slots_.size() * sizeof(KernelSlot) +
           steps_.size() * sizeof(Step);
}

void Transformer::begin(Token token, uint32_t position, bool want_logits) {
    if (token < 0 || static_cast<uint32_t>(token) >= parameters_.vocab ||
        position >= max_positions_) {
        platform::panic("transformer: token or position out of range");
    }
    if (step_ < step_end_) {
        costs_.abandon(steps_[step_].op);
    }
    token_ = token;
    position_ = position;
    step_ = 0;
    step_end_ = want_logits ? step_count_ : step_count_ - logits_steps_;
    units_done_ = 0;
    sharing_ = min_shared_ticks_ == 0 ? OpCosts::Sharing::kAlways : OpCosts::trial(tokens_begun_++);
    forms_ = 0;
    for (KernelSlot &slot : kernel_slots()) {
        slot.active = slot.kernel;
        forms_ |= slot.forms;
    }
}

bool Transformer::advance(uint64_t deadline_ticks) {
    uint64_t now = platform::ticks();
    while (step_ < step_end_) {
        const Step &step = steps_[step_];
        const uint32_t left = units_of(step) - units_done_;
        const uint64_t budget = deadline_ticks > now ? deadline_ticks - now : 0;
        const uint32_t units = costs_.units_within(step.op, left, budget);
        const bool shared = run_shared(step, units_done_, units_done_ + units);
        const uint64_t after = platform::ticks();
        costs_.record(step.op, units, after - now, after, units == left, shared);
        now = after;
        units_done_ += units;
        if (units == left) {
            units_done_ = 0;
            ++step_;
        }
        if (now >= deadline_ticks) {
            break;
        }
    }
    return step_ == step_end_;
}

uint32_t Transformer::units_of(const Step &step) const {
    return step.units != 0 ? step.units : parameters_.heads * (position_ + 1);
}

uint32_t Transformer::grain_of(const Step &step) const {
    switch (step.kind) {
        case StepKind::kAttentionScores:
        case StepKind::kSoftmax:
        case StepKind::kAttentionMix:
            return position_ + 1;  // a head: its maximum and its sums run over the positions
        case StepKind::kGemv:
            return kRowGrain;
        default:
            return 1;
    }
}

bool Transformer::run_shared(const Step &step, uint32_t begin, uint32_t end) {
    const uint32_t processors = pool_ == nullptr ? 1 : pool_->size();
    if (processors == 1) {
        run(step, begin, end);
        return false;
    }
    const uint32_t grain = grain_of(step);
    const uint32_t first = begin / grain;
    const uint32_t grains = (end - 1) / grain + 1 - first;
    if (grains == 1 || !costs_.share(step.op, end - begin, min_shared_ticks_, sharing_)) {
        run(step, begin, end);
        return false;
    }
    struct Job {
        Transformer &transformer;
        const Step &step;
        uint32_t begin;
        uint32_t end;
        uint32_t grain;
    } job{*this, step, begin, end, grain};
    const auto task = [](void *context, uint32_t from, uint32_t to) {
        const Job &j = *static_cast<const Job *>(context);
        // Whole grains, counted from unit 0, but for the ends of the range.
        const uint64_t base = j.begin / j.grain;
        const uint64_t low = (base + from) * j.grain;
        const uint64_t high = (base + to) * j.grain;
        j.transformer.run(j.step, low > j.begin ? static_cast<uint32_t>(low) : j.begin,
                          high < j.end ? static_cast<uint32_t>(high) : j.end);
    };
    // Small enough that nobody waits long for the last one, large enough to take few of them.
    const uint32_t chunk = grains / (processors * kChunksPerProcessor);
    pool_->run(task, &job, grains, chunk == 0 ? 1 : chunk);
    return true;
}

void Transformer::run(const Step &step, uint32_t begin, uint32_t end) {
    float *const y = step.y + step.y_stride * position_;
    switch (step.kind) {
        case StepKind::kEmbed:
            return embed(y);
        case StepKind::kRmsNorm:
            return rms_norm(step.x, reinterpret_cast<const float *>(step.w),
                            parameters_.rms_epsilon, step.n, y);
        case StepKind::kQuantize:
            return quantize_activation(step.x, activation_.view(step.n), forms_, begin, end);
        case StepKind::kGemv: {
            const KernelSlot &slot = slots_[step.slot];
            GemvArgs args{.weights = step.w,
                          .row_bytes = slot.row_bytes,
                          .cols = step.n,
                          .x = step.x,
                          .xq = {},
                          .y = y};
            if (takes_quantized(slot.type)) {
                args.xq = activation_.view(step.n);
            }
            return slot.active(args, begin, end);
        }
        case StepKind::kRope:
            for (uint32_t head = begin; head < end; ++head) {
                float *const x = head < parameters_.heads
                                     ? q_.data() + head * parameters_.head_size
                                     : y + (head - parameters_.heads) * parameters_.head_size;
                rope_head(cos_sin_.data(), parameters_.rope_dim / 2, x);
            }
            return;
        case StepKind::kAttentionScores:
        case StepKind::kSoftmax:
        case StepKind::kAttentionMix:
            return run_attention(step, begin, end);
        case StepKind::kSiluMul: {
            const uint32_t last = end * kSiluUnit < step.n ? end * kSiluUnit : step.n;
            return silu_mul(gate_.data(), up_.data(), begin * kSiluUnit, last, gate_.data());
        }
        case StepKind::kAdd:
            return add(step.x, step.n, y);
    }
}

// Unit u is position u % positions of head u / positions.
void Transformer::run_attention(const Step &step, uint32_t begin, uint32_t end) {
    const HyperParameters &p = parameters_;
    const uint32_t positions = position_ + 1;
    const uint32_t heads_per_kv = p.heads / p.kv_heads;
    for (uint32_t unit = begin; unit < end;) {
        const uint32_t head = unit / positions;
        const uint32_t from = unit % positions;
        const uint32_t left = end - unit;
        const uint32_t to = from + left < positions ? from + left : positions;
        float *const scores = scores_.data() + uint64_t{head} * max_positions_;
        const uint64_t kv_offset = uint64_t{head / heads_per_kv} * p.head_size;
        SoftmaxState &state = softmax_[head];
        switch (step.kind) {
            case StepKind::kAttentionScores:
                attention_scores(q_.data() + head * p.head_size, kv_.keys(step.layer) + kv_offset,
                                 p.kv_dim(), p.head_size, score_scale_, from, to, scores);
                softmax_max(scores, from, to, state);
                break;
            case StepKind::kSoftmax:
                softmax_exp(scores, from, to, state);
                break;
            default:
                softmax_scale(scores, from, to, softmax_inverse(state));
                attention_mix(scores, kv_.values(step.layer) + kv_offset, p.kv_dim(), p.head_size,
                              from, to, mixed_.data() + head * p.head_size);
                break;
        }
        unit += to - from;
    }
}

void Transformer::embed(float *y) {
    const Tensor &embedding = model_->token_embedding();
    dequantize_row(embedding.type, embedding.row(static_cast<uint32_t>(token_)), embedding.cols, y);
    rope_angles(position_, inv_freq_.data(), parameters_.rope_dim / 2, cos_sin_.data());
}

}  // namespace bareflow::llama
