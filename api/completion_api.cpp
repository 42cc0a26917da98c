#include "api/completion_api.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "kernel_lib/base/utf8.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow::api {

namespace {

constexpr size_t kPauseBytes = 16 * 1024;  // unread text of a stream that pauses its making
constexpr size_t kUsualTokenBytes = 8;
constexpr size_t kMaxReservedBytes = 32 * 1024;
constexpr size_t kMaxTextBytes = 8 * 1024 * 1024;  // of one completion
constexpr size_t kMaxEventText = 384;  // bytes of text in one event, escapes not counted
constexpr uint32_t kDrainingJobs = 8;
// What reading prompts may take of one turn of the event loop: those that came together begin
// together. A longer one goes on in the next turn.
constexpr uint64_t kEncodeUs = 1000;
constexpr size_t kMaxShownId = 96;
constexpr size_t kMaxShownToken = 64;  // bytes of one token's text among probabilities
constexpr http::ApiError kNoMemory{
    503, "There is no memory for the prompt right now.", "out_of_memory", {}, "Retry-After: 2\r\n"};
constexpr uint32_t kCompletionLogprobLists = 4;
constexpr double kLeastLogprob = -9999.0;

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

std::string_view prompt_field(bool chat) {
    return chat ? "messages" : "prompt";
}

uint32_t characters(std::string_view text) {
    uint32_t count = 0;
    for (const char c : text) {
        count += (static_cast<uint8_t>(c) & 0xc0) != 0x80 ? 1 : 0;
    }
    return count;
}

// Room for `more` values behind `used`, twice the old at least. False: over `limit`, or no memory.
template <typename T>
bool make_room(Buffer<T> &buffer, size_t used, size_t more, size_t limit) {
    if (more <= buffer.size() - used) {
        return true;
    }
    const size_t target = std::max({used + more, buffer.size() * 2, size_t{1024} / sizeof(T)});
    if (target > limit) {
        return false;
    }
    auto grown = Buffer<T>::create(target);
    if (!grown) {
        return false;
    }
    if (used > 0) {
        std::memcpy(grown->data(), buffer.data(), used * sizeof(T));
    }
    buffer = std::move(*grown);
    return true;
}

std::string_view finish_name(FinishKind kind) {
    return kind == FinishKind::kLength ? "length" : "stop";
}

}  // namespace

