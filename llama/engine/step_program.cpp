// Compiles a model's plan into steps, and lays out the memory that they work in.
//
// Each application of an operator in the plan becomes a step. Operands become pointers. Tensors
// become weights and bindings of kernels by shape. The operator's line of the table says under
// which name its cost is kept. All layers of one shape share bindings and costs.
#include "llama/engine/step_program.h"

#include "compute/kernels/registry.h"
#include "compute/numbers/tensor_types.h"
#include "compute/numbers/weight_blocks.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/platform/platform.h"
#include "llama/engine/operators.h"
#include "llama/engine/packed_products.h"

namespace bareflow::llama {
namespace {

// Distinct operations in OpCosts: of products, at most, and the others.
constexpr uint32_t kMaxProductOps = 32;
constexpr uint32_t kOtherOps = 12;
// One binding for each float operation, and one for a second length of kQuantize.
constexpr uint32_t kFloatBindings = compute::kFloatOps + 1;
static_assert(StepPlan::kMaxProducts <= OpCosts::kMaxParts);

constexpr uint32_t step_capacity(const HyperParameters &p) {
    return p.layers * ModelPlan::kMaxLayerSteps + ModelPlan::kMaxOuterSteps;
}

constexpr uint32_t binding_capacity(const HyperParameters &p) {
    return p.layers * ModelPlan::kMaxLayerProducts + 1;
}

constexpr uint32_t longest_vector(const HyperParameters &p) {
    const uint32_t longest = p.dim > p.hidden ? p.dim : p.hidden;
    return longest > p.q_dim() ? longest : p.q_dim();
}

// In the order of Operand.
constexpr std::array<uint32_t, kOperands> operand_lengths(const HyperParameters &p) {
    return {p.dim,     p.dim,    p.q_dim(), p.kv_dim(), p.kv_dim(),
            p.q_dim(), p.hidden, p.hidden,  p.vocab};
}

// "rms_norm 288", "attention 6x48"
const char *shape_name(std::string_view name, const ProfileShape &shape) {
    char text[64];
    TextWriter out(text);
    out.put(name, ' ', shape.length);
    if (shape.head_size != 0) {
        out.put('x', shape.head_size);
    }
    return intern_name(out.view());
}

// "q8_0_gemv 352x128"
const char *gemv_name(const Tensor &tensor) {
    char text[64];
    TextWriter out(text);
    for (const char c : compute::tensor_type_info(tensor.type).name) {
        out.put(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
    }
    out.put("_gemv ", tensor.rows, 'x', tensor.cols);
    return intern_name(out.view());
}

}  // namespace

Scratch Scratch::at(uint8_t *memory, const HyperParameters &p, const TransformerConfig &config) {
    Scratch s;
    uint64_t used = 0;
    const auto take = [&]<typename T>(T *&pointer, uint64_t count) {
        pointer = memory == nullptr ? nullptr : reinterpret_cast<T *>(memory + used);
        used += (count * sizeof(T) + 63) / 64 * 64;
    };
    const uint64_t batch = config.batch;
    take(s.tokens, batch);
    take(s.wanting, config.sequences);
    take(s.tiles, batch);
    take(s.last_tiles, batch);
    take(s.steps, step_capacity(p));
    take(s.bindings, binding_capacity(p));
    take(s.matrices, binding_capacity(p));
    take(s.float_bindings, kFloatBindings);
    Buffers &b = s.buffers;
    take(b.quantized, batch);
    b.lengths = operand_lengths(p);
    for (uint32_t i = 0; i < kOperands; ++i) {
        const bool logits = i == static_cast<uint32_t>(Operand::kLogits);
        take(b.vectors[i], (logits ? config.sequences : batch) * b.lengths[i]);
    }
    b.queries = b[Operand::kQuery];
    const uint32_t padded = compute::padded_head(p.head_size);
    if (padded != p.head_size) {
        take(b.queries, batch * p.heads * padded);
    }
    b.score_floats = AttentionPlan::score_floats(p.heads, config.batch, config.positions);
    take(b.scores, b.score_floats);
    take(b.cos_sin, batch * p.rope_dim);
    take(b.inv_freq, p.rope_dim / 2);
    const uint32_t longest = longest_vector(p);
    const uint64_t each = compute::ActivationBuffer::bytes_for(longest);
    uint8_t *activations;
    take(activations, each * batch);
    for (uint32_t i = 0; memory != nullptr && i < batch; ++i) {
        b.quantized[i] = compute::ActivationBuffer::view_in(activations + i * each, longest);
    }
    s.bytes = used;
    return s;
}

class StepProgram::Compiler {
  public:
    Compiler(StepProgram &program, OpCosts &costs, FusedSteps &fused)
        : t_(program), costs_(costs), fused_(fused) {}

