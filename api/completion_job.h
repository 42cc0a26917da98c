// A job: one request from its acceptance until its client has the whole answer. It holds what the
// client asked for, the prompt until the text starts, and the text that the client has not taken
// yet.
//
// Memory: jobs are made once, with the queue. A job's buffers grow with its prompt and its text,
// and are released with it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "api/chat_template.h"
#include "api/completion_request.h"
#include "http/exchange.h"
#include "kernel_lib/memory/buffer.h"
#include "llama/engine/engine.h"

namespace bareflow::api {

// There is no memory for a prompt. Other requests may end soon, so the client may come back.
inline constexpr http::ErrorAnswer kNoPromptMemory{
    503, "There is no memory for the prompt right now.", "out_of_memory", {}, "Retry-After: 2\r\n"};

enum class FinishKind : uint8_t { kStop, kLength, kCancelled, kFailed };

// One request that is over, for logs and screens.
struct CompletionSummary {
    uint32_t prompt_tokens = 0;
    uint32_t cached_tokens = 0;  // tokens of the prompt that were not computed again
    uint32_t completion_tokens = 0;
    double prompt_ms = 0;
    double decode_ms = 0;
    double tokens_per_second = 0;  // without the first token, which the prompt's last batch made
    FinishKind finish = FinishKind::kStop;
    bool local = false;
};

class CompletionObserver {
  public:
    virtual void on_completion(const CompletionSummary &summary) = 0;

  protected:
    ~CompletionObserver() = default;
};

// A client without HTTP.
class LocalClient {
  public:
    virtual void on_text(std::string_view text) = 0;
    // Last call. error: one sentence when finish is kFailed.
    virtual void on_done(const CompletionSummary &summary, std::string_view error) = 0;

  protected:
    ~LocalClient() = default;
};

// The stop strings of a request, copied.
class StopStrings {
  public:
    static constexpr size_t kMaxStops = CompletionRequest::kMaxStops;
    using Views = std::array<std::string_view, kMaxStops>;

    // At most kMaxStops, each of at most kMaxStopBytes.
    void copy(std::span<const std::string_view> stops);
    // Writes the strings into `room` and returns the part written.
    [[nodiscard]] std::span<const std::string_view> views(Views &room) const;

  private:
    std::array<std::array<char, CompletionRequest::kMaxStopBytes>, kMaxStops> bytes_;
    std::array<uint8_t, kMaxStops> lens_{};
    uint32_t count_ = 0;
};

// What the client asked for, and the names of the answer. Does not change after acceptance.
struct JobOrder {
    uint32_t max_tokens = 0;
    llama::SamplingParams sampling;
    bool chat = false;
    bool stream = false;
    bool include_usage = false;  // a stream ends with an event of its own for the usage
    StopStrings stops;
    uint64_t id = 0;
    uint64_t created_s = 0;  // Unix time
};

// The prompt of a job that has not started.
struct JobPrompt {
    PromptText source;             // points into the request's body or into `text` and `controls`
    Buffer<char> text;             // a chat's messages as one text, or a local prompt
    Buffer<ControlSpan> controls;  // of a chat
    Buffer<llama::Token> tokens;   // room for the prompt's tokens; `count` of them are there
    uint32_t count = 0;

    // Encoded: the text is not needed any more.
    void release_text();
};

// Text that was made and that the client has not taken yet. A stream's text is kept in pieces, of
// which each becomes one event; a whole answer's is kept without borders.
class PendingText {
  public:
    static constexpr size_t kMaxPieceBytes = 384;  // escapes not counted
    static constexpr size_t kMaxBytes = 8 * 1024 * 1024;

    // Takes memory in advance. Without enough memory this does nothing: add() tries again.
    void reserve(size_t len_bytes);
    // False: over kMaxBytes, or no memory.
    [[nodiscard]] bool add(std::string_view text, bool in_pieces);
    // Bytes kept, the lengths of a stream's pieces included.
    [[nodiscard]] size_t size() const { return end_ - begin_; }
    // A stream's oldest piece. size() must not be 0.
    [[nodiscard]] std::string_view first_piece() const;
    void drop_first_piece();
    // The part of a whole answer that starts at `offset`: at most kMaxPieceBytes, ending between
    // characters. Empty at the end.
    [[nodiscard]] std::string_view piece_at(size_t offset) const;

  private:
    static constexpr size_t kLenBytes = 2;  // before each piece of a stream
    [[nodiscard]] bool room_for(size_t len_bytes);

    Buffer<char> bytes_;
    size_t begin_ = 0;
    size_t end_ = 0;
};

// The probabilities of a text's tokens. Each token has one entry of 2 + `tops` values: the token
// with its logprob, the token's place in the text (counted in characters, in `.token`), and the
// likeliest tokens.
class JobLogprobs {
  public:
    // tops: how many of the likeliest tokens an entry has.
    void start(uint32_t tops) { tops_ = tops; }
    // As PendingText::reserve().
    void reserve(uint32_t tokens, size_t limit_bytes);
    // given: of the token, then of the likeliest ones. text: the token's. False: no memory.
    [[nodiscard]] bool add(std::span<const llama::TokenLogprob> given, std::string_view text);

    [[nodiscard]] uint32_t count() const { return count_; }
    [[nodiscard]] uint32_t tops() const { return tops_; }
    [[nodiscard]] const llama::TokenLogprob *entry(size_t index) const {
        return values_.data() + index * stride();
    }
    // Entries that a stream's client has been sent.
    [[nodiscard]] uint32_t sent() const { return sent_; }
    void set_sent(uint32_t count) { sent_ = count; }

  private:
    [[nodiscard]] size_t stride() const { return 2 + tops_; }

    Buffer<llama::TokenLogprob> values_;
    uint32_t tops_ = 0;
    uint32_t count_ = 0;
    uint32_t sent_ = 0;
    uint32_t characters_ = 0;  // of the text so far
};

enum class JobState : uint8_t {
    kFree,
    kWaiting,  // to be encoded
    kEncoding,
    kReady,  // encoded, waits for a slot of the generator
    kRunning,
    kDraining,  // the text is made; the client is still taking it
};

struct Job {
    JobState state = JobState::kFree;
    uint64_t order = 0;                  // the lower one came first
    llama::SlotId slot = 0;              // of the generator, while running
    http::Exchange *exchange = nullptr;  // nullptr: local, or the client has gone
    LocalClient *local = nullptr;
    JobOrder asked;
    JobPrompt prompt;
    PendingText text;
    JobLogprobs logprobs;
    CompletionSummary summary;
    bool done = false;    // no more text will be made
    bool failed = false;  // there was no memory for the text
};

}  // namespace bareflow::api
