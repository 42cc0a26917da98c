// The optimiser between the slices of an engine that several threads compute for. Kernels are
// written, tried in guarded calls, published and dropped while a text is made. ThreadSanitizer
// (`make tsan`) finds the most here.
#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <vector>

#include "compute/numbers/tensor_types.h"
#include "compute/tuning/gemv_tuner.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/jit/optimize.h"
#include "kernel_lib/jit/profile.h"
#include "kernel_lib/platform/platform.h"
#include "tests/unit/llama/engine/engine_fixture.h"
#include "tests/unit/llama/model/random_model.h"

namespace bareflow::llama {
namespace {

using namespace testing;  // NOLINT: the fixture

TEST(JitEngineTest, KernelsAreExchangedWhileProcessorsCompute) {
    constexpr uint32_t kProcessors = 3;
    for (const compute::TensorType type :
         {compute::TensorType::kQ8_0, compute::TensorType::kF32, compute::TensorType::kQ5_1}) {
        Loaded loaded(random_model(type, {.dim = 96, .hidden = 1056, .heads = 6, .kv_heads = 3}));
        const Request request{.prompt = kPrompt, .max_tokens = 20, .sampling = {.seed = 4}};
        const std::vector<Token> expected = generate(*loaded, request);

        WorkerPool pool;
        std::vector<std::thread> threads;
        for (uint32_t worker = 1; worker < kProcessors; ++worker) {
            threads.emplace_back([&pool, worker] { pool.serve(worker); });
        }
        while (pool.size() < kProcessors) {
            std::this_thread::yield();
        }
        loaded->use_workers(&pool, 0);
        ASSERT_TRUE(profiler().set_thresholds({.warm = 2, .hot = 4, .very_hot = 8}));
        std::array<OptimizationTry, 256> log;
        Optimizer optimizer(profiler, platform::ticks, log);
        // Few pages, so that replaced code makes room for new.
        auto jit = compute::GemvTuner::create(loaded->kernel_bindings(), optimizer, 24);
        ASSERT_TRUE(jit.ok());
        for (int texts = 0; texts == 0 || (texts < 200 && optimizer.has_work()); ++texts) {
            Listener listener;
            ASSERT_TRUE(loaded->start(request, listener).ok());
            while (loaded->busy()) {
                loaded->advance(platform::ticks() + 20'000);
                optimizer.work(platform::ticks() + platform::ticks_per_second() / 2000);
            }
            ASSERT_EQ(listener.tokens, expected) << "text " << texts;
        }
        EXPECT_FALSE(optimizer.has_work());
        EXPECT_GT(optimizer.tries(TryVerdict::kWon) + optimizer.tries(TryVerdict::kLost), 0u);
        EXPECT_EQ(optimizer.tries(TryVerdict::kDiffered), 0u);
        EXPECT_EQ(optimizer.tries(TryVerdict::kFaulted), 0u);
        jit.value()->destroy();
        pool.stop();
        for (std::thread &thread : threads) {
            thread.join();
        }
        loaded->use_workers(nullptr);
    }
}

}  // namespace
}  // namespace bareflow::llama