    void compile() {
        const ModelPlan &plan = t_.model_->architecture().plan();
        const std::span<const Layer> layers = t_.model_->layers();
        compile(plan.before, layers[0]);
        for (layer_ = 0; layer_ < layers.size(); ++layer_) {
            compile(plan.layer, layers[layer_]);
        }
        --layer_;
        compile(plan.after, layers[layer_]);
    }

  private:
    void compile(std::span<const StepPlan> plan, const Layer &layer) {
        for (uint32_t i = 0; i < plan.size(); ++i) {
            if (!plan[i].last_layer_only || layer_ + 1 == t_.parameters_.layers) {
                add(plan[i], i + 1 < plan.size() && reads_quantized(plan[i + 1], layer), layer);
            }
        }
    }

    [[nodiscard]] bool reads_quantized(const StepPlan &plan, const Layer &layer) const {
        bool found = false;
        for (const ProductPlan &product : plan.products) {
            const Tensor *const matrix = product.matrix.find(*t_.model_, layer);
            found = found || (matrix != nullptr && compute::takes_quantized(matrix->type));
        }
        return found;
    }

    // `quantized`: the step behind this one reads quantised vectors.
    void add(const StepPlan &plan, bool quantized, const Layer &layer) {
        const Operator &line = operator_of(plan.op);
        if (line.quantizes == Quantizes::kOnly && !quantized) {
            return;
        }
        Step &step = t_.steps_[t_.step_count_];
        step = {.op = plan.op,
                .quantized = quantized && line.quantizes != Quantizes::kNever,
                .layer = layer_};
        const Operand sized = plan.x != Operand::kNone ? plan.x : plan.y;
        step.n = t_.buffers_.lengths[static_cast<uint32_t>(sized)];
        step.x = vector(plan.x);
        step.y = vector(plan.y);
        if (const Tensor *const weights = plan.weights.find(*t_.model_, layer)) {
            step.w = weights->f32();
        }
        if (line.run_panel != nullptr) {
            add_products(step, line, plan, layer);
        } else {
            const OpCosts::Part part{shape_name(line.name, line.shape(t_.parameters_, step)), 1};
            step.cost = static_cast<uint16_t>(costs_.find_or_add_batched({&part, 1}));
            step.floats = find_or_add_floats(line, step);
        }
        if (line.selects) {
            t_.steps_without_logits_ = t_.step_count_;
        }
        ++t_.step_count_;
    }

    [[nodiscard]] float *vector(Operand operand) const {
        return operand == Operand::kNone ? nullptr : t_.buffers_[operand];
    }

    void add_products(Step &step, const Operator &line, const StepPlan &plan, const Layer &layer) {
        OpCosts::Part parts[OpCosts::kMaxParts];
        for (const ProductPlan &product : plan.products) {
            const Tensor *const matrix = product.matrix.find(*t_.model_, layer);
            if (matrix == nullptr) {
                break;
            }
            const Tensor *const bias = product.bias.find(*t_.model_, layer);
            Product &added = step.products[step.product_count];
            added = {.matrix = matrix,
                     .bias = bias == nullptr ? nullptr : bias->f32(),
                     .y = vector(product.y),
                     .binding = find_or_add_binding(*matrix)};
            place(added);
            parts[step.product_count++] = {t_.bindings_[added.binding].name, matrix->bytes()};
        }
        uint32_t part_count = step.product_count;
        step.floats = find_or_add_floats(line, step);
        if (step.floats != nullptr) {
            parts[part_count++] = {step.floats->name, 0};  // its share is measured
        }
        step.cost =
            static_cast<uint16_t>(costs_.find_or_add_batched(std::span(parts).first(part_count)));
        Step &before = *(&step - 1);
        if (operator_of(before).fuses) {
            step.fused_pair = fused_.find_or_add(pair_name(before, step));
            before.fused_pair = step.fused_pair;
        }
    }

