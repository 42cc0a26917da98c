#include "llama/engine.h"

#include <new>

#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/memory/buffer.h"
#include "kernel_lib/platform/platform.h"
#include "llama/model.h"
#include "llama/sampler.h"
#include "llama/transformer.h"

namespace bareflow::llama {
namespace {

// What the KV cache may take of the free memory when nobody says how long the context shall be.
constexpr uint64_t kDefaultMemoryShareNumerator = 3;
constexpr uint64_t kDefaultMemoryShareDenominator = 4;

// Rows of a prompt that are computed together.
constexpr uint32_t kPromptRows = 32;

constexpr uint32_t kNoTokenId = 0xffffffff;

Token token_from_file(const Model &model, std::string_view key) {
    char text[128];
    TextWriter detail(text);
    const Result<uint32_t> id = model.file().u32_or(key, kNoTokenId, detail);
    return id.ok() && id.value() < model.parameters().vocab ? static_cast<Token>(id.value())
                                                            : kNoToken;
}

uint32_t default_context(const HyperParameters &parameters) {
    const uint64_t share = platform::free_memory_bytes() / kDefaultMemoryShareDenominator *
                           kDefaultMemoryShareNumerator;
    const uint64_t fitting = share / Transformer::position_bytes(parameters, KvType::kF16);
    uint64_t context = parameters.context_length;
    context = context < fitting ? context : fitting;
    const uint32_t most = Transformer::max_positions(parameters);
    return static_cast<uint32_t>(context < most ? context : most);
}

}  // namespace

struct Engine::State {
    enum class Phase : uint8_t {
        kIdle,
        kPrompt,  // computing prompt[position]
        kSample,  // choosing a token from the logits
        kDecode,  // computing the token just chosen
    };

    explicit State(const Model &the_model) : model(the_model) {}

    const Model &model;
    uint32_t context_length = 0;
    Token end_of_sequence = kNoToken;
    Token end_of_turn = kNoToken;
    Token also_ends = kNoToken;  // of this request
    Transformer transformer;
    Sampler sampler;
    uint32_t sample_op = 0;
    Buffer<Token> prompt;  // [context_length]

    Phase phase = Phase::kIdle;
    std::span<float> logits;  // the last ones
    TokenSink *sink = nullptr;
    uint32_t prompt_count = 0;
    uint32_t max_tokens = 0;
    uint32_t position = 0;   // the first that is being computed
    uint32_t computing = 0;  // so many
    Usage usage;

