// POST /v1/completions, POST /v1/chat/completions and GET /v1/models, in front of a generator that
// makes a number of texts at a time: a bounded first-come queue, streaming as tokens are made,
// cancelling when a client leaves. Prompts from the console stand in the same queue
// (submit_local()).
//
// A request is a prompt (a chat's messages, written in the model's own format), its settings and
// the shape of its answer; from there on both kinds are the same.
//
// Memory: a job holds a prompt's tokens while it waits, and the text that its client hasn't taken
// yet. A streaming client that doesn't read pauses its own text, no other, until the server drops
// it.
//
// The event loop calls poll() after Server::poll(), then lets the engine work.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "api/completion_counters.h"
#include "api/completion_request.h"
#include "api/stop_matcher.h"
#include "api/text_generator.h"
#include "http/exchange.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/memory/buffer.h"

namespace bareflow::api {

enum class FinishKind : uint8_t { kStop, kLength, kCancelled, kFailed };

// One request that is over, for logs and screens.
struct CompletionSummary {
    uint32_t prompt_tokens = 0;
    uint32_t cached_tokens = 0;  // of the prompt: not computed again
    uint32_t completion_tokens = 0;
    double prompt_ms = 0;
    double decode_ms = 0;
    double tokens_per_second = 0;  // after the first, which the prompt's last step made
    FinishKind finish = FinishKind::kStop;
    bool local = false;
};

class CompletionObserver {
  public:
    virtual void on_completion(const CompletionSummary &summary) = 0;

  protected:
    ~CompletionObserver() = default;
};

// Whoever asked without HTTP.
class LocalClient {
  public:
    virtual void on_text(std::string_view text) = 0;
    // Last call. error: one sentence when finish is kFailed.
    virtual void on_done(const CompletionSummary &summary, std::string_view error) = 0;

