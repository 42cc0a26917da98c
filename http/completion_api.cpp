#include "http/completion_api.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "kernel_lib/base/utf8.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::http {

namespace {

constexpr size_t kPauseBytes = 16 * 1024;          // unread text of a stream that pauses its making
constexpr size_t kMaxTextBytes = 8 * 1024 * 1024;  // of one completion
constexpr size_t kMaxEventText = 384;  // bytes of text in one event, escapes not counted
constexpr uint32_t kDrainingJobs = 8;
constexpr size_t kMaxShownId = 96;

double to_ms(uint64_t ticks) {
    return static_cast<double>(ticks) * 1000.0 / static_cast<double>(platform::ticks_per_second());
}

uint64_t random_u64() {
    uint64_t value = 0;
    platform::fill_entropy({reinterpret_cast<uint8_t *>(&value), sizeof value});
    return value;
}

// The longest front of `text` that has at most `limit` bytes and ends between characters.
std::string_view whole_characters(std::string_view text, size_t limit) {
    std::string_view front = text.substr(0, limit);
    if (front.size() < text.size()) {
        front.remove_suffix(utf8_incomplete_tail(front));
    }
    return front;
}

// As JSON, without the quotes.
void put_escaped(TextWriter &out, std::string_view text) {
    char buffer[kMaxEventText * 6 + 2];
    TextWriter quoted(buffer);
    quoted.put(JsonString{text});
    out.put(quoted.view().substr(1, quoted.size() - 2));
}

std::string_view finish_name(FinishKind kind) {
    return kind == FinishKind::kLength ? "length" : "stop";
}

}  // namespace

Result<CompletionApi *> CompletionApi::create(const CompletionConfig &config) {
    if (config.queue > kMaxQueue) {
        return Error{ErrorCode::kInvalid, "the queue is longer than 64"};
    }
    const uint32_t count = config.queue + 1 + kDrainingJobs;
    void *memory = heap_allocate(sizeof(CompletionApi), alignof(CompletionApi));
    void *jobs = heap_allocate(count * sizeof(Job), alignof(Job));
    if (memory == nullptr || jobs == nullptr) {
        heap_release(memory);
        heap_release(jobs);
        return Error{ErrorCode::kTooLarge, "no memory for the completion queue"};
    }
    auto *api = new (memory) CompletionApi(config);
    api->jobs_ = static_cast<Job *>(jobs);
    api->job_count_ = count;
    for (uint32_t i = 0; i < count; ++i) {
        new (api->jobs_ + i) Job;
    }
    return api;
}

void CompletionApi::destroy() {
    if (running_ != nullptr) {
        generator_->cancel();
    }
    for (uint32_t i = 0; i < job_count_; ++i) {
        jobs_[i].~Job();
    }
    heap_release(jobs_);
    this->~CompletionApi();
    heap_release(this);
}

void CompletionApi::set_generator(TextGenerator &generator) {
    generator_ = &generator;
    ready_since_s_ = platform::unix_time_s();
}

void CompletionApi::set_unavailable(std::string_view why, bool loading) {
    unavailable_ = why;
    loading_ = loading;
}

// ------------------------------------------------------------------ requests

CompletionApi::Job *CompletionApi::free_job() {
    for (uint32_t i = 0; i < job_count_; ++i) {
        if (jobs_[i].state == JobState::kFree) {
            return &jobs_[i];
        }
    }
    return nullptr;
}

CompletionApi::Job *CompletionApi::oldest(JobState state) {
    Job *found = nullptr;
    for (uint32_t i = 0; i < job_count_; ++i) {
        Job &job = jobs_[i];
        if (job.state == state && (found == nullptr || job.order < found->order)) {
            found = &job;
        }
    }
    return found;
}

