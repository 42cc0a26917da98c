// The JSON form of /profile.
#include "http/health.h"
#include "http/profile.h"

namespace bareflow::http {

namespace {

// Writes "key":value pairs with their commas.
class Members {
  public:
    explicit Members(TextWriter &out) : out_(out) {}
    template <typename T>
    Members &put(std::string_view key, const T &value) {
        out_.put(first_ ? "" : ",", "\"", key, "\":", value);
        first_ = false;
        return *this;
    }
    Members &text(std::string_view key, std::string_view value) {
        return put(key, JsonString{value.substr(0, kMaxShownText)});
    }

  private:
    TextWriter &out_;
    bool first_ = true;
};

void write_start(const SystemSnapshot &s, TextWriter &out) {
    out.put("{");
    Members(out)
        .text("version", s.version)
        .text("platform", s.platform)
        .put("status", JsonString{health_name(s.health.state)})
        .put("message", JsonString{s.health.message.substr(0, 256)})
        .put("uptime_s", Fixed{s.uptime_s, 3})
        .put("ready_ms", Fixed{s.ready_ms, 3});
    out.put(",\"cpu\":{");
    Members(out)
        .text("name", s.cpu.name)
        .put("features", JsonString{s.cpu.features.substr(0, 256)})
        .text("hypervisor", s.cpu.hypervisor)
        .put("processors", s.cpu.processors)
        .put("ticks_per_second", s.cpu.ticks_per_second);
    out.put("}");
}

void write_boot(const SystemSnapshot &s, TextWriter &out) {
    out.put(",\"boot\":{\"stages\":[");
    for (uint32_t i = 0; i < s.stage_count; ++i) {
        out.put(i == 0 ? "{" : ",{");
        Members(out)
            .put("name", JsonString{s.stages[i].name.substr(0, 24)})
            .put("started_ms", Fixed{s.stages[i].started_ms, 3})
            .put("took_ms", Fixed{s.stages[i].took_ms, 3});
        out.put("}");
    }
    out.put("]}");
}

void write_memory_and_model(const SystemSnapshot &s, TextWriter &out) {
    out.put(",\"memory\":{");
    Members(out)
        .put("total_bytes", s.memory.total_bytes)
        .put("free_bytes", s.memory.free_bytes)
        .put("image_bytes", s.memory.image_bytes)
        .put("heap_bytes", s.memory.heap_used_bytes)
        .put("heap_peak_bytes", s.memory.heap_peak_bytes)
        .put("kv_bytes", s.memory.kv_bytes)
        .put("model_bytes", s.memory.model_bytes)
        .put("scratch_bytes", s.memory.scratch_bytes)
        .put("http_bytes", s.memory.http_bytes);
    out.put("},\"model\":");
    if (s.model.name.empty()) {
        out.put("null");
        return;
    }
    out.put("{");
    Members(out)
        .text("name", s.model.name)
        .text("weight_type", s.model.weight_type)
        .put("parameters", s.model.parameters)
        .put("file_bytes", s.model.file_bytes)
        .put("context_length", s.model.context_length)
        .put("layers", s.model.layers)
        .put("load_ms", Fixed{s.model.load_ms, 3});
    out.put("}");
}

void write_counters(const SystemSnapshot &s, TextWriter &out) {
    out.put(",\"network\":{");
    Members(out)
        .text("device", s.network.device)
        .text("mac", s.network.mac)
        .text("address", s.network.address)
        .put("link_up", s.network.link_up)
        .put("received_frames", s.network.received_frames)
        .put("sent_frames", s.network.sent_frames)
        .put("received_bytes", s.network.received_bytes)
        .put("sent_bytes", s.network.sent_bytes)
        .put("dropped_frames", s.network.dropped_frames)
        .put("errors", s.network.errors);
    out.put("},\"http\":{");
    Members(out)
        .put("connections", s.http.connections)
        .put("open", s.http.open)
        .put("requests", s.http.requests)
        .put("responses_2xx", s.http.responses_2xx)
        .put("responses_4xx", s.http.responses_4xx)
        .put("responses_5xx", s.http.responses_5xx)
        .put("hang_ups", s.http.hang_ups)
        .put("timeouts", s.http.timeouts)
        .put("evictions", s.http.evictions)
        .put("received_bytes", s.http.bytes_received)
        .put("sent_bytes", s.http.bytes_sent);
    out.put("},\"requests\":{");
    Members(out)
        .put("started", s.completions.started)
        .put("finished", s.completions.finished)
        .put("cancelled", s.completions.cancelled)
        .put("refused", s.completions.refused)
        .put("waiting", s.completions.waiting)
        .put("running", s.completions.running);
    out.put("},\"tokens\":{");
    Members(out)
        .put("prompt", s.completions.prompt_tokens)
        .put("completion", s.completions.completion_tokens)
        .put("prompt_ms", Fixed{static_cast<double>(s.completions.prompt_us) / 1000, 3})
        .put("decode_ms", Fixed{static_cast<double>(s.completions.decode_us) / 1000, 3})
        .put("last_per_second", Fixed{s.completions.last_tokens_per_second, 2});
    out.put("},\"jit\":{");
    Members(out)
        .text("mode", s.jit.mode)
        .put("code_bytes", s.jit.code_bytes)
        .put("code_capacity_bytes", s.jit.code_capacity_bytes)
        .put("promotions", s.jit.promotions)
        .put("candidates_tried", s.jit.candidates_tried)
        .put("candidates_rejected", s.jit.candidates_rejected)
        .put("unbalanced", s.jit.unbalanced);
    out.put(",\"thresholds\":{");
    Members(out)
        .put("warm", s.jit.warm_calls)
        .put("hot", s.jit.hot_calls)
        .put("very_hot", s.jit.very_hot_calls);
    out.put("}},\"functions\":[");
}

void write_function(const FunctionRow &f, bool first, TextWriter &out) {
    out.put(first ? "\n{" : ",\n{");
    Members(out)
        .text("name", f.name)
        .text("shape", f.shape)
        .put("calls", f.calls)
        .put("total_cycles", f.total_cycles)
        .put("average_cycles", f.average_cycles)
        .put("minimum_cycles", f.minimum_cycles)
        .put("level", f.level)
        .put("code_bytes", f.code_bytes);
    out.put("}");
}

}  // namespace

bool render_profile_json(SnapshotSource &source, uint32_t piece, uint32_t functions,
                         TextWriter &out) {
    constexpr uint32_t kFirstFunction = 4;
    if (piece >= kFirstFunction) {
        const uint32_t index = piece - kFirstFunction;
        if (index < functions) {
            write_function(source.function(index), index == 0, out);
            return true;
        }
        out.put("]}\n");
        return false;
    }
    SystemSnapshot snapshot;
    source.fill(snapshot);
    switch (piece) {
        case 0:
            write_start(snapshot, out);
            break;
        case 1:
            write_boot(snapshot, out);
            break;
        case 2:
            write_memory_and_model(snapshot, out);
            break;
        default:
            write_counters(snapshot, out);
            break;
    }
    return true;
}

}  // namespace bareflow::http
