// Joins the engine's matrix-vector kernels to the optimiser: each KernelBinding becomes an
// OptimizationTarget whose candidates are the compiled variants and kernels generated for its exact
// shape. The fastest measured is written into the binding.
//
// Levels: 0 is the portable reference, 1 a compiled kernel chosen by rule, 2 the fastest of all, 3
// a kernel of packed weights. Before anything was measured, the reference runs (jit=off),
// gemv_rule_of_thumb() (baseline) or kernel_for() (full). Level 1 compares that start with the
// reference and times it. It does the same with the rule of thumb where that is another kernel.
//
// A candidate is compared with the reference, bit for bit, on the model's own weights and two
// activations (random ones, and ones that are all at the limits). The rows are all rows of a small
// matrix; of a large one the first, the last, and evenly spread ones between. They are computed in
// ranges of changing length and start, and nothing beside the results may change. A candidate sees
// copies of its operands that begin or end right beside memory that is not mapped. If it reads or
// writes beside them, it faults, and the optimiser drops it. Scratch memory is taken once, in
// create().
//
// Kernels of packed weights are compared and timed on copies. Their time includes the unpacking
// that prompts will need, in the proportion of batches so far. When such a kernel is put into
// force, WeightPlacement moves the matrices. Until a matrix has been moved, the kernel for the
// file's layout serves it.
//
// Boot processor only, between two calls of Engine::advance.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "compute/codegen/plan.h"
#include "compute/kernels/bindings.h"
#include "compute/kernels/gemv.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/packing.h"
#include "compute/numbers/quant.h"
#include "compute/tuning/pages_owner.h"
#include "compute/tuning/weight_placement.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/code_buffer.h"
#include "kernel_lib/jit/optimize.h"
#include "kernel_lib/memory/buffer.h"
#include "kernel_lib/memory/guarded_pages.h"

namespace bareflow::compute {

class GemvTuner {
  public:
    static constexpr size_t kCodePages = 64;

    // Registers every binding and puts the start of the optimiser's mode into force in it.
    // `bindings` must stay until destroy(). kTooLarge: there is no memory for scratch or code, and
    // the bindings are as they were. Bindings beyond Optimizer::kMaxTargets keep their kernel. When
    // `code_pages` are full, generated kernels of shapes that do less work make room for those that
    // do more. Without `placement` weights stay as they are.
    [[nodiscard]] static Result<GemvTuner *> create(std::span<KernelBinding> bindings,
                                                    Optimizer &optimizer,
                                                    size_t code_pages = kCodePages,
                                                    WeightPlacement *placement = nullptr);
    // Puts the references into force, removes the optimiser's targets and releases everything. The
    // engine must not be inside a batch, or must start the batch anew.
    void destroy();

    GemvTuner(const GemvTuner &) = delete;
    GemvTuner &operator=(const GemvTuner &) = delete;

    // The variant in force: "portable", "swar2 r2", "jit r4 u2". Static text.
    [[nodiscard]] std::string_view variant(const KernelBinding &binding) const;
    // The optimiser has nothing to do: releases the memory of copies.
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

    // An activation in every form. Each array has pages of its own and lies at their start or end.
    struct GuardedActivation {
        GuardedPages x, q, block_sums, group_scales, pairs, quads;

        [[nodiscard]] Status create(uint32_t max_cols);
        [[nodiscard]] GemvArgs args(uint32_t cols, bool at_end) const;
    };

    class Target final : public OptimizationTarget {
      public:
        constexpr Target() = default;
        void bind(GemvTuner &owner, KernelBinding &binding);
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
        // Puts the fastest compiled kernel that was found to be right into force. Returns its
        // level.
        int fall_back();

      private:
        // Candidate `index` of level 1: 0 the start, 1 the rule of thumb.
        [[nodiscard]] const GemvVariant &by_rule(uint32_t index) const;
        [[nodiscard]] Result<Candidate> generate(const GemvPlan &plan, std::string_view name);
        [[nodiscard]] bool chunk_equal(uint32_t chunk);
        [[nodiscard]] bool is_packed() const { return binding_->wanted != Packing::kFile; }
        // The candidates of level 3.
        [[nodiscard]] uint32_t packed_candidates() const;
        [[nodiscard]] std::string_view packed_name(uint32_t index) const;
        // Level 3: prepares the candidate. Other levels: makes their candidates runnable (kReady).
        [[nodiscard]] Prepared prepare_packed(int level, uint32_t index);
        void replace(const Candidate &by);
        void install_packed();
        // The matrices shall lie as in the file.
        void as_in_file();

