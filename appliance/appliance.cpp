#include "appliance/appliance.h"

#include <algorithm>

#include "compute/kernels/bindings.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"
#include "kernel_lib/cpu/features.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/io/console.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/jit/optimize.h"
#include "kernel_lib/jit/profile.h"
#include "kernel_lib/jit_runtime.h"
#include "kernel_lib/memory/heap.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"
#include "llama/engine/memory_plan.h"
#include "llama/engine/op_costs.h"

namespace bareflow {
namespace {

// The engine works in slices of this length; between them the network and the console are served.
constexpr uint64_t kSliceMs = 5;
// While a model is loaded and checked, the network is looked after this often.
constexpr uint64_t kKeepAliveMs = 5;
constexpr uint64_t kStatusMs = 1000;
constexpr uint64_t kCheckStepBytes = 256 * 1024;
constexpr uint32_t kConsoleMaxTokens = 256;
// Besides those that wait for a text: /health, /profile, newcomers. As many as net/ has streams.
constexpr uint32_t kOtherConnections = 20;
constexpr uint32_t kMinConnections = 32;
constexpr uint32_t kMaxConnections = 48;
constexpr uint64_t kMib = 1 << 20;
constexpr std::string_view kTolerance = "1/4096 of the greatest result";
static_assert(compute::kRelaxedTolerance == 1.0f / 4096);
// The smallest machine that runs a model has this much beside the model and its KV cache.
constexpr uint64_t kProgramBytes = 8 * kMib;
// Of it, for request bodies, texts being made and generated code.
constexpr uint64_t kKeptFreeBytes = 1536 * 1024;
constexpr uint64_t kMemoryStepBytes = 512 * 1024;
// What the optimiser may take of the time in which text is made, in pieces of so long.
constexpr uint64_t kOptimizerPerMille = 50;
constexpr uint64_t kOptimizeMs = 2;
// At the start, for what was remembered.
constexpr uint64_t kRestoreMs = 500;
constexpr int kMaxKeysPerTurn = 64;

std::string_view jit_mode_name(JitMode mode) {
    switch (mode) {
        case JitMode::kOff:
            return "off";
        case JitMode::kBaseline:
            return "baseline";
        case JitMode::kFull:
            return "full";
    }
    return "";
}

std::string_view finish_name(api::FinishKind kind) {
    switch (kind) {
        case api::FinishKind::kStop:
            return "stop";
        case api::FinishKind::kLength:
            return "length";
        case api::FinishKind::kCancelled:
            return "cancelled";
        case api::FinishKind::kFailed:
            return "failed";
    }
    return "";
}

}  // namespace

Appliance::Appliance(const Settings &settings, Surroundings &surroundings)
    : settings_(settings),
      surroundings_(surroundings),
      console_(static_cast<ConsoleHost &>(*this)),
      health_page_(static_cast<status::SnapshotSource &>(*this)),
      profile_page_(static_cast<status::SnapshotSource &>(*this)),
      optimize_page_(static_cast<status::ProfileActions &>(*this)),
      reset_page_(static_cast<status::ProfileActions &>(*this)) {
    TextWriter out(features_);
    format_features(out, cpu_features());
    features_len_ = out.size();
}

Status Appliance::start_without_network() {
    BF_ASSIGN(api_, api::CompletionApi::create({.slots = settings_.slots,
                                                .queue = settings_.queue,
                                                .max_tokens = settings_.max_tokens}));
    api_->set_observer(this);
    return {};
}

Status Appliance::start_http(StreamSource &streams) {
    BF_TRY(start_without_network());
    routes_ = {{
        {http::Method::kGet, "/", &web_page_},
        {http::Method::kGet, "/favicon.ico", &favicon_},
        {http::Method::kGet, "/health", &health_page_},
        {http::Method::kGet, "/profile", &profile_page_},
        {http::Method::kPost, "/profile/optimize", &optimize_page_},
        {http::Method::kPost, "/profile/reset", &reset_page_},
        {http::Method::kGet, "/v1/models", &api_->models()},
        {http::Method::kPost, "/v1/completions", api_},
        {http::Method::kPost, "/v1/chat/completions", &api_->chat()},
    }};
    router_.emplace(routes_);
    const uint32_t connections = std::clamp(settings_.slots + settings_.queue + kOtherConnections,
                                            kMinConnections, kMaxConnections);
    BF_ASSIGN(server_, http::Server::create(streams, *router_, {.connections = connections}));
    return {};
}

// The model

void Appliance::on_load_begin(std::string_view place, uint64_t total_bytes) {
    log_line("model: loading from ", place, ", ", Bytes{total_bytes});
    load_began_us_ = log_time_us();
    progress_.emplace("model", total_bytes);
}

void Appliance::on_load_progress(uint64_t done_bytes) {
    progress_->update(done_bytes);
    keep_alive();
}

void Appliance::on_load_end(bool ok) {
    progress_->finish(ok ? std::string_view() : "failed");
    progress_.reset();
    load_us_ = log_time_us() - load_began_us_;
}

void Appliance::keep_alive() {
    const uint64_t now = platform::ticks();
    if (now - served_ticks_ >= ms_to_ticks(kKeepAliveMs)) {
        (void)serve();
        served_ticks_ = platform::ticks();
    }
}

void Appliance::refuse_model(std::string_view why) {
    health_state_ = status::HealthState::kError;
    health_message_len_ = std::min(why.size(), health_message_.size());
    std::copy_n(why.begin(), health_message_len_, health_message_.begin());
    const std::string_view kept(health_message_.data(), health_message_len_);
    log_line("model: ", kept);
    if (api_ != nullptr) {
        api_->set_unavailable(kept, false);
    }
}

void Appliance::take_model(const ModelFile &file) {
    model_file_ = file;
    std::array<char, 240> text;
    TextWriter detail(text);
    if (const Status status = build_model(file, detail); !status) {
        refuse_model(detail.size() > 0 ? detail.view() : status.message());
        return;
    }
    restore_choices();
    engine_->make_room_for_translations();
    health_state_ = status::HealthState::kOk;
    const auto chat = model_->file().text_or("tokenizer.chat_template", {}, detail);
    generator_.emplace(*engine_, *tokenizer_, model_->name(), chat ? *chat : std::string_view());
    const api::ChatTemplate &format = generator_->chat_template();
    log_line(
        "chat: ", format.known ? "" : "the model's template is not a known one; its format is ",
        api::chat_family_name(format.family));
    if (api_ != nullptr) {
        api_->set_generator(*generator_);
    }
}

Status Appliance::build_model(const ModelFile &file, TextWriter &detail) {
    BF_ASSIGN(model_, llama::Model::create(file.bytes, detail));
    BF_ASSIGN(tokenizer_, llama::Tokenizer::create(model_->file(), detail));
    llama::ValueCheck check(*model_);
    while (!check.done()) {
        BF_TRY(check.step(kCheckStepBytes, detail));
        keep_alive();
    }
    detail.clear();
    compute::limit_instruction_set(settings_.jit_isa);
    compute::allow_relaxed_numerics(settings_.relaxed);
    BF_TRY(create_engine(detail));
    start_optimizer();
    const llama::HyperParameters &p = model_->parameters();
    log_stage("model", model_->name(), ", ", model_->weight_type(), ", ",
              Fixed{static_cast<double>(model_->parameter_count()) / 1e6, 2}, "M parameters, ",
              file.place);
    log_line("model: ", p.layers, " layers, ", p.dim, "/", p.hidden, ", ", p.heads, "/", p.kv_heads,
             " heads, ", p.vocab, " tokens");
    const uint32_t slots = engine_->slot_count();
    log_line("model: context ", engine_->context_length(), ", ", slots,
             slots == 1 ? " slot" : " slots", ", KV cache ", Bytes{engine_->memory().kv_bytes});
    return {};
}

// Memory for the texts, from what the machine has left with the model in it.
Status Appliance::create_engine(TextWriter &detail) {
    const llama::MemoryWish wish{.slots = settings_.slots,
                                 .context_length = settings_.context,
                                 .kv_type = settings_.kv,
                                 .batch = llama::Engine::good_batch(*model_)};
    const uint64_t free_bytes = platform::free_memory_bytes();
    uint64_t share = free_bytes - std::min(free_bytes, kKeptFreeBytes);
    llama::MemoryPlan plan = llama::plan_memory(model_->parameters(), wish, share);
    while (plan.fits) {
        auto engine = llama::Engine::create(*model_, plan.config);
        if (engine) {
            engine_ = *engine;
            break;
        }
        if (engine.error().code != ErrorCode::kTooLarge) {
            return engine.error();
        }
        // What is free lies in pieces.
        share -= std::min(share, std::max(share / 64, kMemoryStepBytes));
        plan = llama::plan_memory(model_->parameters(), wish, share);
    }
    if (engine_ == nullptr) {
        const uint64_t total_bytes = platform::total_memory_bytes();
        const uint64_t model_bytes = model_file_.bytes.size();
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
    if (plan.config.slots < settings_.slots) {
        log_line("model: memory for ", plan.config.slots, " of ", settings_.slots, " slots");
    }
    return {};
}

void Appliance::start_optimizer() {
    read_speed_.start(model_file_.bytes);
    char name[32];
    TextWriter sample(name);
    sample.put("sample ", model_->parameters().vocab);
    sample_function_ = profiler().key(llama::intern_name(sample.view()));
    jit_set_mode(settings_.jit);
    profiler().set_on(settings_.profile);
    worker_pool().set_counting(settings_.profile);
    placement_.start(engine_->placeable_weights(), settings_.weights, model_file_.writable);
    auto jit = compute::GemvJit::create(engine_->kernel_bindings(), optimizer(),
                                        compute::GemvJit::kCodePages, &placement_);
    if (!jit) {
        log_line("jit: off: ", jit.error().message);
        return;
    }
    jit_ = *jit;
    if (auto made = compute::FloatJit::create(engine_->float_bindings(), optimizer())) {
        float_jit_ = *made;
    } else {
        log_line("jit: float operations: ", made.error().message);
    }
    if (settings_.relaxed) {
        log_line("jit: numerics=fast: float operations may differ from the reference by ",
                 kTolerance, "; texts may depend on processor, load and time");
    }
    if (settings_.jit == JitMode::kFull) {
        engine_->fused_steps().fusing = llama::Fusing::kMeasured;
    }
    if (settings_.jit == JitMode::kOff) {
        return;
    }
    recall_profile();
    optimizer().anticipate();
}

// Before the first request: of its tokens' time the optimiser has a twentieth, which is too little
// for what an earlier start found out to be in force soon.
void Appliance::restore_choices() {
    const uint64_t start = platform::ticks();
    const uint64_t end = start + ms_to_ticks(kRestoreMs);
    while (platform::ticks() < end && (optimizer().is_recalling() || placement_.has_work())) {
        const uint64_t deadline = platform::ticks() + ms_to_ticks(kSliceMs);
        if (!placement_.work(deadline)) {
            (void)optimizer().work(deadline);
        }
        keep_alive();
    }
    const uint64_t took = platform::ticks() - start;
    if (!optimizer().is_recalling()) {
        // What is left for it to do is no hurry: it has had of the first tokens' time already.
        busy_ticks_ += took;
        busy_optimizer_ticks_ += took;
    }
    if (optimizer().recalled() != 0) {
        log_line("profile: ", optimizer().recalled(), " of them in force again, after ",
                 ticks_to_us(took) / 1000, " ms");
    }
}

void Appliance::recall_profile() {
    if (profile_store_ == nullptr || settings_.state == StateMode::kOff) {
        log_line("profile: not kept across reboots: ",
                 settings_.state == StateMode::kOff ? "state=off" : "there is no state disk");
        return;
    }
    const CpuFeatures &cpu = cpu_features();
    profile_keeper_.start(profile_store_,
                          {.model_bytes = model_file_.bytes.size(),
                           .model_hash = sampled_hash(model_file_.bytes),
                           .cpu_features = cpu.usable,
                           .cpu_family = cpu.family,
                           .cpu_model = cpu.model,
                           .cpu_stepping = cpu.stepping,
                           .cpu_vendor = cpu.vendor(),
                           .hypervisor = cpu.hypervisor(),
                           .version = kVersion,
                           .relaxed = settings_.relaxed},
                          optimizer(), settings_.state == StateMode::kContinual);
}

// The event loop

bool Appliance::serve() {
    bool more = surroundings_.poll_network();
    if (server_ != nullptr) {
        more |= server_->poll();
    }
    if (api_ != nullptr) {
        more |= api_->poll();
    }
    return more;
}

bool Appliance::turn() {
    bool more = serve();
    more |= read_console();
    if (engine_ != nullptr && engine_->can_advance()) {
        generate();
        more = true;
    } else {
        more |= optimize();
    }
    tend_profile();
    surroundings_.announce_network();
    if (!ready_shown_ && surroundings_.network_settled()) {
        show_ready();
    }
    if (platform::ticks() >= status_ticks_) {
        show_status();
        status_ticks_ = platform::ticks() + ms_to_ticks(kStatusMs);
    }
    return more;
}

void Appliance::generate() {
    const uint64_t begin = platform::ticks();
    engine_->advance(begin + ms_to_ticks(kSliceMs));
    advance_ticks_ += platform::ticks() - begin;
    note_speed();
    if (!optimizer_has_work()) {
        // Time without work is not saved up for a burst later.
        busy_ticks_ = busy_optimizer_ticks_ = 0;
        if (tuning_) {
            tuning_ = false;
            engine_->make_room_for_translations();
        }
        return;
    }
    tuning_ = true;
    uint64_t now = platform::ticks();
    busy_ticks_ += now - begin;
    if (may_optimize(busy_ticks_, busy_optimizer_ticks_, kOptimizerPerMille, false)) {
        const uint64_t before = now;
        const uint64_t deadline = before + ms_to_ticks(kOptimizeMs);
        if (!placement_.work(deadline)) {
            (void)optimizer().work(deadline);
        }
        now = platform::ticks();
        busy_ticks_ += now - before;
        busy_optimizer_ticks_ += now - before;
    }
}

// While nobody waits for a token all time is the optimiser's; the network is looked at in between.
bool Appliance::optimize() {
    if (placement_.work(platform::ticks() + ms_to_ticks(kSliceMs))) {
        return true;
    }
    if (!optimizer().has_work()) {
        if (jit_ != nullptr) {
            jit_->rest();
        }
        if (!ready_shown_ || !read_speed_.has_work()) {
            return false;
        }
        read_speed_.work(platform::ticks() + ms_to_ticks(kSliceMs));
        return true;
    }
    tuning_ = true;
    (void)optimizer().work(platform::ticks() + ms_to_ticks(kSliceMs));
    return true;
}

void Appliance::tend_profile() {
    if (jit_ == nullptr || !profile_keeper_.keeps()) {
        return;
    }
    profile_keeper_.tend({.ticks = platform::ticks(),
                          .ticks_per_ms = ms_to_ticks(1),
                          .idle = !engine_->busy(),
                          .settled = !optimizer_has_work(),
                          .tokens_per_second = api_ != nullptr ? api_->tokens_per_second() : 0.0});
}

void Appliance::note_speed() {
    timeline_.advance(ticks_to_us(advance_ticks_), profiler().calls(sample_function_),
                      optimizer().promotions());
}

Appliance::SpeedUp Appliance::speed_up() const {
    double now = 0;
    double reference = 0;
    double rule = 0;
    for (size_t i = 0; i < profiler().count(); i++) {
        const auto id = static_cast<FunctionId>(i);
        const auto cost = static_cast<double>(profiler().recent_cycles(id)) *
                          static_cast<double>(profiler().single_calls(id));
        const Optimizer::Gain gain = optimizer().gain(id);
        now += cost;
        reference += cost * static_cast<double>(gain.over_reference) / 1e3;
        rule += cost * static_cast<double>(gain.over_rule) / 1e3;
    }
    return now > 0 ? SpeedUp{reference / now, rule / now} : SpeedUp{};
}

int Appliance::optimize_now() {
    return jit_optimize_hot_functions();
}

bool Appliance::optimizer_has_work() {
    return placement_.has_work() || optimizer().has_work();
}

void Appliance::clear_profile() {
    profiler().clear_counters();
    optimizer().clear_counters();
    if (engine_ != nullptr) {
        engine_->fused_steps().clear_tries();
    }
    worker_pool().clear_shares();
    timeline_.clear(ticks_to_us(advance_ticks_), 0, 0);
}

uint64_t Appliance::idle_deadline() {
    uint64_t deadline =
        std::min({surroundings_.network_deadline(), status_ticks_, profile_keeper_.deadline()});
    if (server_ != nullptr) {
        deadline = std::min(deadline, server_->next_deadline());
    }
    return deadline;
}

void Appliance::show_ready() {
    ready_shown_ = true;
    ready_us_ = log_time_us();
    const status::NetworkInfo network = surroundings_.network_info();
    const std::string_view state = health_state_ == status::HealthState::kOk
                                       ? std::string_view("a prompt can be typed here")
                                       : std::string_view("but there is no model");
    if (network.address.empty()) {
        log_stage("ready", "no network, ", state);
    } else {
        log_stage("ready", "http://", network.address, ":", settings_.port, "/, ", state);
    }
    show_status();
    console_.start();
}

void Appliance::show_status() {
    constexpr size_t kColumns = 80;
    char figures[kColumns];
    TextWriter tail(figures);
    const std::string_view address = surroundings_.network_info().address;
    tail.put(" | ", address.empty() ? std::string_view("no address") : address, " | ",
             requests_logged_, requests_logged_ == 1 ? " request | " : " requests | ",
             Fixed{api_ != nullptr ? api_->tokens_per_second() : 0.0, 1}, " tokens/s");
    if (const double times = speed_up().over_reference; times > 1) {
        tail.put(", x", Fixed{times, 1});
    }
    char line[kColumns];
    TextWriter out(line);
    out.put(" BareFlow | ");
    if (model_ != nullptr && health_state_ == status::HealthState::kOk) {
        // A long name is cut, the figures are not.
        const std::string_view type = model_->weight_type();
        const size_t taken = out.size() + 1 + type.size() + tail.size();
        out.put(model_->name().substr(0, kColumns - std::min(taken, kColumns)), " ", type);
    } else {
        out.put("no model");
    }
    out.put(tail.view());
    console_set_status(out.view());
}

// The console

bool Appliance::read_console() {
    for (int i = 0; i < kMaxKeysPerTurn; i++) {
        const std::optional<Key> key = console_read();
        if (!key) {
            return false;
        }
        console_.feed(static_cast<int>(*key));
    }
    return true;
}

void Appliance::write(std::string_view text) {
    platform::console_write(text);
}

Status Appliance::begin_prompt(std::string_view text) {
    if (health_state_ != status::HealthState::kOk) {
        return {ErrorCode::kNotFound,
                health_state_ == status::HealthState::kLoading
                    ? std::string_view("the model is still being loaded")
                    : std::string_view(health_message_.data(), health_message_len_)};
    }
    return api_->submit_local(text, std::min(kConsoleMaxTokens, settings_.max_tokens), *this);
}

void Appliance::cancel_prompt() {
    api_->cancel_local();
}

void Appliance::on_text(std::string_view text) {
    console_.on_text(text);
}

void Appliance::on_done(const api::CompletionSummary &summary, std::string_view error) {
    console_.on_finished(summary.completion_tokens, summary.tokens_per_second,
                         error.empty() ? finish_name(summary.finish) : error);
}

void Appliance::on_completion(const api::CompletionSummary &summary) {
    requests_logged_++;
    if (summary.local) {
        return;  // the console shows its own
    }
    console_.begin_interruption();
    log_line("request ", requests_logged_, ": ", summary.prompt_tokens, " + ",
             summary.completion_tokens, " tokens, ", Fixed{summary.prompt_ms, 1}, " + ",
             Fixed{summary.decode_ms, 1}, " ms, ", Fixed{summary.tokens_per_second, 1},
             " tokens/s, ", finish_name(summary.finish), ", ", summary.cached_tokens, " cached");
    console_.end_interruption();
}

void Appliance::write_stats(TextWriter &out) {
    const api::CompletionCounters c = api_->counters();
    const HeapStats heap = heap_stats();
    out.put("up ", log_time_us() / 1000000, " s, ", c.finished, " requests done, ", c.waiting,
            " waiting, ", c.cancelled, " cancelled, ", c.refused, " refused\n");
    out.put("tokens: ", c.prompt_tokens, " of prompts, ", c.completion_tokens, " made, last ",
            Fixed{c.last_tokens_per_second, 1}, " tokens/s\n");
    out.put("memory: ", Bytes{platform::free_memory_bytes()}, " of ",
            Bytes{platform::total_memory_bytes()}, " free, heap ", Bytes{heap.used_bytes}, "\n");
    out.put("hottest functions, by cycles:\n");
    // The five with the most cycles, by repeated search: there are at most a few dozen.
    uint64_t below = ~uint64_t{0};
    for (int shown = 0; shown < 5; shown++) {
        FunctionProfile best;
        for (size_t i = 0; i < profiler().count(); i++) {
            const FunctionProfile f = profiler().profile(static_cast<FunctionId>(i));
            if (f.total_cycles < below && f.total_cycles > best.total_cycles) {
                best = f;
            }
        }
        if (best.total_cycles == 0) {
            break;
        }
        below = best.total_cycles;
        out.put("  ", best.name, ": ", best.calls, " calls, ", best.average_cycles(),
                " cycles each, level ", best.level, "\n");
    }
}

void Appliance::reboot() {
    platform::reboot();
}

// What /health and /profile show

status::Health Appliance::health() {
    return {health_state_, {health_message_.data(), health_message_len_}};
}

void Appliance::fill(status::SystemSnapshot &out) {
    out.version = kVersion;
    out.platform = surroundings_.platform_name();
    out.uptime_s = static_cast<double>(log_time_us()) / 1e6;
    out.ready_ms = static_cast<double>(ready_us_) / 1e3;
    out.health = health();
    out.stage_count = 0;
    for (const BootStage &stage : boot_stages()) {
        if (out.stage_count == out.stages.size()) {
            break;
        }
        out.stages[out.stage_count++] = {
            stage.name, static_cast<double>(stage.end_us - stage.duration_us) / 1e3,
            static_cast<double>(stage.duration_us) / 1e3};
    }

    const CpuFeatures &cpu = cpu_features();
    out.cpu = {.name = cpu.brand().empty() ? cpu.vendor() : cpu.brand(),
               .features = {features_.data(), features_len_},
               .hypervisor = cpu.hypervisor(),
               .processors = platform::processor_count(),
               .ticks_per_second = platform::ticks_per_second()};

    const WorkerPool &pool = worker_pool();
    static_assert(WorkerPool::kMaxProcessors == status::SystemSnapshot::kMaxProcessors);
    out.share_count = pool.seats() > 1 ? pool.seats() : 0;
    for (uint32_t i = 0; i < out.share_count; i++) {
        const WorkerPool::Share &share = pool.share(i);
        out.shares[i] = {share.jobs, share.units, ticks_to_us(share.ticks)};
    }

    const HeapStats heap = heap_stats();
    out.memory = {.total_bytes = platform::total_memory_bytes(),
                  .free_bytes = platform::free_memory_bytes(),
                  .image_bytes = surroundings_.image_bytes(),
                  .heap_used_bytes = heap.used_bytes,
                  .heap_peak_bytes = heap.peak_used_bytes,
                  .weights = compute::weight_mode_name(placement_.mode()),
                  .read_bytes_per_second = read_speed_.bytes_per_second()};
    if (server_ != nullptr) {
        out.memory.http_bytes = server_->memory_bytes();
        out.http = server_->counters();
    }
    if (engine_ != nullptr) {
        const llama::EngineMemory memory = engine_->memory();
        out.memory.model_bytes = memory.model_bytes;
        out.memory.kv_bytes = memory.kv_bytes;
        out.memory.scratch_bytes = memory.scratch_bytes;
        out.memory.packing_bytes = placement_.extra_bytes();
        out.memory.moved_bytes = placement_.moved_bytes();
        out.model = {.name = model_->name(),
                     .weight_type = model_->weight_type(),
                     .parameters = model_->parameter_count(),
                     .file_bytes = model_->file_bytes(),
                     .context_length = engine_->context_length(),
                     .layers = model_->parameters().layers,
                     .load_ms = static_cast<double>(load_us_) / 1e3};
    }
    out.network = surroundings_.network_info();
    const JitThresholds &thresholds = profiler().thresholds();
    const Optimizer &opt = optimizer();
    const auto tries = [&](TryVerdict verdict) {
        return opt.tries(verdict) +
               (engine_ == nullptr ? 0 : engine_->fused_steps().tries(verdict));
    };
    uint64_t tried = 0;
    for (size_t i = 0; i < kTryVerdicts; i++) {
        tried += tries(static_cast<TryVerdict>(i));
    }
    out.jit = {
        .mode = jit_mode_name(settings_.jit),
        .numerics = settings_.relaxed ? "fast" : "exact",
        .tolerance = settings_.relaxed ? kTolerance : "0",
        .relaxed = settings_.relaxed,
        .warm_calls = thresholds.warm,
        .hot_calls = thresholds.hot,
        .very_hot_calls = thresholds.very_hot,
        .code_bytes = jit_ != nullptr ? jit_->code().pages_in_use() * platform::kPageBytes : 0,
        .code_capacity_bytes = jit_ != nullptr ? jit_->code().pages() * platform::kPageBytes : 0,
        .promotions = opt.promotions(),
        .candidates_tried = tried,
        .candidates_rejected = tried - tries(TryVerdict::kWon),
        .candidates_left_out = opt.left_out(),
        .timings_spoiled = opt.spoiled(),
        .retunes = opt.retunes(),
        .kept_on = profile_keeper_.place(),
        .saves = profile_keeper_.saves(),
        .recalled = opt.recalled(),
        .recalls_lost = opt.recalls_lost(),
        .spent_us = ticks_to_us(opt.spent_ticks()),
        .compile_us = ticks_to_us(opt.compile_ticks()),
        .unbalanced = profiler().unbalanced()};
    static_assert(kTryVerdicts <= status::JitInfo::kMaxVerdicts);
    for (size_t i = 0; i < kTryVerdicts; i++) {
        const auto verdict = static_cast<TryVerdict>(i);
        out.jit.verdicts[i] = {verdict_name(verdict), tries(verdict)};
    }
    out.jit.verdict_count = kTryVerdicts;
    const SpeedUp speed = speed_up();
    out.jit.speed_up = speed.over_reference;
    out.jit.speed_up_over_rule = speed.over_rule;
    if (api_ != nullptr) {
        out.completions = api_->counters();
    }
}

size_t Appliance::function_count() {
    return profiler().count();
}

status::FunctionRow Appliance::function(size_t index) {
    const FunctionProfile f = profiler().profile(static_cast<FunctionId>(index));
    status::FunctionRow row{.name = f.name,
                            .shape = f.shape,
                            .variant = {},
                            .calls = f.calls,
                            .total_cycles = f.total_cycles,
                            .average_cycles = f.average_cycles(),
                            .minimum_cycles = f.min_cycles,
                            .p50_cycles = f.p50_cycles,
                            .p99_cycles = f.p99_cycles,
                            .recent_cycles = f.recent_cycles,
                            .level = static_cast<uint32_t>(f.level),
                            .code_bytes = static_cast<uint32_t>(f.code_bytes)};
    if (jit_ == nullptr) {
        return row;
    }
    for (const compute::FloatBinding &binding : engine_->float_bindings()) {
        if (f.name == binding.name) {
            row.variant = binding.variant->name;
        }
    }
    for (const compute::KernelBinding &binding : engine_->kernel_bindings()) {
        if (f.name != binding.name) {
            continue;
        }
        row.variant = jit_->variant(binding);
        if (f.recent_cycles != 0) {
            const double per_ns = static_cast<double>(platform::ticks_per_second()) / 1e9 /
                                  static_cast<double>(f.recent_cycles);
            row.gmacs = static_cast<double>(uint64_t{binding.rows} * binding.cols) * per_ns;
            row.gbytes = static_cast<double>(binding.rows * binding.row_bytes) * per_ns;
            if (const uint64_t read = read_speed_.bytes_per_second(); read != 0) {
                row.bandwidth_percent = row.gbytes * 1e11 / static_cast<double>(read);
            }
        }
    }
    if (!row.variant.empty()) {
        const Optimizer::Gain gain = optimizer().gain(static_cast<FunctionId>(index));
        row.speed_up = static_cast<double>(gain.over_reference) / 1e3;
        row.speed_up_over_rule = static_cast<double>(gain.over_rule) / 1e3;
    }
    return row;
}

size_t Appliance::try_count() {
    return optimizer().try_count() + (engine_ == nullptr ? 0 : engine_->fused_steps().try_count());
}

status::TryRow Appliance::try_at(size_t index) {
    const size_t others = optimizer().try_count();
    const OptimizationTry &t =
        index < others ? optimizer().try_at(index)
                       : engine_->fused_steps().try_at(static_cast<uint32_t>(index - others));
    return {.function = t.function,
            .variant = t.variant(),
            .verdict = verdict_name(t.verdict),
            .level = t.level,
            .code_bytes = t.code_bytes,
            .cycles = t.candidate_ticks,
            .current_cycles = t.current_ticks};
}

}  // namespace bareflow
