// The model's way into service.
//
// What must hold:
// Everything is checked before the engine runs it.
// Every wrong file ends in one sentence.
// The network is served every few milliseconds while the weights are read and checked.
#include "appliance/model_loader.h"

#include <algorithm>
#include <array>

#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"
#include "kernel_lib/io/log.h"
#include "llama/engine/memory_plan.h"
#include "llama/model/value_check.h"

namespace bareflow {
namespace {

constexpr uint64_t kCheckStepBytes = 256 * 1024;
constexpr uint64_t kMib = 1 << 20;
// The smallest machine that runs a model has this much beside the model and its KV cache.
constexpr uint64_t kProgramBytes = 8 * kMib;
// Of these: what stays free for request bodies, texts being made and generated code.
constexpr uint64_t kKeptFreeBytes = 1536 * 1024;
constexpr uint64_t kMemoryStepBytes = 512 * 1024;

}  // namespace

void ModelLoader::on_load_begin(std::string_view place, uint64_t total_bytes) {
    log_line("model: loading from ", place, ", ", Bytes{total_bytes});
    load_begin_us_ = log_time_us();
    progress_.emplace("model", total_bytes);
}

void ModelLoader::on_load_progress(uint64_t done_bytes) {
    progress_->update(done_bytes);
    service_.keep_alive();
}

void ModelLoader::on_load_end(bool ok) {
    progress_->finish(ok ? std::string_view() : "failed");
    progress_.reset();
    parts_.load_us = log_time_us() - load_begin_us_;
}

void ModelLoader::refuse_model(std::string_view why) {
    parts_.health.set_error(why);
    const std::string_view kept = parts_.health.get().message;
    log_line("model: ", kept);
    if (service_.api() != nullptr) {
        service_.api()->set_unavailable(kept, false);
    }
}

void ModelLoader::take_model(const ModelFile &file) {
    parts_.file = file;
    std::array<char, ModelHealth::kMaxMessage> text;
    TextWriter detail(text);
    if (const Status status = build_model(detail); !status) {
        refuse_model(detail.size() > 0 ? detail.view() : status.message());
        return;
    }
    tuning_.restore_choices();
    parts_.engine->make_room_for_translations();
    const auto chat = parts_.model->file().text_or("tokenizer.chat_template", {}, detail);
    api::LlamaGenerator &generator = parts_.generator.emplace(
        *parts_.engine, *parts_.tokenizer, parts_.model->name(), chat ? *chat : std::string_view());
    const api::ChatTemplate &format = generator.chat_template();
    log_line(
        "chat: ", format.known ? "" : "the model's template is not a known one; its format is ",
        api::chat_family_name(format.family));
    open(parts_.engine_texts.emplace(*parts_.engine), generator);
}

void ModelLoader::open(TextMaker &texts, api::TextGenerator &generator) {
    parts_.texts = &texts;
    parts_.health.set_ok();
    if (service_.api() != nullptr) {
        service_.api()->set_generator(generator);
    }
}

Status ModelLoader::build_model(TextWriter &detail) {
    BF_ASSIGN(parts_.model, llama::Model::create(parts_.file.bytes, detail));
    BF_ASSIGN(parts_.tokenizer, llama::Tokenizer::create(parts_.model->file(), detail));
    llama::ValueCheck check(*parts_.model);
    while (!check.done()) {
        BF_TRY(check.step(kCheckStepBytes, detail));
        service_.keep_alive();
    }
    detail.clear();
    compute::limit_instruction_set(parts_.settings.jit_isa);
    compute::allow_relaxed_numerics(parts_.settings.relaxed);
    BF_TRY(create_engine(detail));
    tuning_.start();
    log_model();
    return {};
}

void ModelLoader::log_model() const {
    const llama::Model &model = *parts_.model;
    const llama::Engine &engine = *parts_.engine;
    const llama::HyperParameters &p = model.parameters();
    log_stage("model", model.name(), ", ", model.weight_type(), ", ",
              Fixed{static_cast<double>(model.parameter_count()) / 1e6, 2}, "M parameters, ",
              parts_.file.place);
    log_line("model: ", p.layers, " layers, ", p.dim, "/", p.hidden, ", ", p.heads, "/", p.kv_heads,
             " heads, ", p.vocab, " tokens");
    const uint32_t slots = engine.slot_count();
    log_line("model: context ", engine.context_length(), ", ", slots,
             slots == 1 ? " slot" : " slots", ", KV cache ", Bytes{engine.memory().kv_bytes});
}

// Divides the memory that the machine has left with the model in it.
Status ModelLoader::create_engine(TextWriter &detail) {
    const Settings &settings = parts_.settings;
    const llama::Model &model = *parts_.model;
    const llama::MemoryWish wish{.slots = settings.slots,
                                 .context_length = settings.context,
                                 .kv_type = settings.kv,
                                 .batch = llama::Engine::good_batch(model)};
    const uint64_t free_bytes = platform::free_memory_bytes();
    uint64_t share = free_bytes - std::min(free_bytes, kKeptFreeBytes);
    llama::MemoryPlan plan = llama::plan_memory(model.parameters(), wish, share);
    while (plan.fits) {
        auto engine = llama::Engine::create(model, plan.config);
        if (engine) {
            parts_.engine = *engine;
            break;
        }
        if (engine.error().code != ErrorCode::kTooLarge) {
            return engine.error();
        }
        // The free memory is in pieces that are too small: ask for less.
        share -= std::min(share, std::max(share / 64, kMemoryStepBytes));
        plan = llama::plan_memory(model.parameters(), wish, share);
    }
    if (parts_.engine == nullptr) {
        const uint64_t total_bytes = platform::total_memory_bytes();
        const uint64_t model_bytes = parts_.file.bytes.size();
        const uint64_t program_bytes = total_bytes - free_bytes - model_bytes;
        const uint64_t rest_bytes =
            std::max(kProgramBytes, program_bytes + plan.scratch_bytes + kKeptFreeBytes);
        detail.put("this model needs ",
                   (model_bytes + plan.kv_bytes + rest_bytes + kMib - 1) / kMib, " MiB: model ",
                   Bytes{model_bytes}, " + KV ", Bytes{plan.kv_bytes}, " + ", Bytes{rest_bytes},
                   "; the machine has ", Bytes{total_bytes});
        return {ErrorCode::kTooLarge, "not enough memory"};
    }
    if (plan.config.context_length < plan.wished_context) {
        log_line("model: the longest context that fits is ", plan.config.context_length,
                 " tokens, not ", plan.wished_context);
    }
    if (plan.config.slots < settings.slots) {
        log_line("model: memory for ", plan.config.slots, " of ", settings.slots, " slots");
    }
    return {};
}

}  // namespace bareflow
