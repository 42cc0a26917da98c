// The tuner of matrix kernels: candidates and their places in the field, checking against the
// reference, timed runs, and what happens to replaced code. The two files gemv_tuner_packed_* have
// what concerns packed weights.
//
// What must hold:
// A binding's kernel is always one that equals the reference.
// Code is released only when no binding uses it.
// One call from the optimiser takes about a millisecond at most.
#include "compute/tuning/gemv_tuner.h"

#include <algorithm>
#include <bit>
#include <new>

#include "compute/codegen/generators.h"
#include "compute/codegen/plans.h"
#include "compute/kernels/bindings.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {
namespace {

// Multiply-adds of one timed run. Where weights stream from memory, a short run is over before the
// processor fetches ahead, and then a kernel of half another's speed looks like its equal. An
// emulator fetches nothing ahead, and a run takes eight times as long there.
constexpr uint64_t kTimedMacs = 1024 * 1024;
constexpr uint64_t kTimedMacsEmulated = 128 * 1024;

// Multiply-adds of one call of check_some(), and of all checking with one activation.
constexpr uint64_t kCheckStepMacs = 128 * 1024;
constexpr uint64_t kCheckMacs = 1024 * 1024;

// Floats beside the results. A candidate that changes one is wrong.
constexpr uint32_t kGuard = 4;
constexpr uint32_t kGuardBits = 0x7fc0dead;

struct Range {
    uint32_t begin;
    uint32_t count;
};

// Chunks cover all rows if that is affordable; otherwise they are spread evenly. The first chunk
// starts with the first row, the last one ends with the last row.
uint32_t chunk_count(const KernelBinding &binding, uint32_t min_rows, uint32_t max_rows,
                     uint32_t max_chunks) {
    if (binding.rows <= min_rows) {
        return 1;
    }
    const uint64_t all = binding.rows / min_rows + 2;
    const uint64_t affordable =
        std::max<uint64_t>(kCheckMacs / (uint64_t{binding.cols} * max_rows), 4);
    return static_cast<uint32_t>(std::min({all, affordable, uint64_t{max_chunks}}));
}

Range chunk_range(const KernelBinding &binding, uint32_t chunk, uint32_t chunks, uint32_t min_rows,
                  uint32_t max_rows) {
    const uint32_t count = std::min(min_rows + chunk % (max_rows - min_rows + 1), binding.rows);
    if (chunks == 1) {
        return {0, count};
    }
    const uint64_t begin = uint64_t{binding.rows - count} * chunk / (chunks - 1);
    return {static_cast<uint32_t>(begin), count};
}

// Deterministic and cheap (xorshift64*).
class Noise {
  public:
    uint64_t next() {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return state_ * 0x2545f4914f6cdd1d;
    }

  private:
    uint64_t state_ = 0x9e3779b97f4a7c15;
};

}  // namespace

// ------------------------------------------------------------------ one binding

void GemvTuner::Target::bind(GemvTuner &owner, KernelBinding &binding) {
    owner_ = &owner;
    binding_ = &binding;
    matrix_ = binding.matrix;
    candidate_ = {};
    current_ = {};
    fallback_ = {};
}

const GemvVariant &GemvTuner::Target::by_rule(uint32_t index) const {
    return index == 0 && mode_ == JitMode::kFull ? kernel_for(binding_->type)
                                                 : gemv_rule_of_thumb(binding_->type);
}

uint32_t GemvTuner::Target::candidate_count(int level) const {
    const size_t compiled = gemv_variants(binding_->type).size() - 1;  // without the reference
    if (level == 1) {
        return compiled == 0 ? 0 : by_rule(0).kernel == by_rule(1).kernel ? 1 : 2;
    }
    if (level == 2) {
        return static_cast<uint32_t>(compiled + gemv_plan_count(binding_->type));
    }
    return packed_candidates();
}

std::string_view GemvTuner::Target::candidate_name(int level, uint32_t index) const {
    if (level != 2) {
        return level == 1 ? by_rule(index).name : packed_name(index);
    }
    const std::span<const GemvVariant> variants = gemv_variants(binding_->type);
    return index + 1 < variants.size()
               ? variants[index + 1].name
               : gemv_plan(binding_->type, index + 1 - variants.size()).name();
}

