// The life of a request:
//
//   accept()       checks the body and puts a job into the queue (kWaiting)
//   encode()       makes the prompt's tokens in slices (kEncoding, kReady)
//   start()        hands the job to the generator (kRunning)
//   on_token()     adds text to the job
//   on_finished()  the text is complete (kDraining)
//   ended()        the client has the answer, or has left: the job is free
//
// A local client's job ends with on_done(). A callback of a client or an observer may call
// cancel_local(): after each such call, the job it was about may be gone.
#include "api/completion_api.h"

#include <algorithm>
#include <new>
#include <utility>

#include "api/chat_prompt.h"
#include "api/completion_answer.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow::api {

namespace {

constexpr size_t kPauseBytes = 16 * 1024;  // unread text of a stream that pauses its making
constexpr size_t kUsualTokenBytes = 8;
constexpr size_t kMaxReservedBytes = 32 * 1024;
// Time for encoding prompts in one poll(), so that requests that came together start together. A
// longer prompt is continued in the next poll().
constexpr uint64_t kEncodeUs = 1000;

uint64_t random_u64() {
    uint64_t value = 0;
    platform::fill_entropy({reinterpret_cast<uint8_t *>(&value), sizeof value});
    return value;
}

// 32 bits: a seed stays exact in clients whose numbers are doubles.
uint64_t random_seed() {
    return random_u64() >> 32;
}

std::string_view prompt_field(bool chat) {
    return chat ? "messages" : "prompt";
}

void take_order(JobOrder &order, const CompletionRequest &request, bool chat) {
    order.max_tokens = request.max_tokens;
    order.sampling = request.sampling;
    if (!request.has_seed) {
        order.sampling.seed = random_seed();
    }
    order.chat = chat;
    order.stream = request.stream;
    order.include_usage = request.include_usage;
    order.stops.copy(std::span(request.stops).first(request.stop_count));
    order.id = random_u64();
    order.created_s = platform::unix_time_s();
}

// Takes memory before the text starts, so that tokens rarely need to allocate. Where there is no
// memory now, there may be later.
void reserve_text(Job &job) {
    const JobOrder &order = job.asked;
    const size_t expected = order.stream ? kPauseBytes + StopMatcher::kMaxPieceBytes
                                         : order.max_tokens * kUsualTokenBytes;
    job.text.reserve(std::min(expected, kMaxReservedBytes));
    if (order.sampling.wants_logprobs) {
        job.logprobs.start(order.sampling.top_logprobs);
        job.logprobs.reserve(order.max_tokens, kMaxReservedBytes);
    }
}

// The last call of a local client. The job is free before it: the client may submit anew.
void end_local(Job &job, std::string_view error) {
    LocalClient *client = job.local;
    const CompletionSummary summary = job.summary;
    CompletionQueue::release(job);
    client->on_done(summary, error);
}

}  // namespace

Result<CompletionApi *> CompletionApi::create(const CompletionConfig &config) {
    if (config.queue > CompletionQueue::kMaxWaiting) {
        return Error{ErrorCode::kInvalid, "the queue is longer than 64"};
    }
    if (config.slots == 0 || config.slots > CompletionQueue::kMaxSlots) {
        return Error{ErrorCode::kInvalid, "there are 1 to 16 slots"};
    }
    void *memory = heap_allocate(sizeof(CompletionApi), alignof(CompletionApi));
    if (memory == nullptr) {
        return Error{ErrorCode::kTooLarge, "no memory for the completion queue"};
    }
    auto *api = new (memory) CompletionApi(config);
    if (const Status status = api->queue_.allocate(config.queue, config.slots); !status) {
        api->destroy();
        return status;
    }
    return api;
}

void CompletionApi::destroy() {
    for (llama::SlotId slot = 0; slot < CompletionQueue::kMaxSlots; ++slot) {
        if (queue_.text(slot).job != nullptr) {
            generator_->cancel(slot);
        }
    }
    this->~CompletionApi();
    heap_release(this);
}

void CompletionApi::set_generator(TextGenerator &generator) {
    generator_ = &generator;
    models_.set_generator(generator, platform::unix_time_s());
}

void CompletionApi::set_unavailable(std::string_view why, bool loading) {
    unavailable_ = why;
    loading_ = loading;
}

// ------------------------------------------------------------------ requests

void CompletionApi::respond_unavailable(http::Exchange &exchange) {
    ++counters_.refused;
    http::respond_error(exchange,
                        {503,
                         unavailable_,
                         loading_ ? "model_loading" : "no_model",
                         {},
                         loading_ ? std::string_view("Retry-After: 1\r\n") : std::string_view()});
}

