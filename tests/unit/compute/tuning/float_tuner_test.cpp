// The search for variants of float operations: the fastest one that is equal is installed, and one
// that computes something else never is.
#include "compute/tuning/float_tuner.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace bareflow::compute {
namespace {

std::unique_ptr<Profiler> test_profiler;
Profiler &profile() {
    return *test_profiler;
}

class FloatTunerTest : public ::testing::Test {
  protected:
    FloatTunerTest() {
        test_profiler = std::make_unique<Profiler>();
        EXPECT_TRUE(profile().set_thresholds({.warm = 2, .hot = 4, .very_hot = 8}));
        bindings_ = {
            {.name = "rms_norm 288", .op = FloatOp::kNorm, .n = 288},
            {.name = "quantize 100", .op = FloatOp::kQuantize, .n = 100},
            {.name = "silu_mul 30", .op = FloatOp::kSilu, .n = 30},
            {.name = "rope 12x48",
             .op = FloatOp::kRope,
             .n = 8,
             .kv_heads = 4,
             .head_size = 48,
             .pairs = 24},
            {.name = "attention 8x10",
             .op = FloatOp::kAttention,
             .n = 8,
             .kv_heads = 2,
             .head_size = 10,
             .kv_type = KvType::kQ8_0},
            {.name = "attention 6x48",
             .op = FloatOp::kAttention,
             .n = 6,
             .kv_heads = 2,
             .head_size = 48,
             .kv_type = KvType::kQ8_0},
            {.name = "attention 8x64",
             .op = FloatOp::kAttention,
             .n = 8,
             .kv_heads = 8,
             .head_size = 64},
        };
        auto made = FloatTuner::create(bindings_, optimizer_);
        EXPECT_TRUE(made.ok());
        jit_ = made.value();
    }
    ~FloatTunerTest() override {
        optimizer_.remove_all();
        jit_->destroy();
    }
    void heat(uint64_t calls) {
        for (const FloatBinding &binding : bindings_) {
            const FunctionId id = profile().key(binding.name);
            while (profile().calls(id) < calls) {
                profile().begin(id, 0);
                profile().end(id, 1);
            }
        }
    }
    void work() {
        for (int slices = 0; optimizer_.has_work(); ++slices) {
            ASSERT_LT(slices, 10000);
            optimizer_.work(platform::ticks() + platform::ticks_per_second() / 100);
        }
    }

    std::vector<FloatBinding> bindings_;
    std::array<OptimizationTry, 256> log_;
    Optimizer optimizer_{profile, platform::ticks, log_};
    FloatTuner *jit_ = nullptr;
};

TEST_F(FloatTunerTest, EveryVariantIsTriedAndNoneDiffers) {
    for (const FloatBinding &binding : bindings_) {
        EXPECT_EQ(binding.variant, &float_variant_for(binding.op, binding.head_size));
    }
    heat(8);
    work();
    EXPECT_EQ(optimizer_.tries(TryVerdict::kDiffered), 0u);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kFaulted), 0u);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kUnavailable), 0u);
    for (const FloatVariant *const variant : float_variants()) {
        for (const FloatBinding &binding : bindings_) {
            bool tried = false;
            for (size_t i = 0; i < optimizer_.try_count(); ++i) {
                const OptimizationTry &one = optimizer_.try_at(i);
                tried |= one.function == binding.name && one.variant() == variant->name;
            }
            const bool wanted = variant != &portable_float_ops() &&
                                variant->does(binding.op, binding.head_size) &&
                                (!variant->f16_only || binding.kv_type == KvType::kF16);
            EXPECT_EQ(tried, wanted) << binding.name << " " << variant->name;
        }
    }
    // The choices to be remembered are the variants in force.
    std::array<TunedChoice, 16> choices;
    const size_t count = optimizer_.choices(choices);
    for (size_t i = 0; i < count; ++i) {
        for (const FloatBinding &binding : bindings_) {
            if (choices[i].function.view() == binding.name) {
                EXPECT_EQ(choices[i].variant.view(), binding.variant->name);
            }
        }
    }
}

TEST_F(FloatTunerTest, ARememberedChoiceComesBack) {
    heat(8);
    work();
    std::array<TunedChoice, 16> choices;
    const size_t count = optimizer_.choices(choices);
    ASSERT_GT(count, 0u);
    Optimizer again(profile, platform::ticks, log_);
    optimizer_.remove_all();
    jit_->destroy();
    auto made = FloatTuner::create(bindings_, again);
    ASSERT_TRUE(made.ok());
    jit_ = made.value();
    for (size_t i = 0; i < count; ++i) {
        again.recall(choices[i]);
    }
    while (again.has_work() && again.recalled() + again.recalls_lost() < count) {
        again.work(platform::ticks() + platform::ticks_per_second() / 100);
    }
    EXPECT_EQ(again.recalled() + again.recalls_lost(), count);
    again.remove_all();
    for (const FloatBinding &binding : bindings_) {
        EXPECT_EQ(binding.variant, &portable_float_ops());
    }
}

// A start by rule that loses to the reference is replaced. The other candidates of its field are
// still tried.
template <int kTimes>
void slow_silu(const float *g, const float *u, uint32_t begin, uint32_t end, float *y) {
    for (int i = 0; i < kTimes; ++i) {
        silu_mul(g, u, begin, end, y);
    }
}

