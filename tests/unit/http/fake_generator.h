// A model that says what a script tells it to: token i of a completion is the i-th text of the
// script. A prompt has one token for each byte.
#pragma once

#include <string>
#include <vector>

#include "http/text_generator.h"

namespace bareflow::http {

class FakeGenerator final : public TextGenerator {
  public:
    std::vector<std::string> script;
    uint32_t context = 64;
    std::string finish_text;
    uint32_t encode_steps = 1;  // calls of encode_step() until it is done
    int cancels = 0;
    bool occupied = false;  // by somebody else
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
    [[nodiscard]] Status start(const llama::Request &request, llama::TokenSink &sink) override {
        if (sink_ != nullptr || occupied) {
            return {ErrorCode::kExhausted, "busy"};
        }
        last = request;
        last_prompt.assign(request.prompt.begin(), request.prompt.end());
        sink_ = &sink;
        made_ = 0;
        return {};
    }
    void cancel() override {
        ++cancels;
        finish(llama::FinishReason::kCancelled);
    }
    [[nodiscard]] bool busy() const override { return sink_ != nullptr || occupied; }
    // As Engine::advance(), for `tokens` tokens.
    void advance(uint32_t tokens) {
        for (uint32_t i = 0; i < tokens && sink_ != nullptr; ++i) {
            if (made_ == last.max_tokens) {
                finish(llama::FinishReason::kLength);
            } else if (made_ == script.size()) {
                finish(llama::FinishReason::kStop);
            } else {
                sink_->on_token(static_cast<llama::Token>(made_++));
            }
        }
    }
    void decode_begin() override {}
    [[nodiscard]] std::string_view decode(llama::Token token) override {
        return script[static_cast<size_t>(token)];
    }
    [[nodiscard]] std::string_view decode_finish() override { return finish_text; }

  private:
    void finish(llama::FinishReason reason) {
        if (sink_ == nullptr) {
            return;
        }
        llama::TokenSink *sink = sink_;
        sink_ = nullptr;
        sink->on_finished(reason, {.prompt_tokens = static_cast<uint32_t>(last_prompt.size()),
                                   .completion_tokens = made_,
                                   .prompt_ticks = 1'000'000,
                                   .decode_ticks = 2'000'000});
    }
    std::string text_storage_;
    std::string_view text_;
    std::span<llama::Token> out_;
    uint32_t steps_left_ = 0;
    llama::TokenSink *sink_ = nullptr;
    uint32_t made_ = 0;
};

}  // namespace bareflow::http
