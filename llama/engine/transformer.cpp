#include "llama/engine/transformer.h"

#include <atomic>

#include "compute/kernels/bindings.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/math.h"
#include "compute/numbers/rope_pairing.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_blocks.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/cpu/worker_wait.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::llama {
namespace {

// Steps per layer and around all layers; matrices per layer; distinct operations in costs_: of
// products at most so many, and the others.
constexpr uint32_t kLayerSteps = 11;
constexpr uint32_t kOuterSteps = 4;
constexpr uint32_t kLayerMatrices = 7;
constexpr uint32_t kMaxProductOps = 32;
constexpr uint32_t kOtherOps = 12;
// Of the float operations: one each, and a second length of kQuantize.
constexpr uint32_t kFloatBindings = compute::kFloatOps + 1;

// Rows of a matrix that one processor does together: 64 bytes of y.
constexpr uint32_t kRowGrain = 16;
constexpr uint32_t kChunksPerProcessor = 4;
// Rows of a batch in a group at most (what the matrix kernels do at once), and what their number is
// a multiple of, but for the last group.
constexpr uint32_t kGroupRows = 64;
constexpr uint32_t kLargeGroupRows = 128;
constexpr uint32_t kLargeMatrixRows = 2048;
constexpr uint32_t kGroupGrain = 16;

// Attention: positions of a unit; rows of a tile at most; scores at most, unless one vector's take
// more; items that a processor should find, so that nobody waits long for the last one.
constexpr uint32_t kBlockPositions = 32;
constexpr uint32_t kTileRows = 8;
constexpr uint64_t kScoreFloats = (2u << 20) / sizeof(float);
constexpr uint32_t kItemsPerProcessor = 2;
constexpr uint32_t kPasses = 3;
static_assert(kBlockPositions % compute::kLanes == 0);

// Tokens before the steps in one are measured: their parts were tuned by then.
constexpr uint64_t kStepsBeforeFusing = 48;

// Positions that copy_prefix() copies between two looks at the clock.
constexpr uint32_t kCopyPositions = 256;

constexpr uint32_t units_for(uint32_t n, uint32_t per_unit) {
    return (n + per_unit - 1) / per_unit;
}

constexpr uint64_t score_stride(uint32_t positions) {
    return compute::kScoreHeader +
           uint64_t{units_for(positions, compute::kScoreHeader)} * compute::kScoreHeader;
}

constexpr uint32_t step_capacity(const HyperParameters &p) {
    return p.layers * kLayerSteps + kOuterSteps;
}
constexpr uint32_t binding_capacity(const HyperParameters &p) {
    return p.layers * kLayerMatrices + 1;
}
constexpr uint32_t cost_capacity(const HyperParameters &p) {
    const uint32_t products = p.layers < kMaxProductOps / 4 ? 4 * p.layers : kMaxProductOps;
    return (products + kOtherOps) * OpCosts::kEntries + OpCosts::kReserved;
}

constexpr uint32_t longest_vector(const HyperParameters &p) {
    const uint32_t longest = p.dim > p.hidden ? p.dim : p.hidden;
    return longest > p.q_dim() ? longest : p.q_dim();
}

// "q4_k_gemv "
void put_gemv_name(compute::TensorType type, TextWriter &out) {
    for (const char c : compute::tensor_type_info(type).name) {
        out.put(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
    }
    out.put("_gemv ");
}

}  // namespace

// ------------------------------------------------------------------ compiled at load

// Compiles the model into the list of steps. The buffers are there and stay where they are.
class Transformer::Builder {
  public:
    explicit Builder(Transformer &target) : t_(target), s_(target.s_) {}

    void compile() {
        const HyperParameters &p = t_.parameters_;
        put({.kind = StepKind::kEmbed, .op = op("embed", p.dim), .n = p.dim});
        for (uint32_t index = 0; index < p.layers; ++index) {
            compile_layer(index);
        }
        const Tensor &output = t_.model_->output();
        norm(t_.model_->output_norm(), {&output});
        products(StepKind::kProducts, s_.normed, {{.matrix = &output, .y = s_.logits}});
    }

  private:
    void compile_layer(uint32_t index) {
        const HyperParameters &p = t_.parameters_;
        const Layer &layer = t_.model_->layers()[index];
        layer_ = index;
        norm(layer.attention_norm, {&layer.query, &layer.key, &layer.value});
        products(StepKind::kProducts, s_.normed,
                 {{.matrix = &layer.query, .bias = layer.query_bias.f32(), .y = s_.q},
                  {.matrix = &layer.key, .bias = layer.key_bias.f32(), .y = s_.k},
                  {.matrix = &layer.value, .bias = layer.value_bias.f32(), .y = s_.v}});
        put({.kind = StepKind::kRope,
             .op = op("rope", p.heads + p.kv_heads, p.head_size),
             .floats = find_or_add_floats("rope", {.op = compute::FloatOp::kRope, .n = p.heads})});
        if (index + 1 == p.layers) {
            t_.steps_without_logits_ = t_.step_count_;
            put({.kind = StepKind::kSelect, .op = op("select", p.dim)});
        }
        put({.kind = StepKind::kAttention,
             .op = op("attention", p.heads, p.head_size),
             .floats = find_or_add_floats("attention",
                                          {.op = compute::FloatOp::kAttention, .n = p.heads})});
        quantize(s_.mixed, layer.attention_output);
        products(StepKind::kProductAdd, s_.mixed,
                 {{.matrix = &layer.attention_output,
                   .bias = layer.attention_output_bias.f32(),
                   .y = s_.normed}});
        norm(layer.ffn_norm, {&layer.gate, &layer.up});
        products(StepKind::kGateUp, s_.normed,
                 {{.matrix = &layer.gate, .bias = layer.gate_bias.f32(), .y = s_.gate},
                  {.matrix = &layer.up, .bias = layer.up_bias.f32(), .y = s_.up}});
        quantize(s_.gate, layer.down);
        products(StepKind::kProductAdd, s_.gate,
                 {{.matrix = &layer.down, .bias = layer.down_bias.f32(), .y = s_.normed}});
    }

