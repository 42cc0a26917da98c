// The table, and the operators without matrix products. Each run function computes a range of units
// for any split of the step, on any processor. The arithmetic is that of the numeric contract
// (docs/decisions/0001-numeric-contract.md), in the float variant that the step's binding names.
#include "llama/engine/operators.h"

#include "compute/numbers/ops.h"
#include "compute/numbers/weight_blocks.h"
#include "llama/engine/packed_products.h"
#include "llama/engine/products.h"

namespace bareflow::llama {
namespace {

// ------------------------------------------------------------------ units

uint32_t tokens(const StepContext &context, const Step &) {
    return context.batch.count;
}

uint32_t groups_of_tokens(const StepContext &context, const Step &step) {
    return compute::group_count(step.n) * context.batch.count;
}

uint32_t kv_heads_of_tokens(const StepContext &context, const Step &) {
    return context.program.parameters().kv_heads * context.batch.count;
}

uint32_t whole(const StepContext &, const Step &) {
    return 1;
}

uint32_t attention_units(const StepContext &context, const Step &) {
    return context.batch.attention().units();
}

// ------------------------------------------------------------------ names in the profile

ProfileShape length_of_x(const HyperParameters &, const Step &step) {
    return {step.n};
}

ProfileShape length_of_product(const HyperParameters &, const Step &step) {
    return {step.products[0].matrix->rows};
}

ProfileShape all_heads(const HyperParameters &p, const Step &) {
    return {p.heads + p.kv_heads, p.head_size};
}

ProfileShape query_heads(const HyperParameters &p, const Step &) {
    return {p.heads, p.head_size};
}

// ------------------------------------------------------------------ running

void embed(StepContext &context, const Step &step, uint32_t begin, uint32_t end) {
    const StepProgram &program = context.program;
    const Buffers &buffers = program.buffers();
    const uint32_t rope_dim = program.parameters().rope_dim;
    for (uint32_t i = begin; i < end; ++i) {
        const BatchToken &token = context.batch.tokens[i];
        // A row's bytes are fewer than those of its floats, and nothing is normed yet.
        auto *const scratch =
            reinterpret_cast<uint8_t *>(buffers[Operand::kNormed] + uint64_t{i} * step.n);
        const uint8_t *const weights =
            embedding_row(program, static_cast<uint32_t>(token.token), scratch);
        compute::dequantize_row(program.model().token_embedding().type, weights, step.n,
                                step.y + uint64_t{i} * step.n);
        compute::rope_angles(token.position, buffers.inv_freq, rope_dim / 2,
                             buffers.cos_sin + uint64_t{i} * rope_dim);
    }
}

void norm(StepContext &context, const Step &step, uint32_t begin, uint32_t end) {
    const float epsilon = context.program.parameters().rms_epsilon;
    for (uint32_t i = begin; i < end; ++i) {
        const uint64_t at = uint64_t{i} * step.n;
        compute::QuantizedActivation out = context.program.buffers().quantized[i];
        out.count = step.n;
        step.floats->variant->norm(step.x + at, step.w, epsilon, step.n, step.y + at,
                                   step.quantized ? &out : nullptr, context.batch.forms);
    }
}

void quantize(StepContext &context, const Step &step, uint32_t begin, uint32_t end) {
    const uint32_t groups = compute::group_count(step.n);
    for (uint32_t unit = begin; unit < end;) {
        const uint32_t i = unit / groups;
        const uint32_t from = unit % groups;
        const uint32_t to = end - unit < groups - from ? from + (end - unit) : groups;
        compute::QuantizedActivation out = context.program.buffers().quantized[i];
        out.count = step.n;
        step.floats->variant->quantize(step.x + uint64_t{i} * step.n, out, context.batch.forms,
                                       from, to);
        unit += to - from;
    }
}

// The queries that read one KV head of one token, and its key and value.
void rope_head(const StepContext &context, const Step &step, uint32_t index, uint32_t kv_head) {
    const HyperParameters &p = context.program.parameters();
    const Buffers &buffers = context.program.buffers();
    const compute::FloatVariant &floats = *step.floats->variant;
    const compute::RopePairing pairing = step.floats->pairing;
    const float *const angles = buffers.cos_sin + uint64_t{index} * p.rope_dim;
    const uint32_t padded = compute::padded_head(p.head_size);
    const uint32_t heads_of_kv = p.heads / p.kv_heads;
    for (uint32_t head = kv_head * heads_of_kv; head < (kv_head + 1) * heads_of_kv; ++head) {
        float *const q =
            buffers[Operand::kQuery] + uint64_t{index} * p.q_dim() + head * p.head_size;
        floats.rope(pairing, angles, p.rope_dim / 2, q);
        float *const query = buffers.queries + (uint64_t{index} * p.heads + head) * padded;
        if (query != q) {
            // The elements from head_size to padded are zero since the memory was allocated.
            __builtin_memcpy(query, q, p.head_size * sizeof(float));
        }
    }
    const uint64_t at = uint64_t{index} * p.kv_dim() + kv_head * p.head_size;
    float *const key = buffers[Operand::kKey] + at;
    floats.rope(pairing, angles, p.rope_dim / 2, key);
    const BatchToken &token = context.batch.tokens[index];
    const KvCache &kv = context.kv;
    const compute::KvType type = context.program.config().kv_type;
    const uint64_t offset = uint64_t{token.position} * kv.head_bytes();
    floats.store(type, key, p.head_size, kv.keys(step.layer, token.sequence, kv_head) + offset);
    floats.store(type, buffers[Operand::kValue] + at, p.head_size,
                 kv.values(step.layer, token.sequence, kv_head) + offset);
}

void rope(StepContext &context, const Step &step, uint32_t begin, uint32_t end) {
    const uint32_t kv_heads = context.program.parameters().kv_heads;
    for (uint32_t unit = begin; unit < end; ++unit) {
        rope_head(context, step, unit / kv_heads, unit % kv_heads);
    }
}

void select(StepContext &context, const Step &step, uint32_t, uint32_t) {
    const HyperParameters &p = context.program.parameters();
    float *const residual = context.program.buffers()[Operand::kResidual];
    float *const queries = context.program.buffers().queries;
    const uint64_t query_floats = uint64_t{p.heads} * compute::padded_head(p.head_size);
    Batch &batch = context.batch;
    for (uint32_t i = 0; i < batch.wanting_count; ++i) {
        const uint64_t from = batch.wanting[i];  // >= i
        if (from != i) {
            __builtin_memcpy(residual + uint64_t{i} * step.n, residual + from * step.n,
                             step.n * sizeof(float));
            __builtin_memcpy(queries + i * query_floats, queries + from * query_floats,
                             query_floats * sizeof(float));
        }
    }
    batch.count = batch.wanting_count;
    batch.selected = true;
}

// The stretches of the item whose first unit is in [begin, end).
void attend(const StepContext &context, const Step &step, const AttentionPlan::Item &item,
            uint32_t begin, uint32_t end) {
    constexpr uint32_t kStretch = AttentionPlan::kStretchPositions;
    const HyperParameters &p = context.program.parameters();
    const Buffers &buffers = context.program.buffers();
    const AttentionPlan &plan = context.batch.attention();
    const compute::FloatVariant &floats = *step.floats->variant;
    const Tile &tile = *item.tile;
    const uint32_t kv_head = item.head / (p.heads / p.kv_heads);
    const uint32_t padded = compute::padded_head(p.head_size);
    const uint64_t query_floats = uint64_t{p.heads} * padded;
    const compute::AttentionTile work{
        .type = context.program.config().kv_type,
        .head_size = p.head_size,
        .rows = tile.tokens,
        .heads = plan.heads_per_item(),
        .positions = tile.positions,
        .scale = context.score_scale,
        .q = buffers.queries + tile.first * query_floats + item.head * padded,
        .q_stride = query_floats,
        .keys = context.kv.keys(step.layer, tile.sequence, kv_head),
        .values = context.kv.values(step.layer, tile.sequence, kv_head),
        .scores = buffers.scores + plan.scores_at(item),
        .scores_stride = plan.score_stride(),
        .out = step.y + uint64_t{tile.first} * p.q_dim() + item.head * p.head_size,
        .out_stride = p.q_dim()};
    const compute::AttentionKernel passes[AttentionPlan::kPasses] = {floats.scores, floats.exp,
                                                                     floats.mix};
    const uint32_t vectors = tile.tokens * plan.heads_per_item();
    const auto stretches_for = [&](uint32_t units) { return (units + vectors - 1) / vectors; };
    const uint32_t of_pass = (tile.positions + kStretch - 1) / kStretch;
    const uint32_t last = stretches_for((end < item.end ? end : item.end) - item.begin);
    uint32_t stretch = begin > item.begin ? stretches_for(begin - item.begin) : 0;
    while (stretch < last) {
        const uint32_t pass = stretch / of_pass;
        const uint32_t pass_end = (pass + 1) * of_pass < last ? (pass + 1) * of_pass : last;
        const uint32_t from = (stretch - pass * of_pass) * kStretch;
        const uint32_t to = (pass_end - pass * of_pass) * kStretch;
        passes[pass](work, from, to < tile.positions ? to : tile.positions);
        stretch = pass_end;
    }
}

void attention(StepContext &context, const Step &step, uint32_t begin, uint32_t end) {
    const AttentionPlan &plan = context.batch.attention();
    for (AttentionPlan::Item item = plan.item_at(begin);; item = plan.item_of(item.index + 1)) {
        attend(context, step, item, begin, end);
        if (item.end >= end) {
            return;
        }
    }
}

void run_all_panels(StepContext &context, const Step &step, uint32_t begin, uint32_t end) {
    const uint32_t panels = panel_count(context, step);
    for (uint32_t index = 0; index < panels; ++index) {
        operator_of(step).run_panel(context, step, begin, end, panel_of(context, step, index));
    }
}

// ------------------------------------------------------------------ sharing

// Matrix rows that one processor computes together: 64 bytes of y.
constexpr uint32_t kRowGrain = 16;

uint32_t no_barrier(const StepContext &context, const Step &step, uint32_t done) {
    return operator_of(step).units(context, step) - done;
}

Pieces cut_units(const StepContext &, const Step &, uint32_t begin, uint32_t end) {
    return {.begin = begin, .end = end, .count = end - begin, .first = begin};
}

void run_units(StepContext &context, const Step &step, const Pieces &pieces, uint32_t from,
               uint32_t to) {
    operator_of(step).run(context, step, pieces.first + from, pieces.first + to);
}

// Whole grains, counted from unit 0, but for the ends of the range, of one panel after the other.
// So a processor mostly has the same rows in every step of this shape.
Pieces cut_matrix_rows(const StepContext &context, const Step &step, uint32_t begin, uint32_t end) {
    const uint32_t first = begin / kRowGrain;
    const uint32_t per_panel = (end - 1) / kRowGrain + 1 - first;
    return {.begin = begin,
            .end = end,
            .count = per_panel * panel_count(context, step),
            .first = first,
            .grain = kRowGrain,
            .per_panel = per_panel};
}

void run_matrix_rows(StepContext &context, const Step &step, const Pieces &pieces, uint32_t from,
                     uint32_t to) {
    while (from < to) {
        const uint32_t panel = from / pieces.per_panel;
        const uint32_t piece = from % pieces.per_panel;
        const uint32_t left = pieces.per_panel - piece;
        const uint32_t taken = to - from < left ? to - from : left;
        const uint32_t low = (pieces.first + piece) * pieces.grain;
        const uint32_t high = low + taken * pieces.grain;
        operator_of(step).run_panel(context, step, low > pieces.begin ? low : pieces.begin,
                                    high < pieces.end ? high : pieces.end,
                                    panel_of(context, step, panel));
        from += taken;
    }
}

// The scores of the next items go where those of the present ones are.
uint32_t until_scores_are_used(const StepContext &context, const Step &, uint32_t done) {
    return context.batch.attention().units_until_barrier(done);
}

Pieces cut_items(const StepContext &context, const Step &, uint32_t begin, uint32_t end) {
    const AttentionPlan &plan = context.batch.attention();
    const uint32_t first = plan.item_at(begin).index;
    return {.begin = begin,
            .end = end,
            .count = plan.item_at(end - 1).index - first + 1,
            .first = first,
            .in_chunks = false};
}

void run_items(StepContext &context, const Step &step, const Pieces &pieces, uint32_t from,
               uint32_t to) {
    const AttentionPlan &plan = context.batch.attention();
    const uint32_t low = plan.item_of(pieces.first + from).begin;
    const uint32_t high = plan.item_of(pieces.first + to - 1).end;
    attention(context, step, low > pieces.begin ? low : pieces.begin,
              high < pieces.end ? high : pieces.end);
}

constexpr SharingRule kByUnit = {no_barrier, cut_units, run_units};
constexpr SharingRule kByMatrixRow = {no_barrier, cut_matrix_rows, run_matrix_rows};
constexpr SharingRule kByItem = {until_scores_are_used, cut_items, run_items};

// ------------------------------------------------------------------ the table

constexpr Operator kTable[kOperators] = {
    {.id = OperatorId::kEmbed,
     .name = "embed",
     .unit = "token",
     .twin = "embedding",
     .units = tokens,
     .sharing = &kByUnit,
     .run = embed,
     .shape = length_of_x},
    {.id = OperatorId::kNorm,
     .name = "rms_norm",
     .unit = "token",
     .twin = "rms_norm",
     .units = tokens,
     .sharing = &kByUnit,
     .run = norm,
     .shape = length_of_x,
     .has_floats = true,
     .floats = compute::FloatOp::kNorm,
     .quantizes = Quantizes::kToo,
     .fuses = true},
    {.id = OperatorId::kQuantize,
     .name = "quantize",
     .unit = "group of a token",
     .twin = "quantize",
     .units = groups_of_tokens,
     .sharing = &kByUnit,
     .run = quantize,
     .shape = length_of_x,
     .has_floats = true,
     .floats = compute::FloatOp::kQuantize,
     .quantizes = Quantizes::kOnly,
     .fuses = true},
    {.id = OperatorId::kProducts,
     .unit = "matrix row",
     .twin = "times",
     .units = rows_of_all,
     .sharing = &kByMatrixRow,
     .run = run_all_panels,
     .run_panel = run_products},
    {.id = OperatorId::kProductAdd,
     .unit = "matrix row",
     .twin = "times",
     .units = rows_of_each,
     .sharing = &kByMatrixRow,
     .run = run_all_panels,
     .run_panel = run_product_add},
    {.id = OperatorId::kGateUp,
     .name = "silu_mul",
     .unit = "row of both matrices",
     .twin = "gate",
     .units = rows_of_each,
     .sharing = &kByMatrixRow,
     .run = run_all_panels,
     .run_panel = run_gate_up,
     .shape = length_of_product,
     .has_floats = true,
     .floats = compute::FloatOp::kSilu,
     .measured_share = silu_share_q16},
    {.id = OperatorId::kRope,
     .name = "rope",
     .unit = "KV head of a token",
     .twin = "rotate",
     .units = kv_heads_of_tokens,
     .sharing = &kByUnit,
     .run = rope,
     .shape = all_heads,
     .has_floats = true,
     .floats = compute::FloatOp::kRope},
    {.id = OperatorId::kSelect,
     .name = "select",
     .unit = "whole step",
     .twin = "step",
     .units = whole,
     .sharing = &kByUnit,
     .run = select,
     .shape = length_of_x,
     .selects = true},
    {.id = OperatorId::kAttention,
     .name = "attention",
     .unit = "query vector in a pass over a stretch",
     .twin = "attention",
     .units = attention_units,
     .sharing = &kByItem,
     .run = attention,
     .shape = query_heads,
     .has_floats = true,
     .floats = compute::FloatOp::kAttention},
};

}  // namespace

std::span<const Operator, kOperators> operators() {
    return kTable;
}

const Operator &operator_of(OperatorId id) {
    return kTable[static_cast<uint32_t>(id)];
}

}  // namespace bareflow::llama