void CompletionApi::accept(http::Exchange &exchange, bool chat) {
    if (generator_ == nullptr) {
        respond_unavailable(exchange);
        return;
    }
    char text[256];
    TextWriter message(text);
    http::ErrorAnswer error{};
    CompletionRequest request;
    const uint32_t context = generator_->context_length();
    const CompletionLimits limits{
        .model_id = generator_->model_id(),
        .max_tokens = std::min(context, config_.max_tokens),
        .messages = chat ? std::span(messages_) : std::span<ChatMessage>()};
    if (!parse_completion_request(exchange.request().body, limits, request, message, error)) {
        http::respond_error(exchange, error);
        return;
    }
    Job *job = queue_.place(generator_->slot_count());
    if (job == nullptr) {
        ++counters_.refused;
        http::respond_error(exchange, {503,
                                       "Too many requests are waiting already.",
                                       "queue_full",
                                       {},
                                       "Retry-After: 2\r\n"});
        return;
    }
    job->prompt.source = {request.prompt, {}};
    if (chat && !write_chat_prompt(generator_->chat_template(),
                                   std::span(messages_).first(request.message_count), job->prompt,
                                   message, error)) {
        CompletionQueue::release(*job);
        http::respond_error(exchange, error);
        return;
    }
    take_order(job->asked, request, chat);
    job->exchange = &exchange;
    queue_.enter(*job);
    exchange.defer(*this);
}

Status CompletionApi::submit_local(std::string_view prompt, uint32_t max_tokens,
                                   LocalClient &client) {
    if (generator_ == nullptr) {
        return {ErrorCode::kInvalid, unavailable_};
    }
    Job *job = queue_.place(generator_->slot_count());
    if (job == nullptr) {
        return {ErrorCode::kExhausted, "Too many requests are waiting already."};
    }
    BF_ASSIGN(job->prompt.text, Buffer<char>::create(prompt.size() + 1));
    std::copy(prompt.begin(), prompt.end(), job->prompt.text.data());
    job->prompt.source = {{job->prompt.text.data(), prompt.size()}, {}};
    job->local = &client;
    job->asked.max_tokens = std::clamp(max_tokens, 1u, generator_->context_length());
    job->asked.sampling.seed = random_seed();
    job->summary.local = true;
    queue_.enter(*job);
    return {};
}

void CompletionApi::cancel_local() {
    for (Job &job : queue_.jobs()) {
        if (job.state == JobState::kFree || job.local == nullptr) {
            continue;
        }
        if (job.state == JobState::kRunning) {
            generator_->cancel(job.slot);  // on_finished() does the rest
            continue;
        }
        if (job.state == JobState::kEncoding) {
            generator_->encode_cancel();
        }
        job.summary.finish = FinishKind::kCancelled;
        end_local(job, {});
    }
}

void CompletionApi::fail(Job &job, const http::ErrorAnswer &error) {
    if (job.local != nullptr) {
        job.summary.finish = FinishKind::kFailed;
        end_local(job, error.message);
    } else {
        answered_ = true;
        http::respond_error(*job.exchange, error);  // ended() frees the job
    }
}

// ------------------------------------------------------------------ from prompt to start

void CompletionApi::encode(Job &job) {
    const uint32_t context = generator_->context_length();
    bool too_long = false;
    TextGenerator::Encoding made;
    if (job.state == JobState::kWaiting) {
        const size_t most = std::min<size_t>(
            context, job.prompt.source.text.size() + job.prompt.source.controls.size() + 8);
        auto tokens = Buffer<llama::Token>::create(most);
        if (!tokens) {
            fail(job, kNoPromptMemory);
            return;
        }
        job.prompt.tokens = std::move(*tokens);
        job.state = JobState::kEncoding;
        // Too long even if every token had the longest text: the tokenizer need not look at it.
        too_long = job.prompt.source.text.size() / generator_->max_piece_bytes() >= context;
        generator_->encode_begin(job.prompt.source, job.prompt.tokens.span());
    }
    if (!too_long) {
        const auto step = generator_->encode_step();
        too_long = !step || (step->done && step->count >= context);
        made = step ? *step : made;
    }
    char text[128];
    TextWriter message(text);
    message.put(prompt_field(job.asked.chat));
    if (too_long) {
        message.put(job.asked.chat ? " are" : " is", " longer than the model's context of ",
                    context, " tokens.");
    } else if (made.done && made.count == 0) {
        message.put(job.asked.chat ? " make no prompt" : " is empty",
                    ", and this model needs something to begin with.");
    } else {
        if (made.done) {
            job.prompt.count = made.count;
            job.prompt.release_text();
            job.state = JobState::kReady;
        }
        return;
    }
    generator_->encode_cancel();
    fail(job, {400, message.view(), too_long ? "context_length_exceeded" : "invalid_value",
               prompt_field(job.asked.chat)});
}