CompletionApi::Job *CompletionApi::job_of(const Exchange &exchange) {
    for (uint32_t i = 0; i < job_count_; ++i) {
        if (jobs_[i].state != JobState::kFree && jobs_[i].exchange == &exchange) {
            return &jobs_[i];
        }
    }
    return nullptr;
}

uint32_t CompletionApi::waiting() const {
    uint32_t count = 0;
    for (uint32_t i = 0; i < job_count_; ++i) {
        const JobState state = jobs_[i].state;
        count +=
            state == JobState::kWaiting || state == JobState::kEncoding || state == JobState::kReady
                ? 1
                : 0;
    }
    return count;
}

// One that runs, or is about to, and the queue behind it.
bool CompletionApi::has_room() const {
    return waiting() + (running_ != nullptr ? 1 : 0) <= config_.queue;
}

void CompletionApi::respond_unavailable(Exchange &exchange) {
    ++counters_.refused;
    respond_error(exchange,
                  {503,
                   unavailable_,
                   loading_ ? "model_loading" : "no_model",
                   {},
                   loading_ ? std::string_view("Retry-After: 1\r\n") : std::string_view()});
}

void CompletionApi::handle(Exchange &exchange) {
    if (generator_ == nullptr) {
        respond_unavailable(exchange);
        return;
    }
    char text[256];
    TextWriter message(text);
    ApiError error{};
    CompletionRequest request;
    const uint32_t context = generator_->context_length();
    const CompletionLimits limits{.model_id = generator_->model_id(),
                                  .max_tokens = std::min(context, config_.max_tokens)};
    if (!parse_completion_request(exchange.request().body, limits, request, message, error)) {
        respond_error(exchange, error);
        return;
    }
    // So long that no tokenizer needs to look at it.
    if (request.prompt.size() / generator_->max_piece_bytes() >= context) {
        message.clear();
        message.put("prompt is longer than the model's context of ", context, " tokens.");
        respond_error(exchange, {400, message.view(), "context_length_exceeded", "prompt"});
        return;
    }
    Job *job = has_room() ? free_job() : nullptr;
    if (job == nullptr) {
        ++counters_.refused;
        respond_error(exchange, {503,
                                 "Too many requests are waiting already.",
                                 "queue_full",
                                 {},
                                 "Retry-After: 2\r\n"});
        return;
    }
    job->state = JobState::kWaiting;
    job->order = next_order_++;
    job->exchange = &exchange;
    job->prompt = request.prompt;
    job->max_tokens = request.max_tokens;
    job->sampling = {.temperature = request.temperature,
                     .top_k = request.top_k,
                     .top_p = request.top_p,
                     // 53 bits at most: a seed survives clients whose numbers are doubles.
                     .seed = request.has_seed ? request.seed : random_u64() >> 32};
    job->stream = request.stream;
    job->stop_count = request.stop_count;
    for (uint32_t i = 0; i < request.stop_count; ++i) {
        std::memcpy(job->stops[i].data(), request.stops[i].data(), request.stops[i].size());
        job->stop_lens[i] = static_cast<uint8_t>(request.stops[i].size());
    }
    job->id = random_u64();
    job->created_s = platform::unix_time_s();
    exchange.defer(*this);
}

Status CompletionApi::submit_local(std::string_view prompt, uint32_t max_tokens,
                                   LocalClient &client) {
    if (generator_ == nullptr) {
        return {ErrorCode::kInvalid, unavailable_};
    }
    Job *job = has_room() ? free_job() : nullptr;
    if (job == nullptr) {
        return {ErrorCode::kExhausted, "Too many requests are waiting already."};
    }
    BF_ASSIGN(job->prompt_copy, Buffer<char>::create(prompt.size() + 1));
    std::copy(prompt.begin(), prompt.end(), job->prompt_copy.data());
    job->prompt = {job->prompt_copy.data(), prompt.size()};
    job->state = JobState::kWaiting;
    job->order = next_order_++;
    job->local = &client;
    job->max_tokens = std::clamp(max_tokens, 1u, generator_->context_length());
    job->sampling = {};
    job->sampling.seed = random_u64() >> 32;
    job->summary.local = true;
    return {};
}

