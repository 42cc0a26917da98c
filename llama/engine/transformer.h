// One step of the model: a batch of rows in, logits out. A row is a token at a position of one of
// several sequences: parts of prompts and tokens being generated may be mixed. The model is
// compiled at load into a flat list of steps; each has a number of units that can be done in any
// split, so that advance() can stop between any two. The arithmetic is
// docs/decisions/0001-numeric-contract.md whatever the split and whoever is in the batch: a row's
// results depend on its sequence alone.
//
// A long step is shared by the processors of a WorkerPool. Each unit is computed by one of them, by
// the same code, and no sum runs across units that are apart, so the result does not depend on how
// many there are.
//
// All memory is taken in create(). Not reentrant; one caller.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

#include "compute/kernels/bindings.h"
#include "compute/kernels/float_ops.h"
#include "compute/kernels/gemv.h"
#include "compute/numbers/attention.h"
#include "compute/numbers/ops.h"
#include "compute/numbers/quant.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/memory/buffer.h"
#include "kernel_lib/platform/platform.h"
#include "llama/engine/batch.h"
#include "llama/engine/fused_steps.h"
#include "llama/engine/kv_cache.h"
#include "llama/engine/op_costs.h"
#include "llama/model/model.h"
#include "llama/text/token.h"

namespace bareflow::llama {

class Transformer {
  public:
    static constexpr uint32_t kMaxBatch = 512;

    Transformer() = default;
    // kTooLarge when there is not enough memory or a number is out of range (0 included). The model
    // must outlive this. positions <= max_positions().
    [[nodiscard]] static Result<Transformer> create(const Model &model,
                                                    const TransformerConfig &config);
    // What 32-bit counts of units can hold.
    [[nodiscard]] static uint32_t max_positions(const HyperParameters &parameters) {
        return (1u << 21) / parameters.heads * 8;
    }
    // Bytes that every position of context of one sequence costs.
    [[nodiscard]] static uint64_t position_bytes(const HyperParameters &parameters,
                                                 compute::KvType type);
    // What create() takes besides sequences * positions * position_bytes(), give or take a page.
    [[nodiscard]] static uint64_t scratch_bytes(const HyperParameters &parameters,
                                                uint32_t sequences, uint32_t batch,
                                                uint32_t positions);

    // Starts computing `rows` (1 .. batch; copied). The rows of one sequence lie side by side, at
    // consecutive increasing positions; all earlier positions of the sequence were computed, or its
    // context is theirs to spoil. At most `sequences` rows may want logits: a prompt needs them for
    // its last token only. A step that was not complete is given up.
    void begin(std::span<const BatchToken> rows);
    // Works until the step is complete (true) or `deadline_ticks` has passed (false); does at least
    // one unit. Overshoots by one unit, or by what the cost of a unit was underestimated.
    [[nodiscard]] bool advance(uint64_t deadline_ticks);

    // Of the row of this index in the span that was given to begin(), which wanted them, when the
    // step is complete; until the next begin().
    [[nodiscard]] std::span<float> logits(uint32_t row);

    // The keys and values of positions [0, positions) of one sequence become another's. As
    // advance(): call it again with the same numbers until it is true. Not within a step.
    [[nodiscard]] bool copy_prefix(uint32_t from, uint32_t to, uint32_t positions,
                                   uint64_t deadline_ticks);