bool CompletionApi::start(Job &job) {
    const JobOrder &order = job.asked;
    const llama::Request request{
        .prompt = job.prompt.tokens.span().first(job.prompt.count),
        .max_tokens = order.max_tokens,
        .sampling = order.sampling,
        .also_ends = order.chat ? generator_->turn_end() : llama::kNoToken};
    const auto slot = generator_->start(request, *this);
    if (!slot && slot.error().code == ErrorCode::kExhausted) {
        return false;
    }
    if (!slot) {
        fail(job, {400, slot.error().message, "invalid_value", prompt_field(order.chat)});
        return true;
    }
    reserve_text(job);
    job.prompt.tokens = Buffer<llama::Token>();
    queue_.run(job, *slot);
    generator_->decode_begin(*slot);
    ++counters_.started;
    if (order.stream) {
        answered_ = true;
        job.exchange->respond_stream({.status = 200,
                                      .content_type = http::kTypeEvents,
                                      .extra_headers = "X-Accel-Buffering: no\r\n"},
                                     *this, http::Cursor{}, http::OnHangUp::kCancel);
    }
    return true;
}

// Pauses a stream whose client has not taken what is there for it.
void CompletionApi::pause_or_resume(llama::SlotId slot) {
    RunningText &running = queue_.text(slot);
    const bool pause = running.job->asked.stream && running.job->text.size() >= kPauseBytes;
    if (pause != running.paused) {
        running.paused = pause;
        generator_->pause(slot, pause);
    }
}

bool CompletionApi::poll() {
    if (generator_ == nullptr) {
        return false;
    }
    answered_ = false;
    for (llama::SlotId slot = 0; slot < CompletionQueue::kMaxSlots; ++slot) {
        const RunningText &running = queue_.text(slot);
        if (running.job == nullptr) {
            continue;
        }
        if (running.stop) {
            answered_ = true;
            generator_->cancel(slot);
        } else {
            pause_or_resume(slot);
        }
    }
    const uint64_t deadline = platform::ticks() + us_to_ticks(kEncodeUs);
    do {
        Job *encoding = queue_.next_to_encode();
        if (encoding == nullptr) {
            break;
        }
        encode(*encoding);
    } while (platform::ticks() < deadline);
    Job *ready = queue_.next_to_start();
    while (ready != nullptr && start(*ready)) {
        ready = queue_.next_to_start();
    }
    return answered_ || queue_.next_to_encode() != nullptr;
}

// ------------------------------------------------------------------ tokens come

void CompletionApi::on_token(llama::SlotId slot, llama::Token token) {
    RunningText &running = queue_.text(slot);
    Job *job = running.job;
    if (job == nullptr || running.stop) {
        return;  // made in the same slice as what ended the text
    }
    ++job->summary.completion_tokens;
    ++counters_.completion_tokens;
    rate_.note(platform::ticks());
    const std::string_view text = generator_->decode(slot, token);
    if (job->asked.sampling.wants_logprobs && !job->failed) {
        job->failed = !job->logprobs.add(generator_->logprobs(), text);
    }
    emit(*job, running.matcher.put(text));
    if (running.job != job) {
        return;  // the client cancelled when it got the text
    }
    running.stop = running.matcher.matched() || job->failed;
    pause_or_resume(slot);
}

void CompletionApi::on_finished(llama::SlotId slot, llama::FinishReason reason,
                                const llama::Usage &usage) {
    RunningText &running = queue_.text(slot);
    Job *job = running.job;
    if (job == nullptr) {
        return;
    }
    const double rate = tokens_per_second();
    running.job = nullptr;
    if (rate > 0) {
        counters_.tokens_per_second = rate;
    }
    if (queue_.running() == 0) {
        rate_.reset();
    }
    const FinishKind finish = job->failed                                 ? FinishKind::kFailed
                              : running.matcher.matched()                 ? FinishKind::kStop
                              : reason == llama::FinishReason::kLength    ? FinishKind::kLength
                              : reason == llama::FinishReason::kCancelled ? FinishKind::kCancelled
                                                                          : FinishKind::kStop;
    sum_up(*job, finish, usage);
    if (finish == FinishKind::kCancelled) {
        ++counters_.cancelled;
    } else {
        if (!running.matcher.matched()) {
            // Bytes that never became a character, and the possible beginning of a stop string.
            emit(*job, running.matcher.put(generator_->decode_finish(slot)));
            emit(*job, running.matcher.finish());
        }
        ++counters_.finished;
    }
    if (observer_ != nullptr) {
        observer_->on_completion(job->summary);
    }
    complete(*job);
}

