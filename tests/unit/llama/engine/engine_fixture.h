// An engine over a model from memory, and a sink that remembers what it heard.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "llama/engine/engine.h"
#include "llama/model/model.h"
#include "llama/model/value_check.h"
#include "tests/unit/llama/file/gguf_builder.h"

namespace bareflow::llama::testing {

// A checked model and an engine over it.
class Loaded {
  public:
    explicit Loaded(const GgufBuilder &builder, uint32_t context = 0)
        : Loaded(builder, EngineConfig{.context_length = context}) {}
    Loaded(const GgufBuilder &builder, const EngineConfig &config) : file_(builder.build()) {
        Detail detail;
        auto model = Model::create(file_.span(), detail.writer);
        EXPECT_TRUE(model.ok()) << detail.str();
        model_ = *model;
        EXPECT_TRUE(ValueCheck::run(*model_, detail.writer).ok()) << detail.str();
        auto engine = Engine::create(*model_, config);
        EXPECT_TRUE(engine.ok()) << engine.error().message;
        engine_ = *engine;
    }
    ~Loaded() {
        engine_->destroy();
        model_->destroy();
    }
    Loaded(const Loaded &) = delete;
    Loaded &operator=(const Loaded &) = delete;
    Engine *operator->() { return engine_; }
    Engine &operator*() { return *engine_; }

  private:
    FileBytes file_;
    Model *model_ = nullptr;
    Engine *engine_ = nullptr;
};

class Listener final : public TokenSink {
  public:
    void on_token(SlotId, Token token) override {
        EXPECT_FALSE(finished());
        tokens.push_back(token);
        if (token_hook) {
            token_hook();
        }
    }
    void on_finished(SlotId, FinishReason reason_given, const Usage &usage_given) override {
        ++finish_calls;
        reason = reason_given;
        usage = usage_given;
        if (finish_hook) {
            finish_hook();
        }
    }
    [[nodiscard]] bool finished() const { return finish_calls != 0; }

    std::vector<Token> tokens;
    int finish_calls = 0;
    FinishReason reason = FinishReason::kCancelled;
    Usage usage;
    std::function<void()> token_hook;
    std::function<void()> finish_hook;
};

inline constexpr uint64_t kNever = UINT64_MAX;
inline const std::vector<Token> kPrompt = {1, 259, 263, 100, 7};
inline const SamplingParams kGreedy{.temperature = 0.0f};

inline std::vector<Token> generate(Engine &engine, const Request &request,
                                   uint64_t deadline = kNever) {
    Listener listener;
    const auto started = engine.start(request, listener);
    EXPECT_TRUE(started.ok()) << started.error().message;
    while (engine.busy()) {
        engine.advance(deadline);
    }
    EXPECT_EQ(listener.finish_calls, 1);
    return listener.tokens;
}

inline std::vector<float> copy_logits(const Engine &engine) {
    return {engine.logits().begin(), engine.logits().end()};
}

}  // namespace bareflow::llama::testing