  protected:
    ~LocalClient() = default;
};

struct CompletionConfig {
    uint32_t slots = 1;          // the most that the generator will have
    uint32_t queue = 8;          // requests that may wait; at most kMaxQueue
    uint32_t max_tokens = 4096;  // the most a request may ask for; the context if that is less
};

class CompletionApi final : public http::Handler,
                            public http::AnswerSource,
                            private llama::TokenSink {
  public:
    static constexpr uint32_t kMaxQueue = 64;

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
    void handle(http::Exchange &exchange) override { accept(exchange, false); }
    [[nodiscard]] http::Handler &completions() { return *this; }
    [[nodiscard]] http::Handler &chat() { return chat_; }
    [[nodiscard]] http::Handler &models() { return models_; }

  private:
    enum class JobState : uint8_t {
        kFree,
        kWaiting,  // to be encoded
        kEncoding,
        kReady,  // encoded, waits for the generator
        kRunning,
        kDraining,  // made; the client is still taking it
    };
    struct Job {
        JobState state = JobState::kFree;
        uint64_t order = 0;
        llama::SlotId slot = 0;              // while running
        http::Exchange *exchange = nullptr;  // nullptr: local, or the client has gone
        LocalClient *local = nullptr;
        PromptText prompt;
        Buffer<char> prompt_copy;  // of a chat, and local
        Buffer<ControlSpan> controls;
        Buffer<llama::Token> tokens;
        uint32_t token_count = 0;
        uint32_t max_tokens = 0;
        llama::SamplingParams sampling;
        bool chat = false;
        bool stream = false;
        bool include_usage = false;  // of a stream
        bool done = false;           // nothing more will be made
        bool failed = false;         // no memory for the text
        std::array<std::array<char, CompletionRequest::kMaxStopBytes>, CompletionRequest::kMaxStops>
            stops;
        std::array<uint8_t, CompletionRequest::kMaxStops> stop_lens{};
        uint32_t stop_count = 0;
        uint64_t id = 0;
        uint64_t created_s = 0;
        CompletionSummary summary;
        // Made and not yet taken. Streaming: pieces, each behind its length in two bytes.
        Buffer<char> text;
        size_t text_begin = 0;
        size_t text_end = 0;
        [[nodiscard]] size_t pending() const { return text_end - text_begin; }
        // One for each token, in stride() parts: the token, where it stands in the text (in
        // characters), and the likeliest ones.
        Buffer<llama::TokenLogprob> logprobs;
        uint32_t logprob_count = 0;
        uint32_t logprob_sent = 0;  // streaming
        uint32_t text_characters = 0;
        [[nodiscard]] size_t stride() const { return 2 + sampling.top_logprobs; }
        [[nodiscard]] const llama::TokenLogprob *logprob(size_t index) const {
            return logprobs.data() + index * stride();
        }
    };

    class ChatHandler final : public http::Handler {
      public:
        explicit ChatHandler(CompletionApi &api) : api_(api) {}
        void handle(http::Exchange &exchange) override { api_.accept(exchange, true); }

      private:
        CompletionApi &api_;
    };

    class ModelsHandler final : public http::Handler {
      public:
        explicit ModelsHandler(CompletionApi &api) : api_(api) {}
        void handle(http::Exchange &exchange) override;

      private:
        CompletionApi &api_;
    };

    explicit CompletionApi(const CompletionConfig &config)
        : config_(config), chat_(*this), models_(*this) {}
    ~CompletionApi() = default;

    void on_token(llama::SlotId slot, llama::Token token) override;
    void on_finished(llama::SlotId slot, llama::FinishReason reason,
                     const llama::Usage &usage) override;
    Piece produce(http::Exchange &exchange, http::Cursor &cursor, TextWriter &out) override;
    void ended(http::Exchange &exchange, bool complete) override;

    [[nodiscard]] Job *free_job();
    [[nodiscard]] Job *oldest(JobState state);
    [[nodiscard]] Job *job_of(const http::Exchange &exchange);
    [[nodiscard]] uint32_t waiting() const;
    [[nodiscard]] uint32_t running() const;
    [[nodiscard]] bool has_room() const;
    void accept(http::Exchange &exchange, bool chat);
    // Writes the messages into the job. False: answered with what is wrong.
    [[nodiscard]] bool render(Job &job, http::Exchange &exchange, uint32_t message_count);
    void encode(Job &job);
    // False: no slot is free.
    [[nodiscard]] bool start(Job &job);
    void pause_or_go_on(llama::SlotId slot);
    void fail(Job &job, const http::ApiError &error);
    void release(Job &job);
    void emit(Job &job, std::string_view text);
    [[nodiscard]] bool append(Job &job, std::string_view text);
    void complete(Job &job);
    void report(const Job &job);
    void respond_unavailable(http::Exchange &exchange);
    [[nodiscard]] bool keep_logprobs(Job &job, std::string_view text);
    Piece produce_event(Job &job, http::Cursor &cursor, TextWriter &out);
    Piece produce_whole(const Job &job, http::Cursor &cursor, TextWriter &out) const;
    void write_head(const Job &job, TextWriter &out) const;
    static void write_text_begin(const Job &job, TextWriter &out);
    static void write_text_end(const Job &job, TextWriter &out);
    // Of tokens job.logprob_sent to cursor.piece. False: there are none (any more).
    [[nodiscard]] bool begin_logprobs(const Job &job, http::Cursor &cursor, TextWriter &out) const;
    [[nodiscard]] bool write_logprobs(const Job &job, http::Cursor &cursor, TextWriter &out) const;
    void write_chat_logprob(const Job &job, http::Cursor &cursor, TextWriter &out) const;
    void write_completion_logprob(const Job &job, http::Cursor &cursor, TextWriter &out) const;
    void write_token(llama::Token token, TextWriter &out, bool bytes) const;
    static void write_usage(const Job &job, TextWriter &out);
    static void write_figures(const Job &job, TextWriter &out);

    CompletionConfig config_;
    ChatHandler chat_;
    ModelsHandler models_;
    TextGenerator *generator_ = nullptr;
    CompletionObserver *observer_ = nullptr;
    std::string_view unavailable_ = "The model is still being loaded.";
    bool loading_ = true;
    uint64_t ready_since_s_ = 0;
    uint64_t next_order_ = 0;
    struct Running {
        Job *job = nullptr;  // nullptr: the slot is free
        bool paused = false;
        bool stop = false;  // at the next poll(): a stop string, or no memory
        StopMatcher matcher;
    };
    std::array<Running, llama::EngineConfig::kMaxSlots> running_;
    bool answered_ = false;  // since poll() began: the server has something to send
    CompletionCounters counters_;
    // When the last tokens came, a ring.
    static constexpr size_t kRateTokens = 64;
    std::array<uint64_t, kRateTokens> token_ticks_{};
    uint64_t rated_tokens_ = 0;  // since nothing ran
    // Of the request being read.
    std::array<ChatMessage, CompletionLimits::kMaxMessages> messages_{};
    // The queue, those that run, and as many that are made but not yet taken.
    Job *jobs_ = nullptr;
    uint32_t job_count_ = 0;
};

}  // namespace bareflow::api
