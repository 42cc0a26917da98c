// Joins the engine's float operations to the optimiser, as gemv_tuner.h joins the matrix kernels:
// each FloatBinding becomes an OptimizationTarget whose candidates are the compiled variants.
//
// Levels: 0 the portable reference; 1 what a rule names, as in gemv_tuner.h; 2 the fastest of the
// general ones; 3 those that do several operations in one pass or were made for this shape, against
// the others.
//
// A candidate is compared bit for bit with the reference on vectors of ordinary numbers and on
// vectors full of zeros, denormals, infinities and NaN, of this shape; attention over several
// numbers of positions and rows; a relaxed one (numerics=fast) within kRelaxedTolerance. Operands
// lie right up against memory that is not mapped.
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

class FloatJit {
  public:
    static constexpr size_t kMaxBindings = 8;

    // Puts what the optimiser's mode starts with into every binding and registers them. `bindings`
    // must stay until destroy(). kTooLarge: no memory for scratch; the bindings are as they were.
    [[nodiscard]] static Result<FloatJit *> create(std::span<FloatBinding> bindings,
                                                   Optimizer &optimizer);
    // Releases everything; what is in force stays. After the optimiser's remove_all().
    void destroy();

    FloatJit(const FloatJit &) = delete;
    FloatJit &operator=(const FloatJit &) = delete;

  private:
    static constexpr uint32_t kPatterns = 4;

    class Target final : public OptimizationTarget {
      public:
        constexpr Target() = default;
        void bind(FloatJit &owner, FloatBinding &binding);

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
        // The candidate of this number, nullptr behind the last.
        [[nodiscard]] const FloatVariant *candidate(int level, uint32_t index) const;

        FloatJit *owner_ = nullptr;
        FloatBinding *binding_ = nullptr;
        const FloatVariant *candidate_ = nullptr;
        JitMode mode_ = JitMode::kFull;  // the last that was not kOff
        uint32_t pattern_ = 0;           // the next to be checked
    };

    // What one execution is about.
    struct Work {
        uint32_t rows = 1;         // kAttention
        uint32_t positions = 0;    // kAttention
        uint64_t exact_bytes = 0;  // of the results, in front
        uint64_t floats = 0;       // of the results, behind them
        [[nodiscard]] uint64_t bytes() const { return exact_bytes + floats * sizeof(float); }
    };

    FloatJit() = default;
    ~FloatJit() = default;
    [[nodiscard]] Status attach(std::span<FloatBinding> bindings, Optimizer &optimizer);
    [[nodiscard]] static Work work_for(const FloatBinding &binding, uint32_t pattern);
    // The floats that an execution reads.
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
    GuardedPages x_;         // what is read
    GuardedPages w_;         // norm: weights; rope: angles; SiLU: the other factor
    GuardedPages kv_;        // attention: keys, then values
    GuardedPages scores_;    // attention
    GuardedPages expected_;  // results
    GuardedPages got_;
};

}  // namespace bareflow::compute