    Step &put(const Step &step) {
        Step &added = s_.steps[t_.step_count_++];
        added = step;
        added.layer = layer_;
        return added;
    }

    static const char *shape_name(std::string_view name, uint32_t a, uint32_t b) {
        char text[64];
        TextWriter out(text);
        out.put(name, ' ', a);
        if (b != 0) {
            out.put('x', b);
        }
        return intern_name(out.view());
    }

    uint16_t op(std::string_view name, uint32_t a, uint32_t b = 0) {
        const OpCosts::Part part{shape_name(name, a, b), 1};
        return static_cast<uint16_t>(t_.costs_.find_or_add_batched({&part, 1}));
    }

    // `wanted` has what identifies the operation: what it is and `n`.
    compute::FloatBinding *find_or_add_floats(std::string_view name,
                                              const compute::FloatBinding &wanted) {
        for (compute::FloatBinding &binding : t_.float_bindings()) {
            if (binding.op == wanted.op && binding.n == wanted.n) {
                return &binding;
            }
        }
        const HyperParameters &p = t_.parameters_;
        compute::FloatBinding &added = s_.float_bindings[t_.float_binding_count_++];
        added = wanted;
        added.variant = &compute::float_rule_of_thumb(wanted.op, p.head_size);
        uint32_t rows = wanted.n;
        if (wanted.op == compute::FloatOp::kRope || wanted.op == compute::FloatOp::kAttention) {
            rows = wanted.op == compute::FloatOp::kRope ? p.heads + p.kv_heads : p.heads;
            added.kv_heads = p.kv_heads;
            added.head_size = p.head_size;
            added.pairs = p.rope_dim / 2;
            added.pairing = t_.model_->architecture().rope;
            added.kv_type = t_.config_.kv_type;
        }
        added.name = shape_name(name, rows, added.head_size);
        return &added;
    }

    void norm(const Tensor &weights, std::initializer_list<const Tensor *> readers) {
        const uint32_t dim = t_.parameters_.dim;
        bool quantized = false;
        for (const Tensor *const reader : readers) {
            quantized = quantized || compute::takes_quantized(reader->type);
        }
        put({.kind = StepKind::kNorm,
             .quantized = quantized,
             .op = op("rms_norm", dim),
             .floats = find_or_add_floats("rms_norm", {.op = compute::FloatOp::kNorm, .n = dim}),
             .n = dim,
             .x = s_.x,
             .w = weights.f32()});
    }

    // Only if the matrix takes it.
    void quantize(const float *x, const Tensor &reader) {
        if (compute::takes_quantized(reader.type)) {
            put({.kind = StepKind::kQuantize,
                 .quantized = true,
                 .op = op("quantize", reader.cols),
                 .floats = find_or_add_floats(
                     "quantize", {.op = compute::FloatOp::kQuantize, .n = reader.cols}),
                 .n = reader.cols,
                 .x = x});
        }
    }

    void products(StepKind kind, const float *x, std::initializer_list<Product> list) {
        Step &step = put({.kind = kind, .n = list.begin()->matrix->cols, .x = x});
        OpCosts::Part parts[OpCosts::kMaxParts];
        for (const Product &product : list) {
            Product &added = step.products[step.product_count];
            added = product;
            added.binding = find_or_add_binding(*product.matrix);
            t_.place(added);
            parts[step.product_count++] = {s_.bindings[added.binding].name,
                                           product.matrix->bytes()};
        }
        uint32_t part_count = step.product_count;
        if (kind == StepKind::kGateUp) {
            const uint32_t hidden = list.begin()->matrix->rows;
            step.floats =
                find_or_add_floats("silu_mul", {.op = compute::FloatOp::kSilu, .n = hidden});
            parts[part_count++] = {step.floats->name, 0};  // its share is measured
        }
        step.op = static_cast<uint16_t>(
            t_.costs_.find_or_add_batched(std::span(parts).first(part_count)));
        Step &before = *(&step - 1);
        if (before.kind == StepKind::kNorm || before.kind == StepKind::kQuantize) {
            step.fed = t_.fused_.find_or_add(step_name(before, step));
            before.fed = step.fed;
        }
    }

    // "rms_norm 288 + q8_0_gemv 288x288"
    const char *step_name(const Step &feeding, const Step &fed) const {
        char text[96];
        TextWriter out(text);
        out.put(feeding.floats->name, " + ", s_.bindings[fed.products[0].binding].name);
        return intern_name(out.view());
    }

