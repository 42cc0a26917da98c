// The tuner of float operations: which variants are candidates of which level, how one execution of
// each operation is set up, and how results are compared.
//
// What must hold: nothing that differs from the reference is installed, in any of the patterns of
// input; and nothing beside the operands is read or written.
#include "compute/tuning/float_tuner.h"

#include "compute/numbers/quant.h"

#include <algorithm>
#include <bit>
#include <new>

namespace bareflow::compute {
namespace {

// Elements of one timed run, at least. One vector of a small model would take less time than a look
// at the clock.
constexpr uint64_t kTimedElements = 8 * 1024;
// Positions of a timed run: about as many as in the middle of a short answer.
constexpr uint32_t kTimedPositions = 64;
constexpr uint32_t kMostPositions = 77;
constexpr uint32_t kMostRows = 3;
constexpr uint64_t kLine = 64;
// Bytes before the results, and behind them up to a whole line, where memory ends. A candidate that
// changes one is wrong.
constexpr uint64_t kGuardBytes = kLine;
constexpr uint8_t kGuardByte = 0xa5;

constexpr uint64_t whole_lines(uint64_t bytes) {
    return (bytes + kLine - 1) / kLine * kLine;
}

constexpr uint32_t kPatternWithNan = 3;

class Noise {
  public:
    uint64_t next() {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return state_ * 0x2545f4914f6cdd1d;
    }
    float unit() { return static_cast<float>(static_cast<int64_t>(next()) >> 40) * 0x1p-23f; }

