// Gathers what the program knows about itself into the plain values of status/.
//
// fill() is called for every piece of a page, so nothing here searches or allocates. Every text in
// the snapshot lives as long as the program, or as long as this object.
#include "appliance/status_report.h"

#include "kernel_lib/cpu/features.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/memory/heap.h"

namespace bareflow {
namespace {

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

void fill_stages(status::SystemSnapshot &out) {
    out.stage_count = 0;
    for (const BootStage &stage : boot_stages()) {
        if (out.stage_count == out.stages.size()) {
            break;
        }
        out.stages[out.stage_count++] = {
            stage.name, static_cast<double>(stage.end_us - stage.duration_us) / 1e3,
            static_cast<double>(stage.duration_us) / 1e3};
    }
}

}  // namespace

StatusReport::StatusReport(const Parts &parts, Service &service, TuningSchedule &tuning)
    : parts_(parts), service_(service), tuning_(tuning) {
    TextWriter out(features_);
    format_features(out, cpu_features());
    features_len_ = out.size();
}

void StatusReport::note_ready() {
    ready_us_ = log_time_us();
}

void StatusReport::fill(status::SystemSnapshot &out) {
    out.version = kVersion;
    out.platform = parts_.surroundings.platform_name();
    out.uptime_s = static_cast<double>(log_time_us()) / 1e6;
    out.ready_ms = static_cast<double>(ready_us_) / 1e3;
    out.health = health();
    fill_stages(out);
    fill_machine(out);
    fill_memory(out);
    if (parts_.engine != nullptr) {
        const llama::Model &model = *parts_.model;
        out.model = {.name = model.name(),
                     .weight_type = model.weight_type(),
                     .parameters = model.parameter_count(),
                     .file_bytes = model.file_bytes(),
                     .context_length = parts_.engine->context_length(),
                     .layers = model.parameters().layers,
                     .load_ms = static_cast<double>(parts_.load_us) / 1e3};
    }
    out.network = parts_.surroundings.network_info();
    fill_jit(out.jit);
    if (service_.server() != nullptr) {
        out.http = service_.server()->counters();
    }
    if (service_.api() != nullptr) {
        out.completions = service_.api()->counters();
    }
}

void StatusReport::fill_machine(status::SystemSnapshot &out) const {
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
}

void StatusReport::fill_memory(status::SystemSnapshot &out) const {
    const HeapStats heap = heap_stats();
    out.memory = {.total_bytes = platform::total_memory_bytes(),
                  .free_bytes = platform::free_memory_bytes(),
                  .image_bytes = parts_.surroundings.image_bytes(),
                  .heap_used_bytes = heap.used_bytes,
                  .heap_peak_bytes = heap.peak_used_bytes,
                  .weights = compute::weight_mode_name(parts_.placement.mode()),
                  .read_bytes_per_second = tuning_.read_speed().bytes_per_second()};
    if (service_.server() != nullptr) {
        out.memory.http_bytes = service_.server()->memory_bytes();
    }
    if (parts_.engine != nullptr) {
        const llama::EngineMemory memory = parts_.engine->memory();
        out.memory.model_bytes = memory.model_bytes;
        out.memory.kv_bytes = memory.kv_bytes;
        out.memory.scratch_bytes = memory.scratch_bytes;
        out.memory.packing_bytes = parts_.placement.extra_bytes();
        out.memory.moved_bytes = parts_.placement.moved_bytes();
    }
}

// Of the optimiser and of the engine's fused steps, which do their own experiments.
uint64_t StatusReport::tries(TryVerdict verdict) const {
    return optimizer().tries(verdict) +
           (parts_.engine == nullptr ? 0 : parts_.engine->fused_steps().tries(verdict));
}

void StatusReport::fill_jit(status::JitInfo &out) const {
    const Settings &settings = parts_.settings;
    const JitThresholds &thresholds = profiler().thresholds();
    const Optimizer &opt = optimizer();
    const compute::GemvTuner *const tuner = parts_.gemv_tuner;
    const ProfileKeeper &keeper = tuning_.profile_keeper();
    const SpeedUp speed = speed_up();
    out = {
        .mode = jit_mode_name(settings.jit),
        .numerics = settings.relaxed ? "fast" : "exact",
        .tolerance = settings.relaxed ? kTolerance : "0",
        .relaxed = settings.relaxed,
        .code = {.bytes =
                     tuner != nullptr ? tuner->code().pages_in_use() * platform::kPageBytes : 0,
                 .capacity_bytes =
                     tuner != nullptr ? tuner->code().pages() * platform::kPageBytes : 0},
        .calls = {.warm = thresholds.warm, .hot = thresholds.hot, .very_hot = thresholds.very_hot},
        .search = {.promotions = opt.promotions(),
                   .left_out = opt.left_out(),
                   .spoiled = opt.spoiled(),
                   .retunes = opt.retunes(),
                   .spent_us = ticks_to_us(opt.spent_ticks()),
                   .compile_us = ticks_to_us(opt.compile_ticks())},
        .kept = {.on = keeper.place(),
                 .saves = keeper.saves(),
                 .recalled = opt.recalled(),
                 .recalls_lost = opt.recalls_lost()},
        .speed_up = speed.over_reference,
        .speed_up_over_rule = speed.over_rule,
        .unbalanced = profiler().unbalanced()};
    static_assert(kTryVerdicts <= status::SearchInfo::kMaxVerdicts);
    for (size_t i = 0; i < kTryVerdicts; i++) {
        const auto verdict = static_cast<TryVerdict>(i);
        out.search.verdicts[i] = {verdict_name(verdict), tries(verdict)};
        out.search.tried += out.search.verdicts[i].count;
    }
    out.search.verdict_count = kTryVerdicts;
    out.search.rejected = out.search.tried - tries(TryVerdict::kWon);
}

StatusReport::SpeedUp StatusReport::speed_up() const {
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

status::FunctionRow StatusReport::function(size_t index) {
    const auto id = static_cast<FunctionId>(index);
    const FunctionProfile f = profiler().profile(id);
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
    if (const compute::FloatBinding *const binding = parts_.bindings.float_op(id)) {
        row.variant = binding->variant->name;
    }
    if (const compute::KernelBinding *const binding = parts_.bindings.kernel(id)) {
        fill_product(row, *binding);
    }
    if (!row.variant.empty()) {
        const Optimizer::Gain gain = optimizer().gain(id);
        row.speed_up = static_cast<double>(gain.over_reference) / 1e3;
        row.speed_up_over_rule = static_cast<double>(gain.over_rule) / 1e3;
    }
    return row;
}

void StatusReport::fill_product(status::FunctionRow &row,
                                const compute::KernelBinding &binding) const {
    row.variant = parts_.gemv_tuner->variant(binding);
    if (row.recent_cycles == 0) {
        return;
    }
    const double per_ns = static_cast<double>(platform::ticks_per_second()) / 1e9 /
                          static_cast<double>(row.recent_cycles);
    row.gmacs = static_cast<double>(uint64_t{binding.rows} * binding.cols) * per_ns;
    row.gbytes = static_cast<double>(binding.rows * binding.row_bytes) * per_ns;
    if (const uint64_t read = tuning_.read_speed().bytes_per_second(); read != 0) {
        row.bandwidth_percent = row.gbytes * 1e11 / static_cast<double>(read);
    }
}

size_t StatusReport::try_count() {
    return optimizer().try_count() +
           (parts_.engine == nullptr ? 0 : parts_.engine->fused_steps().try_count());
}

status::TryRow StatusReport::try_at(size_t index) {
    const size_t others = optimizer().try_count();
    const OptimizationTry &t =
        index < others ? optimizer().try_at(index)
                       : parts_.engine->fused_steps().try_at(static_cast<uint32_t>(index - others));
    const FunctionId function = profiler().find(t.function);
    return {.function = function == kNoFunction ? status::TryRow::kNoFunction : function,
            .name = t.function,
            .variant = t.variant(),
            .verdict = verdict_name(t.verdict),
            .level = t.level,
            .code_bytes = t.code_bytes,
            .cycles = t.candidate_ticks,
            .current_cycles = t.current_ticks};
}

void StatusReport::write_stats(TextWriter &out) const {
    const api::CompletionCounters c = service_.api()->counters();
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

}  // namespace bareflow