    uint32_t find_or_add_binding(const Tensor &tensor) {
        for (uint32_t i = 0; i < t_.binding_count_; ++i) {
            compute::KernelBinding &binding = s_.bindings[i];
            if (binding.type == tensor.type && binding.rows == tensor.rows &&
                binding.cols == tensor.cols) {
                if (binding.matrices < compute::KernelBinding::kTimedMatrices) {
                    binding.timed[binding.matrices] = tensor.data;
                }
                ++binding.matrices;
                return i;
            }
        }
        char text[64];
        TextWriter name(text);
        put_gemv_name(tensor.type, name);
        name.put(tensor.rows, 'x', tensor.cols);
        const compute::GemvVariant &variant = compute::kernel_for(tensor.type);
        s_.bindings[t_.binding_count_] = {
            .name = intern_name(name.view()),
            .type = tensor.type,
            .rows = tensor.rows,
            .cols = tensor.cols,
            .row_bytes = tensor.row_bytes,
            .kernel = variant.kernel,
            .forms = variant.forms,
            .active = variant.kernel,
            .matrix = variant.matrix,
            .matrix_forms = variant.forms,
            .reference = compute::gemv_variants(tensor.type)[0].kernel,
            .sample = tensor.data,
            .matrices = 1,
            .timed = {tensor.data}};
        return t_.binding_count_++;
    }

