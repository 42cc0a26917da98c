// Joins the engine's matrix-vector kernels to the optimiser: each KernelBinding becomes an
// OptimizationTarget whose candidates are the compiled variants and kernels generated for its exact
// shape. The fastest measured is written into the binding.
//
// Levels: 0 the portable reference; 1 a compiled kernel chosen by rule; 2 the fastest of all. What
// runs before anything was measured: the reference (jit=off), gemv_rule_of_thumb() (baseline),
// kernel_for() (full). Level 1 compares that with the reference and times it, and the rule of thumb
// where that is another.
//
// A candidate is compared with the reference, bit for bit, on the model's own weights and two
// activations (random, and all at the limits): all rows of a small matrix, first, last and evenly
// spread rows of a large one, in ranges of changing length and start, with a watch on what lies
// beside the results. It sees copies of its operands, and they lie right up against memory that is
// not mapped, now before and now behind them: who reads or writes beside them faults, and the
// optimiser drops it. Scratch memory is taken once, in create().
//
// Level 3 are kernels of repacked weights: compared and timed on copies, and what is unpacked for
// prompts is added to their time, by the mix of steps so far. When one is put into force,
// WeightPlacement moves the matrices; the kernel for the file's layout serves those that wait.
//
// Boot processor only, between two calls of Engine::advance.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "compute/codegen/codegen.h"
#include "compute/kernels/bindings.h"
#include "compute/kernels/gemv.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/packing.h"
#include "compute/numbers/quant.h"
#include "compute/tuning/weight_placement.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/code_buffer.h"
#include "kernel_lib/jit/optimize.h"
#include "kernel_lib/memory/buffer.h"
#include "kernel_lib/memory/guarded_pages.h"

namespace bareflow::compute {

class GemvJit {
  public:
    static constexpr size_t kCodePages = 64;

    // Registers every binding, which gets what the optimiser's mode begins with. `bindings` must
    // stay until destroy(). kTooLarge: no memory for scratch or code; the bindings are as they
    // were. Bindings beyond Optimizer::kMaxTargets keep their kernel. When `code_pages` are full,
    // generated kernels of shapes that do less work make room for those that do more. Without
    // `placement` weights stay as they are.
    [[nodiscard]] static Result<GemvJit *> create(std::span<KernelBinding> bindings,
                                                  Optimizer &optimizer,
                                                  size_t code_pages = kCodePages,
                                                  WeightPlacement *placement = nullptr);
    // References back in force, the optimiser's targets removed, everything released. The engine
    // must not be inside a token, or must start it anew.
    void destroy();

    GemvJit(const GemvJit &) = delete;
    GemvJit &operator=(const GemvJit &) = delete;

    // The variant in force: "portable", "swar2 r2", "jit r4 u2". Static text.
    [[nodiscard]] std::string_view variant(const KernelBinding &binding) const;
    // The optimiser has nothing to do: memory for copies is given back.
    void rest() { trial_.pages.release(); }
    // Where generated code lies: for naming addresses.
    [[nodiscard]] const jit::CodeBuffer &code() const { return code_; }

  private:
    static constexpr uint32_t kPatterns = 2;
    static constexpr uint32_t kMaxChunks = 96;
    static constexpr uint32_t kMinChunkRows = 13;
    static constexpr uint32_t kMaxChunkRows = 19;
    static constexpr uint32_t kMaxStripRows = 3 * kStripRows;
    static constexpr uint32_t kMaxTimedRows = 4096;
    static constexpr size_t kMaxRetired = 16;
    static constexpr jit::CodeBuffer::Region kNoRegion = 0xffff;

    struct Candidate {
        GemvKernel kernel = nullptr;
        ActivationForms forms = 0;
        jit::CodeBuffer::Region region = kNoRegion;
        std::string_view name;
        Packing packing = Packing::kFile;
    };

    // An activation in every form, each array in pages of its own, which it begins or ends.
    struct GuardedActivation {
        GuardedPages x, q, block_sums, group_scales, pairs, quads;

        [[nodiscard]] Status create(uint32_t max_cols);
        [[nodiscard]] GemvArgs args(uint32_t cols, bool at_end) const;
    };

    class Target final : public OptimizationTarget {
      public:
        constexpr Target() = default;
        void bind(GemvJit &owner, KernelBinding &binding);
        [[nodiscard]] const KernelBinding *binding() const { return binding_; }
        [[nodiscard]] std::string_view variant() const {
            return is_packed() ? packed_name_ : current_.name;
        }

        [[nodiscard]] const char *name() const override { return binding_->name; }
        [[nodiscard]] uint32_t candidate_count(int level) const override;
        [[nodiscard]] std::string_view candidate_name(int level, uint32_t index) const override;
        [[nodiscard]] CandidatePlace candidate_place(int level, uint32_t index) const override;
        [[nodiscard]] Prepared prepare(int level, uint32_t index) override;
        [[nodiscard]] Check check_some() override;
        void run_candidate() override {
            owner_->run(*binding_, candidate_.kernel, candidate_.packing);
        }
        void run_current() override {
            owner_->run(*binding_, is_packed() ? binding_->packed : binding_->kernel,
                        binding_->wanted);
        }
        void run_reference() override {
            owner_->run(*binding_, binding_->reference, Packing::kFile);
        }
        [[nodiscard]] uint64_t code_bytes() const override;
        void install() override;
        void drop() override;
        int start(JitMode mode) override;
        int prefer_reference() override;

