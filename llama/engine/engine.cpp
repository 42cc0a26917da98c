#include "llama/engine/engine.h"

#include <algorithm>
#include <new>

#include "compute/kernels/bindings.h"
#include "compute/kernels/registry.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/memory/buffer.h"
#include "kernel_lib/platform/platform.h"
#include "llama/engine/sampler.h"
#include "llama/engine/transformer.h"
#include "llama/model/model.h"

namespace bareflow::llama {
namespace {

constexpr uint32_t kNoTokenId = 0xffffffff;
constexpr uint32_t kNone = 0xffffffff;
// A shorter beginning is computed rather than copied from another slot.
constexpr uint32_t kLeastCopied = 8;

Token token_from_file(const Model &model, std::string_view key) {
    char text[128];
    TextWriter detail(text);
    const Result<uint32_t> id = model.file().u32_or(key, kNoTokenId, detail);
    return id.ok() && id.value() < model.parameters().vocab ? static_cast<Token>(id.value())
                                                            : kNoToken;
}

struct Slot {
    enum class Phase : uint8_t {
        kFree,     // tokens[0, computed) of its last text are still there
        kCopying,  // waits for the beginning of its prompt, which another slot has
        kComputing,
    };

    Phase phase = Phase::kFree;
    bool paused = false;
    TokenSink *sink = nullptr;
    uint64_t serial = 0;      // of the request
    uint64_t used = 0;        // when it last began or ended something
    Token *tokens = nullptr;  // [context]: the prompt, then what was made
    uint32_t known = 0;       // how many of them there are,
    uint32_t computed = 0;    // and how many of these have their keys and values
    uint32_t rows = 0;        // of the present batch; 0: has no part in it
    uint32_t last_row = 0;    // where its logits are
    bool prompt_done = false;
    bool has_logits = false;   // the batch is done, its token is not chosen yet
    uint32_t copy_source = 0;  // a slot, and how many tokens of it
    uint32_t copy_count = 0;
    uint32_t max_tokens = 0;
    Token also_ends = kNoToken;
    uint64_t worked_before = 0;  // State::worked when this began, then when its prompt was done
    Usage usage;
    SampledText text;

    [[nodiscard]] bool is_busy() const { return phase != Phase::kFree; }
    [[nodiscard]] uint32_t pending() const {
        return phase == Phase::kComputing && !paused ? known - computed : 0;
    }
};

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
    uint32_t sample_op = 0;
    Buffer<Token> tokens;     // [slots][context_length]
    Buffer<BatchToken> rows;  // [batch]
    Buffer<Slot> slots;

    Stage stage = Stage::kBetween;
    SlotId active = kNone;  // whose token is chosen
    struct Copy {
        SlotId from = 0;
        SlotId to = 0;
        uint32_t count = 0;
        uint64_t serial = 0;  // of the request
    } copy;
    uint32_t step_rows = 0;
    uint32_t step_prompt_rows = 0;
    uint64_t step_ticks = 0;
    uint64_t row_ticks = 0;        // that a row of the last large step took; 0: there was none
    uint32_t turn = 0;             // whose prompt comes first in the next batch
    uint32_t last_logits = kNone;  // row
    uint64_t serial = 0;
    uint64_t clock = 0;   // for Slot::used
    uint64_t worked = 0;  // ticks spent in advance()
    EngineCounters counters;