CandidatePlace GemvTuner::Target::candidate_place(int level, uint32_t index) const {
    const size_t compiled = gemv_variants(binding_->type).size() - 1;
    if (level != 2 || index < compiled) {
        return {.family = static_cast<uint16_t>(index)};
    }
    constexpr uint16_t kGenerated = 0x100;
    constexpr uint16_t kPrefetchUnit = 64;
    const GemvPlan &plan = gemv_plan(binding_->type, index - compiled).plan;
    // One row at a time is fastest for weights from memory, several rows for weights in caches.
    // Families of their own make the search try both.
    const bool one_row = plan.kind() != PlanKind::kSwar && plan.rows == 1;
    return {.family = static_cast<uint16_t>(kGenerated + 4 * static_cast<int>(plan.set) +
                                            2 * plan.narrow + (plan.direct || one_row)),
            .knobs = {plan.rows, plan.unroll, static_cast<uint8_t>(plan.ahead / kPrefetchUnit)}};
}

OptimizationTarget::Prepared GemvTuner::Target::prepare(int level, uint32_t index) {
    owner_->collect_retired();
    owner_->use_scratch(*binding_);
    chunk_ = 0;
    const Prepared prepared = prepare_packed(level, index);
    if (level == 3 || prepared != Prepared::kReady) {
        return prepared;
    }
    const std::span<const GemvVariant> variants = gemv_variants(binding_->type);
    if (level != 1 && index + 1 >= variants.size()) {
        const NamedPlan &plan = gemv_plan(binding_->type, index + 1 - variants.size());
        if (current_.name == plan.name() && !is_packed()) {
            return Prepared::kInForce;
        }
        auto candidate = generate(plan.plan, plan.name());
        if (!candidate) {
            return Prepared::kUnavailable;
        }
        candidate_ = candidate.value();
        return Prepared::kReady;
    }
    const GemvVariant &variant = level == 1 ? by_rule(index) : variants[index + 1];
    if (binding_->kernel == variant.kernel && !is_packed() && (level != 1 || index != 0)) {
        return Prepared::kInForce;
    }
    candidate_ = {variant.kernel, variant.forms, kNoRegion, variant.name, Packing::kFile};
    return Prepared::kReady;
}

Result<GemvTuner::Candidate> GemvTuner::Target::generate(const GemvPlan &plan,
                                                         std::string_view name) {
    const GemvShape shape = {binding_->type, binding_->cols, binding_->row_bytes};
    const Generator *const generator = generator_for(shape.type, plan);
    if (generator == nullptr || !generator->fits(shape, plan)) {
        return {ErrorCode::kUnsupported, "no generator for this shape"};
    }
    if (owner_->retired_count_ == kMaxRetired) {
        return {ErrorCode::kExhausted, "replaced kernels still in use"};
    }
    char text[jit::CodeBuffer::kNameBytes];
    TextWriter full_name(text);
    full_name.put(binding_->name, " ", name);
    jit::CodeBuffer &code = owner_->code_;
    const uint64_t heat = owner_->warm_regions(*this);
    BF_ASSIGN(const auto region, code.open(full_name.view(), generator->code_room(plan),
                                           generator->constant_room, heat));
    const auto bytes = generator->generate(shape, plan, code.room(region), code.constants(region));
    if (!bytes) {
        code.release(region);
        return bytes.error();
    }
    const void *const start = code.seal(region, bytes.value());
    // Code made a moment ago: the one place where data becomes a function.
    return Candidate{reinterpret_cast<GemvKernel>(reinterpret_cast<uintptr_t>(start)),
                     generator->forms_of(shape.type), region, name, Packing::kFile};
}

OptimizationTarget::Check GemvTuner::Target::check_some() {
    const uint32_t chunks = chunk_count(*binding_, kMinChunkRows, kMaxChunkRows, kMaxChunks);
    for (uint64_t macs = 0; macs < kCheckStepMacs; ++chunk_) {
        if (chunk_ == chunks) {
            return Check::kEqual;
        }
        if (!chunk_equal(chunk_)) {
            return Check::kDiffers;
        }
        macs += uint64_t{kPatterns} * kMaxChunkRows * binding_->cols;
    }
    return Check::kMore;
}