void CompletionApi::sum_up(Job &job, FinishKind finish, const llama::Usage &usage) {
    CompletionSummary &summary = job.summary;
    summary.finish = finish;
    summary.prompt_tokens = usage.prompt_tokens;
    summary.cached_tokens = usage.cached_tokens;
    summary.prompt_ms = ticks_to_ms(usage.prompt_ticks);
    summary.decode_ms = ticks_to_ms(usage.decode_ticks);
    // The first token came with the prompt's last batch: decoding made the others.
    if (summary.decode_ms > 0 && summary.completion_tokens > 1) {
        summary.tokens_per_second = (summary.completion_tokens - 1) * 1000.0 / summary.decode_ms;
    }
    counters_.prompt_tokens += usage.prompt_tokens;
    counters_.cached_tokens += usage.cached_tokens;
    if (summary.tokens_per_second > 0) {
        counters_.last_tokens_per_second = summary.tokens_per_second;
    }
}

// The text is whole, or will never be.
void CompletionApi::complete(Job &job) {
    job.done = true;
    job.state = JobState::kDraining;
    if (job.local != nullptr) {
        end_local(job, job.failed ? "There is no memory for the text." : std::string_view());
    } else if (job.exchange == nullptr) {  // the client has gone
        CompletionQueue::release(job);
    } else if (job.asked.stream) {
        return;  // the server asks for what has not been sent
    } else if (job.failed) {
        http::respond_error(*job.exchange,
                            {500, "There is no memory for the whole text.", "out_of_memory"});
    } else {
        job.exchange->respond_stream({.status = 200, .content_type = http::kTypeJson}, *this,
                                     http::Cursor{}, http::OnHangUp::kCancel,
                                     answer_bytes(job, *generator_));
    }
}

void CompletionApi::emit(Job &job, std::string_view text) {
    if (job.local == nullptr) {
        job.failed = job.failed || !job.text.add(text, job.asked.stream);
    } else if (!text.empty()) {
        job.local->on_text(text);
    }
}

// ------------------------------------------------------------------ the server asks

http::AnswerSource::Piece CompletionApi::produce(http::Exchange &exchange, http::Cursor &cursor,
                                                 TextWriter &out) {
    Job *job = queue_.job_of(exchange);
    if (job == nullptr) {
        platform::panic("http: an answer without its job");
    }
    return write_answer(*job, *generator_, cursor, out);
}

void CompletionApi::ended(http::Exchange &exchange, bool complete) {
    Job *job = queue_.job_of(exchange);
    if (job == nullptr) {
        return;
    }
    job->exchange = nullptr;
    switch (job->state) {
        case JobState::kRunning:
            generator_->cancel(job->slot);  // on_finished() frees the job
            break;
        case JobState::kEncoding:
            if (!complete) {
                generator_->encode_cancel();
            }
            [[fallthrough]];
        case JobState::kWaiting:
        case JobState::kReady:
            counters_.cancelled += complete ? 0 : 1;
            CompletionQueue::release(*job);
            break;
        case JobState::kDraining:
            CompletionQueue::release(*job);
            break;
        case JobState::kFree:
            break;
    }
}

CompletionCounters CompletionApi::counters() const {
    CompletionCounters counters = counters_;
    counters.waiting = queue_.waiting();
    counters.running = queue_.running();
    counters.tokens_per_second = tokens_per_second();
    if (generator_ != nullptr) {
        const llama::EngineCounters engine = generator_->counters();
        counters.slots = generator_->slot_count();
        counters.computed_prompt_tokens = engine.prompt_tokens;
        counters.copied_tokens = engine.copied_tokens;
        counters.batches = engine.batches;
        counters.batch_rows = engine.tokens;
        counters.prompt_us = ticks_to_us(engine.prompt_ticks);
        counters.decode_us = ticks_to_us(engine.decode_ticks);
    }
    return counters;
}

double CompletionApi::tokens_per_second() const {
    const double rate = queue_.running() > 0 ? rate_.per_second(platform::ticks()) : 0;
    return rate > 0 ? rate : counters_.tokens_per_second;
}

}  // namespace bareflow::api
