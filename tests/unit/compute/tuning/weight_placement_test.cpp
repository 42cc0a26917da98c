// Weights that are packed while a model runs: its text must be the same before, during and after,
// and a mapped file must never be written.
#include "compute/tuning/weight_placement.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "compute/kernels/bindings.h"
#include "compute/kernels/gemv.h"
#include "compute/kernels/packed.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/packing.h"
#include "compute/numbers/tensor_types.h"
#include "compute/tuning/gemv_tuner.h"
#include "kernel_lib/jit/optimize.h"
#include "kernel_lib/platform/platform.h"
#include "llama/model/model.h"
#include "tests/unit/llama/engine/engine_fixture.h"
#include "tests/unit/llama/file/gguf_builder.h"
#include "tests/unit/llama/model/random_model.h"

namespace bareflow::compute {
namespace {

using llama::testing::copy_logits;
using llama::testing::generate;
using llama::testing::kGreedy;
using llama::testing::kNever;
using llama::testing::kPrompt;
using llama::testing::Listener;
using llama::testing::Loaded;
using llama::testing::random_model;

constexpr llama::testing::Shape kShape = {.dim = 288, .hidden = 480, .heads = 6, .kv_heads = 3};

// Reads packed weights one row at a time, by the portable reference. It exists for every type that
// can be packed.
template <TensorType kType>
void slow_packed(const GemvArgs &args, uint32_t begin, uint32_t end) {
    std::vector<uint8_t> row(args.row_bytes);
    for (uint32_t i = begin; i < end; ++i) {
        unpack_row(kType, args.cols, args.row_bytes, {args.weights, Packing::kRows16}, i,
                   row.data());
        GemvArgs one = args;
        one.weights = row.data();
        one.y = args.y + i;
        gemv_variants(kType)[0].kernel(one, 0, 1);
    }
}

class WeightPlacementTest : public ::testing::TestWithParam<TensorType> {
  protected:
    static GemvKernel packed_kernel() {
        switch (GetParam()) {
            case TensorType::kQ8_0:
                return slow_packed<TensorType::kQ8_0>;
            case TensorType::kQ4_0:
                return slow_packed<TensorType::kQ4_0>;
            default:
                return slow_packed<TensorType::kQ4_1>;
        }
    }
    // The prompt is longer than the batches whose tokens are multiplied one by one.
    static llama::Request request() {
        static const std::vector<llama::Token> prompt = {1,  259, 263, 100, 7,  33, 44, 55,
                                                         66, 77,  88,  99,  21, 34, 45, 56};
        return {.prompt = prompt, .max_tokens = 10, .sampling = kGreedy};
    }
    static std::vector<uint8_t> file_of(const llama::Engine &engine) {
        const auto bytes = engine.model().file().bytes();
        return {bytes.begin(), bytes.end()};
    }
    // Wants all matrices packed except the output matrix, whose rows are no whole strips.
    static void want_all(llama::Engine &engine, WeightPlacement &placement, Packing packing) {
        uint32_t wanted = 0;
        for (KernelBinding &binding : engine.kernel_bindings()) {
            binding.packed = packed_kernel();
            ASSERT_EQ(placement.may_pack(binding), can_pack(binding.type, binding.rows));
            if (can_pack(binding.type, binding.rows)) {
                ASSERT_TRUE(placement.want(binding, packing));
                ++wanted;
            }
        }
        ASSERT_GE(wanted, 4u);
    }
};

TEST_P(WeightPlacementTest, TextIsTheSameInEveryPackingAndOnTheWay) {
    for (const bool matrix : {false, true}) {
        Loaded loaded(random_model(GetParam(), kShape));
        for (KernelBinding &binding : loaded->kernel_bindings()) {
            binding.matrix = matrix ? binding.matrix : nullptr;
        }
        const std::vector<uint8_t> before = file_of(*loaded);
        const std::vector<llama::Token> expected = generate(*loaded, request());
        const std::vector<llama::Token> expected_short =
            generate(*loaded, {.prompt = kPrompt, .max_tokens = 7, .sampling = kGreedy});
        const std::vector<float> logits = copy_logits(*loaded);
        ASSERT_FALSE(expected.empty());
        WeightPlacement placement;
        placement.start(loaded->placeable_weights(), WeightMode::kOwned, true);
        EXPECT_EQ(placement.mode(), WeightMode::kOwned);
        for (const Packing packing : {Packing::kRows16, Packing::kFile, Packing::kRows16}) {
            want_all(*loaded, placement, packing);
            // Moves a piece between any two slices of a text.
            Listener listener;
            ASSERT_TRUE(loaded->start(request(), listener).ok());
            uint32_t slices = 0;
            while (loaded->busy()) {
                loaded->advance(0);
                slices += placement.work(0);
            }
            EXPECT_GT(slices, 10u);
            EXPECT_EQ(listener.tokens, expected);
            while (placement.work(kNever)) {
            }
            EXPECT_FALSE(placement.has_work());
            uint64_t weights = 0;
            for (KernelBinding &binding : loaded->kernel_bindings()) {
                const bool packed =
                    packing != Packing::kFile && can_pack(binding.type, binding.rows);
                EXPECT_EQ(placement.packed_matrices(binding), packed ? binding.matrices : 0u);
                weights += packed ? binding.matrices * binding.rows * binding.row_bytes : 0;
            }
            EXPECT_EQ(placement.packed_bytes(), weights);
            // Every matrix is in its old place, and the memory for moving is released.
            for (const PlacedMatrix &placed : loaded->placeable_weights().matrices) {
                EXPECT_EQ(placed.now.data, placed.file);
            }
            EXPECT_LE(placement.extra_bytes(), matrix ? worker_pool().size() * (512u << 10) : 0u);
            EXPECT_EQ(file_of(*loaded) == before, packing == Packing::kFile);
            EXPECT_EQ(generate(*loaded, request()), expected);
            EXPECT_EQ(generate(*loaded, {.prompt = kPrompt, .max_tokens = 7, .sampling = kGreedy}),
                      expected_short);
            EXPECT_EQ(copy_logits(*loaded), logits);
        }
        placement.restore();
        EXPECT_EQ(file_of(*loaded), before);
        EXPECT_EQ(placement.extra_bytes(), 0u);
        EXPECT_EQ(generate(*loaded, request()), expected);
    }
}

TEST_P(WeightPlacementTest, AMappedFileIsNeverWrittenAndCopiesAreCounted) {
    Loaded loaded(random_model(GetParam(), kShape));
    const std::vector<uint8_t> before = file_of(*loaded);
    const std::vector<llama::Token> expected = generate(*loaded, request());
    WeightPlacement placement;
    placement.start(loaded->placeable_weights(), WeightMode::kOwned,
                    false);  // not ours: the mode that was asked for does not count
    EXPECT_EQ(placement.mode(), WeightMode::kMapped);
    uint64_t weights = 0;
    for (const PlacedMatrix &placed : loaded->placeable_weights().matrices) {
        const KernelBinding &binding = loaded->kernel_bindings()[placed.binding];
        weights += binding.rows * binding.row_bytes;
    }
    uint64_t packed = 0;
    for (KernelBinding &binding : loaded->kernel_bindings()) {
        binding.packed = packed_kernel();
        if (placement.may_pack(binding)) {
            EXPECT_TRUE(placement.want(binding, Packing::kRows16));
            packed += binding.matrices * binding.rows * binding.row_bytes;
            while (placement.work(kNever)) {
            }
        }
    }
    // Some matrices are packed, never as much as half of the weights (plus a page for each copy).
    EXPECT_GT(packed, 0u);
    EXPECT_EQ(placement.packed_bytes(), packed);
    EXPECT_GE(placement.extra_bytes(), packed);
    EXPECT_LE(packed, weights / 2);
    EXPECT_EQ(file_of(*loaded), before);
    EXPECT_EQ(generate(*loaded, request()), expected);
    placement.restore();
    EXPECT_EQ(placement.packed_bytes(), 0u);
    EXPECT_EQ(placement.extra_bytes(), 0u);
    EXPECT_EQ(generate(*loaded, request()), expected);
}

TEST_P(WeightPlacementTest, NeverMoreThanOneMatrixIsTakenBesideTheFile) {
    Loaded loaded(random_model(GetParam(), kShape));
    for (KernelBinding &binding : loaded->kernel_bindings()) {
        binding.matrix = nullptr;
    }
    WeightPlacement placement;
    placement.start(loaded->placeable_weights(), WeightMode::kTight, true);
    EXPECT_EQ(placement.mode(), WeightMode::kTight);
    uint64_t largest = 0;
    for (KernelBinding &binding : loaded->kernel_bindings()) {
        largest = std::max(largest, binding.rows * binding.row_bytes);
        EXPECT_LE(placement.trial_bytes(binding), binding.rows * binding.row_bytes);
    }
    want_all(*loaded, placement, Packing::kRows16);
    uint64_t moved = 0;
    while (placement.work(0)) {
        EXPECT_LE(placement.extra_bytes(), largest + platform::kPageBytes);
        // A slice is short: 128 KiB, or a strip.
        EXPECT_LE(placement.moved_bytes() - moved, 128u << 10);
        moved = placement.moved_bytes();
    }
    EXPECT_EQ(placement.extra_bytes(), 0u);
    placement.restore();
}

// The optimiser goes from the file's layout to the fastest packed kernel.
std::unique_ptr<Profiler> test_profiler;
Profiler &profile() {
    return *test_profiler;
}

TEST_P(WeightPlacementTest, TheOptimiserPacksWhatIsFasterAndTextStays) {
    test_profiler = std::make_unique<Profiler>();
    ASSERT_TRUE(profile().set_thresholds({.warm = 2, .hot = 4, .very_hot = 8}));
    Loaded loaded(random_model(GetParam(), kShape));
    const std::vector<uint8_t> before = file_of(*loaded);
    const std::vector<llama::Token> expected = generate(*loaded, request());
    for (KernelBinding &binding : loaded->kernel_bindings()) {
        binding.few_batches = 1000;  // mostly batches of one token
    }
    std::array<OptimizationTry, 512> log;
    Optimizer optimizer{profile, platform::ticks, log};
    WeightPlacement placement;
    placement.start(loaded->placeable_weights(), WeightMode::kAuto, true);
    auto jit =
        GemvTuner::create(loaded->kernel_bindings(), optimizer, GemvTuner::kCodePages, &placement);
    ASSERT_TRUE(jit.ok());
    for (const KernelBinding &binding : loaded->kernel_bindings()) {
        const FunctionId id = profile().key(binding.name);
        for (int i = 0; i < 10; ++i) {
            profile().begin(id, 0);
            profile().end(id, 1);
        }
    }
    for (int slices = 0; optimizer.has_work() || placement.has_work(); ++slices) {
        ASSERT_LT(slices, 20000);
        if (!placement.work(platform::ticks() + platform::ticks_per_second() / 1000)) {
            optimizer.work(platform::ticks() + platform::ticks_per_second() / 100);
        }
    }
    (*jit)->rest();
    size_t tried = 0;
    for (size_t i = 0; i < optimizer.try_count(); ++i) {
        const OptimizationTry &t = optimizer.try_at(i);
        EXPECT_NE(t.verdict, TryVerdict::kDiffered) << t.variant();
        EXPECT_NE(t.verdict, TryVerdict::kFaulted) << t.variant();
        tried += t.level == 3;
    }
    const uint32_t offered = packed_variants(GetParam()).count;
    EXPECT_EQ(tried >= offered, true) << tried;
    for (const KernelBinding &binding : loaded->kernel_bindings()) {
        const bool packed = (*jit)->variant(binding).find("rows16") != std::string_view::npos;
        EXPECT_EQ(placement.packed_matrices(binding), packed ? binding.matrices : 0u);
    }
    EXPECT_EQ(generate(*loaded, request()), expected);
    // Portable code again, on packed weights first and then as in the file.
    optimizer.set_mode(JitMode::kOff);
    EXPECT_EQ(generate(*loaded, request()), expected);
    while (placement.work(kNever)) {
    }
    EXPECT_EQ(placement.packed_bytes(), 0u);
    EXPECT_EQ(file_of(*loaded), before);
    EXPECT_EQ(generate(*loaded, request()), expected);
    (*jit)->destroy();
    EXPECT_EQ(generate(*loaded, request()), expected);
    EXPECT_EQ(placement.extra_bytes(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Types, WeightPlacementTest,
                         ::testing::Values(TensorType::kQ8_0, TensorType::kQ4_0,
                                           TensorType::kQ4_1));

TEST(WeightModeTest, Names) {
    EXPECT_EQ(weight_mode_name(WeightMode::kAuto), "auto");
    EXPECT_EQ(weight_mode_name(WeightMode::kTight), "tight");
}

}  // namespace
}  // namespace bareflow::compute
