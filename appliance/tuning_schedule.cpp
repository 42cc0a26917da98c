// Shares the time of the one processor that runs the loop between texts and the optimiser.
//
// What must hold: while texts are made, the optimiser never has more than kPerMille of the time
// since it last had work, plus one piece of kPieceMs. Everything here runs between two slices of
// the engine, when no kernel is on the stack and kernels may be exchanged.
#include "appliance/tuning_schedule.h"

#include "kernel_lib/cpu/features.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/jit/optimize.h"
#include "kernel_lib/jit_runtime.h"
#include "llama/engine/op_costs.h"

namespace bareflow {
namespace {

// Length of one piece of the optimiser's work while texts are made.
constexpr uint64_t kPieceMs = 2;
constexpr uint64_t kRestoreMs = 500;

}  // namespace

void TuningSchedule::start() {
    const Settings &settings = parts_.settings;
    read_speed_.start(parts_.file.bytes);
    char name[32];
    TextWriter sample(name);
    sample.put("sample ", parts_.model->parameters().vocab);
    sample_function_ = profiler().key(llama::intern_name(sample.view()));
    jit_set_mode(settings.jit);
    profiler().set_on(settings.profile);
    worker_pool().set_counting(settings.profile);
    make_tuners();
    if (parts_.gemv_tuner == nullptr) {
        return;
    }
    if (settings.relaxed) {
        log_line("jit: numerics=fast: float operations may differ from the reference by ",
                 kTolerance, "; texts may depend on processor, load and time");
    }
    if (settings.jit == JitMode::kFull) {
        parts_.engine->fused_steps().fusing = llama::Fusing::kMeasured;
    }
    if (settings.jit == JitMode::kOff) {
        return;
    }
    recall_profile();
    optimizer().anticipate();
}

void TuningSchedule::make_tuners() {
    llama::Engine &engine = *parts_.engine;
    parts_.placement.start(engine.placeable_weights(), parts_.settings.weights,
                           parts_.file.writable);
    auto gemv = compute::GemvTuner::create(engine.kernel_bindings(), optimizer(),
                                           compute::GemvTuner::kCodePages, &parts_.placement);
    if (!gemv) {
        log_line("jit: off: ", gemv.error().message);
        return;
    }
    parts_.gemv_tuner = *gemv;
    parts_.bindings.fill(profiler(), engine.kernel_bindings(), engine.float_bindings());
    if (auto floats = compute::FloatTuner::create(engine.float_bindings(), optimizer())) {
        parts_.float_tuner = *floats;
    } else {
        log_line("jit: float operations: ", floats.error().message);
    }
}

void TuningSchedule::recall_profile() {
    const Settings &settings = parts_.settings;
    if (profile_store_ == nullptr || settings.state == StateMode::kOff) {
        log_line("profile: not kept across reboots: ",
                 settings.state == StateMode::kOff ? "state=off" : "there is no state disk");
        return;
    }
    const CpuFeatures &cpu = cpu_features();
    profile_keeper_.start(profile_store_,
                          {.model_bytes = parts_.file.bytes.size(),
                           .model_hash = sampled_hash(parts_.file.bytes),
                           .cpu_features = cpu.usable,
                           .cpu_family = cpu.family,
                           .cpu_model = cpu.model,
                           .cpu_stepping = cpu.stepping,
                           .cpu_vendor = cpu.vendor(),
                           .hypervisor = cpu.hypervisor(),
                           .version = kVersion,
                           .relaxed = settings.relaxed},
                          optimizer(), settings.state == StateMode::kContinual);
}

// Weights are moved first: until they are, the kernels in force wait for them.
void TuningSchedule::work(uint64_t deadline_ticks) {
    if (!parts_.placement.work(deadline_ticks)) {
        (void)optimizer().work(deadline_ticks);
    }
}

// While texts are made the optimiser has a twentieth of the time. That is too little to have the
// remembered choices in force soon.
void TuningSchedule::restore_choices() {
    const uint64_t start = platform::ticks();
    const uint64_t end = start + ms_to_ticks(kRestoreMs);
    while (platform::ticks() < end && (optimizer().is_recalling() || parts_.placement.has_work())) {
        work(platform::ticks() + ms_to_ticks(kSliceMs));
        service_.keep_alive();
    }
    const uint64_t took = platform::ticks() - start;
    if (!optimizer().is_recalling()) {
        // Charge this time to the optimiser's 5 % share, so that it does not take more from the
        // first tokens.
        busy_ticks_ += took;
        busy_optimizer_ticks_ += took;
    }
    if (optimizer().recalled() != 0) {
        log_line("profile: ", optimizer().recalled(), " of them in force again, after ",
                 ticks_to_us(took) / 1000, " ms");
    }
}

void TuningSchedule::make_texts() {
    const uint64_t begin = platform::ticks();
    parts_.texts->advance(begin + ms_to_ticks(kSliceMs));
    advance_ticks_ += platform::ticks() - begin;
    timeline_.advance(ticks_to_us(advance_ticks_), profiler().calls(sample_function_),
                      optimizer().promotions());
    if (!optimizer_has_work()) {
        // Time without work is not saved up for a burst later.
        busy_ticks_ = busy_optimizer_ticks_ = 0;
        if (tuning_) {
            tuning_ = false;
            parts_.texts->make_room_for_translations();
        }
        return;
    }
    tuning_ = true;
    const uint64_t now = platform::ticks();
    busy_ticks_ += now - begin;
    if (may_optimize(busy_ticks_, busy_optimizer_ticks_, kPerMille, false)) {
        work(now + ms_to_ticks(kPieceMs));
        const uint64_t took = platform::ticks() - now;
        busy_ticks_ += took;
        busy_optimizer_ticks_ += took;
    }
}

bool TuningSchedule::use_idle_time(bool ready) {
    if (parts_.placement.work(platform::ticks() + ms_to_ticks(kSliceMs))) {
        return true;
    }
    if (!optimizer().has_work()) {
        if (parts_.gemv_tuner != nullptr) {
            parts_.gemv_tuner->rest();
        }
        if (!ready || !read_speed_.has_work()) {
            return false;
        }
        read_speed_.work(platform::ticks() + ms_to_ticks(kSliceMs));
        return true;
    }
    tuning_ = true;
    (void)optimizer().work(platform::ticks() + ms_to_ticks(kSliceMs));
    return true;
}

void TuningSchedule::tend_profile() {
    if (parts_.gemv_tuner == nullptr || !profile_keeper_.keeps()) {
        return;
    }
    profile_keeper_.tend({.ticks = platform::ticks(),
                          .ticks_per_ms = ms_to_ticks(1),
                          .idle = !parts_.texts->busy(),
                          .settled = !optimizer_has_work(),
                          .tokens_per_second = service_.tokens_per_second()});
}

int TuningSchedule::optimize_now() {
    return jit_optimize_hot_functions();
}

bool TuningSchedule::optimizer_has_work() {
    return parts_.placement.has_work() || optimizer().has_work();
}

void TuningSchedule::clear_profile() {
    profiler().clear_counters();
    optimizer().clear_counters();
    if (parts_.engine != nullptr) {
        parts_.engine->fused_steps().clear_tries();
    }
    worker_pool().clear_shares();
    timeline_.clear(ticks_to_us(advance_ticks_), 0, 0);
}

}  // namespace bareflow