void CompletionApi::cancel_local() {
    for (uint32_t i = 0; i < job_count_; ++i) {
        Job &job = jobs_[i];
        if (job.state == JobState::kFree || job.local == nullptr) {
            continue;
        }
        if (job.state == JobState::kRunning) {
            generator_->cancel();  // on_finished() does the rest
            continue;
        }
        if (job.state == JobState::kEncoding) {
            generator_->encode_cancel();
        }
        job.summary.finish = FinishKind::kCancelled;
        LocalClient *client = job.local;
        const CompletionSummary summary = job.summary;
        release(job);
        client->on_done(summary, {});
    }
}

void CompletionApi::release(Job &job) {
    if (running_ == &job) {
        running_ = nullptr;
    }
    job.~Job();
    new (&job) Job;
}

void CompletionApi::fail(Job &job, const ApiError &error) {
    if (job.local != nullptr) {
        job.summary.finish = FinishKind::kFailed;
        LocalClient *client = job.local;
        const CompletionSummary summary = job.summary;
        release(job);
        client->on_done(summary, error.message);
    } else {
        answered_ = true;
        respond_error(*job.exchange, error);  // ended() frees the job
    }
}

// ------------------------------------------------------------------ from prompt to start

void CompletionApi::encode(Job &job) {
    const uint32_t context = generator_->context_length();
    if (job.state == JobState::kWaiting) {
        const size_t most = std::min<size_t>(context, job.prompt.size() + 8);
        auto tokens = Buffer<llama::Token>::create(most);
        if (!tokens) {
            fail(job, {503, "There is no memory for the prompt right now.", "out_of_memory"});
            return;
        }
        job.tokens = std::move(*tokens);
        job.state = JobState::kEncoding;
        generator_->encode_begin(job.prompt, job.tokens.span());
    }
    const auto step = generator_->encode_step();
    if (!step || (step->done && step->count >= context)) {
        char text[128];
        TextWriter message(text);
        message.put("prompt is longer than the model's context of ", context, " tokens.");
        fail(job, {400, message.view(), "context_length_exceeded", "prompt"});
    } else if (step->done && step->count == 0) {
        fail(job, {400, "prompt is empty, and this model needs something to begin with.",
                   "invalid_value", "prompt"});
    } else if (step->done) {
        job.token_count = step->count;
        job.prompt = {};
        job.prompt_copy = Buffer<char>();
        job.state = JobState::kReady;
    }
}

void CompletionApi::start(Job &job) {
    std::array<std::string_view, CompletionRequest::kMaxStops> stops;
    for (uint32_t i = 0; i < job.stop_count; ++i) {
        stops[i] = {job.stops[i].data(), job.stop_lens[i]};
    }
    const llama::Request request{.prompt = job.tokens.span().first(job.token_count),
                                 .max_tokens = job.max_tokens,
                                 .sampling = job.sampling};
    const Status status = generator_->start(request, *this);
    if (status.code() == ErrorCode::kExhausted) {
        return;  // somebody else uses the engine; later
    }
    if (!status) {
        fail(job, {400, status.message(), "invalid_value", "prompt"});
        return;
    }
    matcher_.reset(std::span(stops).first(job.stop_count));
    generator_->decode_begin();
    stop_generator_ = false;
    first_token_ticks_ = 0;
    job.state = JobState::kRunning;
    job.tokens = Buffer<llama::Token>();
    running_ = &job;
    ++counters_.started;
    if (job.stream) {
        answered_ = true;
        job.exchange->respond_stream({.status = 200,
                                      .content_type = kTypeEvents,
                                      .extra_headers = "X-Accel-Buffering: no\r\n"},
                                     *this, Cursor{}, OnHangUp::kCancel);
    }
}

