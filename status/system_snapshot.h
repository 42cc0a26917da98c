// What the program knows about itself, as plain values. The appliance fills them in; /health and
// /profile show them. So this room needs no driver, no network stack and no engine.
//
// Text is of static lifetime, or lives as long as the SnapshotSource. Times are milliseconds since
// start, unless the name says otherwise. Counters only grow.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "api/completion_counters.h"
#include "http/server_counters.h"

namespace bareflow::status {

enum class HealthState : uint8_t { kOk, kLoading, kError };

struct Health {
    HealthState state = HealthState::kLoading;
    std::string_view message;  // one sentence when not kOk
};

struct BootStage {
    std::string_view name;  // "memory", "network"...
    double started_ms = 0;
    double took_ms = 0;
};

struct CpuInfo {
    std::string_view name;        // CPUID brand string, or the vendor
    std::string_view features;    // usable ones, blank-separated: "sse2 ssse3 avx2"
    std::string_view hypervisor;  // empty: none announced
    uint32_t processors = 1;
    uint64_t ticks_per_second = 0;
};

// One processor's part of the work that processors share.
struct ProcessorShare {
    uint64_t jobs = 0;   // operations that it worked on
    uint64_t items = 0;  // units of these operations: rows of matrices, heads...
    uint64_t busy_us = 0;
};

struct MemoryInfo {
    uint64_t total_bytes = 0;
    uint64_t free_bytes = 0;
    uint64_t image_bytes = 0;  // code and data of the program
    uint64_t heap_used_bytes = 0;
    uint64_t heap_peak_bytes = 0;
    uint64_t kv_bytes = 0;
    uint64_t model_bytes = 0;
    uint64_t scratch_bytes = 0;
    uint64_t http_bytes = 0;
    std::string_view weights;            // where they are: "owned", "mapped", "tight"
    uint64_t packing_bytes = 0;          // memory for repacked weights, beside the model's own
    uint64_t moved_bytes = 0;            // weights copied to repack them, since start
    uint64_t read_bytes_per_second = 0;  // a plain loop over the model; 0: not measured yet
};

struct ModelInfo {
    std::string_view name;  // empty: none
    std::string_view weight_type;
    uint64_t parameters = 0;
    uint64_t file_bytes = 0;
    uint32_t context_length = 0;
    uint32_t layers = 0;
    double load_ms = 0;
};

struct NetworkInfo {
    std::string_view device;  // "e1000", "sockets"
    std::string_view mac;     // empty: not known
    std::string_view address;
    bool link_up = false;
    uint64_t received_frames = 0;
    uint64_t sent_frames = 0;
    uint64_t received_bytes = 0;
    uint64_t sent_bytes = 0;
    uint64_t dropped_frames = 0;
    uint64_t errors = 0;
};

// Machine code that was generated while the program runs.
struct GeneratedCode {
    uint64_t bytes = 0;
    uint64_t capacity_bytes = 0;
};

// Calls that raise a function's level.
struct CallThresholds {
    uint64_t warm = 0;
    uint64_t hot = 0;
    uint64_t very_hot = 0;
};

// What the search for faster versions has done.
struct SearchInfo {
    uint64_t promotions = 0;
    uint64_t tried = 0;     // candidates
    uint64_t rejected = 0;  // candidates that did not win
    uint64_t left_out = 0;  // candidates that the guided search did not need
    uint64_t spoiled = 0;   // timings thrown away because something interrupted them
    uint64_t retunes = 0;
    uint64_t spent_us = 0;
    uint64_t compile_us = 0;  // of spent_us: making candidates
    struct Verdict {
        std::string_view name;
        uint64_t count = 0;
    };
    static constexpr size_t kMaxVerdicts = 8;
    std::array<Verdict, kMaxVerdicts> verdicts{};
    uint32_t verdict_count = 0;
};

// Choices that are remembered across reboots.
struct KeptInfo {
    std::string_view on;  // where they are kept; empty: nowhere
    uint64_t saves = 0;
    uint64_t recalled = 0;  // choices of an earlier start that are in force again
    uint64_t recalls_lost = 0;
};

struct JitInfo {
    std::string_view mode;       // "off", "baseline", "full"
    std::string_view numerics;   // "exact", "fast"
    std::string_view tolerance;  // the most that a result may differ from the reference
    bool relaxed = false;        // numerics are "fast"
    GeneratedCode code;
    CallThresholds calls;
    SearchInfo search;
    KeptInfo kept;
    double speed_up = 1;            // of all operations together, over portable code
    double speed_up_over_rule = 1;  // the same, over the rule of thumb
    uint64_t unbalanced = 0;        // profile ends without their begin
};

struct SystemSnapshot {
    static constexpr size_t kMaxStages = 24;

