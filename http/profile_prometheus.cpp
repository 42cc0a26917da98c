// The Prometheus form of /profile. Every metric has HELP and TYPE, base units, and labels from
// fixed sets; counters only grow.
#include "http/profile.h"

namespace bareflow::http {

namespace {

enum class Type : uint8_t { kCounter, kGauge };

// One number of the snapshot under one name, in base units.
struct Simple {
    std::string_view name;
    std::string_view help;
    Type type;
    double (*value)(const SystemSnapshot &);
};

double from(uint64_t value) {
    return static_cast<double>(value);
}
double from_us(uint64_t value) {
    return static_cast<double>(value) / 1e6;
}

constexpr Simple kSimple[] = {
    {"uptime_seconds", "Time since start.", Type::kGauge,
     [](const SystemSnapshot &s) { return s.uptime_s; }},
    {"ready_seconds", "Time from start until requests could be answered.", Type::kGauge,
     [](const SystemSnapshot &s) { return s.ready_ms / 1000; }},
    {"healthy", "1 when completions can be served, else 0.", Type::kGauge,
     [](const SystemSnapshot &s) { return s.health.state == HealthState::kOk ? 1.0 : 0.0; }},
    {"processors", "Processors.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.cpu.processors); }},
    {"tsc_frequency_hertz", "Ticks of the time-stamp counter in a second.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.cpu.ticks_per_second); }},
    {"memory_total_bytes", "Memory of the machine.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.memory.total_bytes); }},
    {"memory_free_bytes", "Memory not handed out.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.memory.free_bytes); }},
    {"memory_image_bytes", "Code and data of the program.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.memory.image_bytes); }},
    {"memory_heap_bytes", "Heap in use.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.memory.heap_used_bytes); }},
    {"memory_heap_peak_bytes", "Most heap that was ever in use.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.memory.heap_peak_bytes); }},
    {"memory_kv_bytes", "Key-value cache.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.memory.kv_bytes); }},
    {"memory_model_bytes", "The model file in memory.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.memory.model_bytes); }},
    {"memory_scratch_bytes", "Working memory of the engine.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.memory.scratch_bytes); }},
    {"memory_http_bytes", "Connections and request bodies.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.memory.http_bytes); }},
    {"model_parameters", "Parameters of the model.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.model.parameters); }},
    {"model_context_tokens", "Context length.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.model.context_length); }},
    {"model_load_seconds", "Time that loading the model took.", Type::kGauge,
     [](const SystemSnapshot &s) { return s.model.load_ms / 1000; }},
    {"network_link_up", "1 when the link is up, else 0.", Type::kGauge,
     [](const SystemSnapshot &s) { return s.network.link_up ? 1.0 : 0.0; }},
    {"network_received_frames_total", "Frames received.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.network.received_frames); }},
    {"network_sent_frames_total", "Frames sent.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.network.sent_frames); }},
    {"network_received_bytes_total", "Bytes received.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.network.received_bytes); }},
    {"network_sent_bytes_total", "Bytes sent.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.network.sent_bytes); }},
    {"network_dropped_frames_total", "Frames dropped for want of room.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.network.dropped_frames); }},
    {"network_errors_total", "Frames with errors.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.network.errors); }},
    {"http_connections_total", "Connections accepted.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.http.connections); }},
    {"http_connections_open", "Connections open now.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.http.open); }},
    {"http_requests_total", "Requests answered or refused.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.http.requests); }},
    {"http_hang_ups_total", "Clients that left before their answer was complete.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.http.hang_ups); }},
    {"http_timeouts_total", "Connections closed for being slow or idle.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.http.timeouts); }},
    {"http_evictions_total", "Connections closed to make room for others.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.http.evictions); }},
    {"http_received_bytes_total", "Bytes received by the HTTP server.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.http.bytes_received); }},
    {"http_sent_bytes_total", "Bytes sent by the HTTP server.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.http.bytes_sent); }},
    {"completions_started_total", "Completions begun.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.completions.started); }},
    {"completions_finished_total", "Completions made to their end.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.completions.finished); }},
    {"completions_cancelled_total", "Completions whose client left.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.completions.cancelled); }},
    {"completions_refused_total", "Completions refused: queue full, no model.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.completions.refused); }},
    {"completions_waiting", "Completions in the queue now.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.completions.waiting); }},
    {"completions_running", "Completions being made now.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.completions.running); }},
    {"prompt_tokens_total", "Tokens of prompts computed.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.completions.prompt_tokens); }},
    {"completion_tokens_total", "Tokens made.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.completions.completion_tokens); }},
    {"prompt_seconds_total", "Time spent computing prompts.", Type::kCounter,
     [](const SystemSnapshot &s) { return from_us(s.completions.prompt_us); }},
    {"decode_seconds_total", "Time spent making tokens.", Type::kCounter,
     [](const SystemSnapshot &s) { return from_us(s.completions.decode_us); }},
    {"last_tokens_per_second", "Speed of the last completion.", Type::kGauge,
     [](const SystemSnapshot &s) { return s.completions.last_tokens_per_second; }},
    {"jit_threshold_warm_calls", "Calls that make a function warm.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.jit.warm_calls); }},
    {"jit_threshold_hot_calls", "Calls that make a function hot.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.jit.hot_calls); }},
    {"jit_threshold_very_hot_calls", "Calls that make a function very hot.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.jit.very_hot_calls); }},
    {"jit_code_bytes", "Machine code generated at run time.", Type::kGauge,
     [](const SystemSnapshot &s) { return from(s.jit.code_bytes); }},
    {"jit_promotions_total", "Functions replaced by a faster version.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.jit.promotions); }},
    {"jit_candidates_tried_total", "Versions generated and timed.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.jit.candidates_tried); }},
    {"jit_candidates_rejected_total", "Versions that were wrong or slower.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.jit.candidates_rejected); }},
    {"jit_unbalanced_total", "Profile ends without their begin.", Type::kCounter,
     [](const SystemSnapshot &s) { return from(s.jit.unbalanced); }},
};

struct PerFunction {
    std::string_view name;
    std::string_view help;
    Type type;
    uint64_t (*value)(const FunctionRow &);
};
constexpr PerFunction kPerFunction[] = {
    {"function_calls_total", "Calls of a profiled function.", Type::kCounter,
     [](const FunctionRow &f) { return f.calls; }},
    {"function_cycles_total", "Cycles spent in a profiled function, callees included.",
     Type::kCounter, [](const FunctionRow &f) { return f.total_cycles; }},
    {"function_average_cycles", "Mean cycles of a call.", Type::kGauge,
     [](const FunctionRow &f) { return f.average_cycles; }},
    {"function_minimum_cycles", "Cycles of the quickest call.", Type::kGauge,
     [](const FunctionRow &f) { return f.minimum_cycles; }},
    {"function_level", "Optimisation level in force, 0 to 3.", Type::kGauge,
     [](const FunctionRow &f) { return uint64_t{f.level}; }},
    {"function_code_bytes", "Machine code generated for a function.", Type::kGauge,
     [](const FunctionRow &f) { return uint64_t{f.code_bytes}; }},
};

void write_head(std::string_view name, std::string_view help, Type type, TextWriter &out) {
    out.put("# HELP bareflow_", name, " ", help, "\n# TYPE bareflow_", name,
            type == Type::kCounter ? " counter\n" : " gauge\n");
}

// Whole numbers without a point, others with what matters of their fraction.
void write_value(double value, TextWriter &out) {
    constexpr double kTooLarge = 18446744073709551616.0;  // for a whole number
    const uint64_t whole = value >= 0 && value < kTooLarge ? static_cast<uint64_t>(value) : 0;
    if (static_cast<double>(whole) == value) {
        out.put(whole, "\n");
    } else {
        out.put(Fixed{value, 6}, "\n");
    }
}

// A label's value: backslash, quote and line end escaped.
void write_label(std::string_view name, std::string_view value, TextWriter &out) {
    out.put(name, "=\"");
    for (const char c : value.substr(0, kMaxShownText)) {
        if (c == '\n') {
            out.put("\\n");
        } else {
            if (c == '"' || c == '\\') {
                out.put('\\');
            }
            out.put(c);
        }
    }
    out.put('"');
}

void write_info(const SystemSnapshot &s, TextWriter &out) {
    write_head("build_info", "What runs here.", Type::kGauge, out);
    out.put("bareflow_build_info{");
    write_label("version", s.version, out);
    out.put(',');
    write_label("platform", s.platform, out);
    out.put("} 1\n");
    write_head("cpu_info", "The processor it runs on.", Type::kGauge, out);
    out.put("bareflow_cpu_info{");
    write_label("name", s.cpu.name, out);
    out.put(',');
    write_label("hypervisor", s.cpu.hypervisor, out);
    out.put("} 1\n");
    if (!s.model.name.empty()) {
        write_head("model_info", "The model it serves.", Type::kGauge, out);
        out.put("bareflow_model_info{");
        write_label("name", s.model.name, out);
        out.put(',');
        write_label("weight_type", s.model.weight_type, out);
        out.put("} 1\n");
    }
    write_head("http_responses_total", "Responses by class of status.", Type::kCounter, out);
    out.put("bareflow_http_responses_total{class=\"2xx\"} ", s.http.responses_2xx,
            "\nbareflow_http_responses_total{class=\"4xx\"} ", s.http.responses_4xx,
            "\nbareflow_http_responses_total{class=\"5xx\"} ", s.http.responses_5xx, "\n");
}

void write_stages(const SystemSnapshot &s, TextWriter &out) {
    if (s.stage_count == 0) {
        return;
    }
    write_head("boot_stage_seconds", "Time that a stage of the start took.", Type::kGauge, out);
    for (uint32_t i = 0; i < s.stage_count; ++i) {
        bool seen = false;  // a series may appear once only
        for (uint32_t j = 0; j < i; ++j) {
            seen = seen || s.stages[j].name == s.stages[i].name;
        }
        if (!seen) {
            out.put("bareflow_boot_stage_seconds{");
            write_label("stage", s.stages[i].name.substr(0, 24), out);
            out.put("} ");
            write_value(s.stages[i].took_ms / 1000, out);
        }
    }
}

}  // namespace

bool render_profile_prometheus(SnapshotSource &source, uint32_t piece, uint32_t functions,
                               TextWriter &out) {
    constexpr uint32_t kSimplePerPiece = 12;
    constexpr uint32_t kSimplePieces = (std::size(kSimple) + kSimplePerPiece - 1) / kSimplePerPiece;
    constexpr uint32_t kFirstFunction = 2 + kSimplePieces;
    if (piece < kFirstFunction) {
        SystemSnapshot snapshot;
        source.fill(snapshot);
        if (piece == 0) {
            write_info(snapshot, out);
        } else if (piece == 1) {
            write_stages(snapshot, out);
        } else {
            const uint32_t begin = (piece - 2) * kSimplePerPiece;
            for (uint32_t i = begin; i < begin + kSimplePerPiece && i < std::size(kSimple); ++i) {
                write_head(kSimple[i].name, kSimple[i].help, kSimple[i].type, out);
                out.put("bareflow_", kSimple[i].name, " ");
                write_value(kSimple[i].value(snapshot), out);
            }
        }
        return functions > 0 || piece + 1 < kFirstFunction;
    }
    // Metric by metric, as the format wants them together.
    const uint32_t at = piece - kFirstFunction;
    const PerFunction &metric = kPerFunction[at / functions];
    const uint32_t index = at % functions;
    if (index == 0) {
        write_head(metric.name, metric.help, metric.type, out);
    }
    const FunctionRow row = source.function(index);
    out.put("bareflow_", metric.name, "{");
    write_label("function", row.name, out);
    out.put(',');
    write_label("shape", row.shape, out);
    out.put("} ", metric.value(row), "\n");
    return at + 1 < functions * std::size(kPerFunction);
}

}  // namespace bareflow::http