TEST_F(FloatTunerTest, AFieldStaysWhatItWasWhenItsStartIsTakenBack) {
    const FloatVariant slow[] = {
        {.name = "slow", .silu = slow_silu<3>},
        {.name = "slower", .needs = InstructionSet::kAvx2, .silu = slow_silu<5>}};
    const FloatVariant *list[] = {&portable_float_ops(), &slow[0], &slow[1]};
    const auto kept = set_float_variants(list);
    optimizer_.set_mode(JitMode::kOff);
    optimizer_.set_mode(JitMode::kFull);
    EXPECT_EQ(bindings_[2].variant, &slow[1]);
    heat(8);
    work();
    set_float_variants(kept);
    EXPECT_EQ(bindings_[2].variant, &portable_float_ops());
    EXPECT_EQ(optimizer_.tries(TryVerdict::kWon), 0u);
}

// Computes something else: a last element that is slightly off, or a write beside the results.
template <int kHow>
void wrong_silu(const float *g, const float *u, uint32_t begin, uint32_t end, float *y) {
    silu_mul(g, u, begin, end, y);
    if (kHow == 0) {
        y[end - 1] = y[end - 1] * 1.0000001f;
    } else if (kHow == 1) {
        y[-1] = 1.0f;
    } else {
        y[end + 16] = 1.0f;  // where memory ends
    }
}

TEST_F(FloatTunerTest, WhatComputesSomethingElseIsNotInstalled) {
    const FloatVariant wrong[] = {{.name = "wrong", .silu = wrong_silu<0>},
                                  {.name = "before", .silu = wrong_silu<1>},
                                  {.name = "behind", .silu = wrong_silu<2>}};
    const FloatVariant *list[] = {&portable_float_ops(), &wrong[0], &wrong[1], &wrong[2]};
    const auto kept = set_float_variants(list);
    optimizer_.set_mode(JitMode::kOff);
    optimizer_.set_mode(JitMode::kFull);
    heat(8);
    work();
    set_float_variants(kept);
    EXPECT_GE(optimizer_.tries(TryVerdict::kDiffered), 2u);
    EXPECT_GE(optimizer_.tries(TryVerdict::kFaulted), 1u);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kWon), 0u);
    EXPECT_EQ(bindings_[2].variant, &portable_float_ops());
}

// With numerics=fast, relaxed candidates may differ by the tolerance and no more.
template <int kPartsOfTolerance>
void inexact_silu(const float *g, const float *u, uint32_t begin, uint32_t end, float *y) {
    float_rule_of_thumb(FloatOp::kSilu, 0).silu(g, u, begin, end, y);
    float greatest = 0.0f;
    for (uint32_t i = begin; i < end; ++i) {
        greatest = std::max(greatest, std::abs(y[i]));
    }
    y[begin] += greatest * kRelaxedTolerance * (kPartsOfTolerance / 4.0f);
}

TEST_F(FloatTunerTest, ARelaxedCandidateIsHeldToItsTolerance) {
    const FloatVariant near = {
        .name = "near", .special = true, .relaxed = true, .silu = inexact_silu<3>};
    const FloatVariant far = {
        .name = "far", .special = true, .relaxed = true, .silu = inexact_silu<6>};
    const FloatVariant strict = {.name = "strict", .special = true, .silu = inexact_silu<3>};
    const FloatVariant *list[] = {&portable_float_ops(), &near, &far, &strict};
    const auto kept = set_float_variants(list);
    optimizer_.set_mode(JitMode::kOff);
    optimizer_.set_mode(JitMode::kFull);
    heat(8);
    work();
    set_float_variants(kept);
    bool tried[3] = {};
    for (size_t i = 0; i < optimizer_.try_count(); ++i) {
        const OptimizationTry &one = optimizer_.try_at(i);
        if (one.function == bindings_[2].name) {
            const bool differed = one.verdict == TryVerdict::kDiffered;
            EXPECT_EQ(differed, one.variant() != "near") << one.variant();
            tried[one.variant() == "near" ? 0 : one.variant() == "far" ? 1 : 2] = true;
        }
    }
    EXPECT_TRUE(tried[0] && tried[1] && tried[2]);
}

TEST_F(FloatTunerTest, NumericsFastTriesTheRelaxedOnes) {
    allow_relaxed_numerics(true);
    heat(8);
    work();
    EXPECT_EQ(optimizer_.tries(TryVerdict::kDiffered), 0u);
    EXPECT_EQ(optimizer_.tries(TryVerdict::kFaulted), 0u);
    for (const FloatVariant *const variant : float_variants()) {
        if (!variant->relaxed) {
            continue;
        }
        for (const FloatBinding &binding : bindings_) {
            bool tried = false;
            for (size_t i = 0; i < optimizer_.try_count(); ++i) {
                const OptimizationTry &one = optimizer_.try_at(i);
                tried |= one.function == binding.name && one.variant() == variant->name;
            }
            EXPECT_EQ(tried, variant->does(binding.op, binding.head_size) &&
                                 (!variant->f16_only || binding.kv_type == KvType::kF16))
                << binding.name << " " << variant->name;
        }
    }
    allow_relaxed_numerics(false);
}

}  // namespace
}  // namespace bareflow::compute