Result<CompletionApi *> CompletionApi::create(const CompletionConfig &config) {
    if (config.queue > kMaxQueue) {
        return Error{ErrorCode::kInvalid, "the queue is longer than 64"};
    }
    if (config.slots == 0 || config.slots > llama::EngineConfig::kMaxSlots) {
        return Error{ErrorCode::kInvalid, "there are 1 to 16 slots"};
    }
    const uint32_t count = config.queue + config.slots + kDrainingJobs;
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
    for (llama::SlotId slot = 0; slot < running_.size(); ++slot) {
        if (running_[slot].job != nullptr) {
            generator_->cancel(slot);
        }
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

CompletionApi::Job *CompletionApi::job_of(const http::Exchange &exchange) {
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

uint32_t CompletionApi::running() const {
    uint32_t count = 0;
    for (const Running &running : running_) {
        count += running.job != nullptr ? 1 : 0;
    }
    return count;
}

// Those that run, or are about to, and the queue behind them.
bool CompletionApi::has_room() const {
    return waiting() + running() < config_.queue + generator_->slot_count();
}

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
    http::ApiError error{};
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
    Job *job = has_room() ? free_job() : nullptr;
    if (job == nullptr) {
        ++counters_.refused;
        http::respond_error(exchange, {503,
                                       "Too many requests are waiting already.",
                                       "queue_full",
                                       {},
                                       "Retry-After: 2\r\n"});
        return;
    }
    job->prompt = {request.prompt, {}};
    if (chat && !render(*job, exchange, request.message_count)) {
        release(*job);
        return;
    }
    job->state = JobState::kWaiting;
    job->order = next_order_++;
    job->exchange = &exchange;
    job->chat = chat;
    job->include_usage = request.include_usage;
    job->max_tokens = request.max_tokens;
    job->sampling = request.sampling;
    if (!request.has_seed) {
        // 53 bits at most: a seed survives clients whose numbers are doubles.
        job->sampling.seed = random_u64() >> 32;
    }
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

bool CompletionApi::render(Job &job, http::Exchange &exchange, uint32_t message_count) {
    const ChatTemplate &chat = generator_->chat_template();
    const std::span<const ChatMessage> messages = std::span(messages_).first(message_count);
    uint32_t bad = 0;
    PromptWriter size({}, {});
    if (const Status status = render_chat(chat, messages, size, bad); !status) {
        char text[256];
        TextWriter message(text);
        message.put("messages[", bad, "].role");
        const std::string_view field = message.view();
        message.put(status.message());
        http::respond_error(exchange, {400, message.view(), "invalid_value", field});
        return false;
    }
    auto text = Buffer<char>::create(size.size());
    auto controls = Buffer<ControlSpan>::create(size.control_count());
    if (!text || !controls) {
        http::respond_error(exchange, kNoMemory);
        return false;
    }
    job.prompt_copy = std::move(*text);
    job.controls = std::move(*controls);
    PromptWriter writer(job.prompt_copy.span(), job.controls.span());
    if (!render_chat(chat, messages, writer, bad)) {
        platform::panic("http: messages that could be written, and then not");
    }
    job.prompt = {{job.prompt_copy.data(), job.prompt_copy.size()}, job.controls.span()};
    return true;
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
    job->prompt = {{job->prompt_copy.data(), prompt.size()}, {}};
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
            generator_->cancel(job.slot);  // on_finished() does the rest
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
    job.~Job();
    new (&job) Job;
}

void CompletionApi::fail(Job &job, const http::ApiError &error) {
    if (job.local != nullptr) {
        job.summary.finish = FinishKind::kFailed;
        LocalClient *client = job.local;
        const CompletionSummary summary = job.summary;
        release(job);
        client->on_done(summary, error.message);
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
        const size_t most =
            std::min<size_t>(context, job.prompt.text.size() + job.prompt.controls.size() + 8);
        auto tokens = Buffer<llama::Token>::create(most);
        if (!tokens) {
            fail(job, kNoMemory);
            return;
        }
        job.tokens = std::move(*tokens);
        job.state = JobState::kEncoding;
        // So long that no tokenizer needs to look at it.
        too_long = job.prompt.text.size() / generator_->max_piece_bytes() >= context;
        generator_->encode_begin(job.prompt, job.tokens.span());
    }
    if (!too_long) {
        const auto step = generator_->encode_step();
        too_long = !step || (step->done && step->count >= context);
        made = step ? *step : made;
    }
    char text[128];
    TextWriter message(text);
    message.put(prompt_field(job.chat));
    if (too_long) {
        message.put(job.chat ? " are" : " is", " longer than the model's context of ", context,
                    " tokens.");
    } else if (made.done && made.count == 0) {
        message.put(job.chat ? " make no prompt" : " is empty",
                    ", and this model needs something to begin with.");
    } else {
        if (made.done) {
            job.token_count = made.count;
            job.prompt = {};
            job.prompt_copy = Buffer<char>();
            job.controls = Buffer<ControlSpan>();
            job.state = JobState::kReady;
        }
        return;
    }
    generator_->encode_cancel();
    fail(job, {400, message.view(), too_long ? "context_length_exceeded" : "invalid_value",
               prompt_field(job.chat)});
}

bool CompletionApi::start(Job &job) {
    std::array<std::string_view, CompletionRequest::kMaxStops> stops;
    for (uint32_t i = 0; i < job.stop_count; ++i) {
        stops[i] = {job.stops[i].data(), job.stop_lens[i]};
    }
    const llama::Request request{.prompt = job.tokens.span().first(job.token_count),
                                 .max_tokens = job.max_tokens,
                                 .sampling = job.sampling,
                                 .also_ends = job.chat ? generator_->turn_end() : llama::kNoToken};
    const auto slot = generator_->start(request, *this);
    if (!slot && slot.error().code == ErrorCode::kExhausted) {
        return false;
    }
    if (!slot) {
        fail(job, {400, slot.error().message, "invalid_value", prompt_field(job.chat)});
        return true;
    }
    // So that nothing needs to be allocated while tokens come, unless a text is very long; where
    // there is no memory for that now, there may be later.
    const size_t expected =
        job.stream ? kPauseBytes + StopMatcher::kMaxPieceBytes : job.max_tokens * kUsualTokenBytes;
    (void)make_room(job.text, 0, std::min(expected, kMaxReservedBytes), kMaxTextBytes);
    if (job.sampling.wants_logprobs) {
        (void)make_room(job.logprobs, 0,
                        std::min(job.max_tokens * job.stride(),
                                 kMaxReservedBytes / sizeof(llama::TokenLogprob)),
                        kMaxTextBytes);
    }
    job.slot = *slot;
    job.state = JobState::kRunning;
    job.tokens = Buffer<llama::Token>();
    Running &running = running_[*slot];
    running.job = &job;
    running.paused = false;
    running.stop = false;
    running.matcher.reset(std::span(stops).first(job.stop_count));
    generator_->decode_begin(*slot);
    ++counters_.started;
    if (job.stream) {
        answered_ = true;
        job.exchange->respond_stream({.status = 200,
                                      .content_type = http::kTypeEvents,
                                      .extra_headers = "X-Accel-Buffering: no\r\n"},
                                     *this, http::Cursor{}, http::OnHangUp::kCancel);
    }
    return true;
}

// A stream whose client hasn't taken what is there for it.
void CompletionApi::pause_or_go_on(llama::SlotId slot) {
    Running &running = running_[slot];
    const bool pause = running.job->stream && running.job->pending() >= kPauseBytes;
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
    for (llama::SlotId slot = 0; slot < running_.size(); ++slot) {
        if (running_[slot].job == nullptr) {
            continue;
        }
        if (running_[slot].stop) {
            answered_ = true;
            generator_->cancel(slot);
        } else {
            pause_or_go_on(slot);
        }
    }
    // One prompt is encoded at a time, the oldest first.
    const uint64_t deadline = platform::ticks() + us_to_ticks(kEncodeUs);
    do {
        Job *encoding = oldest(JobState::kEncoding);
        if (encoding == nullptr) {
            encoding = oldest(JobState::kWaiting);
        }
        if (encoding == nullptr) {
            break;
        }
        encode(*encoding);
    } while (platform::ticks() < deadline);
    Job *ready = oldest(JobState::kReady);
    while (ready != nullptr && start(*ready)) {
        ready = oldest(JobState::kReady);
    }
    return answered_ || oldest(JobState::kWaiting) != nullptr ||
           oldest(JobState::kEncoding) != nullptr;
}

// ------------------------------------------------------------------ tokens come

void CompletionApi::on_token(llama::SlotId slot, llama::Token token) {
    Running &running = running_[slot];
    Job *job = running.job;
    if (job == nullptr || running.stop) {
        return;  // made in the same slice as what ended the text
    }
    ++job->summary.completion_tokens;
    ++counters_.completion_tokens;
    token_ticks_[rated_tokens_++ % kRateTokens] = platform::ticks();
    const std::string_view text = generator_->decode(slot, token);
    job->failed = job->failed || !keep_logprobs(*job, text);
    emit(*job, running.matcher.put(text));
    if (running.job != job) {
        return;  // the client cancelled when it heard of it
    }
    running.stop = running.matcher.matched() || job->failed;
    pause_or_go_on(slot);
}

void CompletionApi::on_finished(llama::SlotId slot, llama::FinishReason reason,
                                const llama::Usage &usage) {
    Running &running = running_[slot];
    Job *job = running.job;
    if (job == nullptr) {
        return;
    }
    const double rate = tokens_per_second();
    running.job = nullptr;
    if (rate > 0) {
        counters_.tokens_per_second = rate;
    }
    rated_tokens_ = this->running() > 0 ? rated_tokens_ : 0;
    CompletionSummary &summary = job->summary;
    summary.prompt_tokens = usage.prompt_tokens;
    summary.cached_tokens = usage.cached_tokens;
    summary.prompt_ms = ticks_to_ms(usage.prompt_ticks);
    summary.decode_ms = ticks_to_ms(usage.decode_ticks);
    // The first token came with the prompt's last step: decoding made the others.
    if (summary.decode_ms > 0 && summary.completion_tokens > 1) {
        summary.tokens_per_second = (summary.completion_tokens - 1) * 1000.0 / summary.decode_ms;
    }
    summary.finish = job->failed                                 ? FinishKind::kFailed
                     : running.matcher.matched()                 ? FinishKind::kStop
                     : reason == llama::FinishReason::kLength    ? FinishKind::kLength
                     : reason == llama::FinishReason::kCancelled ? FinishKind::kCancelled
                                                                 : FinishKind::kStop;
    counters_.prompt_tokens += usage.prompt_tokens;
    counters_.cached_tokens += usage.cached_tokens;
    if (summary.tokens_per_second > 0) {
        counters_.last_tokens_per_second = summary.tokens_per_second;
    }
    if (summary.finish == FinishKind::kCancelled) {
        ++counters_.cancelled;
    } else {
        if (!running.matcher.matched()) {
            // Bytes that never became a character, and what could have become a stop string.
            emit(*job, running.matcher.put(generator_->decode_finish(slot)));
            emit(*job, running.matcher.finish());
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
        http::respond_error(*job.exchange,
                            {500, "There is no memory for the whole text.", "out_of_memory"});
        return;
    }
    // Made twice, once for its length.
    uint64_t len_bytes = 0;
    http::Cursor cursor;
    Piece piece = Piece::kMore;
    while (piece == Piece::kMore) {
        char buffer[http::Exchange::kMaxPieceBytes];
        TextWriter out(buffer);
        piece = produce_whole(job, cursor, out);
        len_bytes += out.size();
    }
    job.exchange->respond_stream({.status = 200, .content_type = http::kTypeJson}, *this,
                                 http::Cursor{}, http::OnHangUp::kCancel, len_bytes);
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
    if (!make_room(job.text, job.text_end, text.size(), kMaxTextBytes)) {
        return false;
    }
    std::memcpy(job.text.data() + job.text_end, text.data(), text.size());
    job.text_end += text.size();
    return true;
}

bool CompletionApi::keep_logprobs(Job &job, std::string_view text) {
    if (!job.sampling.wants_logprobs) {
        return true;
    }
    const size_t used = job.logprob_count * job.stride();
    if (!make_room(job.logprobs, used, job.stride(), kMaxTextBytes / sizeof(llama::TokenLogprob))) {
        return false;
    }
    const std::span<const llama::TokenLogprob> given = generator_->logprobs();
    llama::TokenLogprob *const to = job.logprobs.data() + used;
    std::fill_n(to, job.stride(), llama::TokenLogprob{});
    to[1].token = static_cast<llama::Token>(job.text_characters);
    for (size_t i = 0; i < std::min(given.size(), job.stride() - 1); ++i) {
        to[i == 0 ? 0 : i + 1] = given[i];
    }
    ++job.logprob_count;
    job.text_characters += characters(text);
    return true;
}

// ------------------------------------------------------------------ answers

void CompletionApi::write_head(const Job &job, TextWriter &out) const {
    out.put(
        "{\"id\":\"", job.chat ? "chatcmpl-" : "cmpl-", Hex{job.id, 16}, "\",\"object\":\"",
        job.chat ? (job.stream ? "chat.completion.chunk" : "chat.completion") : "text_completion",
        "\",\"created\":", job.created_s,
        ",\"model\":", JsonString{generator_->model_id().substr(0, kMaxShownId)}, ",\"choices\":[");
}

void CompletionApi::write_text_begin(const Job &job, TextWriter &out) {
    out.put("{\"index\":0,", !job.chat    ? "\"text\":\""
                             : job.stream ? "\"delta\":{\"content\":\""
                                          : "\"message\":{\"role\":\"assistant\",\"content\":\"");
}

void CompletionApi::write_text_end(const Job &job, TextWriter &out) {
    out.put(job.chat ? "\"}" : "\"");
}

void CompletionApi::write_usage(const Job &job, TextWriter &out) {
    const CompletionSummary &summary = job.summary;
    out.put(",\"usage\":{\"prompt_tokens\":", summary.prompt_tokens,
            ",\"completion_tokens\":", summary.completion_tokens,
            ",\"total_tokens\":", summary.prompt_tokens + summary.completion_tokens,
            ",\"prompt_tokens_details\":{\"cached_tokens\":", summary.cached_tokens, "}}");
}

void CompletionApi::write_figures(const Job &job, TextWriter &out) {
    const CompletionSummary &summary = job.summary;
    out.put(",\"bareflow\":{\"seed\":", job.sampling.seed,
            ",\"cached_tokens\":", summary.cached_tokens,
            ",\"prompt_ms\":", Fixed{summary.prompt_ms, 3},
            ",\"decode_ms\":", Fixed{summary.decode_ms, 3},
            ",\"tokens_per_second\":", Fixed{summary.tokens_per_second, 2}, "}}");
}

void CompletionApi::write_token(llama::Token token, TextWriter &out, bool bytes) const {
    char buffer[kMaxShownToken];
    const std::string_view text(buffer, generator_->token_text(token, buffer));
    out.put(JsonString{text});
    if (bytes) {
        out.put(",\"bytes\":[");
        for (size_t i = 0; i < text.size(); ++i) {
            out.put(i == 0 ? "" : ",", static_cast<uint8_t>(text[i]));
        }
        out.put("]");
    }
}

// cursor.count: 0 the token itself, then the likeliest, one at a time.
void CompletionApi::write_chat_logprob(const Job &job, http::Cursor &cursor,
                                       TextWriter &out) const {
    const llama::TokenLogprob *const entry = job.logprob(cursor.other);
    const uint32_t tops = job.sampling.top_logprobs;
    const llama::TokenLogprob &shown = cursor.count == 0 ? entry[0] : entry[1 + cursor.count];
    if (shown.token != llama::kNoToken) {
        out.put(cursor.count > 1 ? "," : "", "{\"token\":");
        write_token(shown.token, out, true);
        out.put(",\"logprob\":", Fixed{std::max<double>(shown.logprob, kLeastLogprob), 6},
                cursor.count == 0 ? ",\"top_logprobs\":[" : "}");
    }
    if (cursor.count++ == tops) {
        cursor.count = 0;
        out.put("]}", ++cursor.other == cursor.piece ? "]}" : ",");
    }
}

// cursor.count: which of four lists.
void CompletionApi::write_completion_logprob(const Job &job, http::Cursor &cursor,
                                             TextWriter &out) const {
    const llama::TokenLogprob *const entry = job.logprob(cursor.other);
    const auto put_value = [&](float logprob) {
        out.put(Fixed{std::max<double>(logprob, kLeastLogprob), 6});
    };
    switch (cursor.count) {
        case 0:
            write_token(entry[0].token, out, false);
            break;
        case 1:
            put_value(entry[0].logprob);
            break;
        case 2:
            out.put("{");
            for (uint32_t i = 0; i < job.sampling.top_logprobs; ++i) {
                if (entry[2 + i].token != llama::kNoToken) {
                    out.put(i == 0 ? "" : ",");
                    write_token(entry[2 + i].token, out, false);
                    out.put(":");
                    put_value(entry[2 + i].logprob);
                }
            }
            out.put("}");
            break;
        default:
            out.put(static_cast<uint32_t>(entry[1].token));
            break;
    }
    if (++cursor.other < cursor.piece) {
        out.put(",");
        return;
    }
    constexpr std::string_view kBetween[kCompletionLogprobLists] = {
        "],\"token_logprobs\":[", "],\"top_logprobs\":[", "],\"text_offset\":[", "]}"};
    out.put(kBetween[cursor.count]);
    if (++cursor.count < kCompletionLogprobLists) {
        cursor.other = job.logprob_sent;
    }
}

bool CompletionApi::begin_logprobs(const Job &job, http::Cursor &cursor, TextWriter &out) const {
    cursor.piece = job.logprob_count;
    cursor.count = 0;
    cursor.other = job.logprob_sent;
    const bool any = cursor.other < cursor.piece;
    out.put(",\"logprobs\":", !any ? "null" : job.chat ? "{\"content\":[" : "{\"tokens\":[");
    return any;
}

bool CompletionApi::write_logprobs(const Job &job, http::Cursor &cursor, TextWriter &out) const {
    if (job.chat) {
        write_chat_logprob(job, cursor, out);
        return cursor.other < cursor.piece;
    }
    write_completion_logprob(job, cursor, out);
    return cursor.count < kCompletionLogprobLists;
}

http::AnswerSource::Piece CompletionApi::produce(http::Exchange &exchange, http::Cursor &cursor,
                                                 TextWriter &out) {
    Job *job = job_of(exchange);
    if (job == nullptr) {
        platform::panic("http: an answer without its job");
    }
    return job->stream ? produce_event(*job, cursor, out) : produce_whole(*job, cursor, out);
}

namespace {

// Cursor::form of a stream: what comes next.
enum EventForm : uint32_t {
    kRole,           // the first event of a chat
    kText,           // an event with text, or the one that closes the answer
    kTextLogprobs,   // the rest of it
    kCloseLogprobs,  // the rest of the closing one
    kUsage,          // a chat's, if asked for
    kDone,
};
// And of a whole answer.
enum WholeForm : uint32_t { kWholeHead, kWholeText, kWholeLogprobs, kWholeTail };

}  // namespace

http::AnswerSource::Piece CompletionApi::produce_event(Job &job, http::Cursor &cursor,
                                                       TextWriter &out) {
    const auto end_text_event = [&] {
        out.put(",\"finish_reason\":null}]}\n\n");
        cursor.form = kText;
        if (!out.truncated()) {
            job.logprob_sent = cursor.piece;
        }
    };
    const auto end_closing_event = [&] {
        out.put(",\"finish_reason\":\"", finish_name(job.summary.finish), "\"}]");
        if (!job.chat) {
            write_usage(job, out);
        }
        write_figures(job, out);
        out.put("\n\n");
        cursor.form = job.include_usage ? kUsage : kDone;
    };
    switch (cursor.form) {
        case kRole:
            cursor.form = kText;
            if (job.chat) {
                out.put("data: ");
                write_head(job, out);
                out.put(
                    "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                    "\"logprobs\":null,\"finish_reason\":null}]}\n\n");
                return Piece::kMore;
            }
            [[fallthrough]];
        case kText:
            if (job.pending() > 0) {
                const char *at = job.text.data() + job.text_begin;
                const size_t len = static_cast<uint8_t>(at[0]) |
                                   static_cast<size_t>(static_cast<uint8_t>(at[1])) << 8;
                out.put("data: ");
                write_head(job, out);
                write_text_begin(job, out);
                put_escaped(out, {at + 2, len});
                write_text_end(job, out);
                if (begin_logprobs(job, cursor, out)) {
                    cursor.form = kTextLogprobs;
                } else {
                    end_text_event();
                }
                if (!out.truncated()) {
                    job.text_begin += 2 + len;
                }
                return Piece::kMore;
            }
            if (!job.done) {
                return Piece::kWait;
            }
            out.put("data: ");
            if (job.failed) {
                http::write_error(out,
                                  {500, "There is no memory for the whole text.", "out_of_memory"});
                out.put("\n");
                cursor.form = kDone;
                return Piece::kMore;
            }
            write_head(job, out);
            if (job.chat) {
                out.put("{\"index\":0,\"delta\":{}");
            } else {
                write_text_begin(job, out);
                write_text_end(job, out);
            }
            if (begin_logprobs(job, cursor, out)) {
                cursor.form = kCloseLogprobs;
            } else {
                end_closing_event();
            }
            return Piece::kMore;
        case kTextLogprobs:
            if (!write_logprobs(job, cursor, out)) {
                end_text_event();
            }
            return Piece::kMore;
        case kCloseLogprobs:
            if (!write_logprobs(job, cursor, out)) {
                end_closing_event();
            }
            return Piece::kMore;
        case kUsage:
            out.put("data: ");
            write_head(job, out);
            out.put("]");
            write_usage(job, out);
            out.put("}\n\n");
            cursor.form = kDone;
            return Piece::kMore;
        default:
            out.put("data: [DONE]\n\n");
            return Piece::kEnd;
    }
}

// cursor.piece: bytes of text written, while it is being written.
http::AnswerSource::Piece CompletionApi::produce_whole(const Job &job, http::Cursor &cursor,
                                                       TextWriter &out) const {
    switch (cursor.form) {
        case kWholeHead:
            cursor.form = kWholeText;
            write_head(job, out);
            write_text_begin(job, out);
            return Piece::kMore;
        case kWholeText: {
            const std::string_view text(job.text.data() + job.text_begin, job.pending());
            const std::string_view rest = text.substr(cursor.piece);
            if (!rest.empty()) {
                const std::string_view front = whole_characters(rest, kMaxEventText);
                put_escaped(out, front);
                cursor.piece += static_cast<uint32_t>(front.size());
                return Piece::kMore;
            }
            write_text_end(job, out);
            cursor.form = begin_logprobs(job, cursor, out) ? kWholeLogprobs : kWholeTail;
            return Piece::kMore;
        }
        case kWholeLogprobs:
            if (!write_logprobs(job, cursor, out)) {
                cursor.form = kWholeTail;
            }
            return Piece::kMore;
        default:
            out.put(",\"finish_reason\":\"", finish_name(job.summary.finish), "\"}]");
            write_usage(job, out);
            write_figures(job, out);
            out.put("\n");
            return Piece::kEnd;
    }
}

void CompletionApi::ended(http::Exchange &exchange, bool complete) {
    Job *job = job_of(exchange);
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
    counters.running = running();
    counters.tokens_per_second = tokens_per_second();
    if (generator_ != nullptr) {
        const llama::EngineCounters engine = generator_->counters();
        counters.slots = generator_->slot_count();
        counters.computed_prompt_tokens = engine.prompt_tokens;
        counters.copied_tokens = engine.copied_tokens;
        counters.batches = engine.steps;
        counters.batch_rows = engine.rows;
        counters.prompt_us = ticks_to_us(engine.prompt_ticks);
        counters.decode_us = ticks_to_us(engine.decode_ticks);
    }
    return counters;
}

double CompletionApi::tokens_per_second() const {
    if (rated_tokens_ > 1 && running() > 0) {
        const uint64_t count = std::min<uint64_t>(rated_tokens_, kRateTokens);
        const double ms =
            ticks_to_ms(platform::ticks() - token_ticks_[(rated_tokens_ - count) % kRateTokens]);
        if (ms > 0) {
            return static_cast<double>(count - 1) * 1000.0 / ms;
        }
    }
    return counters_.tokens_per_second;
}

void CompletionApi::ModelsHandler::handle(http::Exchange &exchange) {
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
    exchange.respond({.status = 200, .content_type = http::kTypeJson}, out.view());
}

}  // namespace bareflow::api