    [[nodiscard]] const TransformerConfig &config() const { return config_; }
    [[nodiscard]] uint64_t kv_bytes() const { return kv_.size_bytes(); }
    [[nodiscard]] uint64_t scratch_bytes() const { return memory_.size() + costs_.size_bytes(); }
    // The matrix kernels by shape; see KernelBinding for how to replace one.
    [[nodiscard]] std::span<compute::KernelBinding> kernel_bindings() {
        return {s_.bindings, binding_count_};
    }
    // Every matrix that is multiplied; WeightPlacement moves them.
    [[nodiscard]] std::span<compute::PlacedMatrix> matrices() {
        return {s_.matrices, matrix_count_};
    }
    // Where matrix kernels find packed rows unpacked; empty at first.
    [[nodiscard]] compute::UnpackMemory &unpack_memory() { return unpack_; }
    // The float operations by shape.
    [[nodiscard]] std::span<compute::FloatBinding> float_bindings() {
        return {s_.float_bindings, float_binding_count_};
    }
    [[nodiscard]] OpCosts &costs() { return costs_; }
    [[nodiscard]] FusedSteps &fused_steps() { return fused_; }
    // Whose processors share the work from now on; nullptr: the caller of advance() does it alone.
    // Steps that take one processor less than `min_shared_ticks` stay on one, longer ones are
    // shared if that was measured to be faster; 0: all are shared, for tests. What is computed
    // is the same to the last bit. The pool must outlive this.
    void use_workers(WorkerPool *pool, uint64_t min_shared_ticks) {
        pool_ = pool;
        min_shared_ticks_ = min_shared_ticks;
    }

    // An emulator's table of address translations grows only when they are dropped while most of it
    // is in use (QEMU, accel/tcg/cputlb.c, tlb_mmu_resize_locked: twice the size), and shrinks when
    // they are dropped again and again for little memory, as candidates of kernels cause it. With
    // too small a table the same kernels took an eighth longer. So they are dropped before each of
    // the next steps, until it holds those of all weights; hardware takes a microsecond for that.
    void make_room_for_translations(uint64_t weight_bytes) {
        translation_drops_ = translation_drops(weight_bytes);
    }
    // From the table's least size on, 64 pages, and one more: not all are in use at once.
    [[nodiscard]] static constexpr uint32_t translation_drops(uint64_t weight_bytes) {
        return static_cast<uint32_t>(std::bit_width(weight_bytes / platform::kPageBytes / 64)) + 1;
    }