    // "rms_norm 288 + q8_0_gemv 288x288"
    [[nodiscard]] const char *pair_name(const Step &before, const Step &products) const {
        char text[96];
        TextWriter out(text);
        out.put(before.floats->name, " + ", t_.bindings_[products.products[0].binding].name);
        return intern_name(out.view());
    }

    // nullptr: the operator uses no float operation.
    compute::FloatBinding *find_or_add_floats(const Operator &line, const Step &step) {
        if (!line.has_floats) {
            return nullptr;
        }
        const HyperParameters &p = t_.parameters_;
        const ProfileShape shape = line.shape(p, step);
        const uint32_t n = shape.head_size != 0 ? p.heads : shape.length;
        for (compute::FloatBinding &binding : t_.float_bindings()) {
            if (binding.op == line.floats && binding.n == n) {
                return &binding;
            }
        }
        compute::FloatBinding &added = t_.float_bindings_[t_.float_binding_count_++];
        added = {.name = shape_name(line.name, shape),
                 .op = line.floats,
                 .n = n,
                 .variant = &compute::float_rule_of_thumb(line.floats, p.head_size)};
        if (shape.head_size != 0) {
            added.kv_heads = p.kv_heads;
            added.head_size = p.head_size;
            added.pairs = p.rope_dim / 2;
            added.pairing = t_.model_->architecture().rope;
            added.kv_type = t_.config_.kv_type;
        }
        return &added;
    }

    void place(Product &product) {
        compute::PlacedMatrix &placed = t_.matrices_[t_.matrix_count_];
        if (!keep_place(product, placed)) {
            return;
        }
        ++t_.matrix_count_;
        product.placed = &placed;
        if (placed.file == t_.model_->token_embedding().data) {
            t_.embedding_ = &placed;
        }
    }

    uint32_t find_or_add_binding(const Tensor &tensor) {
        for (uint32_t i = 0; i < t_.binding_count_; ++i) {
            compute::KernelBinding &binding = t_.bindings_[i];
            if (binding.type == tensor.type && binding.rows == tensor.rows &&
                binding.cols == tensor.cols) {
                if (binding.matrices < compute::KernelBinding::kTimedMatrices) {
                    binding.timed[binding.matrices] = tensor.data;
                }
                ++binding.matrices;
                return i;
            }
        }
        const compute::GemvVariant &variant = compute::kernel_for(tensor.type);
        t_.bindings_[t_.binding_count_] = {
            .name = gemv_name(tensor),
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

    StepProgram &t_;
    OpCosts &costs_;
    FusedSteps &fused_;
    uint32_t layer_ = 0;
};

uint32_t StepProgram::cost_capacity(const HyperParameters &p) {
    const uint32_t products = p.layers < kMaxProductOps / 4 ? 4 * p.layers : kMaxProductOps;
    return (products + kOtherOps) * OpCosts::kEntries + OpCosts::kReserved;
}

StepProgram::StepProgram(const Model &model, const TransformerConfig &config,
                         const Scratch &scratch, OpCosts &costs, FusedSteps &fused)
    : model_(&model),
      parameters_(model.parameters()),
      config_(config),
      buffers_(scratch.buffers),
      steps_(scratch.steps),
      bindings_(scratch.bindings),
      matrices_(scratch.matrices),
      float_bindings_(scratch.float_bindings) {
    Compiler(*this, costs, fused).compile();
}

}  // namespace bareflow::llama
