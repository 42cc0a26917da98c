// /profile for Prometheus. Every metric has HELP and TYPE, base units, and labels from
// fixed sets; counters only grow.
#include "status/profile.h"
#include "status/profile_table.h"

namespace bareflow::status {

namespace {

struct Name {
    std::string_view prefix;
    std::string_view stem;
    std::string_view suffix = {};
};

void write_name(const Name &name, TextWriter &out) {
    out.put("bareflow_", name.prefix, name.stem, name.suffix);
}

void write_head(const Name &name, std::string_view help, bool counter, TextWriter &out) {
    out.put("# HELP ");
    write_name(name, out);
    out.put(" ", help, "\n# TYPE ");
    write_name(name, out);
    out.put(counter ? " counter\n" : " gauge\n");
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

struct Label {
    std::string_view name;
    std::string_view value;
};

// A metric whose value is 1 and whose labels tell.
void write_info(std::string_view name, std::string_view help, const Label &a, const Label &b,
                TextWriter &out) {
    write_head({name, {}}, help, false, out);
    out.put("bareflow_", name, "{");
    write_label(a.name, a.value, out);
    out.put(',');
    write_label(b.name, b.value, out);
    out.put("} 1\n");
}

void write_row(const SystemSnapshot &s, const ProfileRow &row, TextWriter &out) {
    Name name{profile_section(row.section).prometheus, row.key};
    double scale = 1;
    if (name.stem.ends_with("_ms")) {
        name.stem.remove_suffix(3);
        scale = 1e-3;
    } else if (name.stem.ends_with("_s")) {
        name.stem.remove_suffix(2);
    }
    const bool seconds = name.stem.size() != std::string_view(row.key).size();
    name.suffix =
        seconds ? (row.counter ? "_seconds_total" : "_seconds") : (row.counter ? "_total" : "");
    write_head(name, row.help, row.counter, out);
    write_name(name, out);
    if (profile_is_real(row)) {
        out.put(" ", Fixed{profile_number(s, row) * scale, 6}, "\n");
    } else {
        out.put(" ", profile_integer(s, row), "\n");
    }
}

void write_labelled(const SystemSnapshot &s, TextWriter &out) {
    write_info("build_info", "What runs here.", {"version", s.version}, {"platform", s.platform},
               out);
    write_info("cpu_info", "The processor it runs on.", {"name", s.cpu.name},
               {"hypervisor", s.cpu.hypervisor}, out);
    write_info("model_info", "The model it serves.", {"name", s.model.name},
               {"weight_type", s.model.weight_type}, out);
    write_head({"healthy", {}}, "1 when completions can be served, else 0.", false, out);
    out.put("bareflow_healthy ", s.health.state == HealthState::kOk ? "1\n" : "0\n");
    write_head({"http_responses", "_total"}, "Responses by class of status.", true, out);
    const uint64_t values[] = {s.http.responses_2xx, s.http.responses_4xx, s.http.responses_5xx};
    constexpr std::string_view kClasses[] = {"2xx", "4xx", "5xx"};
    for (size_t i = 0; i < std::size(values); ++i) {
        out.put("bareflow_http_responses_total{class=\"", kClasses[i], "\"} ", values[i], "\n");
    }
}

void write_stages(const SystemSnapshot &s, TextWriter &out) {
    if (s.stage_count == 0) {
        return;
    }
    write_head({"boot_stage_seconds", {}}, "Time that a stage of the start took.", false, out);
    for (uint32_t i = 0; i < s.stage_count; ++i) {
        bool seen = false;  // a series may appear once only
        for (uint32_t j = 0; j < i; ++j) {
            seen = seen || s.stages[j].name == s.stages[i].name;
        }
        if (!seen) {
            out.put("bareflow_boot_stage_seconds{");
            write_label("stage", s.stages[i].name.substr(0, kMaxStageName), out);
            out.put("} ", Fixed{s.stages[i].took_ms / 1000, 6}, "\n");
        }
    }
}

void write_verdicts(const SearchInfo &search, TextWriter &out) {
    if (search.verdict_count == 0) {
        return;
    }
    write_head({"jit_candidates", "_total"}, "Candidates by what came of them.", true, out);
    for (uint32_t i = 0; i < search.verdict_count; ++i) {
        out.put("bareflow_jit_candidates_total{");
        write_label("verdict", search.verdicts[i].name, out);
        out.put("} ", search.verdicts[i].count, "\n");
    }
}

void write_shares(const SystemSnapshot &s, TextWriter &out) {
    if (s.share_count == 0) {
        return;
    }
    constexpr Name kItems{"processor_", "items", "_total"};
    constexpr Name kBusy{"processor_", "busy", "_seconds_total"};
    for (const Name &name : {kItems, kBusy}) {
        const bool items = name.stem == kItems.stem;
        write_head(name,
                   items ? "Items of shared operations that a processor did." : "Time they took.",
                   true, out);
        for (uint32_t i = 0; i < s.share_count; ++i) {
            write_name(name, out);
            out.put("{processor=\"", i, "\"} ");
            if (items) {
                out.put(s.shares[i].items, "\n");
            } else {
                out.put(Fixed{static_cast<double>(s.shares[i].busy_us) / 1e6, 6}, "\n");
            }
        }
    }
}

struct PerFunction {
    const char *name;
    const char *help;
    bool counter;
    uint64_t (*value)(const FunctionRow &);
    double (*real)(const FunctionRow &) = nullptr;
};
constexpr PerFunction kPerFunction[] = {
    {"calls_total", "Calls of a profiled function.", true,
     [](const FunctionRow &f) { return f.calls; }},
    {"cycles_total", "Cycles spent in a profiled function, callees included.", true,
     [](const FunctionRow &f) { return f.total_cycles; }},
    {"average_cycles", "Mean cycles of a call.", false,
     [](const FunctionRow &f) { return f.average_cycles; }},
    {"minimum_cycles", "Cycles of the quickest call.", false,
     [](const FunctionRow &f) { return f.minimum_cycles; }},
    {"p50_cycles", "Cycles that half of the calls do not exceed.", false,
     [](const FunctionRow &f) { return f.p50_cycles; }},
    {"p99_cycles", "Cycles that 99 of 100 calls do not exceed.", false,
     [](const FunctionRow &f) { return f.p99_cycles; }},
    {"gmacs", "Multiply-adds, 10^9 a second; 0: no matrix product.", false, nullptr,
     [](const FunctionRow &f) { return f.gmacs; }},
    {"gbytes", "Bytes of weights read, 10^9 a second; 0: no matrix product.", false, nullptr,
     [](const FunctionRow &f) { return f.gbytes; }},
    {"speed_up", "Speed over portable code; 0: there is no choice.", false, nullptr,
     [](const FunctionRow &f) { return f.speed_up; }},
    {"speed_up_over_rule", "Speed over the rule of thumb; 0: there is no choice.", false, nullptr,
     [](const FunctionRow &f) { return f.speed_up_over_rule; }},
    {"level", "Optimisation level in force, 0 to 3.", false,
     [](const FunctionRow &f) { return uint64_t{f.level}; }},
    {"code_bytes", "Machine code generated for a function.", false,
     [](const FunctionRow &f) { return uint64_t{f.code_bytes}; }},
};

}  // namespace

// Pieces: what has labels, the stages, the processors, the rows of each section, each metric for
// each function.
bool render_profile_prometheus(SnapshotSource &source, uint32_t piece, uint32_t functions,
                               TextWriter &out) {
    constexpr uint32_t kFirstSection = 3;
    constexpr uint32_t kFirstFunction = kFirstSection + kProfileSections;
    if (piece < kFirstFunction) {
        SystemSnapshot snapshot;
        source.fill(snapshot);
        if (piece == 0) {
            write_labelled(snapshot, out);
        } else if (piece == 1) {
            write_stages(snapshot, out);
            write_verdicts(snapshot.jit.search, out);
        } else if (piece == 2) {
            write_shares(snapshot, out);
        }
        for (const ProfileRow &row : profile_rows()) {
            if (row.help != nullptr &&
                kFirstSection + static_cast<uint32_t>(row.section) == piece) {
                write_row(snapshot, row, out);
            }
        }
        return functions > 0 || piece + 1 < kFirstFunction;
    }
    // Metric by metric, as the format wants them together.
    const uint32_t at = piece - kFirstFunction;
    const PerFunction &metric = kPerFunction[at / functions];
    const uint32_t index = at % functions;
    const Name name{"function_", metric.name};
    if (index == 0) {
        write_head(name, metric.help, metric.counter, out);
    }
    const FunctionRow row = source.function(index);
    write_name(name, out);
    out.put("{");
    write_label("function", row.name, out);
    out.put(',');
    write_label("shape", row.shape, out);
    out.put("} ");
    if (metric.real != nullptr) {
        out.put(Fixed{metric.real(row), 3}, "\n");
    } else {
        out.put(metric.value(row), "\n");
    }
    return at + 1 < functions * std::size(kPerFunction);
}

}  // namespace bareflow::status