bool GemvTuner::Target::chunk_equal(uint32_t chunk) {
    const uint32_t chunks = chunk_count(*binding_, kMinChunkRows, kMaxChunkRows, kMaxChunks);
    const Range range = chunk_range(*binding_, chunk, chunks, kMinChunkRows, kMaxChunkRows);
    // Ranges start at row 0 and elsewhere, as the engine's do. Packed: at their place in the strip.
    const bool packed = candidate_.packing != Packing::kFile;
    const uint32_t skip = packed ? range.begin % kStripRows : std::min(chunk % 3, range.begin);
    bool equal = true;
    for (uint32_t pattern = 0; pattern < kPatterns; ++pattern) {
        float *const expected =
            owner_->expected_.data() + (uint64_t{pattern} * kMaxChunks + chunk) * kMaxChunkRows;
        const bool at_end = (chunk + pattern) % 2 == 0;
        GemvArgs args = owner_->args_for(*binding_, pattern);
        uint8_t *const place =
            at_end ? owner_->y_.at_end((kGuard + skip + range.count + kGuard) * sizeof(float))
                   : owner_->y_.data();
        float *const y = reinterpret_cast<float *>(place) + kGuard;
        args.y = y;
        if (chunk >= owner_->expected_chunks_) {
            args.weights =
                owner_->file_rows(*binding_, range.begin, range.count) - skip * binding_->row_bytes;
            binding_->reference(args, skip, skip + range.count);
            std::copy_n(y + skip, range.count, expected);
        }
        args.weights = owner_->place_rows(*binding_, candidate_.packing, range.begin, range.count,
                                          skip, at_end);
        const uint32_t written = skip + range.count;
        std::fill_n(y - kGuard, kGuard + written + kGuard, std::bit_cast<float>(kGuardBits));
        candidate_.kernel(args, skip, written);
        const auto untouched = [](float value) {
            return std::bit_cast<uint32_t>(value) == kGuardBits;
        };
        equal = equal && std::all_of(y - kGuard, y + skip, untouched) &&
                std::all_of(y + written, y + written + kGuard, untouched) &&
                __builtin_memcmp(y + skip, expected, range.count * sizeof(float)) == 0;
    }
    owner_->expected_chunks_ = std::max(owner_->expected_chunks_, chunk + 1);
    return equal;
}

uint64_t GemvTuner::Target::code_bytes() const {
    return candidate_.region == kNoRegion ? 0 : owner_->code_.code_bytes(candidate_.region);
}

void GemvTuner::Target::install() {
    if (candidate_.packing != Packing::kFile) {
        return install_packed();
    }
    if (candidate_.region == kNoRegion) {
        fallback_ = candidate_;
    }
    replace(std::exchange(candidate_, {}));
    as_in_file();
}

void GemvTuner::Target::replace(const Candidate &by) {
    const Candidate replaced = std::exchange(current_, by);
    binding_->kernel = current_.kernel;
    binding_->forms = current_.forms;
    owner_->retire(replaced);
}

void GemvTuner::Target::drop() {
    if (candidate_.region != kNoRegion) {
        owner_->code_.release(candidate_.region);
    }
    candidate_ = {};
}

int GemvTuner::Target::start(JitMode mode) {
    mode_ = mode;
    const GemvVariant &reference = gemv_variants(binding_->type)[0];
    const GemvVariant &variant = mode == JitMode::kOff ? reference : by_rule(0);
    fallback_ = {&variant == &reference ? binding_->reference : variant.kernel, variant.forms,
                 kNoRegion, variant.name, Packing::kFile};
    replace(fallback_);
    as_in_file();
    binding_->matrix = mode == JitMode::kOff ? nullptr : matrix_;
    return binding_->kernel == binding_->reference ? 0 : 1;
}

// The kernel for several vectors was not timed against the reference, so it stays.
int GemvTuner::Target::prefer_reference() {
    fallback_ = {binding_->reference, gemv_variants(binding_->type)[0].forms, kNoRegion,
                 gemv_variants(binding_->type)[0].name};
    return fall_back();
}

// ------------------------------------------------------------------ room for code