  private:
    enum class StepKind : uint8_t {
        kEmbed,       // rows: x_[row] = the token's embedding, and RoPE's angles
        kNorm,        // rows: normed_ = norm of x_ with w, and its q8
        kQuantize,    // groups of 256 of all rows: q8 of x
        kProducts,    // matrix rows, of one matrix after the other: y = W x
        kProductAdd,  // matrix rows: x_ += W x
        kGateUp,      // matrix rows: gate_ = silu(gate x) * (up x)
        kRope,        // KV heads of all rows: the queries, and the key and value into the cache
        kSelect,      // 1: from here on only the rows that want logits
        kAttention,   // see AttentionPlan
    };
    // A matrix (and its bias) within a step.
    struct Product {
        const Tensor *matrix = nullptr;
        const compute::PlacedMatrix *placed = nullptr;
        const float *bias = nullptr;
        float *y = nullptr;  // [batch][rows]
        uint32_t binding = 0;
    };
    struct Step {
        StepKind kind = StepKind::kEmbed;
        bool quantized = false;           // kNorm: somebody takes it as q8
        uint8_t fed = FusedSteps::kNone;  // with the step behind or before: their number in fused_
        uint16_t op = 0;                  // in costs_, for one row
        compute::FloatBinding *floats =
            nullptr;  // kNorm, kQuantize, kRope, kAttention; kGateUp: the SiLU
        uint32_t layer = 0;
        uint32_t n = 0;            // length of x
        const float *x = nullptr;  // [batch][n]
        const float *w = nullptr;  // kNorm: [n]
        uint32_t product_count = 0;
        Product products[OpCosts::kMaxParts] = {};
    };
    // Rows of one sequence whose attention is computed together.
    struct Tile {
        uint32_t first_row = 0;  // among the rows of the plan
        uint32_t rows = 0;
        uint32_t sequence = 0;
        uint32_t positions = 0;   // what the last row sees
        uint32_t unit_begin = 0;  // of its first item
        uint32_t item_units = 0;
    };
    // Attention for all rows or for those that want logits. An item is a tile and some of the query
    // heads that read one KV head; an item's units are (pass, block of positions, query vector) in
    // this order, and a block is done when its first unit is in the range. Items are done
    // `areas` at a time, as many as there is memory for scores.
    struct AttentionPlan {
        Tile *tiles = nullptr;
        uint32_t tile_count = 0;
        uint32_t heads_per_item = 0;
        uint32_t items_per_tile = 0;
        uint32_t areas = 0;
        uint64_t score_stride = 0;  // floats for each query vector
        uint64_t area_floats = 0;
        uint32_t units = 0;
    };
    struct Item {
        const Tile *tile = nullptr;
        uint32_t index = 0;
        uint32_t head = 0;  // the first
        uint32_t begin = 0;
        uint32_t end = 0;
    };
    // Everything that is not a key or a value; one piece of memory.
    struct Scratch {
        BatchToken *rows = nullptr;   // [batch]
        uint32_t *wanting = nullptr;  // [sequences] rows that want logits
        Tile *tiles = nullptr;        // [batch]
        Tile *last_tiles = nullptr;   // [batch]
        Step *steps = nullptr;
        compute::KernelBinding *bindings = nullptr;
        compute::PlacedMatrix *matrices = nullptr;
        compute::FloatBinding *float_bindings = nullptr;
        compute::QuantizedActivation *xq = nullptr;  // [batch]
        float *x = nullptr;                          // [batch][dim] residual stream
        float *normed = nullptr;                     // [batch][dim], and what is added to x
        float *q = nullptr;                          // [batch][q_dim]
        float *queries = nullptr;    // [batch][heads][padded_head]; q where that is the same
        float *k = nullptr;          // [batch][kv_dim]
        float *v = nullptr;          // [batch][kv_dim]
        float *mixed = nullptr;      // [batch][q_dim] attention output
        float *gate = nullptr;       // [batch][hidden]
        float *up = nullptr;         // [batch][hidden]
        float *scores = nullptr;     // [score_floats]
        float *logits = nullptr;     // [sequences][vocab]
        float *cos_sin = nullptr;    // [batch][rope_dim]
        double *inv_freq = nullptr;  // [rope_dim / 2]
        uint64_t score_floats = 0;
        uint64_t bytes = 0;

        // Where everything lies from `memory` on; nullptr: how much it takes.
        static Scratch at(uint8_t *memory, const HyperParameters &p, uint32_t sequences,
                          uint32_t batch, uint32_t positions);
    };
    class Builder;

    // `selected`: of which rows; nullptr: the first `count`.
    void plan_attention(AttentionPlan &plan, const uint32_t *selected, uint32_t count) const;
    void cut_tiles(AttentionPlan &plan, const uint32_t *selected, uint32_t count,
                   uint32_t tile_rows) const;
    [[nodiscard]] const AttentionPlan &plan_of(const Step &step) const {
        return step.layer + 1 == parameters_.layers ? last_plan_ : plan_;
    }
    [[nodiscard]] static Item item_at(const AttentionPlan &plan, uint32_t unit);
    [[nodiscard]] static Item item_of(const AttentionPlan &plan, uint32_t index);