    Transformer &t_;
    const Scratch &s_;
    uint32_t layer_ = 0;
};

Transformer::Scratch Transformer::Scratch::at(uint8_t *memory, const HyperParameters &p,
                                              uint32_t sequences, uint32_t batch,
                                              uint32_t positions) {
    Scratch s;
    uint64_t used = 0;
    const auto take = [&]<typename T>(T *&pointer, uint64_t count) {
        pointer = memory == nullptr ? nullptr : reinterpret_cast<T *>(memory + used);
        used += (count * sizeof(T) + 63) / 64 * 64;
    };
    const uint32_t padded = compute::padded_head(p.head_size);
    take(s.rows, batch);
    take(s.wanting, sequences);
    take(s.tiles, batch);
    take(s.last_tiles, batch);
    take(s.steps, step_capacity(p));
    take(s.bindings, binding_capacity(p));
    take(s.matrices, binding_capacity(p));
    take(s.float_bindings, kFloatBindings);
    take(s.xq, batch);
    take(s.x, uint64_t{batch} * p.dim);
    take(s.normed, uint64_t{batch} * p.dim);
    take(s.q, uint64_t{batch} * p.q_dim());
    s.queries = s.q;
    if (padded != p.head_size) {
        take(s.queries, uint64_t{batch} * p.heads * padded);
    }
    take(s.k, uint64_t{batch} * p.kv_dim());
    take(s.v, uint64_t{batch} * p.kv_dim());
    take(s.mixed, uint64_t{batch} * p.q_dim());
    take(s.gate, uint64_t{batch} * p.hidden);
    take(s.up, uint64_t{batch} * p.hidden);
    const uint64_t vector = score_stride(positions);
    const uint64_t all = vector * p.heads * batch;
    const uint64_t most = kScoreFloats > vector ? kScoreFloats : vector;
    s.score_floats = all < most ? all : most;
    take(s.scores, s.score_floats);
    take(s.logits, uint64_t{sequences} * p.vocab);
    take(s.cos_sin, uint64_t{batch} * p.rope_dim);
    take(s.inv_freq, p.rope_dim / 2);
    const uint32_t longest = longest_vector(p);
    const uint64_t each = compute::ActivationBuffer::bytes_for(longest);
    uint8_t *activations;
    take(activations, each * batch);
    for (uint32_t i = 0; memory != nullptr && i < batch; ++i) {
        s.xq[i] = compute::ActivationBuffer::view_in(activations + i * each, longest);
    }
    s.bytes = used;
    return s;
}

uint64_t Transformer::position_bytes(const HyperParameters &p, compute::KvType type) {
    return KvCache::position_bytes(type, p.layers, p.kv_heads, p.head_size);
}

uint64_t Transformer::scratch_bytes(const HyperParameters &p, uint32_t sequences, uint32_t batch,
                                    uint32_t positions) {
    return Scratch::at(nullptr, p, sequences, batch, positions).bytes +
           OpCosts::bytes_for(cost_capacity(p));
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
    t.model_ = &model;
    t.parameters_ = p;
    t.config_ = config;
    t.score_scale_ = static_cast<float>(1.0 / compute::sqrt_f64(static_cast<double>(p.head_size)));
    BF_ASSIGN(t.kv_, KvCache::create({.type = config.kv_type,
                                      .layers = p.layers,
                                      .kv_heads = p.kv_heads,
                                      .head_size = p.head_size,
                                      .sequences = config.sequences,
                                      .positions = config.positions}));
    const uint64_t bytes =
        Scratch::at(nullptr, p, config.sequences, config.batch, config.positions).bytes;
    BF_ASSIGN(t.memory_, Buffer<uint8_t>::create(bytes));
    t.s_ = Scratch::at(t.memory_.data(), p, config.sequences, config.batch, config.positions);
    BF_ASSIGN(t.costs_, OpCosts::create(cost_capacity(p)));
    compute::rope_frequencies(static_cast<double>(p.rope_base), p.rope_dim,
                              model.rope_divisors().f32(), static_cast<double>(p.rope_factor),
                              t.s_.inv_freq);
    Builder(t).compile();
    return t;
}

// ------------------------------------------------------------------ one step

void Transformer::begin(std::span<const BatchToken> rows) {
    if (rows.empty() || rows.size() > config_.batch) {
        platform::panic("transformer: more rows than a batch has");
    }
    if (step_ < step_end_) {
        costs_.abandon(cost_entry(s_.steps[step_]));
    }
    wanting_ = 0;
    for (uint32_t i = 0; i < rows.size(); ++i) {
        const BatchToken &row = rows[i];
        if (row.token < 0 || static_cast<uint32_t>(row.token) >= parameters_.vocab ||
            row.position >= config_.positions || row.sequence >= config_.sequences) {
            platform::panic("transformer: token, position or sequence out of range");
        }
        for (uint32_t j = 0; j < i; ++j) {
            const bool next = j + 1 == i && rows[j].position + 1 == row.position;
            if (rows[j].sequence == row.sequence && !next &&
                (j + 1 == i || rows[j + 1].sequence != row.sequence)) {
                platform::panic("transformer: the rows of a sequence are apart");
            }
        }
        s_.rows[i] = row;
        if (row.want_logits) {
            if (wanting_ == config_.sequences) {
                platform::panic("transformer: too many rows want logits");
            }
            s_.wanting[wanting_++] = i;
        }
    }
    given_ = static_cast<uint32_t>(rows.size());
    rows_ = given_;
    step_ = 0;
    step_end_ = wanting_ != 0 ? step_count_ : steps_without_logits_;
    units_done_ = 0;
    alone_ = pool_ == nullptr || pool_->size() == 1;
    plan_.tiles = s_.tiles;
    plan_attention(plan_, nullptr, given_);
    last_plan_.tiles = s_.last_tiles;
    plan_attention(last_plan_, s_.wanting, wanting_);
    if (translation_drops_ != 0) {
        --translation_drops_;
        platform::publish_code();  // drops them, on every processor
    }
    costs_.begin_step();
    const uint32_t row_class = OpCosts::row_class(given_);
    const uint64_t steps_begun = steps_begun_[row_class]++;
    sharing_ =
        min_shared_ticks_ == 0 ? OpCosts::Sharing::kAlways : OpCosts::trial(steps_begun, row_class);
    turns_trial_ = OpCosts::tries_turns(steps_begun, row_class);
    feeding_ = nullptr;
    // Every pair is met once or more in a step.
    fused_.begin(given_ == 1 && wanting_ == 1 && !alone_ &&
                 sharing_ == OpCosts::Sharing::kMeasured && steps_begun >= kStepsBeforeFusing);
    forms_ = 0;
    has_matrix_ = false;
    for (compute::KernelBinding &binding : kernel_bindings()) {
        binding.active = binding.kernel;
        has_matrix_ |= binding.matrix != nullptr;
        ++(given_ > compute::KernelBinding::kFewTokens ? binding.many_batches
                                                       : binding.few_batches);
        forms_ |= binding.forms;
        forms_ |= given_ > 1 ? binding.matrix_forms : 0;
    }
}

uint32_t Transformer::cost_entry(const Step &step) const {
    const uint32_t row_class = OpCosts::row_class(rows_);
    return in_turns_ ? OpCosts::in_turns(step.op, row_class) : step.op + row_class;
}

bool Transformer::advance(uint64_t deadline_ticks) {
    uint64_t now = platform::ticks();
    while (step_ < step_end_) {
        const Step &step = s_.steps[step_];
        if (step.product_count == 0 && units_done_ == 0 && rows_ == 1 && !alone_ &&
            fused_.fuses(step.fed)) {
            feeding_ = &step;
            ++step_;
            continue;
        }
        if (units_done_ == 0) {
            in_turns_ = step.product_count != 0 && has_matrix_ &&
                        costs_.takes_turns(step.op, OpCosts::row_class(rows_), turns_trial_);
        }
        const uint32_t left = units_of(step) - units_done_;
        const uint32_t until_barrier = units_until_barrier(step, units_done_);
        const uint32_t weight = unit_weight(step);
        const uint32_t op = cost_entry(step);
        const uint64_t budget = deadline_ticks > now ? deadline_ticks - now : 0;
        uint32_t units = costs_.units_within(op, until_barrier * weight, budget) / weight;
        units = units == 0 ? 1 : units;
        const Step *const feeding = feeding_;
        const OpCosts::DoneBy by = run_shared(step, op, units_done_, units_done_ + units);
        const uint64_t after = platform::ticks();
        if (step.fed != FusedSteps::kNone) {
            fused_.add(step.fed, after - now);
        }
        if (feeding != nullptr) {
            const uint64_t most = after - now;
            const uint64_t took = feeding_ticks_ < most ? feeding_ticks_ : most;
            now += took;
            costs_.record(cost_entry(*feeding), units_of(*feeding), took, now, true);
        }
        if (step.kind == StepKind::kGateUp) {
            costs_.set_last_share(op, silu_share_q16());
        }
        costs_.record(op, units * weight, after - now, after, units == left, by, rows_);
        now = after;
        units_done_ += units;
        if (units == left) {
            units_done_ = 0;
            ++step_;
            if (step_ == step_end_) {
                fused_.finish();
            }
        }
        if (now >= deadline_ticks) {
            break;
        }
    }
    return step_ == step_end_;
}

std::span<float> Transformer::logits(uint32_t row) {
    for (uint32_t i = 0; i < wanting_; ++i) {
        if (s_.wanting[i] == row) {
            return {s_.logits + uint64_t{i} * parameters_.vocab, parameters_.vocab};
        }
    }
    platform::panic("transformer: logits of a row that did not want them");
}

bool Transformer::copy_prefix(uint32_t from, uint32_t to, uint32_t positions,
                              uint64_t deadline_ticks) {
    if (from >= config_.sequences || to >= config_.sequences || from == to ||
        positions > config_.positions) {
        platform::panic("transformer: no such prefix");
    }
    const Copy wanted{from, to, positions, copy_.done};
    if (!(copy_ == wanted)) {
        copy_ = {from, to, positions, 0};
    }
    const uint32_t pieces = units_for(positions, kCopyPositions);
    const uint64_t all = uint64_t{2} * parameters_.layers * parameters_.kv_heads * pieces;
    while (copy_.done < all) {
        const auto piece = static_cast<uint32_t>(copy_.done % pieces);
        const auto head = static_cast<uint32_t>(copy_.done / pieces % parameters_.kv_heads);
        const auto plane = static_cast<uint32_t>(copy_.done / pieces / parameters_.kv_heads);
        const uint32_t begin = piece * kCopyPositions;
        const uint32_t end =
            positions - begin < kCopyPositions ? positions : begin + kCopyPositions;
        kv_.copy(plane, head, from, to, begin, end);
        ++copy_.done;
        if (copy_.done < all && platform::ticks() >= deadline_ticks) {
            return false;
        }
    }
    copy_ = {};
    return true;
}

uint32_t Transformer::units_of(const Step &step) const {
    switch (step.kind) {
        case StepKind::kQuantize:
            return compute::group_count(step.n) * rows_;
        case StepKind::kProducts: {
            uint32_t units = 0;
            for (uint32_t i = 0; i < step.product_count; ++i) {
                units += step.products[i].matrix->rows;
            }
            return units;
        }
        case StepKind::kProductAdd:
        case StepKind::kGateUp:
            return step.products[0].matrix->rows;
        case StepKind::kRope:
            return parameters_.kv_heads * rows_;
        case StepKind::kSelect:
            return 1;
        case StepKind::kAttention:
            return plan_of(step).units;
        default:
            return rows_;
    }
}

uint32_t Transformer::units_until_barrier(const Step &step, uint32_t done) const {
    const uint32_t all = units_of(step);
    if (step.kind != StepKind::kAttention) {
        return all - done;
    }
    // Scores of the next items go where those of the present ones are.
    const AttentionPlan &plan = plan_of(step);
    const uint32_t items = plan.tile_count * plan.items_per_tile;
    const uint32_t item = item_at(plan, done).index;
    const uint32_t next = (item / plan.areas + 1) * plan.areas;
    return (next < items ? item_of(plan, next).begin : all) - done;
}

uint32_t Transformer::unit_weight(const Step &step) const {
    return step.product_count != 0 ? rows_ : 1;
}

OpCosts::DoneBy Transformer::run_shared(const Step &step, uint32_t op, uint32_t begin,
                                        uint32_t end) {
    const uint32_t processors = pool_ == nullptr ? 1 : pool_->size();
    if (processors == 1 ||
        !costs_.share(op, (end - begin) * unit_weight(step), min_shared_ticks_, sharing_)) {
        feed();
        run(step, begin, end);
        return OpCosts::DoneBy::kOne;
    }
    struct Job {
        Transformer &transformer;
        const Step &step;
        const AttentionPlan *plan;
        uint32_t begin;
        uint32_t end;
        uint32_t first;  // grain or item
        uint32_t grain;
        uint32_t count;  // of the grains of one group of the batch's rows
        // The first to come feeds the product, the others wait for that.
        enum : uint32_t { kUnfed, kBeingFed, kFed };
        std::atomic<uint32_t> fed;
        std::atomic<bool> joined;  // by another processor
    } job{*this, step, nullptr, begin, end, 0, 1, 0, feeding_ == nullptr ? Job::kFed : Job::kUnfed,
          false};
    uint32_t grains;
    uint32_t chunk = 1;
    if (step.kind == StepKind::kAttention) {
        job.plan = &plan_of(step);
        job.first = item_at(*job.plan, begin).index;
        grains = item_at(*job.plan, end - 1).index - job.first + 1;
    } else {
        // Whole grains, counted from unit 0, but for the ends of the range; products: of one group
        // of the batch's rows after the other, so that a processor has mostly the same rows in all
        // steps. So many at a time that nobody waits long for the last one, and takes few of them.
        job.grain = step.product_count != 0 ? kRowGrain : 1;
        job.first = begin / job.grain;
        job.count = (end - 1) / job.grain + 1 - job.first;
        grains = step.product_count != 0 ? job.count * row_groups(step) : job.count;
        chunk = grains / (processors * kChunksPerProcessor);
    }
    if (grains == 1) {
        feed();
        run(step, begin, end);
        return OpCosts::DoneBy::kOne;
    }
    const auto task = [](void *context, uint32_t from, uint32_t to) {
        Job &j = *static_cast<Job *>(context);
        if (platform::processor_index() != 0 && !j.joined.load(std::memory_order_relaxed)) {
            j.joined.store(true, std::memory_order_relaxed);
        }
        while (j.fed.load(std::memory_order_acquire) != Job::kFed) {
            uint32_t unfed = Job::kUnfed;
            if (j.fed.compare_exchange_strong(unfed, Job::kBeingFed)) {
                j.transformer.feed();
                j.fed.store(Job::kFed, std::memory_order_release);
            }
            worker_pause();
        }
        while (j.step.product_count != 0 && from < to) {
            const uint32_t group = from / j.count;
            const uint32_t grain = from % j.count;
            const uint32_t taken = to - from < j.count - grain ? to - from : j.count - grain;
            const uint32_t low = (j.first + grain) * j.grain;
            const uint32_t high = low + taken * j.grain;
            j.transformer.run_products(j.step, low > j.begin ? low : j.begin,
                                       high < j.end ? high : j.end, group);
            from += taken;
        }
        if (from == to) {
            return;
        }
        uint64_t low = uint64_t{j.first + from} * j.grain;
        uint64_t high = uint64_t{j.first + to} * j.grain;
        if (j.plan != nullptr) {
            low = item_of(*j.plan, j.first + from).begin;
            high = item_of(*j.plan, j.first + to - 1).end;
        }
        j.transformer.run(j.step, low > j.begin ? static_cast<uint32_t>(low) : j.begin,
                          high < j.end ? static_cast<uint32_t>(high) : j.end);
    };
    pool_->run(task, &job, grains, chunk == 0 ? 1 : chunk);
    // The first one that they joined may have seen them come late.
    const bool were_awake = others_awake_;
    others_awake_ = job.joined.load(std::memory_order_relaxed);
    return were_awake && others_awake_ ? OpCosts::DoneBy::kSeveral : OpCosts::DoneBy::kWaking;
}

void Transformer::feed() {
    if (feeding_ != nullptr) {
        const uint64_t start = platform::ticks();
        run(*feeding_, 0, units_of(*feeding_));
        feeding_ticks_ = platform::ticks() - start;
        feeding_ = nullptr;
    }
}

void Transformer::run(const Step &step, uint32_t begin, uint32_t end) {
    switch (step.kind) {
        case StepKind::kEmbed:
            for (uint32_t row = begin; row < end; ++row) {
                embed(step, row);
            }
            return;
        case StepKind::kNorm:
            for (uint32_t row = begin; row < end; ++row) {
                norm(step, row);
            }
            return;
        case StepKind::kQuantize: {
            const uint32_t groups = compute::group_count(step.n);
            for (uint32_t unit = begin; unit < end;) {
                const uint32_t row = unit / groups;
                const uint32_t from = unit % groups;
                const uint32_t to = end - unit < groups - from ? from + (end - unit) : groups;
                quantize(step, step.x + uint64_t{row} * step.n, row, from, to);
                unit += to - from;
            }
            return;
        }
        case StepKind::kProducts:
        case StepKind::kProductAdd:
        case StepKind::kGateUp:
            for (uint32_t group = 0; group < row_groups(step); ++group) {
                run_products(step, begin, end, group);
            }
            return;
        case StepKind::kRope:
            for (uint32_t unit = begin; unit < end; ++unit) {
                rope(step, unit / parameters_.kv_heads, unit % parameters_.kv_heads);
            }
            return;
        case StepKind::kSelect:
            return select_rows();
        case StepKind::kAttention: {
            const AttentionPlan &plan = plan_of(step);
            for (Item item = item_at(plan, begin);;) {
                attend(plan, item, step, begin, end);
                if (item.end >= end) {
                    return;
                }
                item = item_of(plan, item.index + 1);
            }
        }
    }
}

uint32_t Transformer::row_groups(const Step &step) const {
    return units_for(rows_, group_size(step));
}

uint32_t Transformer::group_size(const Step &step) const {
    // Unpacking quantised weights is dear, and less so for many rows at a time. But with groups
    // processors find what they wrote, which counts for more where matrices are small.
    const bool quantized = compute::takes_quantized(step.products[0].matrix->type);
    const bool large = quantized && (alone_ || units_of(step) >= kLargeMatrixRows);
    const uint32_t most = large ? kLargeGroupRows : kGroupRows;
    const uint32_t even = units_for(rows_, units_for(rows_, most));
    return units_for(even, kGroupGrain) * kGroupGrain;
}

void Transformer::run_products(const Step &step, uint32_t begin, uint32_t end, uint32_t group) {
    const uint32_t size = group_size(step);
    const uint32_t first_row = group * size;
    const uint32_t rows = rows_ - first_row < size ? rows_ - first_row : size;
    const uint32_t end_row = first_row + rows;
    if (step.kind == StepKind::kProducts) {
        uint32_t first = 0;
        for (uint32_t i = 0; i < step.product_count; ++i) {
            const uint32_t count = step.products[i].matrix->rows;
            const uint32_t from = begin > first ? begin - first : 0;
            const uint32_t to = end < first + count ? end - first : count;
            if (begin < first + count && end > first) {
                multiply(step, step.products[i], from, to, first_row, rows);
            }
            first += count;
        }
        return;
    }
    const uint64_t start = platform::ticks();
    multiply(step, step.products[0], begin, end, first_row, rows);
    if (step.kind == StepKind::kGateUp) {
        multiply(step, step.products[1], begin, end, first_row, rows);
        const uint64_t middle = platform::ticks();
        for (uint32_t row = first_row; row < end_row; ++row) {
            const uint64_t at = uint64_t{row} * parameters_.hidden;
            step.floats->variant->silu(s_.gate + at, s_.up + at, begin, end, s_.gate + at);
        }
        const uint64_t done = platform::ticks();
        std::atomic_ref(gate_up_ticks_).fetch_add(done - start, std::memory_order_relaxed);
        std::atomic_ref(silu_ticks_).fetch_add(done - middle, std::memory_order_relaxed);
        return;
    }
    for (uint32_t row = first_row; row < end_row; ++row) {
        const uint64_t at = uint64_t{row} * parameters_.dim + begin;
        compute::add(step.products[0].y + at, end - begin, s_.x + at);
    }
}

void Transformer::embed(const Step &step, uint32_t row) {
    const Tensor &embedding = model_->token_embedding();
    const BatchToken &from = s_.rows[row];
    // A block's bytes are fewer than its floats, and nothing is normed yet.
    const uint8_t *const weights =
        embedding_row(static_cast<uint32_t>(from.token),
                      reinterpret_cast<uint8_t *>(s_.normed + uint64_t{row} * step.n));
    compute::dequantize_row(embedding.type, weights, step.n, s_.x + uint64_t{row} * step.n);
    compute::rope_angles(from.position, s_.inv_freq, parameters_.rope_dim / 2,
                         s_.cos_sin + uint64_t{row} * parameters_.rope_dim);
}

void Transformer::norm(const Step &step, uint32_t row) {
    const uint64_t at = uint64_t{row} * step.n;
    compute::QuantizedActivation out = s_.xq[row];
    out.count = step.n;
    step.floats->variant->norm(step.x + at, step.w, parameters_.rms_epsilon, step.n, s_.normed + at,
                               step.quantized ? &out : nullptr, forms_);
}

void Transformer::quantize(const Step &step, const float *x, uint32_t row, uint32_t begin,
                           uint32_t end) {
    compute::QuantizedActivation out = s_.xq[row];
    out.count = step.n;
    step.floats->variant->quantize(x, out, forms_, begin, end);
}

// Between two jobs: nobody else counts now. What is older counts for less.
uint32_t Transformer::silu_share_q16() {
    constexpr uint64_t kLongAgo = uint64_t{1} << 32;
    if (gate_up_ticks_ > kLongAgo) {
        gate_up_ticks_ /= 2;
        silu_ticks_ /= 2;
    }
    return gate_up_ticks_ == 0 ? 0 : static_cast<uint32_t>((silu_ticks_ << 16) / gate_up_ticks_);
}

void Transformer::multiply(const Step &step, const Product &product, uint32_t begin, uint32_t end,
                           uint32_t first_row, uint32_t rows) {
    const compute::KernelBinding &binding = s_.bindings[product.binding];
    const compute::GemmArgs args{
        .weights = product.matrix->data,
        .row_bytes = binding.row_bytes,
        .cols = step.n,
        .batch = rows,
        .x = step.x + uint64_t{first_row} * step.n,
        .x_stride = step.n,
        .xq = compute::takes_quantized(binding.type) ? s_.xq + first_row : nullptr,
        .y = product.y + uint64_t{first_row} * binding.rows,
        .y_stride = binding.rows};
    multiply_placed(binding, product, args, begin, end);
    for (uint32_t row = 0; row < rows && product.bias != nullptr; ++row) {
        compute::add(product.bias + begin, end - begin,
                     args.y + uint64_t{row} * binding.rows + begin);
    }
}

void Transformer::rope(const Step &step, uint32_t row, uint32_t kv_head) {
    const HyperParameters &p = parameters_;
    const compute::FloatVariant &floats = *step.floats->variant;
    const compute::RopePairing pairing = step.floats->pairing;
    const float *const angles = s_.cos_sin + uint64_t{row} * p.rope_dim;
    const uint32_t padded = compute::padded_head(p.head_size);
    const uint32_t group = p.heads / p.kv_heads;
    for (uint32_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        float *const q = s_.q + uint64_t{row} * p.q_dim() + head * p.head_size;
        floats.rope(pairing, angles, p.rope_dim / 2, q);
        float *const query = s_.queries + (uint64_t{row} * p.heads + head) * padded;
        if (query != q) {
            // What is behind the last element was zero from the start.
            __builtin_memcpy(query, q, p.head_size * sizeof(float));
        }
    }
    const uint64_t at = uint64_t{row} * p.kv_dim() + kv_head * p.head_size;
    floats.rope(pairing, angles, p.rope_dim / 2, s_.k + at);
    const BatchToken &to = s_.rows[row];
    const uint64_t offset = uint64_t{to.position} * kv_.head_bytes();
    floats.store(config_.kv_type, s_.k + at, p.head_size,
                 kv_.keys(step.layer, to.sequence, kv_head) + offset);
    floats.store(config_.kv_type, s_.v + at, p.head_size,
                 kv_.values(step.layer, to.sequence, kv_head) + offset);
}

void Transformer::select_rows() {
    const uint64_t query_floats =
        uint64_t{parameters_.heads} * compute::padded_head(parameters_.head_size);
    for (uint32_t i = 0; i < wanting_; ++i) {
        const uint64_t from = s_.wanting[i];  // >= i
        if (from != i) {
            __builtin_memcpy(s_.x + uint64_t{i} * parameters_.dim, s_.x + from * parameters_.dim,
                             parameters_.dim * sizeof(float));
            __builtin_memcpy(s_.queries + i * query_floats, s_.queries + from * query_floats,
                             query_floats * sizeof(float));
        }
    }
    rows_ = wanting_;
}

// ------------------------------------------------------------------ attention

void Transformer::cut_tiles(AttentionPlan &plan, const uint32_t *selected, uint32_t count,
                            uint32_t tile_rows) const {
    plan.tile_count = 0;
    for (uint32_t i = 0; i < count;) {
        const BatchToken &first = s_.rows[selected == nullptr ? i : selected[i]];
        uint32_t rows = 1;
        while (rows < tile_rows && i + rows < count) {
            const BatchToken &next = s_.rows[selected == nullptr ? i + rows : selected[i + rows]];
            if (next.sequence != first.sequence || next.position != first.position + rows) {
                break;
            }
            ++rows;
        }
        plan.tiles[plan.tile_count++] = {.first_row = i,
                                         .rows = rows,
                                         .sequence = first.sequence,
                                         .positions = first.position + rows};
        i += rows;
    }
}

void Transformer::plan_attention(AttentionPlan &plan, const uint32_t *selected,
                                 uint32_t count) const {
    const uint32_t processors = pool_ == nullptr ? 1 : pool_->size();
    const uint32_t group = parameters_.heads / parameters_.kv_heads;
    uint32_t longest = 1;
    for (uint32_t i = 0; i < count; ++i) {
        const uint32_t sees = s_.rows[selected == nullptr ? i : selected[i]].position + 1;
        longest = sees > longest ? sees : longest;
    }
    plan.score_stride = score_stride(longest);
    // Large tiles read keys and values less often; smaller ones where scores take too much, or
    // where there would be too few for all processors.
    uint32_t tile_rows = kTileRows < count ? kTileRows : count;
    uint32_t heads = group;
    for (;;) {
        cut_tiles(plan, selected, count, tile_rows);
        plan.area_floats = plan.score_stride * tile_rows * heads;
        plan.items_per_tile = parameters_.heads / heads;
        const bool fits = plan.area_floats * processors <= s_.score_floats;
        const bool enough = processors == 1 || plan.tile_count * plan.items_per_tile >=
                                                   processors * kItemsPerProcessor;
        if ((fits && enough) || (tile_rows <= 1 && heads == 1)) {
            break;
        }
        if (tile_rows > 1) {
            tile_rows = (tile_rows + 1) / 2;
        } else {
            do {
                --heads;
            } while (group % heads != 0);
        }
    }
    plan.heads_per_item = heads;
    plan.areas =
        static_cast<uint32_t>(plan.area_floats == 0 ? 1 : s_.score_floats / plan.area_floats);
    plan.units = 0;
    for (uint32_t i = 0; i < plan.tile_count; ++i) {
        Tile &tile = plan.tiles[i];
        tile.unit_begin = plan.units;
        tile.item_units = kPasses * units_for(tile.positions, kBlockPositions) * tile.rows * heads;
        plan.units += tile.item_units * plan.items_per_tile;
    }
}

Transformer::Item Transformer::item_of(const AttentionPlan &plan, uint32_t index) {
    const Tile &tile = plan.tiles[index / plan.items_per_tile];
    const uint32_t within = index % plan.items_per_tile;
    const uint32_t begin = tile.unit_begin + within * tile.item_units;
    return {.tile = &tile,
            .index = index,
            .head = within * plan.heads_per_item,
            .begin = begin,
            .end = begin + tile.item_units};
}

Transformer::Item Transformer::item_at(const AttentionPlan &plan, uint32_t unit) {
    uint32_t tile = plan.tile_count - 1;
    while (plan.tiles[tile].unit_begin > unit) {
        --tile;
    }
    const uint32_t within = (unit - plan.tiles[tile].unit_begin) / plan.tiles[tile].item_units;
    return item_of(plan, tile * plan.items_per_tile + within);
}

// The item's blocks whose first unit is in [begin, end).
void Transformer::attend(const AttentionPlan &plan, const Item &item, const Step &step,
                         uint32_t begin, uint32_t end) {
    const HyperParameters &p = parameters_;
    const compute::FloatVariant &floats = *step.floats->variant;
    const Tile &tile = *item.tile;
    const uint32_t kv_head = item.head / (p.heads / p.kv_heads);
    const uint64_t query_floats = uint64_t{p.heads} * compute::padded_head(p.head_size);
    const compute::AttentionTile work{
        .type = config_.kv_type,
        .head_size = p.head_size,
        .rows = tile.rows,
        .heads = plan.heads_per_item,
        .positions = tile.positions,
        .scale = score_scale_,
        .q = s_.queries + tile.first_row * query_floats +
             item.head * compute::padded_head(p.head_size),
        .q_stride = query_floats,
        .keys = kv_.keys(step.layer, tile.sequence, kv_head),
        .values = kv_.values(step.layer, tile.sequence, kv_head),
        .scores = s_.scores + item.index % plan.areas * plan.area_floats,
        .scores_stride = plan.score_stride,
        .out = s_.mixed + uint64_t{tile.first_row} * p.q_dim() + item.head * p.head_size,
        .out_stride = p.q_dim()};
    const uint32_t vectors = tile.rows * plan.heads_per_item;
    const uint32_t blocks = units_for(tile.positions, kBlockPositions);
    const uint32_t last = units_for((end < item.end ? end : item.end) - item.begin, vectors);
    uint32_t block = begin > item.begin ? units_for(begin - item.begin, vectors) : 0;
    while (block < last) {
        const uint32_t pass = block / blocks;
        const uint32_t pass_end = (pass + 1) * blocks < last ? (pass + 1) * blocks : last;
        const uint32_t from = (block - pass * blocks) * kBlockPositions;
        const uint32_t to = (pass_end - pass * blocks) * kBlockPositions;
        const compute::AttentionKernel pass_function = pass == 0   ? floats.scores
                                                       : pass == 1 ? floats.exp
                                                                   : floats.mix;
        pass_function(work, from, to < tile.positions ? to : tile.positions);
        block = pass_end;
    }
}

}  // namespace bareflow::llama