    void start_tokens(std::span<const Token> tokens);
    void start_prompt();
    void token_computed();
    void token_chosen(Token token);
    void finish(FinishReason reason);
};

Result<Engine *> Engine::create(const Model &model, uint32_t context_length) {
    const HyperParameters &parameters = model.parameters();
    const uint32_t context = context_length != 0 ? context_length : default_context(parameters);
    // A prompt of one token and one token after it.
    if (context < 2) {
        return Error{ErrorCode::kTooLarge, context_length != 0
                                               ? "the context must hold two tokens at least"
                                               : "not enough memory for the shortest context"};
    }
    void *const state_memory = heap_allocate(sizeof(State), alignof(State));
    if (state_memory == nullptr) {
        return Error{ErrorCode::kTooLarge, "out of memory"};
    }
    auto *const state = new (state_memory) State(model);
    void *const engine_memory = heap_allocate(sizeof(Engine), alignof(Engine));
    if (engine_memory == nullptr) {
        state->~State();
        heap_release(state_memory);
        return Error{ErrorCode::kTooLarge, "out of memory"};
    }
    auto *const engine = new (engine_memory) Engine();
    engine->state_ = state;

    const Status filled = [&]() -> Status {
        BF_ASSIGN(state->transformer,
                  Transformer::create(model, {.positions = context, .batch = kPromptRows}));
        BF_ASSIGN(state->sampler, Sampler::create(parameters.vocab));
        BF_ASSIGN(state->prompt, Buffer<Token>::create(context));
        return {};
    }();
    if (!filled.ok()) {
        engine->destroy();
        return filled.error();
    }
    state->context_length = context;
    state->transformer.use_workers(&worker_pool(), kMinSharedTicks);
    state->end_of_sequence = token_from_file(model, "tokenizer.ggml.eos_token_id");
    state->end_of_turn = token_from_file(model, "tokenizer.ggml.eot_token_id");
    char name[32];
    TextWriter writer(name);
    writer.put("sample ", parameters.vocab);
    state->sample_op = state->transformer.costs().find_or_add(writer.view());
    return engine;
}

void Engine::destroy() {
    state_->~State();
    heap_release(state_);
    this->~Engine();
    heap_release(this);
}

const Model &Engine::model() const {
    return state_->model;
}

uint32_t Engine::context_length() const {
    return state_->context_length;
}

EngineMemory Engine::memory() const {
    return {.model_bytes = state_->model.file_bytes(),
            .kv_bytes = state_->transformer.kv_bytes(),
            .scratch_bytes = state_->transformer.scratch_bytes() + state_->sampler.scratch_bytes() +
                             state_->prompt.size() * sizeof(Token) + sizeof(State)};
}

std::span<KernelSlot> Engine::kernel_slots() {
    return state_->transformer.kernel_slots();
}

void Engine::use_workers(WorkerPool *pool, uint64_t min_shared_ticks) {
    state_->transformer.use_workers(pool, min_shared_ticks);
}

std::span<const float> Engine::logits() const {
    return state_->logits;
}

std::span<const TokenLogprob> Engine::logprobs() const {
    return state_->sampler.logprobs();
}

bool Engine::busy() const {
    return state_->phase != State::Phase::kIdle;
}

Status Engine::start(const Request &request, TokenSink &sink) {
    State &s = *state_;
    if (busy()) {
        return {ErrorCode::kExhausted, "the engine is busy"};
    }
    if (request.prompt.empty()) {
        return {ErrorCode::kInvalid, "the prompt is empty"};
    }
    if (request.prompt.size() >= s.context_length) {
        return {ErrorCode::kInvalid, "the prompt is longer than the context"};
    }
    if (request.max_tokens == 0) {
        return {ErrorCode::kInvalid, "max_tokens must be at least 1"};
    }
    for (const Token token : request.prompt) {
        if (token < 0 || static_cast<uint32_t>(token) >= s.model.parameters().vocab) {
            return {ErrorCode::kInvalid, "the prompt has a token that the model does not know"};
        }
    }
    s.prompt_count = static_cast<uint32_t>(request.prompt.size());
    __builtin_memcpy(s.prompt.data(), request.prompt.data(), request.prompt.size_bytes());
    const uint32_t room = s.context_length - s.prompt_count;
    s.max_tokens = request.max_tokens < room ? request.max_tokens : room;
    s.sampler.reset(request.sampling, request.prompt);
    s.also_ends = request.also_ends;
    s.sink = &sink;
    s.usage = {.prompt_tokens = s.prompt_count};
    s.position = 0;
    s.phase = State::Phase::kPrompt;
    s.start_prompt();
    return {};
}

void Engine::cancel() {
    if (busy()) {
        state_->finish(FinishReason::kCancelled);
    }
}

void Engine::advance(uint64_t deadline_ticks) {
    State &s = *state_;
    uint64_t begin = platform::ticks();
    while (s.phase != State::Phase::kIdle) {
        const State::Phase phase = s.phase;
        const bool done = phase == State::Phase::kSample ? s.sampler.advance(deadline_ticks)
                                                         : s.transformer.advance(deadline_ticks);
        const uint64_t now = platform::ticks();
        (phase == State::Phase::kPrompt ? s.usage.prompt_ticks : s.usage.decode_ticks) +=
            now - begin;
        if (phase == State::Phase::kSample) {
            s.transformer.costs().record(s.sample_op, 1, now - begin, now, done);
        }
        begin = now;
        if (done) {
            // These may end the request, and the sink may start another one.
            if (phase == State::Phase::kSample) {
                s.token_chosen(s.sampler.token());
            } else {
                s.token_computed();
            }
        }
        if (now >= deadline_ticks) {
            return;
        }
    }
}

void Engine::State::start_tokens(std::span<const Token> tokens) {
    BatchRow rows[kPromptRows];
    computing = 0;
    for (const Token token : tokens) {
        const uint32_t at = position + computing;
        rows[computing++] = {.token = token, .position = at, .want_logits = at + 1 >= prompt_count};
    }
    transformer.begin(std::span(rows).first(computing));
}

void Engine::State::start_prompt() {
    const uint32_t left = prompt_count - position;
    start_tokens(prompt.span().subspan(position, left < kPromptRows ? left : kPromptRows));
}

void Engine::State::token_computed() {
    position += computing;
    if (phase == Phase::kPrompt && position < prompt_count) {
        return start_prompt();
    }
    phase = Phase::kSample;
    logits = transformer.logits(computing - 1);
    sampler.begin(logits);
}

void Engine::State::token_chosen(Token token) {
    if (token == end_of_sequence || token == end_of_turn || token == also_ends) {
        return finish(FinishReason::kStop);
    }
    ++usage.completion_tokens;
    const bool last = usage.completion_tokens == max_tokens;
    // Before the sink hears of it: it may cancel, and even start another request.
    if (!last) {
        phase = Phase::kDecode;
        start_tokens({&token, 1});
        sink->on_token(token);
        return;
    }
    TokenSink *const to = sink;
    phase = Phase::kSample;
    to->on_token(token);
    if (phase == Phase::kSample && sink == to) {
        finish(FinishReason::kLength);
    }
}

void Engine::State::finish(FinishReason reason) {
    TokenSink *const to = sink;
    const Usage spent = usage;
    phase = Phase::kIdle;
    sink = nullptr;
    transformer.costs().abandon(sample_op);
    to->on_finished(reason, spent);
}

}  // namespace bareflow::llama
