// Joins the engine's float operations to the optimiser, as gemv_tuner.h joins the matrix kernels:
// each FloatBinding becomes an OptimizationTarget whose candidates are the compiled variants.
//
// Levels: 0 is the portable reference, 1 what a rule names, as in gemv_tuner.h, 2 the fastest of
// the general variants. 3 adds the special ones, which do several operations in one pass or were
// made for this shape.
//
// A candidate is compared bit for bit with the reference, on vectors of this shape: some of
// ordinary numbers, some full of zeros, denormals, infinities and NaN. Attention is compared over
// several numbers of positions and rows. A relaxed candidate (numerics=fast) must be within
// kRelaxedTolerance. Operands end right beside memory that is not mapped.
//
// Boot processor only, between two calls of Engine::advance.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "compute/kernels/float_ops.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/optimize.h"
#include "kernel_lib/memory/guarded_pages.h"

namespace bareflow::compute {

class FloatTuner {
  public:
    static constexpr size_t kMaxBindings = 8;

    // Registers every binding and puts the start of the optimiser's mode into force in it.
    // `bindings` must stay until destroy(). kTooLarge: there is no memory for scratch, and the
    // bindings are as they were.
    [[nodiscard]] static Result<FloatTuner *> create(std::span<FloatBinding> bindings,
                                                     Optimizer &optimizer);
    // Releases everything, after the optimiser's remove_all(). Variants stay in force.
    void destroy();

    FloatTuner(const FloatTuner &) = delete;
    FloatTuner &operator=(const FloatTuner &) = delete;

  private:
    static constexpr uint32_t kPatterns = 4;

    class Target final : public OptimizationTarget {
      public:
        constexpr Target() = default;
        void bind(FloatTuner &owner, FloatBinding &binding);

        [[nodiscard]] const char *name() const override { return binding_->name; }
        [[nodiscard]] uint32_t candidate_count(int level) const override;
        [[nodiscard]] std::string_view candidate_name(int level, uint32_t index) const override;
        [[nodiscard]] Prepared prepare(int level, uint32_t index) override;
        [[nodiscard]] Check check_some() override;
        void run_candidate() override { owner_->run(*binding_, *candidate_); }
        void run_current() override { owner_->run(*binding_, *binding_->variant); }
        void run_reference() override { owner_->run(*binding_, portable_float_ops()); }
        [[nodiscard]] uint64_t code_bytes() const override { return 0; }
        void install() override { binding_->variant = candidate_; }
        void drop() override { candidate_ = nullptr; }
        int start(JitMode mode) override;

      private:
        // The candidate with this number; nullptr: there are fewer.
        [[nodiscard]] const FloatVariant *candidate(int level, uint32_t index) const;

        FloatTuner *owner_ = nullptr;
        FloatBinding *binding_ = nullptr;
        const FloatVariant *candidate_ = nullptr;
        JitMode mode_ = JitMode::kFull;  // the last mode that was not kOff
        uint32_t pattern_ = 0;           // the next pattern to be checked
    };

    // The size of one execution.
    struct Work {
        uint32_t rows = 1;         // attention only
        uint32_t positions = 0;    // attention only
        uint64_t exact_bytes = 0;  // results that must be equal bit for bit; they come first
        uint64_t floats = 0;       // results that are floats; they follow
        [[nodiscard]] uint64_t bytes() const { return exact_bytes + floats * sizeof(float); }
    };

    FloatTuner() = default;
    ~FloatTuner() = default;
    [[nodiscard]] Status attach(std::span<FloatBinding> bindings, Optimizer &optimizer);
    [[nodiscard]] static Work work_for(const FloatBinding &binding, uint32_t pattern);
    // How many floats an execution reads.
    [[nodiscard]] static uint64_t input_floats(const FloatBinding &binding, const Work &work);
    void fill(const FloatBinding &binding, uint32_t pattern);
    void execute(const FloatBinding &binding, const FloatVariant &variant, const Work &work,
                 uint8_t *results);
    [[nodiscard]] bool equal(const FloatBinding &binding, const FloatVariant &variant,
                             uint32_t pattern);
    void run(const FloatBinding &binding, const FloatVariant &variant);

    std::array<Target, kMaxBindings> targets_{};

    // Scratch for the one binding that is being worked on.
    const FloatBinding *filled_binding_ = nullptr;
    uint32_t filled_pattern_ = 0;
    GuardedPages x_;         // the input
    GuardedPages w_;         // norm: weights; rope: angles; SiLU: the other factor
    GuardedPages kv_;        // attention: keys, then values
    GuardedPages scores_;    // attention
    GuardedPages expected_;  // the reference's results
    GuardedPages got_;       // the candidate's
};

}  // namespace bareflow::compute
