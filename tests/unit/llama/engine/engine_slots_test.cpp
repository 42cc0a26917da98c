// Several texts at a time: each is what it would be alone, whatever the others do.
#include <gtest/gtest.h>
#include <sanitizer/allocator_interface.h>

#include <algorithm>
#include <map>
#include <memory>

#include "compute/numbers/tensor_types.h"
#include "kernel_lib/platform/platform.h"
#include "llama/engine/engine.h"
#include "tests/unit/compute/random_numbers.h"
#include "tests/unit/llama/engine/engine_fixture.h"
#include "tests/unit/llama/model/random_model.h"

namespace bareflow::llama {
namespace {

using compute::testing::Random;
using testing::generate;
using testing::kGreedy;
using testing::kNever;
using testing::kPrompt;
using testing::Listener;
using testing::Loaded;
using testing::random_model;

constexpr uint32_t kVocab = 265;

std::vector<Token> random_prompt(Random &random, size_t len) {
    std::vector<Token> prompt(len);
    for (Token &token : prompt) {
        token = static_cast<Token>(random.below(kVocab));
    }
    return prompt;
}

struct Case {
    std::vector<Token> prompt;
    Request request;
    std::vector<Token> text;  // alone
};

// Requests of every kind, some of which share a prefix, and what each of them gives alone.
std::vector<Case> random_cases(const testing::GgufBuilder &model, uint32_t context, size_t count,
                               compute::KvType kv_type, uint64_t seed) {
    Random random(seed);
    std::vector<std::vector<Token>> beginnings;
    for (int i = 0; i < 3; ++i) {
        beginnings.push_back(random_prompt(random, 1 + random.below(20)));
    }
    std::vector<Case> cases(count);
    for (Case &c : cases) {
        if (random.below(3) != 0) {
            c.prompt = beginnings[random.below(beginnings.size())];
        }
        const auto more = random_prompt(random, 1 + random.below(14));
        c.prompt.insert(c.prompt.end(), more.begin(), more.end());
        c.request = {.prompt = c.prompt,
                     .max_tokens = static_cast<uint32_t>(1 + random.below(25)),
                     .sampling = {.repeat_penalty = random.below(2) == 0 ? 1.0f : 1.3f,
                                  .top_k = static_cast<uint32_t>(random.below(60)),
                                  .temperature = random.below(3) == 0 ? 0.0f : 1.2f,
                                  .mirostat = random.below(4) == 0,
                                  .seed = random.next()}};
        // A fresh engine: it holds nothing of another text.
        Loaded alone(model, EngineConfig{.context_length = context, .kv_type = kv_type});
        c.text = generate(*alone, c.request);
    }
    return cases;
}

TEST(EngineSlotsTest, EveryMixGivesTheTextsOfSingleRuns) {
    for (const compute::KvType kv_type : {compute::KvType::kF16, compute::KvType::kQ8_0}) {
        const auto model = random_model(compute::TensorType::kQ8_0);
        const auto cases = random_cases(model, 64, 24, kv_type, 5);
        Random random(77);
        uint64_t cached = 0;
        for (const uint32_t slots : {1u, 2u, 4u, 16u}) {
            for (const uint32_t batch : {1u, 5u, 32u}) {
                Loaded loaded(
                    model,
                    EngineConfig{
                        .slots = slots, .context_length = 64, .batch = batch, .kv_type = kv_type});
                struct Running {
                    const Case *of = nullptr;
                    Listener listener;
                    bool cancelled = false;
                };
                std::vector<std::unique_ptr<Running>> all;
                std::map<SlotId, Running *> running;
                for (size_t started = 0; started < 40 || loaded->busy();) {
                    if (started < 40 && random.below(4) == 0) {
                        auto next = std::make_unique<Running>();
                        next->of = &cases[random.below(cases.size())];
                        const auto slot = loaded->start(next->of->request, next->listener);
                        ASSERT_EQ(slot.ok(), running.size() < slots);
                        if (slot.ok()) {
                            ++started;
                            ASSERT_TRUE(running.emplace(*slot, next.get()).second);
                            next->listener.finish_hook = [&running, id = *slot] {
                                running.erase(id);
                            };
                            all.push_back(std::move(next));
                        }
                    }
                    if (!running.empty() && random.below(60) == 0) {
                        const auto [id, who] = *running.begin();
                        who->cancelled = true;
                        loaded->cancel(id);
                    }
                    if (!running.empty() && random.below(10) == 0) {
                        loaded->pause(running.rbegin()->first, random.below(2) == 0);
                    }
                    for (uint64_t i = random.below(200); i > 0 && loaded->can_advance(); --i) {
                        loaded->advance(random.below(3) == 0 ? platform::ticks() + 100'000 : 0);
                    }
                    if (!loaded->can_advance()) {
                        for (const auto &entry : running) {
                            loaded->pause(entry.first, false);
                        }
                    }
                }
                for (const auto &one : all) {
                    const Listener &heard = one->listener;
                    ASSERT_EQ(heard.finish_calls, 1);
                    EXPECT_EQ(heard.reason == FinishReason::kCancelled, one->cancelled);
                    EXPECT_EQ(heard.usage.completion_tokens, heard.tokens.size());
                    EXPECT_LT(heard.usage.cached_tokens, heard.usage.prompt_tokens);
                    cached += heard.usage.cached_tokens;
                    std::vector<Token> expected = one->of->text;
                    if (one->cancelled) {
                        ASSERT_LE(heard.tokens.size(), expected.size());
                        expected.resize(heard.tokens.size());
                    }
                    ASSERT_EQ(heard.tokens, expected) << slots << " slots, batches of " << batch;
                }
            }
        }
        EXPECT_GT(cached, 100u) << "beginnings are used again";
    }
}

// Runs until there is nothing more to do.
void finish_all(Engine &engine) {
    while (engine.busy()) {
        engine.advance(kNever);
    }
}

TEST(EngineSlotsTest, BatchesAreShared) {
    Loaded loaded(random_model(compute::TensorType::kF32), EngineConfig{.slots = 8});
    std::array<Listener, 8> listeners;
    for (Listener &listener : listeners) {
        ASSERT_TRUE(
            loaded->start({.prompt = kPrompt, .max_tokens = 10, .sampling = kGreedy}, listener)
                .ok());
    }
    finish_all(*loaded);
    // 40 tokens of prompts in two batches of at most 32, then nine batches of eight tokens.
    EXPECT_EQ(loaded->counters().batches, 11u);
    EXPECT_EQ(loaded->counters().tokens, 8u * 5 + 8 * 9);
    EXPECT_EQ(loaded->counters().prompt_tokens, 40u);
    EXPECT_GT(loaded->counters().prompt_ticks, 0u);
    EXPECT_GT(loaded->counters().decode_ticks, 0u);
}

TEST(EngineSlotsTest, ALongPromptDoesNotHoldUpTheOthers) {
    Loaded loaded(random_model(compute::TensorType::kF32),
                  EngineConfig{.slots = 3, .context_length = 400, .batch = 8});
    Random random(3);
    const std::vector<Token> first = random_prompt(random, 200);
    const std::vector<Token> second = random_prompt(random, 200);
    Listener decoding;
    Listener one;
    Listener other;
    SamplingParams never_ends{.top_k = 0, .temperature = 2.0f, .seed = 1};
    never_ends.logit_biases[0] = {.token = 2, .bias = -1e9f};  // EOS
    never_ends.logit_bias_count = 1;
    ASSERT_TRUE(
        loaded->start({.prompt = kPrompt, .max_tokens = 100, .sampling = never_ends}, decoding)
            .ok());
    while (decoding.tokens.empty()) {
        loaded->advance(0);
    }
    ASSERT_TRUE(loaded->start({.prompt = first, .max_tokens = 1, .sampling = kGreedy}, one).ok());
    ASSERT_TRUE(
        loaded->start({.prompt = second, .max_tokens = 1, .sampling = kGreedy}, other).ok());
    const uint64_t batches = loaded->counters().batches;
    size_t tokens_at_end[2] = {0, 0};
    one.finish_hook = [&] { tokens_at_end[0] = decoding.tokens.size(); };
    other.finish_hook = [&] { tokens_at_end[1] = decoding.tokens.size(); };
    while (!one.finished() || !other.finished()) {
        loaded->advance(0);
    }
    ASSERT_FALSE(decoding.finished());
    // 400 tokens, seven in a batch, and a token of the first text in each batch.
    EXPECT_NEAR(static_cast<double>(loaded->counters().batches - batches), 58, 2);
    EXPECT_NEAR(static_cast<double>(decoding.tokens.size()), 58, 3);
    // Neither prompt waited for the other.
    EXPECT_LE(tokens_at_end[1], tokens_at_end[0] + 2);
    EXPECT_LE(tokens_at_end[0], tokens_at_end[1] + 2);
}

TEST(EngineSlotsTest, LargeBatchesAreForPromptsAmongThemselves) {
    Loaded loaded(random_model(compute::TensorType::kF32),
                  EngineConfig{.slots = 3, .context_length = 400, .batch = 128});
    Random random(3);
    std::vector<Token> prompts[3];
    for (std::vector<Token> &prompt : prompts) {
        prompt = random_prompt(random, 256);
    }
    Listener listeners[3];
    const auto start = [&](uint32_t i, uint32_t max_tokens) {
        SamplingParams never_ends{.top_k = 0, .temperature = 2.0f, .seed = 1};
        never_ends.logit_biases[0] = {.token = 2, .bias = -1e9f};  // EOS
        never_ends.logit_bias_count = 1;
        ASSERT_TRUE(
            loaded
                ->start({.prompt = prompts[i], .max_tokens = max_tokens, .sampling = never_ends},
                        listeners[i])
                .ok());
    };
    // Two prompts: four batches.
    start(0, 100);
    start(1, 1);
    while (!listeners[1].finished()) {
        loaded->advance(0);
    }
    EXPECT_EQ(loaded->counters().batches, 4u);
    // A third prompt beside a text: 31 tokens in a batch.
    const uint64_t before = loaded->counters().batches;
    start(2, 1);
    while (!listeners[2].finished()) {
        loaded->advance(0);
    }
    EXPECT_NEAR(static_cast<double>(loaded->counters().batches - before), 9, 1);
    EXPECT_NEAR(static_cast<double>(listeners[0].tokens.size()), 10, 2);
}

TEST(EngineSlotsTest, PrefixesAreComputedOnce) {
    Loaded loaded(random_model(compute::TensorType::kQ8_0),
                  EngineConfig{.slots = 2, .context_length = 64});
    Random random(8);
    const std::vector<Token> beginning = random_prompt(random, 30);
    const auto with = [&](Token last, size_t count = 1) {
        std::vector<Token> prompt = beginning;
        prompt.insert(prompt.end(), count, last);
        return prompt;
    };
    const auto ask = [&](const std::vector<Token> &prompt, uint32_t tokens = 4) {
        Listener listener;
        EXPECT_TRUE(
            loaded->start({.prompt = prompt, .max_tokens = tokens, .sampling = kGreedy}, listener)
                .ok());
        finish_all(*loaded);
        Loaded alone(random_model(compute::TensorType::kQ8_0), EngineConfig{.context_length = 64});
        EXPECT_EQ(listener.tokens,
                  generate(*alone, {.prompt = prompt, .max_tokens = tokens, .sampling = kGreedy}));
        return listener.usage.cached_tokens;
    };
    EXPECT_EQ(ask(with(3)), 0u);
    EXPECT_EQ(loaded->counters().prompt_tokens, 31u);
    EXPECT_EQ(ask(with(3)), 30u) << "the last one is computed again: its logits are needed";
    EXPECT_EQ(loaded->counters().prompt_tokens, 32u);
    EXPECT_EQ(ask(with(4)), 30u);
    // A chat goes on: prompt and answer together are the prefix of the next prompt.
    Loaded alone(random_model(compute::TensorType::kQ8_0), EngineConfig{.context_length = 64});
    std::vector<Token> chat = with(4);
    for (const Token token :
         generate(*alone, {.prompt = chat, .max_tokens = 4, .sampling = kGreedy})) {
        chat.push_back(token);
    }
    const auto made = static_cast<uint32_t>(chat.size());
    chat.push_back(9);
    chat.push_back(10);
    EXPECT_EQ(ask(chat), made - 1) << "all but the last token, which was never fed back";
    // Another chat with the same prefix does not replace this one: it takes the other slot.
    EXPECT_EQ(ask(with(5, 20)), 30u);
    EXPECT_EQ(loaded->counters().copied_tokens, 0u)
        << "30 of what the first one holds is most of it: taken where it is";
    EXPECT_EQ(ask({7, 8, 9}), 0u) << "in the slot that was never used";
    EXPECT_EQ(ask(with(5, 20)), 49u);
}

TEST(EngineSlotsTest, BeginningsAreCopiedFromABusySlot) {
    for (const bool cancel_source : {false, true}) {
        Loaded loaded(random_model(compute::TensorType::kF16),
                      EngineConfig{.slots = 3, .context_length = 64});
        Random random(8);
        std::vector<Token> prompt = random_prompt(random, 25);
        Listener first;
        const SamplingParams sampling{.top_k = 0, .temperature = 1.5f, .seed = 4};
        const auto source =
            loaded->start({.prompt = prompt, .max_tokens = 30, .sampling = sampling}, first);
        ASSERT_TRUE(source.ok());
        while (first.tokens.size() < 3) {
            loaded->advance(0);
        }
        prompt.push_back(11);
        const Request request{.prompt = prompt, .max_tokens = 20, .sampling = sampling};
        Listener second;
        Listener third;
        ASSERT_TRUE(loaded->start(request, second).ok());
        if (cancel_source) {
            // Another text takes its slot before anything was copied.
            loaded->cancel(*source);
            ASSERT_TRUE(
                loaded->start({.prompt = kPrompt, .max_tokens = 9, .sampling = kGreedy}, third)
                    .ok());
        }
        finish_all(*loaded);
        EXPECT_EQ(second.usage.cached_tokens, 25u);
        EXPECT_EQ(loaded->counters().copied_tokens, 25u);
        Loaded alone(random_model(compute::TensorType::kF16), EngineConfig{.context_length = 64});
        EXPECT_EQ(second.tokens, generate(*alone, request));
        if (cancel_source) {
            EXPECT_EQ(third.tokens,
                      generate(*alone, {.prompt = kPrompt, .max_tokens = 9, .sampling = kGreedy}));
        }
    }
}

TEST(EngineSlotsTest, APausedTextWaitsAlone) {
    Loaded loaded(random_model(compute::TensorType::kF32),
                  EngineConfig{.slots = 2, .context_length = 200});
    Listener waiting;
    Listener going;
    const SamplingParams sampling{.top_k = 0, .temperature = 2.0f, .seed = 1};
    const Request request{.prompt = kPrompt, .max_tokens = 40, .sampling = sampling};
    const auto slot = loaded->start(request, waiting);
    ASSERT_TRUE(slot.ok());
    ASSERT_TRUE(loaded->start(request, going).ok());
    while (waiting.tokens.size() < 5) {
        loaded->advance(0);
    }
    loaded->pause(*slot, true);
    while (!going.finished()) {
        loaded->advance(0);
    }
    EXPECT_LE(waiting.tokens.size(), 6u);
    EXPECT_FALSE(loaded->can_advance());
    EXPECT_TRUE(loaded->busy());
    loaded->advance(kNever);  // nothing to do: returns
    loaded->pause(*slot, false);
    finish_all(*loaded);
    EXPECT_EQ(waiting.tokens, going.tokens);
}

TEST(EngineSlotsTest, SinksMayCancelAndStartAnySlot) {
    Loaded loaded(random_model(compute::TensorType::kF32), EngineConfig{.slots = 3});
    const Request request{.prompt = kPrompt, .max_tokens = 6, .sampling = kGreedy};
    const std::vector<Token> expected = generate(*loaded, request);
    for (SlotId victim = 0; victim < 3; ++victim) {
        std::array<Listener, 3> listeners;
        std::array<Listener, 3> later;
        for (Listener &listener : listeners) {
            ASSERT_TRUE(loaded->start(request, listener).ok());
        }
        listeners[1].token_hook = [&] {
            if (listeners[1].tokens.size() == 2) {
                loaded->cancel(victim);
                // The victim's own sink may have been faster.
                (void)loaded->start(request, later[0]);
                EXPECT_FALSE(loaded->start(request, later[1]).ok());
            }
        };
        listeners[0].finish_hook = [&] {
            if (!later[2].finished()) {
                (void)loaded->start(request, later[2]);
            }
        };
        finish_all(*loaded);
        int cancelled = 0;
        for (const Listener &listener : listeners) {
            ASSERT_EQ(listener.finish_calls, 1);
            if (listener.reason == FinishReason::kCancelled) {
                ++cancelled;
            } else {
                EXPECT_EQ(listener.tokens, expected);
            }
        }
        EXPECT_EQ(cancelled, 1);
        EXPECT_TRUE(later[0].tokens == expected || later[2].tokens == expected);
        EXPECT_EQ(later[1].finish_calls, 0);
    }
}

TEST(EngineSlotsTest, ImpossibleConfigurationsAreSentences) {
    const testing::FileBytes file(random_model(compute::TensorType::kF32).build());
    testing::Detail detail;
    auto model = Model::create(file.span(), detail.writer);
    ASSERT_TRUE(model.ok());
    for (const EngineConfig &config : {EngineConfig{.slots = 0}, EngineConfig{.slots = 17},
                                       EngineConfig{.slots = 2, .context_length = 1}}) {
        auto engine = Engine::create(**model, config);
        ASSERT_FALSE(engine.ok());
        EXPECT_FALSE(engine.error().message.empty());
    }
    (*model)->destroy();
}

bool counting = false;
int allocations = 0;
void on_malloc(const volatile void *, size_t) {
    allocations += counting ? 1 : 0;
}
void on_free(const volatile void *) {}

TEST(EngineSlotsTest, NothingIsAllocatedAfterCreate) {
    ASSERT_GT(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free), 0);
    class Quiet final : public TokenSink {
      public:
        void on_token(SlotId, Token) override { ++count; }
        void on_finished(SlotId, FinishReason, const Usage &) override {}
        int count = 0;
    };
    Loaded loaded(random_model(compute::TensorType::kQ8_0), EngineConfig{.slots = 4});
    Random random(2);
    Quiet quiet;
    const std::vector<Token> prompt = random_prompt(random, 30);
    const std::vector<Token> longer = random_prompt(random, 40);
    counting = true;
    void *volatile memory = ::malloc(1);  // volatile: or the compiler leaves the pair out
    ::free(memory);
    EXPECT_EQ(allocations, 1);  // the hook works
    allocations = 0;
    for (uint64_t i = 0; i < 12; ++i) {
        const auto started = loaded->start({.prompt = i % 3 == 0 ? longer : prompt,
                                            .max_tokens = 10,
                                            .sampling = {.seed = i, .wants_logprobs = true}},
                                           quiet);
        if (!started.ok()) {
            loaded->cancel(static_cast<SlotId>(i % 4));
        }
        for (int k = 0; k < 300; ++k) {
            loaded->advance(platform::ticks() + 20'000);
        }
    }
    while (loaded->busy()) {
        loaded->advance(kNever);
    }
    counting = false;
    EXPECT_GT(quiet.count, 0);
    EXPECT_EQ(allocations, 0);
}

}  // namespace
}  // namespace bareflow::llama
