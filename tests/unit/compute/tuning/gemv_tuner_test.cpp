// The search for matrix kernels, compiled and generated, on random matrices. Results must be equal
// at every step, and the slices of work bounded.
#include "compute/tuning/gemv_tuner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "compute/kernels/bindings.h"
#include "compute/kernels/gemv.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/platform/platform.h"
#include "tests/unit/compute/random_numbers.h"

namespace bareflow::compute {
namespace {

using testing::Random;

// Generated variants have names like "jit r4 u2" and "avx2 r4 u2 p0"; compiled ones are single
// words.
bool is_generated_name(std::string_view name) {
    return name.find(" r") != std::string_view::npos;
}

struct Model {
    void add(const char *name, TensorType type, uint32_t rows, uint32_t cols) {
        weights.push_back(testing::random_weights(type, rows, cols, random));
        KernelBinding binding;
        binding.name = name;
        binding.type = type;
        binding.rows = rows;
        binding.cols = cols;
        binding.row_bytes = testing::row_bytes(type, cols);
        binding.kernel = kernel_for(type).kernel;
        binding.forms = kernel_for(type).forms;
        binding.active = binding.kernel;
        binding.reference = gemv_variants(type)[0].kernel;
        binding.sample = weights.back().data();
        binding.matrices = 1;
        bindings.push_back(binding);
    }
    Random random{7};
    std::vector<std::vector<uint8_t>> weights;
    std::vector<KernelBinding> bindings;
};

std::unique_ptr<Profiler> test_profiler;
Profiler &profile() {
    return *test_profiler;
}

class GemvTunerTest : public ::testing::Test {
  protected:
    GemvTunerTest() {
        test_profiler = std::make_unique<Profiler>();
        EXPECT_TRUE(profile().set_thresholds({.warm = 2, .hot = 4, .very_hot = 8}));
    }
    ~GemvTunerTest() override {
        if (jit_ != nullptr) {
            jit_->destroy();
        }
    }
    void start(size_t code_pages = GemvTuner::kCodePages) {
        auto made = GemvTuner::create(model_.bindings, optimizer_, code_pages);
        ASSERT_TRUE(made.ok());
        jit_ = made.value();
    }
    void heat(uint64_t calls) {
        for (const KernelBinding &binding : model_.bindings) {
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
    int level(const char *name) { return profile().profile(profile().find(name)).level; }
    size_t count(TryVerdict verdict) { return optimizer_.tries(verdict); }
    void expect_bindings_right() {
        for (const KernelBinding &binding : model_.bindings) {
            auto buffer = ActivationBuffer::create(binding.cols);
            const std::vector<float> x = model_.random.floats(binding.cols);
            GemvArgs args;
            args.weights = binding.sample;
            args.row_bytes = binding.row_bytes;
            args.cols = binding.cols;
            args.x = x.data();
            if (takes_quantized(binding.type)) {
                args.xq = buffer.value().view(binding.cols);
                quantize_activation(x.data(), args.xq, binding.forms, 0, group_count(binding.cols));
            }
            std::vector<float> expected(binding.rows);
            std::vector<float> y(binding.rows);
            args.y = expected.data();
            gemv_variants(binding.type)[0].kernel(args, 0, binding.rows);
            args.y = y.data();
            binding.kernel(args, 0, binding.rows);
            EXPECT_EQ(memcmp(y.data(), expected.data(), binding.rows * 4), 0) << binding.name;
        }
    }

    Model model_;
    std::array<OptimizationTry, 128> log_;
    Optimizer optimizer_{profile, platform::ticks, log_};
    GemvTuner *jit_ = nullptr;
};

TEST_F(GemvTunerTest, FromReferenceToTheFastestMeasured) {
    model_.add("q8_0_gemv 352x128", TensorType::kQ8_0, 352, 128);
    model_.add("q4_0_gemv 70x288", TensorType::kQ4_0, 70, 288);
    model_.add("q4_1_gemv 1x32", TensorType::kQ4_1, 1, 32);
    model_.add("q8_0_gemv 3000x64", TensorType::kQ8_0, 3000, 64);
    model_.add("f16_gemv 20x100", TensorType::kF16, 20, 100);
    model_.add("f32_gemv 20x100", TensorType::kF32, 20, 100);
    start();
    // Before anything was measured, what a rule names is in force.
    for (const KernelBinding &binding : model_.bindings) {
        const GemvVariant &variant = kernel_for(binding.type);
        EXPECT_EQ(binding.kernel, variant.kernel);
        EXPECT_EQ(binding.forms, variant.forms);
        EXPECT_EQ(jit_->variant(binding), variant.name);
        EXPECT_EQ(level(binding.name), binding.kernel != binding.reference);
    }
    heat(4);
    work();
    EXPECT_EQ(count(TryVerdict::kDiffered), 0u);
    EXPECT_EQ(count(TryVerdict::kUnavailable), 0u);
    EXPECT_GT(count(TryVerdict::kWon) + count(TryVerdict::kLost), 4u * 6);
    for (const KernelBinding &binding : model_.bindings) {
        const bool is_reference = binding.kernel == binding.reference;
        EXPECT_EQ(jit_->variant(binding) == "portable", is_reference) << binding.name;
        EXPECT_EQ(level(binding.name) == 0, is_reference) << binding.name;
        const auto place = jit_->code().lookup(reinterpret_cast<uintptr_t>(binding.kernel));
        EXPECT_EQ(place.has_value(), is_generated_name(jit_->variant(binding))) << binding.name;
        if (place.has_value()) {
            EXPECT_EQ(place->name,
                      std::string(binding.name) + " " + std::string(jit_->variant(binding)));
            EXPECT_EQ(place->offset, 0u);
            EXPECT_GT(profile().profile(profile().find(binding.name)).code_bytes, 300u);
        }
    }
    expect_bindings_right();
}

// The buffer is too small for all shapes. Those that do more work take the room of those that do
// less, which go back to a compiled kernel, and all results stay right.
TEST_F(GemvTunerTest, WhenRoomIsShortTheHotterShapesHaveIt) {
    static std::array<std::string, 12> names;
    for (uint32_t i = 0; i < names.size(); ++i) {
        names[i] = "q4_1_gemv 64x" + std::to_string(32 * (i + 1));
        model_.add(names[i].c_str(), TensorType::kQ4_1, 64, 32 * (i + 1));
    }
    constexpr size_t kPages = 6;
    start(kPages);
    // The coldest shape is tuned first.
    heat(4);
    size_t generated_before = 0;
    size_t given_up = 0;
    while (optimizer_.has_work()) {
        optimizer_.work(platform::ticks() + platform::ticks_per_second() / 5000);
        size_t generated = 0;
        for (const KernelBinding &binding : model_.bindings) {
            const bool is_generated = is_generated_name(jit_->variant(binding));
            generated += is_generated;
            ASSERT_EQ(jit_->code().lookup(reinterpret_cast<uintptr_t>(binding.kernel)).has_value(),
                      is_generated);
        }
        given_up += generated < generated_before;
        generated_before = generated;
        ASSERT_LE(jit_->code().pages_in_use(), kPages);
    }
    expect_bindings_right();
    for (const KernelBinding &binding : model_.bindings) {
        const bool generated = is_generated_name(jit_->variant(binding));
        EXPECT_EQ(profile().profile(profile().find(binding.name)).code_bytes != 0, generated)
            << binding.name;
        EXPECT_EQ(level(binding.name) == 0, binding.kernel == binding.reference) << binding.name;
    }
    // The largest plans fill the buffer alone.
    EXPECT_GT(given_up + count(TryVerdict::kUnavailable), 0u);
}

std::set<std::pair<const uint8_t *, uint32_t>> runs_seen;
void recording_reference(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    runs_seen.emplace(args.weights, row_begin);
    gemv_variants(TensorType::kQ8_0)[0].kernel(args, row_begin, row_end);
}

// Timed runs go through all matrices of a shape: weights that stay in the first cache would make
// candidates look faster than they are.
TEST_F(GemvTunerTest, TimedRunsGoThroughTheMatrices) {
    runs_seen.clear();
    constexpr uint32_t kRows = 12288;
    model_.add("q8_0_gemv 12288x256", TensorType::kQ8_0, kRows, 256);
    const auto second = testing::random_weights(TensorType::kQ8_0, kRows, 256, model_.random);
    KernelBinding &binding = model_.bindings[0];
    binding.matrices = 2;
    binding.timed = {binding.sample, second.data()};
    binding.reference = recording_reference;
    start();
    heat(4);
    work();
    for (const uint8_t *const matrix : {binding.sample, second.data()}) {
        const auto count = std::count_if(runs_seen.begin(), runs_seen.end(),
                                         [&](const auto &run) { return run.first == matrix; });
        EXPECT_GE(count, matrix == binding.sample ? 2 : 1);
    }
    EXPECT_EQ(count(TryVerdict::kFaulted), 0u);
    EXPECT_EQ(count(TryVerdict::kDiffered), 0u);
    binding.reference = gemv_variants(TensorType::kQ8_0)[0].kernel;
}

// The engine may be in the middle of a batch with a kernel that was replaced meanwhile.
TEST_F(GemvTunerTest, ReplacedCodeStaysUntilTheEngineLetsGo) {
    model_.add("q8_0_gemv 64x256", TensorType::kQ8_0, 64, 256);
    start();
    KernelBinding &binding = model_.bindings[0];
    heat(4);
    // Acts like an engine that uses every kernel from the moment it is published.
    const uint64_t short_ticks = platform::ticks_per_second() / 50000;
    size_t slices = 0;
    bool generated_in_use = false;
    GemvKernel held = nullptr;
    while (optimizer_.has_work()) {
        optimizer_.work(platform::ticks() + short_ticks);
        ASSERT_LT(++slices, 100000u);
        if (held == nullptr && is_generated_name(jit_->variant(binding))) {
            held = binding.kernel;
            binding.active = held;
            generated_in_use = true;
        }
        if (held != nullptr) {
            ASSERT_TRUE(jit_->code().lookup(reinterpret_cast<uintptr_t>(held)).has_value());
        }
    }
    optimizer_.set_mode(JitMode::kOff);
    EXPECT_EQ(binding.kernel, binding.reference);
    if (generated_in_use) {
        EXPECT_TRUE(jit_->code().lookup(reinterpret_cast<uintptr_t>(held)).has_value());
        EXPECT_GT(jit_->code().pages_in_use(), 0u);
    }
    // The next batch starts; when the next candidate is prepared, the old code is released.
    binding.active = binding.kernel;
    optimizer_.set_mode(JitMode::kFull);
    optimizer_.work(platform::ticks() + short_ticks);
    EXPECT_FALSE(jit_->code().lookup(reinterpret_cast<uintptr_t>(held)).has_value());
    work();
    expect_bindings_right();
}

// Right, except for the last bit of one row in seven.
void almost_reference(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    gemv_variants(TensorType::kQ8_0)[0].kernel(args, row_begin, row_end);
    for (uint32_t row = row_begin; row < row_end; ++row) {
        if (row % 7 == 3) {
            args.y[row] = std::bit_cast<float>(std::bit_cast<uint32_t>(args.y[row]) ^ 1);
        }
    }
}

// Everything that is not like the reference is wrong, so a wrong reference makes wrong candidates.
TEST_F(GemvTunerTest, ADifferentResultIsNeverInstalled) {
    model_.add("q8_0_gemv 40x96", TensorType::kQ8_0, 40, 96);
    model_.bindings[0].reference = almost_reference;
    start();
    heat(1000);
    work();
    EXPECT_EQ(count(TryVerdict::kWon), 0u);
    EXPECT_EQ(count(TryVerdict::kLost), 0u);
    EXPECT_GT(count(TryVerdict::kDiffered), 10u);
    EXPECT_EQ(model_.bindings[0].kernel, &almost_reference);
    EXPECT_EQ(level("q8_0_gemv 40x96"), 0);
    EXPECT_EQ(jit_->code().pages_in_use(), 0u);
}

// A reference that nothing can beat: it remembers its answers.
std::map<std::tuple<const uint8_t *, const int8_t *, uint32_t, uint32_t>, std::vector<float>>
    remembered;
void remembering_reference(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    std::vector<float> &known = remembered[{args.weights, args.xq.q, row_begin, row_end}];
    if (known.empty()) {
        gemv_variants(TensorType::kQ8_0)[0].kernel(args, row_begin, row_end);
        known.assign(args.y + row_begin, args.y + row_end);
    }
    std::copy(known.begin(), known.end(), args.y + row_begin);
}

TEST_F(GemvTunerTest, ASlowerCandidateIsReportedAndNotInstalled) {
    remembered.clear();
    model_.add("q8_0_gemv 100x512", TensorType::kQ8_0, 100, 512);
    model_.bindings[0].reference = remembering_reference;
    const GemmKernel matrix = [](const GemmArgs &, uint32_t, uint32_t) {};
    model_.bindings[0].matrix = matrix;
    start();
    heat(1000);
    work();
    EXPECT_EQ(count(TryVerdict::kWon), 0u);
    EXPECT_EQ(count(TryVerdict::kDiffered), 0u);
    EXPECT_GT(count(TryVerdict::kLost), 4u);       // those that the search timed
    EXPECT_EQ(model_.bindings[0].matrix, matrix);  // several vectors were not timed
    EXPECT_EQ(model_.bindings[0].kernel, &remembering_reference);
    EXPECT_EQ(level("q8_0_gemv 100x512"), 0);
    for (size_t i = 0; i < optimizer_.try_count(); ++i) {
        EXPECT_GT(optimizer_.try_at(i).candidate_ticks, optimizer_.try_at(i).current_ticks);
    }
    remembered.clear();
}

// jit=off: the reference runs, for prompts as well.
TEST_F(GemvTunerTest, OffIsPortableEverywhere) {
    optimizer_.set_mode(JitMode::kOff);
    model_.add("q4_0_gemv 64x256", TensorType::kQ4_0, 64, 256);
    const GemmKernel matrix = [](const GemmArgs &, uint32_t, uint32_t) {};
    model_.bindings[0].matrix = matrix;
    start();
    EXPECT_EQ(model_.bindings[0].kernel, model_.bindings[0].reference);
    EXPECT_EQ(model_.bindings[0].matrix, nullptr);
    EXPECT_EQ(level("q4_0_gemv 64x256"), 0);
    heat(1000);
    EXPECT_FALSE(optimizer_.has_work());
    optimizer_.set_mode(JitMode::kFull);
    EXPECT_EQ(model_.bindings[0].matrix, matrix);
}

TEST_F(GemvTunerTest, BaselineStopsAtTheRuleOfThumb) {
    optimizer_.set_mode(JitMode::kBaseline);
    model_.add("q4_0_gemv 64x256", TensorType::kQ4_0, 64, 256);
    start();
    heat(1000);
    work();
    EXPECT_EQ(level("q4_0_gemv 64x256"), 1);
    EXPECT_EQ(optimizer_.try_count(), 1u);
    EXPECT_EQ(jit_->code().pages_in_use(), 0u);
    EXPECT_EQ(optimizer_.try_at(0).variant(), gemv_rule_of_thumb(TensorType::kQ4_0).name);
    EXPECT_EQ(model_.bindings[0].kernel, gemv_rule_of_thumb(TensorType::kQ4_0).kernel);
}

// A slice never takes much longer than its deadline allows, whatever the size of the matrix.
TEST_F(GemvTunerTest, SlicesAreBounded) {
    model_.add("q8_0_gemv 4000x1024", TensorType::kQ8_0, 4000, 1024);
    start();
    heat(1000);
    uint64_t longest = 0;
    while (optimizer_.has_work()) {
        const uint64_t before = platform::ticks();
        optimizer_.work(before + platform::ticks_per_second() / 1000);
        longest = std::max(longest, platform::ticks() - before);
    }
    // A millisecond, a few runs beyond it (sanitizers!), and a preemption or two.
    EXPECT_LT(longest, platform::ticks_per_second() / 5);
}

}  // namespace
}  // namespace bareflow::compute