    std::string_view version;
    std::string_view platform;  // "metal" or "hosted"
    double uptime_s = 0;
    double ready_ms = 0;  // from start to the ready line; 0: not yet
    Health health;
    std::array<BootStage, kMaxStages> stages;
    uint32_t stage_count = 0;
    CpuInfo cpu;
    static constexpr size_t kMaxProcessors = 16;
    std::array<ProcessorShare, kMaxProcessors> shares;  // none where nothing is shared
    uint32_t share_count = 0;
    MemoryInfo memory;
    ModelInfo model;
    NetworkInfo network;
    JitInfo jit;
    http::ServerCounters http;
    api::CompletionCounters completions;
};

// One profiled function (kernel_lib/jit/profile.h). Its number is its index in SnapshotSource.
struct FunctionRow {
    std::string_view name;     // "q8_0_gemv"
    std::string_view shape;    // "352x128"; may be empty
    std::string_view variant;  // of the code in force: "jit r4 u2"; empty: there is no choice
    uint64_t calls = 0;
    uint64_t total_cycles = 0;
    uint64_t average_cycles = 0;
    uint64_t minimum_cycles = 0;
    uint64_t p50_cycles = 0;
    uint64_t p99_cycles = 0;
    uint64_t recent_cycles = 0;  // recent average of a call for one vector
    uint32_t level = 0;          // 0-3
    uint32_t code_bytes = 0;
    // Matrix products only, else 0; computed from recent_cycles. Multiply-adds and bytes of
    // weights, in 10^9 a second, and these bytes in per cent of those that a plain loop reads.
    double gmacs = 0;
    double gbytes = 0;
    double bandwidth_percent = 0;
    // Computed from the runs that the optimiser timed; 0: it has no choice here.
    double speed_up = 0;            // over portable code
    double speed_up_over_rule = 0;  // over the rule of thumb
};

// A part of the time in which text was made; time without text does not count.
struct TimelinePoint {
    float end_s = 0;  // seconds of such time since start
    float took_s = 0;
    uint32_t tokens = 0;
    uint32_t promotions = 0;
    [[nodiscard]] double per_second() const {
        return took_s > 0 ? static_cast<double>(tokens) / static_cast<double>(took_s) : 0;
    }
};

// One candidate that the optimiser tried for a function, and its verdict.
struct TryRow {
    static constexpr uint32_t kNoFunction = ~uint32_t{0};

    uint32_t function = kNoFunction;  // number of its FunctionRow
    std::string_view name;            // shown with kNoFunction: two fused steps are no function
    std::string_view variant;
    std::string_view verdict;  // "won", "lost", "differed", "unavailable", "faulted", "overran"
    uint32_t level = 0;
    uint32_t code_bytes = 0;
    uint64_t cycles = 0;          // of the candidate, median; 0: not timed
    uint64_t current_cycles = 0;  // of the variant in force, timed in pairs with the candidate
};

class SnapshotSource {
  public:
    virtual Health health() = 0;
    // Called for every piece of a page, so it has to be quick.
    virtual void fill(SystemSnapshot &out) = 0;
    // Functions are only ever added; an index keeps its function.
    virtual size_t function_count() = 0;
    virtual FunctionRow function(size_t index) = 0;
    virtual std::string_view function_name(size_t index) = 0;  // FunctionRow::name alone
    // The latest candidates tried, oldest first. The oldest may disappear while a page is written.
    virtual size_t try_count() = 0;
    virtual TryRow try_at(size_t index) = 0;
    // At most kMaxTimelinePoints, oldest first; valid until the source does something else.
    static constexpr size_t kMaxTimelinePoints = 120;
    virtual std::span<const TimelinePoint> timeline() = 0;

  protected:
    ~SnapshotSource() = default;
};

}  // namespace bareflow::status