    [[nodiscard]] uint32_t units_of(const Step &step) const;
    // How many units may be done before the next wait for one another.
    [[nodiscard]] uint32_t units_until_barrier(const Step &step, uint32_t done) const;
    // Units cost about as much as so many of the same step over one row.
    [[nodiscard]] uint32_t unit_weight(const Step &step) const;
    [[nodiscard]] uint32_t cost_entry(const Step &step) const;
    void run(const Step &step, uint32_t begin, uint32_t end);
    // Of a step with products; of the batch's rows those of one group.
    void run_products(const Step &step, uint32_t begin, uint32_t end, uint32_t group);
    // Does what feeding_ says.
    void feed();
    // As run(), by all processors where that is faster. Who did it.
    OpCosts::DoneBy run_shared(const Step &step, uint32_t op, uint32_t begin, uint32_t end);
    void embed(const Step &step, uint32_t row);
    void quantize(const Step &step, const float *x, uint32_t row, uint32_t begin, uint32_t end);
    void norm(const Step &step, uint32_t row);
    // What the SiLU takes of a kGateUp, in 1 / 65536.
    [[nodiscard]] uint32_t silu_share_q16();
    // Rows of the batch whose products are computed together, while what they multiply stays in the
    // second-level cache. Groups are about as long as each other.
    [[nodiscard]] uint32_t group_size(const Step &step) const;
    [[nodiscard]] uint32_t row_groups(const Step &step) const;
    void multiply(const Step &step, const Product &product, uint32_t begin, uint32_t end,
                  uint32_t first_row, uint32_t rows);
    // As in the file; `scratch` holds a row.
    [[nodiscard]] const uint8_t *embedding_row(uint32_t token, uint8_t *scratch) const;
    void place(Product &product);
    void multiply_placed(const compute::KernelBinding &binding, const Product &product,
                         const compute::GemmArgs &all, uint32_t begin, uint32_t end) const;
    void rope(const Step &step, uint32_t row, uint32_t kv_head);
    void attend(const AttentionPlan &plan, const Item &item, const Step &step, uint32_t begin,
                uint32_t end);
    void select_rows();

    const Model *model_ = nullptr;
    HyperParameters parameters_;
    TransformerConfig config_;
    float score_scale_ = 0.0f;  // 1 / sqrt(head_size)

    KvCache kv_;
    Buffer<uint8_t> memory_;
    Scratch s_;
    uint32_t step_count_ = 0;
    uint32_t steps_without_logits_ = 0;  // keys and values need no more of them
    uint32_t binding_count_ = 0;
    uint32_t float_binding_count_ = 0;
    uint32_t matrix_count_ = 0;
    const compute::PlacedMatrix *embedding_ = nullptr;  // where the output matrix is it, too
    compute::UnpackMemory unpack_;
    OpCosts costs_;
    FusedSteps fused_;
    WorkerPool *pool_ = nullptr;
    uint64_t min_shared_ticks_ = 0;
    uint32_t translation_drops_ = 0;  // still to come
    bool others_awake_ = false;       // joined the last operation that was shared
    OpCosts::Sharing sharing_ = OpCosts::Sharing::kMeasured;  // for this step
    uint64_t steps_begun_[OpCosts::kRowClasses] = {};
    bool turns_trial_ = false;            // for this step
    bool has_matrix_ = false;             // a kernel for several rows
    bool in_turns_ = false;               // the rows of the operation under way take turns
    compute::ActivationForms forms_ = 0;  // what the kernels in use want

    // Where the time of kGateUp goes, by all processors: products, and the SiLU.
    uint64_t gate_up_ticks_ = 0;
    uint64_t silu_ticks_ = 0;

    // The step being computed.
    AttentionPlan plan_;       // of all rows
    AttentionPlan last_plan_;  // of the rows that want logits
    uint32_t given_ = 0;       // rows
    uint32_t rows_ = 0;        // that are still computed: all, later those that want logits
    uint32_t wanting_ = 0;
    uint32_t step_ = 0;
    uint32_t step_end_ = 0;
    uint32_t units_done_ = 0;
    const Step *feeding_ = nullptr;  // to be done inside the product that comes next
    uint64_t feeding_ticks_ = 0;     // what it took
    bool alone_ = true;              // one processor, when the step began

    // The copy being made.
    struct Copy {
        uint32_t from = 0;
        uint32_t to = 0;
        uint32_t positions = 0;
        uint64_t done = 0;  // pieces
        bool operator==(const Copy &) const = default;
    } copy_;
};

}  // namespace bareflow::llama
