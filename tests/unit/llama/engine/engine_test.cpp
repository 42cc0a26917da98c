// One text at a time: the same text for every slice, context and number of threads, and errors that
// are sentences.
#include "llama/engine/engine.h"

#include <gtest/gtest.h>
#include <sanitizer/allocator_interface.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <thread>

#include "compute/kernels/bindings.h"
#include "compute/kernels/gemv.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/jit_runtime.h"
#include "kernel_lib/platform/platform.h"
#include "llama/model/model.h"
#include "tests/unit/llama/engine/engine_fixture.h"
#include "tests/unit/llama/file/gguf_builder.h"
#include "tests/unit/llama/model/random_model.h"

namespace bareflow::llama {
namespace {

using testing::copy_logits;
using testing::Detail;
using testing::FileBytes;
using testing::generate;
using testing::GgufBuilder;
using testing::kAllTypes;
using testing::kGreedy;
using testing::kNever;
using testing::kPrompt;
using testing::Listener;
using testing::Loaded;
using testing::random_model;
using testing::shape_for;

TEST(EngineTest, SlicesOfAnyLengthGiveTheSameText) {
    for (const compute::TensorType type : kAllTypes) {
        Loaded loaded(random_model(type, shape_for(type)));
        const Request request{.prompt = kPrompt, .max_tokens = 20, .sampling = {.seed = 6}};
        const std::vector<Token> whole = generate(*loaded, request);
        const std::vector<float> logits = copy_logits(*loaded);
        ASSERT_FALSE(whole.empty()) << compute::tensor_type_info(type).name;
        EXPECT_EQ(generate(*loaded, request, 0), whole);  // one unit at a time
        EXPECT_EQ(copy_logits(*loaded), logits);
        Listener listener;
        ASSERT_TRUE(loaded->start(request, listener).ok());
        while (loaded->busy()) {
            loaded->advance(platform::ticks() + 20000);
        }
        EXPECT_EQ(listener.tokens, whole);
        EXPECT_EQ(copy_logits(*loaded), logits);
    }
}

TEST(EngineTest, APassedDeadlineMeansOneSmallStep) {
    Loaded loaded(random_model(compute::TensorType::kQ8_0, {.vocab = 265}));
    Listener listener;
    ASSERT_TRUE(
        loaded->start({.prompt = kPrompt, .max_tokens = 3, .sampling = kGreedy}, listener).ok());
    int calls = 0;
    while (loaded->busy()) {
        loaded->advance(0);
        ++calls;
    }
    // 2 layers of 9 steps and more, for the prompt and two tokens after it.
    EXPECT_GT(calls, 3 * 2 * 9);
}

TEST(EngineTest, FastKernelsAndReferenceGiveTheSameLogits) {
    for (const compute::TensorType type : kAllTypes) {
        testing::Shape shape = shape_for(type);
        if (shape.dim < 256) {
            shape = {.dim = 96, .hidden = 288, .heads = 6, .kv_heads = 3};
        }
        Loaded fast(random_model(type, shape));
        Loaded slow(random_model(type, shape));
        for (compute::KernelBinding &binding : slow->kernel_bindings()) {
            binding.kernel = binding.reference;
            binding.matrix = nullptr;
            binding.forms = 0;
        }
        const Request request{.prompt = kPrompt, .max_tokens = 12, .sampling = kGreedy};
        EXPECT_EQ(generate(*fast, request), generate(*slow, request));
        EXPECT_EQ(copy_logits(*fast), copy_logits(*slow));
    }
}

int counted_calls = 0;
compute::GemvKernel counted_kernel = nullptr;
void counting_kernel(const compute::GemvArgs &args, uint32_t begin, uint32_t end) {
    ++counted_calls;
    counted_kernel(args, begin, end);
}

TEST(EngineTest, AKernelPublishedInMidTextTakesOver) {
    Loaded loaded(random_model(compute::TensorType::kQ4_0));
    const Request request{.prompt = kPrompt, .max_tokens = 15, .sampling = kGreedy};
    const std::vector<Token> expected = generate(*loaded, request);
    Listener listener;
    counted_calls = 0;
    listener.token_hook = [&] {
        if (listener.tokens.size() == 5) {
            compute::KernelBinding &binding = loaded->kernel_bindings()[0];
            counted_kernel = binding.kernel;
            binding.kernel = counting_kernel;
        }
    };
    ASSERT_TRUE(loaded->start(request, listener).ok());
    while (loaded->busy()) {
        loaded->advance(kNever);
    }
    EXPECT_EQ(listener.tokens, expected);
    EXPECT_GT(counted_calls, 0);
}

TEST(EngineTest, SlotsNameEveryShapeOnce) {
    Loaded loaded(random_model(compute::TensorType::kQ8_0,
                               {.dim = 96, .hidden = 288, .heads = 6, .kv_heads = 3}));
    std::vector<std::string> names;
    for (const compute::KernelBinding &binding : loaded->kernel_bindings()) {
        names.emplace_back(binding.name);
        EXPECT_NE(binding.sample, nullptr);
    }
    EXPECT_EQ(names,
              (std::vector<std::string>{"q8_0_gemv 96x96", "q8_0_gemv 48x96", "q8_0_gemv 288x96",
                                        "q8_0_gemv 96x288", "q8_0_gemv 265x96"}));
    EXPECT_EQ(loaded->kernel_bindings()[0].matrices, 4u);  // query and output of two layers
}

TEST(EngineTest, OperationsAreProfiledOncePerCall) {
    const uint64_t unbalanced = jit_get_unbalanced_count();
    Loaded loaded(
        random_model(compute::TensorType::kQ8_0, {.dim = 160, .heads = 5, .kv_heads = 5}));
    const char *const name = "q8_0_gemv 265x160";
    const uint64_t before = jit_get_call_count(name);
    const uint64_t attention = jit_get_call_count("attention 5x32");
    const std::vector<Token> tokens = generate(
        *loaded, {.prompt = kPrompt, .max_tokens = 4, .sampling = kGreedy}, 0 /* many pieces */);
    ASSERT_EQ(tokens.size(), 4u);
    // Logits of the last token of the prompt and of the three tokens made before the last.
    EXPECT_EQ(jit_get_call_count(name) - before, 4u);
    // Two layers; the prompt and three tokens.
    EXPECT_EQ(jit_get_call_count("attention 5x32") - attention, 8u);
    EXPECT_EQ(jit_get_unbalanced_count(), unbalanced);
}

TEST(EngineTest, TheSameSeedGivesTheSameText) {
    Loaded loaded(random_model(compute::TensorType::kF16));
    const auto text = [&](uint64_t seed) {
        return generate(
            *loaded,
            {.prompt = kPrompt, .max_tokens = 30, .sampling = {.temperature = 1.5f, .seed = seed}});
    };
    const std::vector<Token> first = text(1);
    const std::vector<Token> other = text(2);
    EXPECT_EQ(text(1), first);
    EXPECT_EQ(text(2), other);
    EXPECT_NE(first, other);
}

TEST(EngineTest, CancelAtEveryStageLeavesNoTrace) {
    const uint64_t unbalanced = jit_get_unbalanced_count();
    Loaded loaded(random_model(compute::TensorType::kQ4_1));
    const Request request{.prompt = kPrompt, .max_tokens = 4, .sampling = {.seed = 9}};
    const std::vector<Token> expected = generate(*loaded, request);
    for (int calls = 0;; calls += 7) {
        Listener cancelled;
        ASSERT_TRUE(loaded->start(request, cancelled).ok());
        for (int i = 0; i < calls && loaded->busy(); ++i) {
            loaded->advance(0);
        }
        if (!loaded->busy()) {
            EXPECT_GT(calls, 100);
            break;
        }
        loaded->cancel(0);
        EXPECT_FALSE(loaded->busy());
        EXPECT_EQ(cancelled.finish_calls, 1);
        EXPECT_EQ(cancelled.reason, FinishReason::kCancelled);
        EXPECT_EQ(cancelled.usage.completion_tokens, cancelled.tokens.size());
        loaded->cancel(0);  // idle: nothing
        loaded->advance(kNever);
        EXPECT_EQ(cancelled.finish_calls, 1);
        if (calls % 49 == 0) {
            ASSERT_EQ(generate(*loaded, request), expected) << "after " << calls << " steps";
        }
    }
    EXPECT_EQ(jit_get_unbalanced_count(), unbalanced);
}

TEST(EngineTest, TheSinkMayCancelAndStartAgain) {
    Loaded loaded(random_model(compute::TensorType::kF32));
    const Request request{.prompt = kPrompt, .max_tokens = 6, .sampling = kGreedy};
    const std::vector<Token> expected = generate(*loaded, request);
    for (size_t stop_after = 1; stop_after <= 6; ++stop_after) {
        Listener first;
        Listener second;
        first.token_hook = [&] {
            if (first.tokens.size() == stop_after) {
                loaded->cancel(0);
            }
        };
        first.finish_hook = [&] { EXPECT_TRUE(loaded->start(request, second).ok()); };
        ASSERT_TRUE(loaded->start(request, first).ok());
        while (loaded->busy()) {
            loaded->advance(kNever);
        }
        EXPECT_EQ(first.reason, FinishReason::kCancelled);
        EXPECT_EQ(first.finish_calls, 1);
        EXPECT_EQ(first.tokens.size(), stop_after);
        EXPECT_EQ(second.finish_calls, 1);
        EXPECT_EQ(second.reason, FinishReason::kLength);
        EXPECT_EQ(second.tokens, expected);
    }
}

TEST(EngineTest, TheContextIsTheLimit) {
    Loaded loaded(random_model(compute::TensorType::kQ8_0), 9);
    EXPECT_EQ(loaded->context_length(), 9u);
    Listener listener;
    ASSERT_TRUE(
        loaded->start({.prompt = kPrompt, .max_tokens = 1000, .sampling = kGreedy}, listener).ok());
    while (loaded->busy()) {
        loaded->advance(kNever);
    }
    EXPECT_EQ(listener.reason, FinishReason::kLength);
    EXPECT_EQ(listener.tokens.size(), 4u);
    EXPECT_EQ(listener.usage.prompt_tokens, 5u);
    EXPECT_EQ(listener.usage.completion_tokens, 4u);
    EXPECT_GT(listener.usage.prompt_ticks, 0u);
    EXPECT_GT(listener.usage.decode_ticks, 0u);

    // The longest prompt leaves room for one token.
    const std::vector<Token> longest(8, 5);
    EXPECT_EQ(generate(*loaded, {.prompt = longest, .max_tokens = 5, .sampling = kGreedy}).size(),
              1u);
}

TEST(EngineTest, AShorterContextDoesNotChangeTheText) {
    Loaded large(random_model(compute::TensorType::kQ8_0));
    Loaded small(random_model(compute::TensorType::kQ8_0), 20);
    EXPECT_EQ(large->context_length(), 64u);  // the file's
    const Request request{.prompt = kPrompt, .max_tokens = 10, .sampling = kGreedy};
    EXPECT_EQ(generate(*large, request), generate(*small, request));
    EXPECT_GT(large->memory().kv_bytes, small->memory().kv_bytes);
    EXPECT_GT(small->memory().model_bytes, 0u);
    EXPECT_GT(small->memory().scratch_bytes, 0u);
}

TEST(EngineTest, BadRequestsAreRefused) {
    Loaded loaded(random_model(compute::TensorType::kF32), 9);
    Listener listener;
    const auto code = [&](const Request &request) {
        return loaded->start(request, listener).status().code();
    };
    const std::vector<Token> too_long(9, 5);
    const std::vector<Token> negative = {1, -1};
    const std::vector<Token> unknown = {1, 265};
    EXPECT_EQ(code({.prompt = {}}), ErrorCode::kInvalid);
    EXPECT_EQ(code({.prompt = too_long}), ErrorCode::kInvalid);
    EXPECT_EQ(code({.prompt = negative}), ErrorCode::kInvalid);
    EXPECT_EQ(code({.prompt = unknown}), ErrorCode::kInvalid);
    EXPECT_EQ(code({.prompt = kPrompt, .max_tokens = 0}), ErrorCode::kInvalid);
    EXPECT_FALSE(loaded->busy());
    EXPECT_EQ(code({.prompt = kPrompt}), ErrorCode::kOk);
    EXPECT_EQ(code({.prompt = kPrompt}), ErrorCode::kExhausted);
    loaded->cancel(0);
}

TEST(EngineTest, EndOfSequenceStops) {
    GgufBuilder builder = random_model(compute::TensorType::kF32);
    std::vector<Token> tokens;
    {
        Loaded loaded(builder);
        tokens = generate(*loaded, {.prompt = kPrompt, .max_tokens = 8, .sampling = kGreedy});
    }
    for (const char *key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
        GgufBuilder changed = builder;
        changed.set(key, static_cast<uint32_t>(tokens[3]));
        Loaded loaded(changed);
        Listener listener;
        ASSERT_TRUE(
            loaded->start({.prompt = kPrompt, .max_tokens = 8, .sampling = kGreedy}, listener)
                .ok());
        while (loaded->busy()) {
            loaded->advance(kNever);
        }
        const auto first = std::find(tokens.begin(), tokens.end(), tokens[3]);
        EXPECT_EQ(listener.tokens, std::vector<Token>(tokens.begin(), first));
        EXPECT_EQ(listener.reason, FinishReason::kStop);
        EXPECT_EQ(listener.usage.completion_tokens, listener.tokens.size());
    }
}

TEST(EngineTest, AnImpossibleContextIsASentence) {
    const FileBytes file(random_model(compute::TensorType::kF32).build());
    Detail detail;
    auto model = Model::create(file.span(), detail.writer);
    ASSERT_TRUE(model.ok());
    auto one = Engine::create(**model, {.context_length = 1});
    EXPECT_EQ(one.error().code, ErrorCode::kTooLarge);
    auto huge = Engine::create(**model, {.context_length = UINT32_MAX});
    EXPECT_EQ(huge.error().code, ErrorCode::kTooLarge);
    EXPECT_FALSE(huge.error().message.empty());
    (*model)->destroy();
}

// Finite weights whose products overflow to infinities and NaN. The text is nonsense, but there is
// no trap and no token outside the vocabulary, and the nonsense is the same every time.
TEST(EngineTest, WeightsThatOverflowDoNotTrap) {
    for (const compute::TensorType type : kAllTypes) {
        GgufBuilder builder = random_model(type, shape_for(type));
        for (GgufBuilder::Tensor &tensor : builder.tensors) {
            std::vector<uint8_t> bytes(tensor.data.begin(), tensor.data.end());
            const compute::TensorTypeInfo &info = *compute::find_tensor_type(tensor.type);
            for (size_t at = 0; at < bytes.size(); at += info.block_bytes) {
                if (tensor.type == static_cast<uint32_t>(compute::TensorType::kF32)) {
                    const float value = at % 8 == 0 ? 3e38f : -3e38f;
                    memcpy(bytes.data() + at, &value, 4);
                } else if (tensor.type == static_cast<uint32_t>(compute::TensorType::kBF16)) {
                    compute::testing::put_u16(bytes, at, at % 4 == 0 ? 0x7f7f : 0xff7f);
                } else {
                    const int greatest = info.scales == 0 ? 0x7bff : info.scale_limit - 1;
                    compute::testing::put_u16(bytes, at + info.scale_offset,
                                              static_cast<uint16_t>(greatest));
                }
            }
            tensor.data.assign(reinterpret_cast<const char *>(bytes.data()), bytes.size());
        }
        Loaded loaded(builder);
        for (const float temperature : {0.0f, 1.0f}) {
            const Request request{.prompt = kPrompt,
                                  .max_tokens = 5,
                                  .sampling = {.temperature = temperature, .seed = 1}};
            const std::vector<Token> tokens = generate(*loaded, request);
            for (const Token token : tokens) {
                EXPECT_GE(token, 0);
                EXPECT_LT(token, 265);
            }
            EXPECT_EQ(generate(*loaded, request), tokens);
        }
    }
}

std::atomic<uint32_t> processors_seen = 0;
compute::GemvKernel watched_kernel = nullptr;
thread_local uint32_t own_bit = 1;
void watching_kernel(const compute::GemvArgs &args, uint32_t begin, uint32_t end) {
    processors_seen |= own_bit;
    watched_kernel(args, begin, end);
    std::this_thread::yield();  // so that the others get some, too
}

// Every operation with at least two pieces is shared, however short it is. Slices end anywhere,
// even in the middle of a head.
TEST(EngineTest, AnyNumberOfProcessorsGivesTheSameLogits) {
    for (const compute::TensorType type : kAllTypes) {
        testing::Shape shape{.dim = 96, .hidden = 1056, .heads = 6, .kv_heads = 3};
        if (compute::tensor_type_info(type).block_elements == 256) {
            shape = {.dim = 256, .hidden = 1280, .layers = 1, .heads = 8, .kv_heads = 4};
        }
        shape.vocab = 265;
        Loaded loaded(random_model(type, shape));
        for (compute::KernelBinding &binding : loaded->kernel_bindings()) {
            if (binding.cols == shape.dim && binding.rows == shape.hidden) {
                watched_kernel = binding.kernel;
                binding.kernel = watching_kernel;
            }
        }
        const Request request{.prompt = kPrompt, .max_tokens = 6, .sampling = {.seed = 4}};
        loaded->use_workers(nullptr);
        const std::vector<Token> alone = generate(*loaded, request);
        const std::vector<float> logits = copy_logits(*loaded);
        ASSERT_FALSE(alone.empty());
        for (const uint32_t processors : {1u, 2u, 4u}) {
            WorkerPool pool;
            std::vector<std::thread> threads;
            for (uint32_t worker = 1; worker < processors; ++worker) {
                threads.emplace_back([&pool, worker] {
                    own_bit = 1u << worker;
                    pool.serve(worker);
                });
            }
            while (pool.size() < processors) {
                std::this_thread::yield();
            }
            loaded->use_workers(&pool, 0);
            processors_seen = 0;
            EXPECT_EQ(generate(*loaded, request), alone);
            EXPECT_EQ(copy_logits(*loaded), logits);
            for (const uint64_t slice_ticks : {0u, 20'000u}) {
                Listener listener;
                ASSERT_TRUE(loaded->start(request, listener).ok());
                while (loaded->busy()) {
                    loaded->advance(platform::ticks() + slice_ticks);
                }
                EXPECT_EQ(listener.tokens, alone);
                EXPECT_EQ(copy_logits(*loaded), logits);
            }
            EXPECT_EQ(processors_seen > 1, processors > 1) << processors;
            pool.stop();
            for (std::thread &thread : threads) {
                thread.join();
            }
            loaded->use_workers(nullptr);
        }
    }
}

bool counting = false;
int allocations = 0;
void on_malloc(const volatile void *, size_t) {
    if (counting) {
        ++allocations;
    }
}
void on_free(const volatile void *) {}

TEST(EngineTest, NothingIsAllocatedAfterCreate) {
    ASSERT_GT(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free), 0);
    allocations = 0;
    counting = true;
    void *volatile memory = ::malloc(1);  // volatile: or the compiler leaves the pair out
    ::free(memory);
    counting = false;
    ASSERT_EQ(allocations, 1);  // the hook works

    class Quiet final : public TokenSink {
      public:
        void on_token(SlotId, Token) override { ++count; }
        void on_finished(SlotId, FinishReason, const Usage &) override {}
        int count = 0;
    };
    for (const compute::TensorType type : kAllTypes) {
        Loaded loaded(random_model(type, shape_for(type)));
        Quiet quiet;
        const Request request{.prompt = kPrompt, .max_tokens = 25, .sampling = {.seed = 2}};
        allocations = 0;
        counting = true;
        const auto started = loaded->start(request, quiet);
        while (loaded->busy()) {
            loaded->advance(platform::ticks() + 30000);
        }
        counting = false;
        EXPECT_TRUE(started.ok());
        EXPECT_GT(quiet.count, 0);
        EXPECT_EQ(allocations, 0) << static_cast<int>(type);
    }
}

}  // namespace
}  // namespace bareflow::llama