        [[nodiscard]] jit::CodeBuffer::Region region() const { return current_.region; }
        // Back to the fastest compiled kernel that was seen to be right; its level.
        int fall_back();

      private:
        // Of level 1: what start() names, or the rule of thumb.
        [[nodiscard]] const GemvVariant &by_rule(uint32_t index) const;
        [[nodiscard]] Result<Candidate> generate(const GemvPlan &plan, std::string_view name);
        [[nodiscard]] bool chunk_equal(uint32_t chunk);
        [[nodiscard]] bool is_packed() const { return binding_->wanted != Packing::kFile; }
        // Of level 3.
        [[nodiscard]] uint32_t packed_candidates() const;
        [[nodiscard]] std::string_view packed_name(uint32_t index) const;
        // kReady of another level: its candidates can be run.
        [[nodiscard]] Prepared prepare_packed(int level, uint32_t index);
        void replace(const Candidate &by);
        void install_packed();
        void as_in_file();

        GemvJit *owner_ = nullptr;
        KernelBinding *binding_ = nullptr;
        GemmKernel matrix_ = nullptr;  // the engine's
        Candidate current_;
        Candidate candidate_;
        Candidate fallback_;            // compiled
        std::string_view packed_name_;  // in force where the weights are wanted packed
        JitMode mode_ = JitMode::kOff;
        uint32_t chunk_ = 0;  // the next to be checked
    };

    GemvJit() = default;
    ~GemvJit() = default;
    [[nodiscard]] Status attach(std::span<KernelBinding> bindings, Optimizer &optimizer,
                                size_t code_pages);
    [[nodiscard]] PlacedWeights now(const uint8_t *file) const;
    // Copies of the binding's first matrices in a packing that they are not in. kMore, kReady, or
    // kUnavailable: there is no memory.
    [[nodiscard]] OptimizationTarget::Prepared copy_some(const KernelBinding &binding,
                                                         Packing packing);
    // `count` <= kMaxChunkRows rows as in the file.
    [[nodiscard]] const uint8_t *file_rows(const KernelBinding &binding, uint32_t begin,
                                           uint32_t count);
    // Copies of them in `packing`, and where row 0 would be if they were the rows from `skip` on.
    // Only they are there, or the strips they are in; the others are in the hole or nowhere.
    [[nodiscard]] const uint8_t *place_rows(const KernelBinding &binding, Packing packing,
                                            uint32_t begin, uint32_t count, uint32_t skip,
                                            bool at_end);
    [[nodiscard]] Status take_rows(uint64_t row_bytes);
    // Rows [timed_row_, end) of weights that are not in the kernel's packing.
    void run_repacked(const KernelBinding &binding, GemvKernel kernel, const PlacedWeights &weights,
                      Packing packing, GemvArgs args, uint32_t end);
    void charge_unpacking(const KernelBinding &binding, const PlacedWeights &weights,
                          uint32_t rows);
    void use_scratch(const KernelBinding &binding);
    [[nodiscard]] GemvArgs args_for(const KernelBinding &binding, uint32_t pattern) const;
    void run(const KernelBinding &binding, GemvKernel kernel, Packing packing);
    // Of one timed run, where there are so many.
    [[nodiscard]] static uint32_t timed_rows(const KernelBinding &binding, uint64_t all);
    void retire(const Candidate &candidate);
    void collect_retired();
    [[nodiscard]] bool in_use(GemvKernel kernel) const;
    uint64_t warm_regions(const Target &target);
    static bool give_up(void *self, jit::CodeBuffer::Region region);

    std::span<KernelBinding> bindings_;
    Optimizer *optimizer_ = nullptr;
    jit::CodeBuffer code_;
    std::array<Target, Optimizer::kMaxTargets> targets_{};
    std::array<Candidate, kMaxRetired> retired_{};
    size_t retired_count_ = 0;

    // Scratch for the one target that is being worked on.
    const KernelBinding *scratch_binding_ = nullptr;
    std::array<GuardedActivation, kPatterns> activations_;
    GuardedPages rows_;          // copies of kMaxChunkRows, or of the strips that they lie in
    Buffer<uint8_t> file_rows_;  // kMaxChunkRows of packed weights, as in the file
    GuardedPages y_;             // kMaxTimedRows floats
    Buffer<float> expected_;     // [kPatterns][kMaxChunks][kMaxChunkRows]
    uint32_t timed_matrix_ = 0;  // where the next timed run begins
    uint32_t timed_row_ = 0;
    uint32_t expected_chunks_ = 0;  // how many of them hold the reference's results

    WeightPlacement *placement_ = nullptr;
    // The first `rows` rows of some matrices in either packing: neither side of a comparison runs
    // on weights that texts keep in the caches.
    struct Trial {
        PagesOwner pages;
        const KernelBinding *binding = nullptr;
        Packing from = Packing::kFile;
        uint64_t matrix_bytes = 0;
        uint32_t rows = 0;
        uint32_t matrices = 0;
        uint32_t copied = 0;  // of all their rows together

        [[nodiscard]] uint8_t *matrix(Packing packing, uint32_t index) const {
            const uint32_t place = packing == Packing::kFile ? index : matrices + index;
            return pages.data + place * matrix_bytes;
        }
    } trial_;
};

}  // namespace bareflow::compute
