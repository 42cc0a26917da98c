// The engine's loop: it alternates between copying prefixes, computing a batch, and choosing the
// next token of every text in the batch. Slots and BatchScheduler say what to copy and to compute;
// Transformer and Sampler do it. Every stage can be left at a deadline and continued.
//
// A sink may start, cancel and pause requests from inside its functions. Code that calls a sink
// must not rely on a slot's contents afterwards.
#include "llama/engine/engine.h"

#include <algorithm>
#include <new>

#include "compute/kernels/bindings.h"
#include "compute/kernels/registry.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/memory/buffer.h"
#include "kernel_lib/platform/platform.h"
#include "llama/engine/batch_scheduler.h"
#include "llama/engine/sampler.h"
#include "llama/engine/slots.h"
#include "llama/engine/transformer.h"
#include "llama/model/model.h"

namespace bareflow::llama {
namespace {

constexpr uint32_t kNoTokenId = 0xffffffff;
constexpr uint32_t kNoLogits = 0xffffffff;

Token token_from_file(const Model &model, std::string_view key) {
    char text[128];
    TextWriter detail(text);
    const Result<uint32_t> id = model.file().u32_or(key, kNoTokenId, detail);
    return id.ok() && id.value() < model.parameters().vocab ? static_cast<Token>(id.value())
                                                            : kNoToken;
}

}  // namespace

struct Engine::State {
    enum class Stage : uint8_t { kBetween, kCopy, kCompute, kSample };

    explicit State(const Model &the_model) : model(the_model) {}

    const Model &model;
    uint32_t context_length = 0;
    Token end_of_sequence = kNoToken;
    Token end_of_turn = kNoToken;
    Transformer transformer;
    Sampler sampler;
    uint64_t kv_bytes = 0;
    uint64_t scratch_bytes = 0;
    uint32_t sample_op = 0;  // of the transformer's costs
    Slots slots;
    BatchScheduler scheduler;

    Stage stage = Stage::kBetween;
    SlotId active = kNoSlot;           // whose token is chosen
    PrefixCopy copy;                   // kCopy: the one being made
    uint32_t last_logits = kNoLogits;  // index in the batch of the last token chosen
    uint64_t serial = 0;               // of the last request
    uint64_t worked = 0;               // ticks spent in advance()
    EngineCounters counters;

    bool prepare();
    void done();
    void computed();
    void choose_next();
    void token_chosen(SlotId id, Token token);
    void finish(SlotId id, FinishReason reason);
};

Result<Engine *> Engine::create(const Model &model, const EngineConfig &config) {
    const HyperParameters &parameters = model.parameters();
    const uint32_t context =
        config.context_length != 0 ? config.context_length : parameters.context_length;
    // A prompt of one token and one token after it.
    if (context < 2) {
        return Error{ErrorCode::kTooLarge, "the context must hold two tokens at least"};
    }
    if (config.slots == 0 || config.slots > EngineConfig::kMaxSlots) {
        return Error{ErrorCode::kInvalid, "there are 1 to 16 slots"};
    }
    if (context > Model::kMaxContext) {
        return Error{ErrorCode::kTooLarge, "the context is longer than 16777216 tokens"};
    }
    const uint32_t batch = std::max(config.batch, config.slots);
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
        BF_ASSIGN(state->transformer, Transformer::create(model, {.sequences = config.slots,
                                                                  .positions = context,
                                                                  .batch = batch,
                                                                  .kv_type = config.kv_type}));
        BF_ASSIGN(state->sampler, Sampler::create(parameters.vocab));
        BF_ASSIGN(state->slots, Slots::create(config.slots, context));
        BF_ASSIGN(state->scheduler, BatchScheduler::create(batch));
        return {};
    }();
    if (!filled.ok()) {
        engine->destroy();
        return filled.error();
    }
    state->context_length = context;
    state->kv_bytes =
        uint64_t{config.slots} * context * Transformer::position_bytes(parameters, config.kv_type);
    state->scratch_bytes = scratch_bytes(parameters, {.slots = config.slots,
                                                      .context_length = context,
                                                      .batch = batch,
                                                      .kv_type = config.kv_type});
    state->transformer.use_workers(&worker_pool(), kMinSharedTicks);
    state->end_of_sequence = token_from_file(model, "tokenizer.ggml.eos_token_id");
    state->end_of_turn = token_from_file(model, "tokenizer.ggml.eot_token_id");
    char name[32];
    TextWriter writer(name);
    writer.put("sample ", parameters.vocab);
    state->sample_op = state->transformer.costs().find_or_add(writer.view());
    return engine;
}