  private:
    uint64_t state_ = 0x9e3779b97f4a7c15;
};

// A number of the input. Pattern 0 is what models compute: one number in 256 is 20 times as large.
// A quarter of the numbers in the other patterns are zeros, denormals and other odd ones; the last
// pattern has infinities and NaN, too.
float sample(Noise &noise, uint32_t pattern) {
    constexpr uint32_t kOdd[] = {0x00000000, 0x80000000, 0x00000001, 0x33800001,
                                 0x387fc000, 0x3f000000, 0xc2af0000, 0x477fe000,
                                 0x7f800000, 0xff800000, 0x7fc00000, 0x7f7fffff};
    constexpr uint64_t kHarmless = 8;  // the first ones of kOdd
    const uint64_t bits = noise.next();
    const float value = noise.unit();
    if (pattern == 0) {
        return (bits & 0xff) == 0 ? value * 20.0f : value;
    }
    if ((bits & 3) != 0) {
        return value * 4.0f;
    }
    return std::bit_cast<float>(
        kOdd[(bits >> 8) % (pattern == kPatternWithNan ? std::size(kOdd) : kHarmless)]);
}

bool same_float(uint32_t a, uint32_t b) {
    constexpr uint32_t kInfinity = 0x7f800000;
    return a == b || ((a & INT32_MAX) > kInfinity && (b & INT32_MAX) > kInfinity);
}

// Whether a relaxed candidate's results are near enough. Pattern 0: within the tolerance. Numbers
// that models do not compute: no result becomes infinite or NaN that is neither. With infinities
// and NaN in the input, anything goes.
bool near(const uint8_t *expected, const uint8_t *got, uint64_t count, uint32_t pattern) {
    const auto at = [](const uint8_t *from, uint64_t i) {
        float value;
        __builtin_memcpy(&value, from + i * sizeof(value), sizeof(value));
        return value;
    };
    float greatest = 0.0f;
    for (uint64_t i = 0; i < count; ++i) {
        greatest = std::max(greatest, __builtin_fabsf(at(expected, i)));
    }
    const float most = pattern == 0 ? greatest * kRelaxedTolerance : 0x1p127f;
    for (uint64_t i = 0; i < count && pattern != kPatternWithNan; ++i) {
        // Written so that a NaN fails.
        if (!(__builtin_fabsf(at(got, i) - at(expected, i)) <= most)) {
            return false;
        }
    }
    return true;
}

}  // namespace

// ------------------------------------------------------------------ one binding

void FloatTuner::Target::bind(FloatTuner &owner, FloatBinding &binding) {
    owner_ = &owner;
    binding_ = &binding;
}

int FloatTuner::Target::start(JitMode mode) {
    // kOff in the middle of a level leaves the field as it was: candidate() depends on mode_.
    mode_ = mode == JitMode::kOff ? mode_ : mode;
    candidate_ = nullptr;
    const bool by_rule = mode != JitMode::kOff && candidate_count(1) != 0;
    binding_->variant = by_rule ? candidate(1, 0) : &portable_float_ops();
    return by_rule ? 1 : 0;
}

const FloatVariant *FloatTuner::Target::candidate(int level, uint32_t index) const {
    if (level == 1) {
        const FloatVariant &rule = float_rule_of_thumb(binding_->op, binding_->head_size);
        const FloatVariant &first =
            mode_ == JitMode::kFull ? float_variant_for(binding_->op, binding_->head_size) : rule;
        const FloatVariant *const wanted = index == 0 ? &first : &rule;
        return wanted == &portable_float_ops() || (index == 1 && &rule == &first) || index > 1
                   ? nullptr
                   : wanted;
    }
    // Level 3: the special variants first, then the general ones again.
    for (const bool special : {true, false}) {
        for (const FloatVariant *const variant : float_variants()) {
            if (variant->special == special && (!special || level == 3) &&
                variant != &portable_float_ops() &&
                variant->does(binding_->op, binding_->head_size) &&
                (!variant->f16_only || binding_->kv_type == KvType::kF16) && index-- == 0) {
                return variant;
            }
        }
    }
    return nullptr;
}

uint32_t FloatTuner::Target::candidate_count(int level) const {
    uint32_t count = 0;
    while (candidate(level, count) != nullptr) {
        ++count;
    }
    return count;
}

std::string_view FloatTuner::Target::candidate_name(int level, uint32_t index) const {
    return candidate(level, index)->name;
}

OptimizationTarget::Prepared FloatTuner::Target::prepare(int level, uint32_t index) {
    candidate_ = candidate(level, index);
    pattern_ = 0;
    return candidate_ == binding_->variant && (level != 1 || index != 0) ? Prepared::kInForce
                                                                         : Prepared::kReady;
}

OptimizationTarget::Check FloatTuner::Target::check_some() {
    if (!owner_->equal(*binding_, *candidate_, pattern_)) {
        return Check::kDiffers;
    }
    return ++pattern_ == kPatterns ? Check::kEqual : Check::kMore;
}

// ------------------------------------------------------------------ one execution

FloatTuner::Work FloatTuner::work_for(const FloatBinding &binding, uint32_t pattern) {
    const uint64_t kept =
        uint64_t{2} * binding.kv_heads * kv_head_bytes(binding.kv_type, binding.head_size);
    Work work;
    switch (binding.op) {
        case FloatOp::kNorm:
            work.exact_bytes = ActivationBuffer::bytes_for(binding.n);
            work.floats = binding.n;
            break;
        case FloatOp::kQuantize:
            work.exact_bytes = ActivationBuffer::bytes_for(binding.n);
            break;
        case FloatOp::kRope:
            work.exact_bytes = whole_lines(kept);
            work.floats = uint64_t{binding.n + binding.kv_heads} * binding.head_size;
            break;
        case FloatOp::kAttention:
            work.rows = pattern < 2 ? 1 : kMostRows;
            work.positions = pattern == 0   ? kTimedPositions
                             : pattern == 1 ? kMostPositions
                                            : 5 * pattern;
            work.floats = uint64_t{work.rows} * (binding.n / binding.kv_heads) * binding.head_size;
            break;
        case FloatOp::kSilu:
            work.floats = binding.n;
            break;
    }
    return work;
}

uint64_t FloatTuner::input_floats(const FloatBinding &binding, const Work &work) {
    switch (binding.op) {
        case FloatOp::kRope:
            return uint64_t{binding.n + binding.kv_heads} * binding.head_size;
        case FloatOp::kAttention:
            return uint64_t{work.rows} * (binding.n / binding.kv_heads) *
                   padded_head(binding.head_size);
        default:
            return binding.n;
    }
}

// Writes the input of a pattern. Every array lies at the end of its pages.
void FloatTuner::fill(const FloatBinding &binding, uint32_t pattern) {
    if (filled_binding_ == &binding && filled_pattern_ == pattern) {
        return;
    }
    filled_binding_ = &binding;
    filled_pattern_ = pattern;
    Noise noise;
    const Work work = work_for(binding, pattern);
    const uint64_t count = input_floats(binding, work);
    auto *const x = reinterpret_cast<float *>(x_.at_end(count * sizeof(float)));
    auto *const w = reinterpret_cast<float *>(w_.at_end(count * sizeof(float)));
    for (uint64_t i = 0; i < count; ++i) {
        x[i] = sample(noise, pattern);
        w[i] = noise.unit();
    }
    if (binding.op != FloatOp::kAttention) {
        return;
    }
    const uint32_t padded = padded_head(binding.head_size);
    for (uint64_t i = 0; i < count; ++i) {
        x[i] = i % padded < binding.head_size ? x[i] : 0.0f;
    }
    const uint64_t bytes = kv_head_bytes(binding.kv_type, binding.head_size);
    uint8_t *to = kv_.at_end(2 * work.positions * bytes);
    float head[kMaxHead];
    for (uint32_t i = 0; i < 2 * work.positions; ++i, to += bytes) {
        for (uint32_t j = 0; j < binding.head_size; ++j) {
            head[j] = sample(noise, pattern);
        }
        kv_store(binding.kv_type, head, binding.head_size, to);
    }
}

void FloatTuner::execute(const FloatBinding &binding, const FloatVariant &variant, const Work &work,
                         uint8_t *results) {
    const uint64_t count = input_floats(binding, work);
    auto *const x = reinterpret_cast<float *>(x_.at_end(count * sizeof(float)));
    const auto *const w = reinterpret_cast<const float *>(w_.at_end(count * sizeof(float)));
    auto *const floats = reinterpret_cast<float *>(results + work.exact_bytes);
    constexpr ActivationForms kForms = kFormPairs | kFormQuads;
    constexpr float kEpsilon = 1e-5f;
    switch (binding.op) {
        case FloatOp::kNorm: {
            const QuantizedActivation out = ActivationBuffer::view_in(results, binding.n);
            variant.norm(x, w, kEpsilon, binding.n, floats, &out, kForms);
            return;
        }
        case FloatOp::kQuantize: {
            const QuantizedActivation out = ActivationBuffer::view_in(results, binding.n);
            variant.quantize(x, out, kForms, 0, group_count(binding.n));
            return;
        }
        case FloatOp::kRope: {
            std::copy_n(x, count, floats);
            const uint32_t head_bytes = kv_head_bytes(binding.kv_type, binding.head_size);
            for (uint32_t head = 0; head < binding.n + binding.kv_heads; ++head) {
                float *const from = floats + uint64_t{head} * binding.head_size;
                variant.rope(binding.pairing, w, binding.pairs, from);
                if (head >= binding.n) {
                    uint8_t *const to = results + uint64_t{2} * (head - binding.n) * head_bytes;
                    variant.store(binding.kv_type, from, binding.head_size, to);
                    variant.store(binding.kv_type, x, binding.head_size, to + head_bytes);
                }
            }
            return;
        }
        case FloatOp::kAttention: {
            const uint32_t heads = binding.n / binding.kv_heads;
            const uint64_t bytes =
                kv_head_bytes(binding.kv_type, binding.head_size) * work.positions;
            const AttentionTile tile{.type = binding.kv_type,
                                     .head_size = binding.head_size,
                                     .rows = work.rows,
                                     .heads = heads,
                                     .positions = work.positions,
                                     .scale = 0.125f,
                                     .q = x,
                                     .q_stride = uint64_t{heads} * padded_head(binding.head_size),
                                     .keys = kv_.at_end(2 * bytes),
                                     .values = kv_.at_end(bytes),
                                     .scores = reinterpret_cast<float *>(scores_.data()),
                                     .scores_stride = kScoreHeader + whole_lines(work.positions),
                                     .out = floats,
                                     .out_stride = uint64_t{heads} * binding.head_size};
            for (const AttentionKernel pass : {variant.scores, variant.exp, variant.mix}) {
                pass(tile, 0, work.positions);
            }
            return;
        }
        case FloatOp::kSilu:
            variant.silu(x, w, 0, binding.n, floats);
            return;
    }
}

bool FloatTuner::equal(const FloatBinding &binding, const FloatVariant &variant, uint32_t pattern) {
    fill(binding, pattern);
    const Work work = work_for(binding, pattern);
    const uint64_t bytes = work.bytes();
    uint8_t *const expected = expected_.at_end(whole_lines(bytes));
    uint8_t *const got = got_.at_end(whole_lines(bytes));
    for (uint8_t *const to : {expected, got}) {
        std::fill_n(to - kGuardBytes, kGuardBytes + whole_lines(bytes), kGuardByte);
    }
    execute(binding, portable_float_ops(), work, expected);
    execute(binding, variant, work, got);
    const uint64_t behind = whole_lines(bytes) - bytes;
    if (__builtin_memcmp(expected - kGuardBytes, got - kGuardBytes,
                         kGuardBytes + work.exact_bytes) != 0 ||
        __builtin_memcmp(expected + bytes, got + bytes, behind) != 0) {
        return false;
    }
    if (variant.relaxed) {
        return near(expected + work.exact_bytes, got + work.exact_bytes, work.floats, pattern);
    }
    for (uint64_t i = 0; i < work.floats; ++i) {
        uint32_t a;
        uint32_t b;
        __builtin_memcpy(&a, expected + work.exact_bytes + i * sizeof(a), sizeof(a));
        __builtin_memcpy(&b, got + work.exact_bytes + i * sizeof(b), sizeof(b));
        if (!same_float(a, b)) {
            return false;
        }
    }
    return true;
}

void FloatTuner::run(const FloatBinding &binding, const FloatVariant &variant) {
    fill(binding, 0);
    const Work work = work_for(binding, 0);
    uint8_t *const results = got_.at_end(whole_lines(work.bytes()));
    const uint64_t elements = binding.op == FloatOp::kAttention ? work.floats * work.positions
                                                                : input_floats(binding, work);
    for (uint64_t done = 0; done < kTimedElements; done += elements) {
        execute(binding, variant, work, results);
    }
}

// ------------------------------------------------------------------ all bindings

Result<FloatTuner *> FloatTuner::create(std::span<FloatBinding> bindings, Optimizer &optimizer) {
    void *const memory = heap_allocate(sizeof(FloatTuner), alignof(FloatTuner));
    if (memory == nullptr) {
        return {ErrorCode::kTooLarge, "no memory for the optimiser"};
    }
    auto *const made = new (memory) FloatTuner;
    if (const Status status = made->attach(bindings, optimizer); !status) {
        made->destroy();
        return status;
    }
    return made;
}

Status FloatTuner::attach(std::span<FloatBinding> bindings, Optimizer &optimizer) {
    bindings = bindings.first(std::min(bindings.size(), targets_.size()));
    uint64_t floats = 1;
    uint64_t results = 1;
    uint64_t kv = 1;
    uint64_t scores = 1;
    for (const FloatBinding &binding : bindings) {
        for (uint32_t pattern = 0; pattern < kPatterns; ++pattern) {
            const Work work = work_for(binding, pattern);
            floats = std::max(floats, input_floats(binding, work));
            results = std::max(results, whole_lines(work.bytes()) + kGuardBytes);
            if (binding.op == FloatOp::kAttention) {
                const uint64_t stored = kv_head_bytes(binding.kv_type, binding.head_size);
                const uint64_t vectors = uint64_t{work.rows} * (binding.n / binding.kv_heads);
                kv = std::max(kv, 2 * work.positions * stored);
                scores = std::max(scores, vectors * (kScoreHeader + whole_lines(work.positions)));
            }
        }
    }
    BF_ASSIGN(x_, GuardedPages::create(floats * sizeof(float)));
    BF_ASSIGN(w_, GuardedPages::create(floats * sizeof(float)));
    BF_ASSIGN(kv_, GuardedPages::create(kv));
    BF_ASSIGN(scores_, GuardedPages::create(scores * sizeof(float)));
    BF_ASSIGN(expected_, GuardedPages::create(results));
    BF_ASSIGN(got_, GuardedPages::create(results));
    for (size_t i = 0; i < bindings.size(); ++i) {
        targets_[i].bind(*this, bindings[i]);
        if (!optimizer.add(targets_[i])) {
            break;
        }
    }
    return {};
}

void FloatTuner::destroy() {
    this->~FloatTuner();
    heap_release(this);
}

}  // namespace bareflow::compute
