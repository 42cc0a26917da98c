// A model that follows a script: token i of a completion is the i-th text of the script, in every
// slot. A prompt has one token for each byte.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "api/text_generator.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::api {

class FakeGenerator final : public TextGenerator {
  public:
    std::vector<std::string> script;
    uint32_t context = 64;
    std::string finish_text;
    uint32_t encode_steps = 1;  // calls of encode_step() until it is done
    uint64_t encode_us = 0;     // time that each of these calls takes
    uint32_t slots = 1;
    uint32_t cached = 0;  // tokens of every prompt
    int cancels = 0;
    bool occupied = false;  // somebody else uses all slots
    llama::Request last{};
    std::vector<llama::Token> last_prompt;

    [[nodiscard]] std::string_view model_id() const override { return "fake"; }
    [[nodiscard]] uint32_t context_length() const override { return context; }
    [[nodiscard]] uint32_t max_piece_bytes() const override { return 16; }
    ChatTemplate chat;
    llama::Token ends = llama::kNoToken;
    std::vector<ControlSpan> last_controls;
    std::vector<llama::TokenLogprob> likely;
    [[nodiscard]] const ChatTemplate &chat_template() const override { return chat; }
    [[nodiscard]] llama::Token turn_end() const override { return ends; }
    [[nodiscard]] std::span<const llama::TokenLogprob> logprobs() const override { return likely; }
    size_t token_text(llama::Token token, std::span<char> out) const override {
        return script[static_cast<size_t>(token)].copy(out.data(), out.size());
    }
    void encode_begin(const PromptText &prompt, std::span<llama::Token> out) override {
        text_ = prompt.text;
        last_controls.assign(prompt.controls.begin(), prompt.controls.end());
        out_ = out;
        steps_left_ = encode_steps;
    }
    [[nodiscard]] Result<Encoding> encode_step() override {
        const uint64_t since = platform::ticks();
        while (platform::ticks() - since < encode_us * platform::ticks_per_second() / 1'000'000) {
        }
        if (--steps_left_ > 0) {
            return Encoding{};
        }
        if (text_.size() > out_.size()) {
            return Error{ErrorCode::kTooLarge, "too many tokens"};
        }
        for (size_t i = 0; i < text_.size(); ++i) {
            out_[i] = static_cast<uint8_t>(text_[i]);
        }
        return Encoding{.done = true, .count = static_cast<uint32_t>(text_.size())};
    }
    void encode_cancel() override { out_ = {}; }
    [[nodiscard]] uint32_t slot_count() const override { return slots; }
    [[nodiscard]] Result<llama::SlotId> start(const llama::Request &request,
                                              llama::TokenSink &sink) override {
        if (occupied) {
            return Error{ErrorCode::kExhausted, "busy"};
        }
        for (llama::SlotId slot = 0; slot < slots; ++slot) {
            if (texts_[slot].sink == nullptr) {
                last = request;
                last_prompt.assign(request.prompt.begin(), request.prompt.end());
                texts_[slot] = {.sink = &sink,
                                .prompt_count = static_cast<uint32_t>(request.prompt.size()),
                                .max_tokens = request.max_tokens};
                return slot;
            }
        }
        return Error{ErrorCode::kExhausted, "busy"};
    }
    void cancel(llama::SlotId slot) override {
        ++cancels;
        finish(slot, llama::FinishReason::kCancelled);
    }
    void pause(llama::SlotId slot, bool paused) override { texts_[slot].paused = paused; }
    [[nodiscard]] bool paused(llama::SlotId slot) const { return texts_[slot].paused; }
    [[nodiscard]] llama::EngineCounters counters() const override { return {}; }
    [[nodiscard]] bool busy() const {
        bool any = occupied;
        for (const Text &text : texts_) {
            any = any || text.sink != nullptr;
        }
        return any;
    }
    // As Engine::advance(), for `tokens` tokens in each slot.
    void advance(uint32_t tokens) {
        for (uint32_t i = 0; i < tokens; ++i) {
            for (llama::SlotId slot = 0; slot < slots; ++slot) {
                Text &text = texts_[slot];
                if (text.sink == nullptr || text.paused) {
                    continue;
                }
                if (text.made == text.max_tokens) {
                    finish(slot, llama::FinishReason::kLength);
                } else if (text.made == script.size()) {
                    finish(slot, llama::FinishReason::kStop);
                } else {
                    text.sink->on_token(slot, static_cast<llama::Token>(text.made++));
                }
            }
        }
    }
    void decode_begin(llama::SlotId) override {}
    [[nodiscard]] std::string_view decode(llama::SlotId, llama::Token token) override {
        return script[static_cast<size_t>(token)];
    }
    [[nodiscard]] std::string_view decode_finish(llama::SlotId) override { return finish_text; }

  private:
    struct Text {
        llama::TokenSink *sink = nullptr;
        uint32_t prompt_count = 0;
        uint32_t max_tokens = 0;
        uint32_t made = 0;
        bool paused = false;
    };
    void finish(llama::SlotId slot, llama::FinishReason reason) {
        Text &text = texts_[slot];
        if (text.sink == nullptr) {
            return;
        }
        llama::TokenSink *sink = text.sink;
        text.sink = nullptr;
        sink->on_finished(slot, reason,
                          {.prompt_tokens = text.prompt_count,
                           .cached_tokens = cached,
                           .completion_tokens = text.made,
                           .prompt_ticks = 1'000'000,
                           .decode_ticks = 2'000'000});
    }
    std::string text_storage_;
    std::string_view text_;
    std::span<llama::Token> out_;
    uint32_t steps_left_ = 0;
    std::array<Text, llama::EngineConfig::kMaxSlots> texts_{};
};

}  // namespace bareflow::api