bool CompletionApi::poll() {
    if (generator_ == nullptr) {
        return false;
    }
    answered_ = false;
    if (stop_generator_) {
        stop_generator_ = false;
        answered_ = true;
        if (running_ != nullptr && generator_->busy()) {
            generator_->cancel();
        }
    }
    // One prompt is encoded at a time, the oldest first.
    Job *encoding = oldest(JobState::kEncoding);
    if (encoding == nullptr) {
        encoding = oldest(JobState::kWaiting);
    }
    if (encoding != nullptr) {
        encode(*encoding);
    }
    if (running_ == nullptr) {
        if (Job *ready = oldest(JobState::kReady)) {
            start(*ready);
        }
    }
    return answered_ || oldest(JobState::kWaiting) != nullptr ||
           oldest(JobState::kEncoding) != nullptr ||
           (running_ == nullptr && oldest(JobState::kReady) != nullptr && !generator_->busy());
}

bool CompletionApi::may_advance() const {
    return running_ == nullptr || !running_->stream || running_->pending() < kPauseBytes;
}

// ------------------------------------------------------------------ tokens come

void CompletionApi::on_token(llama::Token token) {
    Job *job = running_;
    if (job == nullptr || stop_generator_) {
        return;  // made in the same slice as what ended the text
    }
    ++job->summary.completion_tokens;
    ++counters_.completion_tokens;
    if (first_token_ticks_ == 0) {
        first_token_ticks_ = platform::ticks();
    }
    emit(*job, matcher_.put(generator_->decode(token)));
    stop_generator_ = stop_generator_ || matcher_.matched() || job->failed;
}

void CompletionApi::on_finished(llama::FinishReason reason, const llama::Usage &usage) {
    Job *job = std::exchange(running_, nullptr);
    if (job == nullptr) {
        return;
    }
    CompletionSummary &summary = job->summary;
    summary.prompt_tokens = usage.prompt_tokens;
    summary.prompt_ms = to_ms(usage.prompt_ticks);
    summary.decode_ms = to_ms(usage.decode_ticks);
    if (summary.decode_ms > 0) {
        summary.tokens_per_second = summary.completion_tokens * 1000.0 / summary.decode_ms;
    }
    summary.finish = job->failed                                 ? FinishKind::kFailed
                     : matcher_.matched()                        ? FinishKind::kStop
                     : reason == llama::FinishReason::kLength    ? FinishKind::kLength
                     : reason == llama::FinishReason::kCancelled ? FinishKind::kCancelled
                                                                 : FinishKind::kStop;
    counters_.prompt_tokens += usage.prompt_tokens;
    counters_.prompt_us += static_cast<uint64_t>(summary.prompt_ms * 1000.0);
    counters_.decode_us += static_cast<uint64_t>(summary.decode_ms * 1000.0);
    if (summary.tokens_per_second > 0) {
        counters_.last_tokens_per_second = summary.tokens_per_second;
    }
    stop_generator_ = false;
    if (summary.finish == FinishKind::kCancelled) {
        ++counters_.cancelled;
    } else {
        if (!matcher_.matched()) {
            // Bytes that never became a character, and what could have become a stop string.
            emit(*job, matcher_.put(generator_->decode_finish()));
            emit(*job, matcher_.finish());
        }
        ++counters_.finished;
    }
    report(*job);
    complete(*job);
}

void CompletionApi::report(const Job &job) {
    if (observer_ != nullptr) {
        observer_->on_completion(job.summary);
    }
}