// The heat of a region is the work that its kernel does.
uint64_t GemvTuner::warm_regions(const Target &target) {
    const auto heat_of = [&](const Target &of) {
        return optimizer_->calls(of) * of.binding()->rows * of.binding()->cols;
    };
    for (const Target &of : std::span(targets_).first(bindings_.size())) {
        if (of.region() != kNoRegion) {
            code_.set_heat(of.region(), heat_of(of));
        }
    }
    return heat_of(target);
}

// The binding goes back to the best compiled kernel. While the engine may be inside the region's
// kernel, the region stays, as with every replaced kernel.
bool GemvTuner::give_up(void *self, jit::CodeBuffer::Region region) {
    auto &owner = *static_cast<GemvTuner *>(self);
    for (Target &target : std::span(owner.targets_).first(owner.bindings_.size())) {
        if (target.region() == region && owner.retired_count_ != kMaxRetired) {
            const GemvKernel kernel = target.binding()->kernel;
            owner.optimizer_->gave_up(target, target.fall_back());
            if (!owner.in_use(kernel)) {
                --owner.retired_count_;  // fall_back() put it there just now
                return true;
            }
        }
    }
    return false;
}

int GemvTuner::Target::fall_back() {
    replace(fallback_);
    return binding_->kernel == binding_->reference ? 0 : 1;
}

// ------------------------------------------------------------------ scratch

// Makes the activations of both patterns for this binding, and forgets the reference's results.
void GemvTuner::use_scratch(const KernelBinding &binding) {
    if (scratch_binding_ == &binding) {
        return;
    }
    scratch_binding_ = &binding;
    timed_row_ = timed_matrix_ = 0;
    expected_chunks_ = 0;
    const std::array<GemvArgs, kPatterns> args = {args_for(binding, 0), args_for(binding, 1)};
    Noise noise;
    for (uint32_t i = 0; i < binding.cols; ++i) {
        const uint64_t bits = noise.next();
        const auto value = static_cast<float>(static_cast<int64_t>(bits) >> 40) * 0x1p-23f;
        // One in 256 may be 20 times as large, as in real activations.
        const_cast<float *>(args[0].x)[i] = (bits & 0xff) == 0 ? value * 20.0f : value;
        const_cast<float *>(args[1].x)[i] = (bits >> 32 & 1) != 0 ? 1.5f : -1.5f;
    }
    if (takes_quantized(binding.type)) {
        for (const GemvArgs &of : args) {
            quantize_activation(of.x, of.xq, kFormPairs | kFormQuads, 0, group_count(binding.cols));
        }
    }
}

GemvArgs GemvTuner::args_for(const KernelBinding &binding, uint32_t pattern) const {
    GemvArgs args = activations_[pattern].args(binding.cols, pattern == 0);
    if (!takes_quantized(binding.type)) {
        args.xq = {};
    }
    args.weights = binding.sample;
    args.row_bytes = binding.row_bytes;
    args.y = reinterpret_cast<float *>(y_.data());
    return args;
}

// Arrays keep the alignment that ActivationBuffer gives them.
Status GemvTuner::GuardedActivation::create(uint32_t max_cols) {
    const uint64_t blocks = (max_cols + kBlockElements - 1) / kBlockElements;
    BF_ASSIGN(x, GuardedPages::create(max_cols * sizeof(float)));
    BF_ASSIGN(q, GuardedPages::create(blocks * kBlockElements));
    BF_ASSIGN(block_sums, GuardedPages::create(blocks * sizeof(int32_t)));
    BF_ASSIGN(group_scales, GuardedPages::create(group_count(max_cols) * sizeof(float)));
    BF_ASSIGN(pairs, GuardedPages::create(blocks * 16 * sizeof(uint64_t)));
    BF_ASSIGN(quads, GuardedPages::create(blocks * 8 * sizeof(uint64_t)));
    return {};
}

GemvArgs GemvTuner::GuardedActivation::args(uint32_t cols, bool at_end) const {
    constexpr uint64_t kLine = 64;
    const uint64_t blocks = (cols + kBlockElements - 1) / kBlockElements;
    const auto place = [&]<typename T>(const GuardedPages &pages, uint64_t count, T *&to) {
        const uint64_t bytes = (count * sizeof(T) + kLine - 1) / kLine * kLine;
        to = reinterpret_cast<T *>(at_end ? pages.at_end(bytes) : pages.data());
    };
    GemvArgs args;
    args.cols = cols;
    float *floats = nullptr;
    place(x, cols, floats);
    args.x = floats;
    args.xq.count = cols;
    place(q, blocks * kBlockElements, args.xq.q);
    place(block_sums, blocks, args.xq.block_sums);
    place(group_scales, group_count(cols), args.xq.group_scales);
    place(pairs, blocks * 16, args.xq.pairs);
    place(quads, blocks * 8, args.xq.quads);
    return args;
}