        GemvTuner *owner_ = nullptr;
        KernelBinding *binding_ = nullptr;
        GemmKernel matrix_ = nullptr;   // the engine's kernel for several vectors
        Candidate current_;             // in force for weights as in the file
        Candidate candidate_;           // prepared
        Candidate fallback_;            // the compiled kernel that fall_back() puts into force
        std::string_view packed_name_;  // the variant in force where weights are wanted packed
        JitMode mode_ = JitMode::kOff;
        uint32_t chunk_ = 0;  // the next chunk to be checked
    };

    GemvTuner() = default;
    ~GemvTuner() = default;
    [[nodiscard]] Status attach(std::span<KernelBinding> bindings, Optimizer &optimizer,
                                size_t code_pages);
    [[nodiscard]] PlacedWeights now(const uint8_t *file) const;
    // Makes copies of the binding's first matrices, a piece at each call, if they are not in
    // `packing`. kMore: call again. kUnavailable: there is no memory.
    [[nodiscard]] OptimizationTarget::Prepared copy_some(const KernelBinding &binding,
                                                         Packing packing);
    // `count` rows as in the file, at most kMaxChunkRows.
    [[nodiscard]] const uint8_t *file_rows(const KernelBinding &binding, uint32_t begin,
                                           uint32_t count);
    // Copies rows into guarded memory, in `packing`. Returns where row 0 would be if they were the
    // rows from `skip` on. Only these rows are there, or the strips that contain them: every other
    // row lies in memory that is not mapped, or nowhere.
    [[nodiscard]] const uint8_t *place_rows(const KernelBinding &binding, Packing packing,
                                            uint32_t begin, uint32_t count, uint32_t skip,
                                            bool at_end);
    [[nodiscard]] Status take_rows(uint64_t row_bytes);
    // Runs the kernel on rows [timed_row_, end) of weights that are not in its packing.
    void run_repacked(const KernelBinding &binding, GemvKernel kernel, const PlacedWeights &weights,
                      Packing packing, GemvArgs args, uint32_t end);
    // Spends the time that unpacking `rows` rows for prompts will cost one timed run.
    void charge_unpacking(const KernelBinding &binding, const PlacedWeights &weights,
                          uint32_t rows);
    void use_scratch(const KernelBinding &binding);
    [[nodiscard]] GemvArgs args_for(const KernelBinding &binding, uint32_t pattern) const;
    void run(const KernelBinding &binding, GemvKernel kernel, Packing packing);
    // Rows of one timed run, out of `all` available: enough for kTimedMacs multiply-adds, or all of
    // them.
    [[nodiscard]] static uint32_t timed_rows(const KernelBinding &binding, uint64_t all);
    // Keeps a replaced kernel's code until no binding uses it.
    void retire(const Candidate &candidate);
    void collect_retired();
    [[nodiscard]] bool in_use(GemvKernel kernel) const;
    // Sets the heat of every region. Returns that of `target`.
    uint64_t warm_regions(const Target &target);
    // Called by the code buffer to release a region. False: the engine may be inside its code.
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
    GuardedPages rows_;          // copies of kMaxChunkRows rows, or of the strips around them
    Buffer<uint8_t> file_rows_;  // kMaxChunkRows rows of packed weights, as in the file
    GuardedPages y_;             // kMaxTimedRows floats
    Buffer<float> expected_;     // [kPatterns][kMaxChunks][kMaxChunkRows]
    uint32_t timed_matrix_ = 0;  // matrix and row where the next timed run starts
    uint32_t timed_row_ = 0;
    uint32_t expected_chunks_ = 0;  // chunks of expected_ that have the reference's results

    WeightPlacement *placement_ = nullptr;
    // Copies of the first `rows` rows of some matrices, in both packings. Both sides of a
    // comparison run on copies, so none runs on weights that texts keep in the caches.
    struct Trial {
        PagesOwner pages;
        const KernelBinding *binding = nullptr;
        Packing from = Packing::kFile;
        uint64_t matrix_bytes = 0;
        uint32_t rows = 0;
        uint32_t matrices = 0;
        uint32_t copied = 0;  // rows copied of all matrices together

        [[nodiscard]] uint8_t *matrix(Packing packing, uint32_t index) const {
            const uint32_t place = packing == Packing::kFile ? index : matrices + index;
            return pages.data + place * matrix_bytes;
        }
    } trial_;
};

}  // namespace bareflow::compute