// The text is whole, or will never be.
void CompletionApi::complete(Job &job) {
    job.done = true;
    job.state = JobState::kDraining;
    if (job.local != nullptr) {
        LocalClient *client = job.local;
        const CompletionSummary summary = job.summary;
        const bool failed = job.failed;
        release(job);
        client->on_done(summary, failed ? "There is no memory for the text." : std::string_view());
        return;
    }
    if (job.exchange == nullptr) {  // the client has gone
        release(job);
        return;
    }
    if (job.stream) {
        return;  // the server asks for the rest
    }
    if (job.failed) {
        respond_error(*job.exchange,
                      {500, "There is no memory for the whole text.", "out_of_memory"});
        return;
    }
    // Made twice, once for its length.
    uint64_t len_bytes = 0;
    Cursor cursor;
    Piece piece = Piece::kMore;
    while (piece == Piece::kMore) {
        char buffer[Exchange::kMaxPieceBytes];
        TextWriter out(buffer);
        piece = produce_whole(job, cursor, out);
        len_bytes += out.size();
    }
    job.exchange->respond_stream({.status = 200, .content_type = kTypeJson}, *this, Cursor{},
                                 OnHangUp::kCancel, len_bytes);
}

void CompletionApi::emit(Job &job, std::string_view text) {
    if (job.local != nullptr) {
        if (!text.empty()) {
            job.local->on_text(text);
        }
        return;
    }
    while (!text.empty() && !job.failed) {
        const std::string_view front = whole_characters(text, kMaxEventText);
        char head[2] = {static_cast<char>(front.size() & 0xff),
                        static_cast<char>(front.size() >> 8)};
        job.failed = (job.stream && !append(job, {head, sizeof head})) || !append(job, front);
        text.remove_prefix(front.size());
    }
}

bool CompletionApi::append(Job &job, std::string_view text) {
    if (job.text_begin > 0) {
        std::memmove(job.text.data(), job.text.data() + job.text_begin, job.pending());
        job.text_end = job.pending();
        job.text_begin = 0;
    }
    if (text.size() > job.text.size() - job.text_end) {
        const size_t target =
            std::max({job.text_end + text.size(), job.text.size() * 2, size_t{1024}});
        auto grown = Buffer<char>::create(target);
        if (target > kMaxTextBytes || !grown) {
            return false;
        }
        if (job.text_end > 0) {
            std::memcpy(grown->data(), job.text.data(), job.text_end);
        }
        job.text = std::move(*grown);
    }
    std::memcpy(job.text.data() + job.text_end, text.data(), text.size());
    job.text_end += text.size();
    return true;
}

// ------------------------------------------------------------------ answers

void CompletionApi::write_opening(const Job &job, TextWriter &out) const {
    out.put("{\"id\":\"cmpl-", Hex{job.id, 16},
            "\",\"object\":\"text_completion\",\"created\":", job.created_s,
            ",\"model\":", JsonString{generator_->model_id().substr(0, kMaxShownId)},
            ",\"choices\":[{\"index\":0,\"logprobs\":null,\"text\":\"");
}

void CompletionApi::write_closing(const Job &job, std::string_view finish, TextWriter &out) const {
    const CompletionSummary &summary = job.summary;
    out.put("\",\"finish_reason\":\"", finish,
            "\"}],\"usage\":{\"prompt_tokens\":", summary.prompt_tokens,
            ",\"completion_tokens\":", summary.completion_tokens,
            ",\"total_tokens\":", summary.prompt_tokens + summary.completion_tokens,
            "},\"bareflow\":{\"seed\":", job.sampling.seed,
            ",\"prompt_ms\":", Fixed{summary.prompt_ms, 3},
            ",\"decode_ms\":", Fixed{summary.decode_ms, 3},
            ",\"tokens_per_second\":", Fixed{summary.tokens_per_second, 2}, "}}");
}

AnswerSource::Piece CompletionApi::produce(Exchange &exchange, Cursor &cursor, TextWriter &out) {
    Job *job = job_of(exchange);
    if (job == nullptr) {
        platform::panic("http: an answer without its job");
    }
    return job->stream ? produce_event(*job, cursor, out) : produce_whole(*job, cursor, out);
}