uint32_t GemvTuner::timed_rows(const KernelBinding &binding, uint64_t all) {
    const uint64_t macs = is_emulated() ? kTimedMacsEmulated : kTimedMacs;
    const uint64_t rows = std::clamp<uint64_t>(macs / binding.cols, 8, kMaxTimedRows);
    return static_cast<uint32_t>(std::min(rows, all));
}

// ------------------------------------------------------------------ replaced code

// The engine uses, until a batch ends, the kernels that it found when the batch started.
void GemvTuner::retire(const Candidate &candidate) {
    if (candidate.region != kNoRegion) {
        if (retired_count_ == kMaxRetired) {
            platform::panic("more kernels retired than were generated");
        }
        retired_[retired_count_++] = candidate;
    }
}

bool GemvTuner::in_use(GemvKernel kernel) const {
    return std::ranges::any_of(
        bindings_, [&](const KernelBinding &binding) { return binding.active == kernel; });
}

void GemvTuner::collect_retired() {
    size_t kept = 0;
    for (size_t i = 0; i < retired_count_; ++i) {
        if (in_use(retired_[i].kernel)) {
            retired_[kept++] = retired_[i];
        } else {
            code_.release(retired_[i].region);
        }
    }
    retired_count_ = kept;
}

// ------------------------------------------------------------------ all bindings

Result<GemvTuner *> GemvTuner::create(std::span<KernelBinding> bindings, Optimizer &optimizer,
                                      size_t code_pages, WeightPlacement *placement) {
    void *const memory = heap_allocate(sizeof(GemvTuner), alignof(GemvTuner));
    if (memory == nullptr) {
        return {ErrorCode::kTooLarge, "no memory for the optimiser"};
    }
    auto *const made = new (memory) GemvTuner;
    made->placement_ = placement;
    if (const Status status = made->attach(bindings, optimizer, code_pages); !status) {
        made->~GemvTuner();
        heap_release(memory);
        return status;
    }
    return made;
}

Status GemvTuner::attach(std::span<KernelBinding> bindings, Optimizer &optimizer,
                         size_t code_pages) {
    uint32_t cols = 1;
    uint64_t row_bytes = 1;
    for (const KernelBinding &binding : bindings) {
        cols = std::max(cols, binding.cols);
        row_bytes = std::max(row_bytes, binding.row_bytes);
    }
    for (uint32_t pattern = 0; pattern < kPatterns; ++pattern) {
        BF_TRY(activations_[pattern].create(cols));
    }
    BF_TRY(take_rows(row_bytes));
    BF_ASSIGN(y_, GuardedPages::create(kMaxTimedRows * sizeof(float)));
    BF_ASSIGN(expected_, Buffer<float>::create(uint64_t{kPatterns} * kMaxChunks * kMaxChunkRows));
    BF_TRY(code_.create(code_pages));
    code_.set_give_up(give_up, this);
    bindings_ = bindings.first(std::min(bindings.size(), targets_.size()));
    optimizer_ = &optimizer;
    for (size_t i = 0; i < bindings_.size(); ++i) {
        targets_[i].bind(*this, bindings_[i]);
        if (!optimizer.add(targets_[i])) {
            bindings_ = bindings_.first(i);
        }
    }
    return {};
}

void GemvTuner::destroy() {
    optimizer_->remove_all();
    for (KernelBinding &binding : bindings_) {
        binding.active = binding.kernel;
    }
    collect_retired();
    rest();
    if (placement_ != nullptr) {
        placement_->restore();
    }
    this->~GemvTuner();
    heap_release(this);
}

std::string_view GemvTuner::variant(const KernelBinding &binding) const {
    for (size_t i = 0; i < bindings_.size(); ++i) {
        if (targets_[i].binding() == &binding) {
            return targets_[i].variant();
        }
    }
    return {};
}

}  // namespace bareflow::compute