uint64_t Engine::scratch_bytes(const HyperParameters &parameters, const EngineConfig &config) {
    const uint32_t context =
        config.context_length != 0 ? config.context_length : parameters.context_length;
    const uint32_t batch = std::max(config.batch, config.slots);
    return Transformer::scratch_bytes(parameters, {.sequences = config.slots,
                                                   .positions = context,
                                                   .batch = batch,
                                                   .kv_type = config.kv_type}) +
           Sampler::scratch_bytes(parameters.vocab) + Slots::bytes_for(config.slots, context) +
           BatchScheduler::bytes_for(batch) + sizeof(State);
}

uint32_t Engine::good_batch(const Model &model) {
    // Two processors have 64 tokens each, which the matrix kernels do at once. Without matrix
    // kernels a larger batch gains nothing: each token reads the weights from the L1 cache.
    constexpr uint32_t kManyTokens = 128;
    const bool has_matrix = compute::kernel_for(model.layers()[0].gate.type).matrix != nullptr;
    return has_matrix ? kManyTokens : BatchScheduler::kTokensBesideTexts;
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

uint32_t Engine::slot_count() const {
    return state_->slots.size();
}

uint32_t Engine::context_length() const {
    return state_->context_length;
}

EngineMemory Engine::memory() const {
    return {.model_bytes = state_->model.file_bytes(),
            .kv_bytes = state_->kv_bytes,
            .scratch_bytes = state_->scratch_bytes};
}

const EngineCounters &Engine::counters() const {
    return state_->counters;
}

std::span<compute::KernelBinding> Engine::kernel_bindings() {
    return state_->transformer.kernel_bindings();
}

compute::PlaceableWeights Engine::placeable_weights() {
    Transformer &transformer = state_->transformer;
    return {transformer.kernel_bindings(), transformer.matrices(), &transformer.unpack_memory()};
}

std::span<compute::FloatBinding> Engine::float_bindings() {
    return state_->transformer.float_bindings();
}

FusedSteps &Engine::fused_steps() {
    return state_->transformer.fused_steps();
}

void Engine::use_workers(WorkerPool *pool, uint64_t min_shared_ticks) {
    state_->transformer.use_workers(pool, min_shared_ticks);
}

void Engine::make_room_for_translations() {
    state_->transformer.make_room_for_translations(state_->model.weight_bytes());
}

std::span<const float> Engine::logits() const {
    if (state_->last_logits == kNoLogits) {
        return {};
    }
    return state_->transformer.logits(state_->last_logits);
}

std::span<const TokenLogprob> Engine::logprobs() const {
    return state_->sampler.logprobs();
}

bool Engine::busy() const {
    return std::ranges::any_of(state_->slots.span(), &Slot::is_busy);
}

bool Engine::can_advance() const {
    return state_->stage != State::Stage::kBetween ||
           std::ranges::any_of(state_->slots.span(), [](const Slot &slot) {
               return slot.phase == Slot::Phase::kCopying || slot.pending() > 0;
           });
}

Result<SlotId> Engine::start(const Request &request, TokenSink &sink) {
    State &s = *state_;
    if (request.prompt.empty()) {
        return Error{ErrorCode::kInvalid, "the prompt is empty"};
    }
    if (request.prompt.size() >= s.context_length) {
        return Error{ErrorCode::kInvalid, "the prompt is longer than the context"};
    }
    if (request.max_tokens == 0) {
        return Error{ErrorCode::kInvalid, "max_tokens must be at least 1"};
    }
    for (const Token token : request.prompt) {
        if (token < 0 || static_cast<uint32_t>(token) >= s.model.parameters().vocab) {
            return Error{ErrorCode::kInvalid,
                         "the prompt has a token that the model does not know"};
        }
    }
    const SlotId id = s.slots.take(request.prompt);
    if (id == kNoSlot) {
        return Error{ErrorCode::kExhausted, "the engine is busy"};
    }
    Slot &slot = s.slots[id];
    const auto count = static_cast<uint32_t>(request.prompt.size());
    slot.paused = false;
    slot.sink = &sink;
    slot.serial = ++s.serial;
    s.slots.touch(slot);
    slot.max_tokens = std::min(request.max_tokens, s.context_length - count);
    slot.also_ends = request.also_ends;
    slot.worked_before = s.worked;
    slot.usage.prompt_tokens = count;
    slot.text.reset(request.sampling, request.prompt);
    return id;
}

void Engine::cancel(SlotId slot) {
    if (slot < state_->slots.size() && state_->slots[slot].is_busy()) {
        state_->finish(slot, FinishReason::kCancelled);
    }
}

void Engine::pause(SlotId slot, bool paused) {
    if (slot < state_->slots.size() && state_->slots[slot].is_busy()) {
        state_->slots[slot].paused = paused;
    }
}

void Engine::advance(uint64_t deadline_ticks) {
    State &s = *state_;
    uint64_t begin = platform::ticks();
    while (s.stage != State::Stage::kBetween || s.prepare()) {
        const State::Stage stage = s.stage;
        bool done = false;
        if (stage == State::Stage::kCopy) {
            done = s.transformer.copy_prefix(s.copy.from, s.copy.to, s.copy.count, deadline_ticks);
        } else if (stage == State::Stage::kCompute) {
            done = s.transformer.advance(deadline_ticks);
        } else {
            done = s.sampler.advance(deadline_ticks);
        }
        const uint64_t now = platform::ticks();
        s.worked += now - begin;
        if (stage == State::Stage::kSample) {
            s.transformer.costs().record(s.sample_op, 1, now - begin, now, done);
        } else {
            s.scheduler.add_ticks(now - begin);
        }
        begin = now;
        if (done) {
            s.done();
        }
        if (now >= deadline_ticks) {
            return;
        }
    }
}

void Engine::State::finish(SlotId id, FinishReason reason) {
    Slot &slot = slots[id];
    TokenSink *const to = slot.sink;
    Usage spent = slot.usage;
    (slot.prompt_done ? spent.decode_ticks : spent.prompt_ticks) = worked - slot.worked_before;
    slot.phase = Slot::Phase::kFree;
    slot.sink = nullptr;
    slot.in_batch = 0;
    slot.has_logits = false;
    slots.touch(slot);
    if (stage == Stage::kSample && active == id) {
        transformer.costs().abandon(sample_op);
        choose_next();
    }
    // A batch without tokens of a busy slot is given up.
    if (stage == Stage::kCompute &&
        std::ranges::none_of(slots.span(), [](const Slot &other) { return other.in_batch > 0; })) {
        stage = Stage::kBetween;
    }
    to->on_finished(id, reason, spent);
}

// ------------------------------------------------------------------ stages

// Between two batches: chooses the next stage. False: there is nothing to do.
bool Engine::State::prepare() {
    copy = slots.next_copy();
    if (copy.count != 0) {
        stage = Stage::kCopy;
        return true;
    }
    const std::span<const BatchToken> batch = scheduler.next(slots);
    if (batch.empty()) {
        return false;
    }
    last_logits = kNoLogits;
    stage = Stage::kCompute;
    transformer.begin(batch);
    return true;
}

// The stage is complete: uses its results and chooses the next one.
void Engine::State::done() {
    if (stage == Stage::kCopy) {
        Slot &slot = slots[copy.to];
        stage = Stage::kBetween;
        // The request may have been cancelled meanwhile.
        if (slot.phase == Slot::Phase::kCopying && slot.serial == copy.serial) {
            counters.copied_tokens += slot.copy_count - slot.computed;
            slot.computed = slot.copy_count;
            slot.phase = Slot::Phase::kComputing;
        }
        return;
    }
    if (stage == Stage::kCompute) {
        return computed();
    }
    const SlotId id = active;
    const Token token = sampler.token();
    last_logits = slots[id].last_index;
    slots[id].has_logits = false;
    active = kNoSlot;
    // These may end the request, and the sink may end and start others.
    token_chosen(id, token);
    choose_next();
}

void Engine::State::computed() {
    const BatchScheduler::Figures &batch = scheduler.finish();
    ++counters.batches;
    counters.tokens += batch.tokens;
    counters.prompt_tokens += batch.prompt_tokens;
    const uint64_t prompt_ticks = batch.ticks / batch.tokens * batch.prompt_tokens;
    counters.prompt_ticks += prompt_ticks;
    counters.decode_ticks += batch.ticks - prompt_ticks;
    for (Slot &slot : slots.span()) {
        if (slot.in_batch == 0) {
            continue;
        }
        slot.computed += slot.in_batch;
        slot.in_batch = 0;
        slot.has_logits = slot.computed == slot.known;
        if (slot.has_logits && !slot.prompt_done) {
            slot.prompt_done = true;
            slot.usage.prompt_ticks = worked - slot.worked_before;
            slot.worked_before = worked;
        }
    }
    stage = Stage::kSample;
    choose_next();
}

// The next slot whose token is to be chosen.
void Engine::State::choose_next() {
    for (SlotId id = 0; id < slots.size(); ++id) {
        if (slots[id].has_logits) {
            active = id;
            sampler.begin(slots[id].text, transformer.logits(slots[id].last_index));
            return;
        }
    }
    stage = Stage::kBetween;
}

void Engine::State::token_chosen(SlotId id, Token token) {
    Slot &slot = slots[id];
    if (token == end_of_sequence || token == end_of_turn || token == slot.also_ends) {
        return finish(id, FinishReason::kStop);
    }
    ++slot.usage.completion_tokens;
    // The sink may cancel, and even start another request in this slot.
    const uint64_t request = slot.serial;
    const bool last = slot.usage.completion_tokens == slot.max_tokens;
    if (!last) {
        slot.tokens[slot.known++] = token;
    }
    slot.sink->on_token(id, token);
    if (last && slot.is_busy() && slot.serial == request) {
        finish(id, FinishReason::kLength);
    }
}

}  // namespace bareflow::llama