AnswerSource::Piece CompletionApi::produce_event(Job &job, Cursor &cursor, TextWriter &out) {
    if (job.pending() > 0) {
        const char *at = job.text.data() + job.text_begin;
        const size_t len =
            static_cast<uint8_t>(at[0]) | static_cast<size_t>(static_cast<uint8_t>(at[1])) << 8;
        out.put("data: ");
        write_opening(job, out);
        put_escaped(out, {at + 2, len});
        out.put("\",\"finish_reason\":null}]}\n\n");
        if (!out.truncated()) {
            job.text_begin += 2 + len;
        }
        return Piece::kMore;
    }
    if (!job.done) {
        return Piece::kWait;
    }
    if (cursor.piece == 0) {
        cursor.piece = 1;
        out.put("data: ");
        if (job.failed) {
            write_error(out, {500, "There is no memory for the whole text.", "out_of_memory"});
            out.put("\n");
        } else {
            write_opening(job, out);
            write_closing(job, finish_name(job.summary.finish), out);
            out.put("\n\n");
        }
        return Piece::kMore;
    }
    out.put("data: [DONE]\n\n");
    return Piece::kEnd;
}

// cursor.piece: bytes of text written, behind the opening (piece 0 of form 0).
AnswerSource::Piece CompletionApi::produce_whole(const Job &job, Cursor &cursor,
                                                 TextWriter &out) const {
    if (cursor.form == 0) {
        cursor.form = 1;
        write_opening(job, out);
        return Piece::kMore;
    }
    const std::string_view text(job.text.data() + job.text_begin, job.pending());
    const std::string_view rest = text.substr(cursor.piece);
    if (!rest.empty()) {
        const std::string_view front = whole_characters(rest, kMaxEventText);
        put_escaped(out, front);
        cursor.piece += static_cast<uint32_t>(front.size());
        return Piece::kMore;
    }
    write_closing(job, finish_name(job.summary.finish), out);
    out.put("\n");
    return Piece::kEnd;
}

void CompletionApi::ended(Exchange &exchange, bool complete) {
    Job *job = job_of(exchange);
    if (job == nullptr) {
        return;
    }
    job->exchange = nullptr;
    switch (job->state) {
        case JobState::kRunning:
            generator_->cancel();  // on_finished() frees the job
            break;
        case JobState::kEncoding:
            if (!complete) {
                generator_->encode_cancel();
            }
            [[fallthrough]];
        case JobState::kWaiting:
        case JobState::kReady:
            counters_.cancelled += complete ? 0 : 1;
            release(*job);
            break;
        case JobState::kDraining:
            release(*job);
            break;
        case JobState::kFree:
            break;
    }
}

CompletionCounters CompletionApi::counters() const {
    CompletionCounters counters = counters_;
    counters.waiting = waiting();
    counters.running = running_ != nullptr ? 1 : 0;
    return counters;
}

double CompletionApi::tokens_per_second() const {
    if (running_ != nullptr && running_->summary.completion_tokens > 1) {
        const double ms = to_ms(platform::ticks() - first_token_ticks_);
        if (ms > 0) {
            return (running_->summary.completion_tokens - 1) * 1000.0 / ms;
        }
    }
    return counters_.last_tokens_per_second;
}

void CompletionApi::ModelsHandler::handle(Exchange &exchange) {
    char body[768];
    TextWriter out(body);
    out.put("{\"object\":\"list\",\"data\":[");
    if (api_.generator_ != nullptr) {
        out.put("{\"id\":", JsonString{api_.generator_->model_id().substr(0, kMaxShownId)},
                ",\"object\":\"model\",\"created\":", api_.ready_since_s_,
                ",\"owned_by\":\"bareflow\",\"context_length\":", api_.generator_->context_length(),
                "}");
    }
    out.put("]}\n");
    exchange.respond({.status = 200, .content_type = kTypeJson}, out.view());
}

}  // namespace bareflow::http