    [[nodiscard]] uint32_t shared_tokens(const Slot &slot, std::span<const Token> prompt) const;
    SlotId take_slot(std::span<const Token> prompt);
    bool prepare();
    bool fill_batch();
    void put_rows(Slot &slot, SlotId id, uint32_t count);
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
        BF_ASSIGN(state->tokens, Buffer<Token>::create(uint64_t{config.slots} * context));
        BF_ASSIGN(state->rows, Buffer<BatchToken>::create(batch));
        BF_ASSIGN(state->slots, Buffer<Slot>::create(config.slots));
        return {};
    }();
    if (!filled.ok()) {
        engine->destroy();
        return filled.error();
    }
    for (uint32_t i = 0; i < config.slots; ++i) {
        new (&state->slots[i]) Slot;
        state->slots[i].tokens = state->tokens.data() + uint64_t{i} * context;
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
    return Transformer::scratch_bytes(parameters, config.slots, batch, context) +
           Sampler::scratch_bytes(parameters.vocab) +
           config.slots * (uint64_t{context} * sizeof(Token) + sizeof(Slot)) +
           batch * sizeof(BatchToken) + sizeof(State);
}

uint32_t Engine::good_batch(const Model &model) {
    // Two processors have 64 rows each, which the matrix kernels do at once; without these the
    // weights come from the first-level cache for each row anyway.
    constexpr uint32_t kManyRows = 128;
    return compute::kernel_for(model.layers()[0].gate.type).matrix != nullptr ? kManyRows
                                                                              : kRowsBesideTexts;
}

uint32_t Engine::rows_of_batch(uint32_t batch, bool beside_texts, uint64_t row_ticks,
                               uint64_t ticks_per_second) {
    while (batch > kRowsBesideTexts &&
           (beside_texts || batch * row_ticks > kLongestStepSeconds * ticks_per_second)) {
        batch = std::max(batch / 2, kRowsBesideTexts);
    }
    return batch;
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
    return static_cast<uint32_t>(state_->slots.size());
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
    if (state_->last_logits == kNone) {
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
    const SlotId id = s.take_slot(request.prompt);
    if (id == kNone) {
        return Error{ErrorCode::kExhausted, "the engine is busy"};
    }
    Slot &slot = s.slots[id];
    const auto count = static_cast<uint32_t>(request.prompt.size());
    slot.known = count;
    slot.paused = false;
    slot.sink = &sink;
    slot.serial = ++s.serial;
    slot.used = ++s.clock;
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
            s.step_ticks += now - begin;
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

// ------------------------------------------------------------------ slots

// How many tokens of the prompt the slot has computed. The prompt's last one is always computed
// anew: its logits are wanted.
uint32_t Engine::State::shared_tokens(const Slot &slot, std::span<const Token> prompt) const {
    const auto most = static_cast<uint32_t>(std::min<uint64_t>(slot.computed, prompt.size() - 1));
    uint32_t count = 0;
    while (count < most && slot.tokens[count] == prompt[count]) {
        ++count;
    }
    return count;
}

// Makes a free slot hold the prompt; kNone: there is no free slot.
//
// Keys and values are written by batches and by copies. Copies are made between two batches, in
// the order of the requests, so that what a slot was seen to have is still there when its turn to
// give comes, whatever began there in the meantime. A copy that is under way is finished even if
// its request is cancelled: it writes what the slot's own tokens stand for.
SlotId Engine::State::take_slot(std::span<const Token> prompt) {
    SlotId source = kNone;  // has the longest beginning
    SlotId oldest = kNone;  // of the free ones
    uint32_t source_count = 0;
    uint32_t oldest_count = 0;
    for (SlotId id = 0; id < slots.size(); ++id) {
        const Slot &slot = slots[id];
        const uint32_t count = shared_tokens(slot, prompt);
        if (count > source_count || source == kNone ||
            (count == source_count && slots[source].is_busy() && !slot.is_busy())) {
            source = id;
            source_count = count;
        }
        if (!slot.is_busy() && (oldest == kNone || slot.used < slots[oldest].used)) {
            oldest = id;
            oldest_count = count;
        }
    }
    if (oldest == kNone) {
        return kNone;
    }
    // The source itself, unless it holds much more that would be lost.
    SlotId id = oldest;
    uint32_t kept = oldest_count;
    if (!slots[source].is_busy() && slots[source].computed - source_count <= source_count) {
        id = source;
        kept = source_count;
    }
    Slot &slot = slots[id];
    slot.usage = {};
    slot.prompt_done = false;
    slot.phase = Slot::Phase::kComputing;
    slot.computed = kept;
    std::copy(prompt.begin() + kept, prompt.end(), slot.tokens + kept);
    if (source_count - kept >= kLeastCopied) {
        slot.phase = Slot::Phase::kCopying;
        slot.copy_source = source;
        slot.copy_count = source_count;
        slot.usage.cached_tokens = source_count;
    } else {
        slot.usage.cached_tokens = kept;
    }
    return id;
}

void Engine::State::finish(SlotId id, FinishReason reason) {
    Slot &slot = slots[id];
    TokenSink *const to = slot.sink;
    Usage spent = slot.usage;
    (slot.prompt_done ? spent.decode_ticks : spent.prompt_ticks) = worked - slot.worked_before;
    slot.phase = Slot::Phase::kFree;
    slot.sink = nullptr;
    slot.rows = 0;
    slot.has_logits = false;
    slot.used = ++clock;
    if (stage == Stage::kSample && active == id) {
        transformer.costs().abandon(sample_op);
        choose_next();
    }
    // A batch that nobody waits for is given up.
    if (stage == Stage::kCompute &&
        std::ranges::none_of(slots.span(), [](const Slot &other) { return other.rows > 0; })) {
        stage = Stage::kBetween;
    }
    to->on_finished(id, reason, spent);
}

// ------------------------------------------------------------------ steps

// Between two batches: what comes next. False: nothing.
bool Engine::State::prepare() {
    step_ticks = 0;
    copy.count = 0;
    for (SlotId id = 0; id < slots.size(); ++id) {
        const Slot &slot = slots[id];
        if (slot.phase == Slot::Phase::kCopying && (copy.count == 0 || slot.serial < copy.serial)) {
            copy = {slot.copy_source, id, slot.copy_count, slot.serial};
        }
    }
    if (copy.count != 0) {
        stage = Stage::kCopy;
        return true;
    }
    return fill_batch();
}

// Texts that go on have one row each; prompts share the rest of the batch evenly, and what one of
// them leaves goes to the others. The batch is a small one where others wait for its end.
bool Engine::State::fill_batch() {
    const auto count = static_cast<uint32_t>(slots.size());
    uint32_t texts = 0;
    uint32_t prompts = 0;
    for (Slot &slot : slots.span()) {
        slot.rows = slot.pending() == 1 ? 1 : 0;
        texts += slot.rows;
        prompts += slot.pending() > 1 ? 1 : 0;
    }
    const auto batch = static_cast<uint32_t>(rows.size());
    const uint32_t most =
        count == 1 ? batch
                   : rows_of_batch(batch, texts != 0, row_ticks, platform::ticks_per_second());
    uint32_t left = most - texts;
    uint32_t share = prompts == 0 ? 0 : left / prompts;
    while (prompts > 0 && slots[turn % count].pending() <= 1) {
        ++turn;
    }
    for (int round = 0; round < 2 && prompts > 0; ++round) {
        for (uint32_t i = 0; i < count; ++i) {
            Slot &slot = slots[(turn + i) % count];
            if (slot.pending() > 1) {
                const uint32_t more = std::min({slot.pending() - slot.rows, share, left});
                slot.rows += more;
                left -= more;
            }
        }
        share = left;
    }
    turn = turn % count + 1;
    step_rows = 0;
    step_prompt_rows = 0;
    for (SlotId id = 0; id < count; ++id) {
        put_rows(slots[id], id, slots[id].rows);
    }
    if (step_rows == 0) {
        return false;
    }
    last_logits = kNone;
    stage = Stage::kCompute;
    transformer.begin(rows.span().first(step_rows));
    return true;
}

void Engine::State::put_rows(Slot &slot, SlotId id, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
        const uint32_t position = slot.computed + i;
        slot.last_row = step_rows;
        step_prompt_rows += position < slot.usage.prompt_tokens ? 1 : 0;
        rows[step_rows++] = {.sequence = id,
                             .token = slot.tokens[position],
                             .position = position,
                             .want_logits = position + 1 == slot.known};
    }
}

// What the stage was about is done.
void Engine::State::done() {
    if (stage == Stage::kCopy) {
        Slot &slot = slots[copy.to];
        stage = Stage::kBetween;
        // Unless it was cancelled.
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
    last_logits = slots[id].last_row;
    slots[id].has_logits = false;
    active = kNone;
    // These may end the request, and the sink may end and start others.
    token_chosen(id, token);
    choose_next();
}

void Engine::State::computed() {
    ++counters.steps;
    counters.rows += step_rows;
    counters.prompt_tokens += step_prompt_rows;
    row_ticks = step_rows >= kRowsBesideTexts ? step_ticks / step_rows : row_ticks;
    const uint64_t prompt_ticks = step_ticks / step_rows * step_prompt_rows;
    counters.prompt_ticks += prompt_ticks;
    counters.decode_ticks += step_ticks - prompt_ticks;
    for (Slot &slot : slots.span()) {
        if (slot.rows == 0) {
            continue;
        }
        slot.computed += slot.rows;
        slot.rows = 0;
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
            sampler.begin(slots[id].text, transformer.logits(slots[id].last_row));
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
