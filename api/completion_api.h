// POST /v1/completions and POST /v1/chat/completions, in front of a generator that makes several
// texts at a time. Requests wait in a bounded queue, first come, first served. Answers are whole or
// streamed as tokens are made. A client that leaves cancels its text. Prompts from the console
// stand in the same queue (submit_local()).
//
// A request is a prompt (a chat's messages, written in the model's own format), its settings and
// the shape of its answer. After the prompt is written, both routes are the same.
//
//   completion_request.h   reads and checks the body
//   completion_job.h       the data of one request
//   completion_queue.h     which request is next, and which ones run
//   completion_answer.h    writes the answer
//
// This class joins them: it takes requests, moves them from state to state, and hands tokens to
// the jobs they belong to.
//
// Memory: a job holds a prompt's tokens while it waits, and the text that its client has not taken
// yet. A streaming client that does not read pauses its own text, no other, until the server drops
// it.
//
// The event loop calls poll() after Server::poll(), then lets the engine work.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "api/completion_counters.h"
#include "api/completion_job.h"
#include "api/completion_queue.h"
#include "api/completion_request.h"
#include "api/models_page.h"
#include "api/text_generator.h"
#include "api/token_rate.h"
#include "http/exchange.h"
#include "kernel_lib/base/result.h"

namespace bareflow::api {

struct CompletionConfig {
    uint32_t slots = 1;          // the most that the generator will have
    uint32_t queue = 8;          // requests that may wait; at most CompletionQueue::kMaxWaiting
    uint32_t max_tokens = 4096;  // the most a request may ask for; the context if that is less
};

class CompletionApi final : private http::AnswerSource, private llama::TokenSink {
  public:
    [[nodiscard]] static Result<CompletionApi *> create(const CompletionConfig &config);
    void destroy();

    // The model is there. Must outlive this object. Call once.
    void set_generator(TextGenerator &generator);
    // Why there is no model (static text), with a hint whether to come back. Before the first call:
    // "The model is still being loaded."
    void set_unavailable(std::string_view why, bool loading);
    // nullptr: nobody.
    void set_observer(CompletionObserver *observer) { observer_ = observer; }

    // Encodes a slice of a prompt, starts the next request. True: there is more to do at once.
    bool poll();
    // kExhausted: the queue is full. kInvalid: no model. `prompt` is copied.
    [[nodiscard]] Status submit_local(std::string_view prompt, uint32_t max_tokens,
                                      LocalClient &client);
    void cancel_local();

    [[nodiscard]] CompletionCounters counters() const;
    // Of all requests together: now, or when the last one ended.
    [[nodiscard]] double tokens_per_second() const;

    // The three routes.
    [[nodiscard]] http::Handler &completions() { return completions_; }
    [[nodiscard]] http::Handler &chat() { return chat_; }
    [[nodiscard]] http::Handler &models() { return models_; }

  private:
    class Route final : public http::Handler {
      public:
        Route(CompletionApi &api, bool chat) : api_(api), chat_(chat) {}
        void handle(http::Exchange &exchange) override { api_.accept(exchange, chat_); }

      private:
        CompletionApi &api_;
        bool chat_;
    };

    explicit CompletionApi(const CompletionConfig &config)
        : config_(config), completions_(*this, false), chat_(*this, true) {}
    ~CompletionApi() = default;

    void on_token(llama::SlotId slot, llama::Token token) override;
    void on_finished(llama::SlotId slot, llama::FinishReason reason,
                     const llama::Usage &usage) override;
    Piece produce(http::Exchange &exchange, http::Cursor &cursor, TextWriter &out) override;
    void ended(http::Exchange &exchange, bool complete) override;

    void accept(http::Exchange &exchange, bool chat);
    void respond_unavailable(http::Exchange &exchange);
    void encode(Job &job);
    // False: no slot is free.
    [[nodiscard]] bool start(Job &job);
    void pause_or_resume(llama::SlotId slot);
    void fail(Job &job, const http::ErrorAnswer &error);
    void emit(Job &job, std::string_view text);
    void sum_up(Job &job, FinishKind finish, const llama::Usage &usage);
    void complete(Job &job);

    CompletionConfig config_;
    Route completions_;
    Route chat_;
    ModelsPage models_;
    TextGenerator *generator_ = nullptr;
    CompletionObserver *observer_ = nullptr;
    std::string_view unavailable_ = "The model is still being loaded.";
    bool loading_ = true;
    bool answered_ = false;  // since poll() was called: the server has something to send
    CompletionQueue queue_;
    CompletionCounters counters_;
    TokenRate rate_;
    // Of the request being read.
    std::array<ChatMessage, CompletionLimits::kMaxMessages> messages_{};
};

}  // namespace bareflow::api
