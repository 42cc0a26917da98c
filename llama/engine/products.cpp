// Matrix products of a batch. A panel of tokens is multiplied with one range of matrix rows, so
// that the activations of the panel stay in the L2 cache while the rows pass.
//
// Rows and tokens are independent of each other: panels and ranges change no bit of the result.
#include "llama/engine/products.h"

#include <atomic>

#include "compute/kernels/gemv.h"
#include "compute/numbers/ops.h"
#include "compute/numbers/weight_blocks.h"
#include "kernel_lib/platform/platform.h"
#include "llama/engine/operators.h"
#include "llama/engine/packed_products.h"

namespace bareflow::llama {
namespace {

// Tokens of a panel at most: what the matrix kernels compute at once. All panels but the last have
// a multiple of kPanelGrain tokens.
constexpr uint32_t kPanelTokens = 64;
constexpr uint32_t kLargePanelTokens = 128;
constexpr uint32_t kLargeMatrixRows = 2048;
constexpr uint32_t kPanelGrain = 16;

constexpr uint32_t divide_up(uint32_t n, uint32_t by) {
    return (n + by - 1) / by;
}

// Unpacking quantised weights is expensive, and a large panel does it for more tokens at a time.
// But with small panels a processor finds in its caches what it wrote itself, which counts for more
// where matrices are small.
uint32_t panel_size(const StepContext &context, const Step &step) {
    const bool quantized = compute::takes_quantized(step.products[0].matrix->type);
    const bool large = quantized && (context.batch.alone ||
                                     operator_of(step).units(context, step) >= kLargeMatrixRows);
    const uint32_t most = large ? kLargePanelTokens : kPanelTokens;
    const uint32_t even = divide_up(context.batch.count, divide_up(context.batch.count, most));
    return divide_up(even, kPanelGrain) * kPanelGrain;
}

// Rows [begin, end) of one product, its bias included.
void multiply(const StepContext &context, const Step &step, const Product &product, uint32_t begin,
              uint32_t end, Panel panel) {
    const compute::KernelBinding &binding = context.program.kernel_bindings()[product.binding];
    const bool quantized = compute::takes_quantized(binding.type);
    const compute::GemmArgs args{
        .weights = product.matrix->data,
        .row_bytes = binding.row_bytes,
        .cols = step.n,
        .batch = panel.tokens,
        .x = step.x + uint64_t{panel.first} * step.n,
        .x_stride = step.n,
        .xq = quantized ? context.program.buffers().quantized + panel.first : nullptr,
        .y = product.y + uint64_t{panel.first} * binding.rows,
        .y_stride = binding.rows};
    multiply_placed(context, binding, product, args, begin, end);
    for (uint32_t i = 0; i < panel.tokens && product.bias != nullptr; ++i) {
        compute::add(product.bias + begin, end - begin,
                     args.y + uint64_t{i} * binding.rows + begin);
    }
}

}  // namespace

uint32_t panel_count(const StepContext &context, const Step &step) {
    return divide_up(context.batch.count, panel_size(context, step));
}

Panel panel_of(const StepContext &context, const Step &step, uint32_t index) {
    const uint32_t size = panel_size(context, step);
    const uint32_t first = index * size;
    const uint32_t behind = context.batch.count - first;
    return {.first = first, .tokens = behind < size ? behind : size};
}

uint32_t rows_of_all(const StepContext &, const Step &step) {
    uint32_t rows = 0;
    for (uint32_t i = 0; i < step.product_count; ++i) {
        rows += step.products[i].matrix->rows;
    }
    return rows;
}

uint32_t rows_of_each(const StepContext &, const Step &step) {
    return step.products[0].matrix->rows;
}

void run_products(StepContext &context, const Step &step, uint32_t begin, uint32_t end,
                  Panel panel) {
    uint32_t first = 0;
    for (uint32_t i = 0; i < step.product_count; ++i) {
        const uint32_t count = step.products[i].matrix->rows;
        const uint32_t from = begin > first ? begin - first : 0;
        const uint32_t to = end < first + count ? end - first : count;
        if (begin < first + count && end > first) {
            multiply(context, step, step.products[i], from, to, panel);
        }
        first += count;
    }
}

void run_product_add(StepContext &context, const Step &step, uint32_t begin, uint32_t end,
                     Panel panel) {
    const Product &product = step.products[0];
    multiply(context, step, product, begin, end, panel);
    for (uint32_t i = panel.first; i < panel.first + panel.tokens; ++i) {
        const uint64_t at = uint64_t{i} * product.matrix->rows + begin;
        compute::add(product.y + at, end - begin, step.y + at);
    }
}

void run_gate_up(StepContext &context, const Step &step, uint32_t begin, uint32_t end,
                 Panel panel) {
    const Product &gate = step.products[0];
    const Product &up = step.products[1];
    const uint64_t start = platform::ticks();
    multiply(context, step, gate, begin, end, panel);
    multiply(context, step, up, begin, end, panel);
    const uint64_t middle = platform::ticks();
    for (uint32_t i = panel.first; i < panel.first + panel.tokens; ++i) {
        const uint64_t at = uint64_t{i} * gate.matrix->rows;
        step.floats->variant->silu(gate.y + at, up.y + at, begin, end, step.y + at);
    }
    const uint64_t done = platform::ticks();
    GateUpTime &time = context.gate_up;
    std::atomic_ref(time.ticks).fetch_add(done - start, std::memory_order_relaxed);
    std::atomic_ref(time.silu_ticks).fetch_add(done - middle, std::memory_order_relaxed);
}

// No processor counts now. Halving lets old measurements count for less.
uint32_t silu_share_q16(StepContext &context) {
    constexpr uint64_t kLongAgo = uint64_t{1} << 32;
    GateUpTime &time = context.gate_up;
    if (time.ticks > kLongAgo) {
        time.ticks /= 2;
        time.silu_ticks /= 2;
    }
    return time.ticks == 0 ? 0 : static_cast<uint32_t>((time.silu_ticks << 16) / time.ticks);
}

}  // namespace bareflow::llama
