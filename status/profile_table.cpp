// The table of everything on /profile but functions, candidates and the timeline. Another value is
// one more line here and a member of SystemSnapshot.
//
// A line has: key, help text, label, place in the snapshot, kind, section, whether it only grows.
#include "status/profile_table.h"

namespace bareflow::status {

namespace {

using K = ProfileKind;
using S = ProfileSection;

template <typename T>
const T &at(const SystemSnapshot &snapshot, const ProfileRow &row) {
    return *reinterpret_cast<const T *>(reinterpret_cast<const char *>(&snapshot) + row.offset);
}

#define BF_AT(member) offsetof(SystemSnapshot, member)

constexpr ProfileRow kRows[] = {
    {"version", nullptr, nullptr, BF_AT(version), K::kText, S::kOverview, false},
    {"platform", nullptr, "Runs on", BF_AT(platform), K::kText, S::kOverview, false},
    {"uptime_s", "Time since start.", nullptr, BF_AT(uptime_s), K::kReal, S::kOverview, false},
    {"ready_ms", "Time from start until requests could be answered.", "Ready after",
     BF_AT(ready_ms), K::kReal, S::kOverview, false},

    {"name", nullptr, nullptr, BF_AT(cpu.name), K::kText, S::kCpu, false},
    {"features", nullptr, nullptr, BF_AT(cpu.features), K::kText, S::kCpu, false},
    {"hypervisor", nullptr, nullptr, BF_AT(cpu.hypervisor), K::kText, S::kCpu, false},
    {"processors", "Processors.", nullptr, BF_AT(cpu.processors), K::kU32, S::kCpu, false},
    {"ticks_per_second", "Ticks of the time-stamp counter in a second.", "TSC ticks a second",
     BF_AT(cpu.ticks_per_second), K::kU64, S::kCpu, false},

    {"total_bytes", "Memory of the machine.", nullptr, BF_AT(memory.total_bytes), K::kBytes,
     S::kMemory, false},
    {"free_bytes", "Memory not handed out.", nullptr, BF_AT(memory.free_bytes), K::kBytes,
     S::kMemory, false},
    {"image_bytes", "Code and data of the program.", "Program", BF_AT(memory.image_bytes),
     K::kBytes, S::kMemory, false},
    {"heap_bytes", "Heap in use.", nullptr, BF_AT(memory.heap_used_bytes), K::kBytes, S::kMemory,
     false},
    {"heap_peak_bytes", "Most heap that was ever in use.", nullptr, BF_AT(memory.heap_peak_bytes),
     K::kBytes, S::kMemory, false},
    {"kv_bytes", "Key-value cache.", "KV cache", BF_AT(memory.kv_bytes), K::kBytes, S::kMemory,
     false},
    {"model_bytes", "The model file in memory.", nullptr, BF_AT(memory.model_bytes), K::kBytes,
     S::kMemory, false},
    {"scratch_bytes", "Working memory of the engine.", nullptr, BF_AT(memory.scratch_bytes),
     K::kBytes, S::kMemory, false},
    {"http_bytes", "Connections and request bodies.", "HTTP", BF_AT(memory.http_bytes), K::kBytes,
     S::kMemory, false},

    {"weights", nullptr, nullptr, BF_AT(memory.weights), K::kText, S::kMemory, false},
    {"packing_bytes", nullptr, nullptr, BF_AT(memory.packing_bytes), K::kBytes, S::kMemory, false},
    {"moved_bytes", nullptr, nullptr, BF_AT(memory.moved_bytes), K::kBytes, S::kMemory, true},
    {"read_bytes_per_second", "Bytes a second that a plain loop reads of the model.",
     "Read speed, a second", BF_AT(memory.read_bytes_per_second), K::kBytes, S::kMemory, false},

    {"name", nullptr, nullptr, BF_AT(model.name), K::kText, S::kModel, false},
    {"weight_type", nullptr, nullptr, BF_AT(model.weight_type), K::kText, S::kModel, false},
    {"parameters", "Parameters of the model.", nullptr, BF_AT(model.parameters), K::kU64, S::kModel,
     false},
    {"file_bytes", "Size of the model's file.", nullptr, BF_AT(model.file_bytes), K::kBytes,
     S::kModel, false},
    {"context_length", "Context length in tokens.", nullptr, BF_AT(model.context_length), K::kU32,
     S::kModel, false},
    {"layers", "Layers of the model.", nullptr, BF_AT(model.layers), K::kU32, S::kModel, false},
    {"load_ms", "Time that loading the model took.", "Loaded in", BF_AT(model.load_ms), K::kReal,
     S::kModel, false},

    {"device", nullptr, nullptr, BF_AT(network.device), K::kText, S::kNetwork, false},
    {"mac", nullptr, "MAC", BF_AT(network.mac), K::kText, S::kNetwork, false},
    {"address", nullptr, nullptr, BF_AT(network.address), K::kText, S::kNetwork, false},
    {"link_up", "1 when the link is up, else 0.", nullptr, BF_AT(network.link_up), K::kBool,
     S::kNetwork, false},
    {"received_frames", "Frames received.", nullptr, BF_AT(network.received_frames), K::kU64,
     S::kNetwork, true},
    {"sent_frames", "Frames sent.", nullptr, BF_AT(network.sent_frames), K::kU64, S::kNetwork,
     true},
    {"received_bytes", "Bytes received.", "Received", BF_AT(network.received_bytes), K::kBytes,
     S::kNetwork, true},
    {"sent_bytes", "Bytes sent.", "Sent", BF_AT(network.sent_bytes), K::kBytes, S::kNetwork, true},
    {"dropped_frames", "Frames dropped for want of room.", nullptr, BF_AT(network.dropped_frames),
     K::kU64, S::kNetwork, true},
    {"errors", "Frames with errors.", nullptr, BF_AT(network.errors), K::kU64, S::kNetwork, true},

    {"connections", "Connections accepted.", nullptr, BF_AT(http.connections), K::kU64, S::kHttp,
     true},
    {"open", "Connections open now.", "Open connections", BF_AT(http.open), K::kU32, S::kHttp,
     false},
    {"requests", "Requests answered or refused.", nullptr, BF_AT(http.requests), K::kU64, S::kHttp,
     true},
    {"responses_2xx", nullptr, "Answers 2xx", BF_AT(http.responses_2xx), K::kU64, S::kHttp, true},
    {"responses_4xx", nullptr, "Answers 4xx", BF_AT(http.responses_4xx), K::kU64, S::kHttp, true},
    {"responses_5xx", nullptr, "Answers 5xx", BF_AT(http.responses_5xx), K::kU64, S::kHttp, true},
    {"hang_ups", "Clients that left before their answer was complete.", nullptr,
     BF_AT(http.hang_ups), K::kU64, S::kHttp, true},
    {"timeouts", "Connections closed for being slow or idle.", nullptr, BF_AT(http.timeouts),
     K::kU64, S::kHttp, true},
    {"evictions", "Connections closed to make room for others.", nullptr, BF_AT(http.evictions),
     K::kU64, S::kHttp, true},
    {"received_bytes", "Bytes received by the HTTP server.", "Received", BF_AT(http.bytes_received),
     K::kBytes, S::kHttp, true},
    {"sent_bytes", "Bytes sent by the HTTP server.", "Sent", BF_AT(http.bytes_sent), K::kBytes,
     S::kHttp, true},

    {"started", "Completions begun.", nullptr, BF_AT(completions.started), K::kU64, S::kRequests,
     true},
    {"finished", "Completions made to their end.", nullptr, BF_AT(completions.finished), K::kU64,
     S::kRequests, true},
    {"cancelled", "Completions whose client left.", nullptr, BF_AT(completions.cancelled), K::kU64,
     S::kRequests, true},
    {"refused", "Completions refused: queue full, no model.", nullptr, BF_AT(completions.refused),
     K::kU64, S::kRequests, true},
    {"waiting", "Completions in the queue now.", nullptr, BF_AT(completions.waiting), K::kU32,
     S::kRequests, false},
    {"running", "Completions being made now.", nullptr, BF_AT(completions.running), K::kU32,
     S::kRequests, false},
    {"slots", "Completions that can be made at a time.", nullptr, BF_AT(completions.slots), K::kU32,
     S::kRequests, false},

    {"prompt", "Tokens of prompts.", "In prompts", BF_AT(completions.prompt_tokens), K::kU64,
     S::kTokens, true},
    {"prompt_cached", "Tokens of prompts that were not computed again.", "Not computed again",
     BF_AT(completions.cached_tokens), K::kU64, S::kTokens, true},
    {"prompt_copied", "Tokens of prompts copied from another slot.", "Copied between slots",
     BF_AT(completions.copied_tokens), K::kU64, S::kTokens, true},
    {"prompt_computed", "Tokens of prompts computed.", "Prompts computed",
     BF_AT(completions.computed_prompt_tokens), K::kU64, S::kTokens, true},
    {"completion", "Tokens made.", "Made", BF_AT(completions.completion_tokens), K::kU64,
     S::kTokens, true},
    {"prompt_ms", "Time spent computing prompts.", "Time for prompts", BF_AT(completions.prompt_us),
     K::kMicros, S::kTokens, true},
    {"decode_ms", "Time spent making tokens.", "Time for making", BF_AT(completions.decode_us),
     K::kMicros, S::kTokens, true},
    {"last_per_second", "Speed of the last completion, in tokens a second.", "Last speed, a second",
     BF_AT(completions.last_tokens_per_second), K::kReal, S::kTokens, false},
    {"per_second", "Speed of all completions together, in tokens a second.", "Speed, a second",
     BF_AT(completions.tokens_per_second), K::kReal, S::kTokens, false},
    {"batches", "Steps of the engine.", nullptr, BF_AT(completions.batches), K::kU64, S::kTokens,
     true},
    {"batch_rows", "Tokens computed in them.", nullptr, BF_AT(completions.batch_rows), K::kU64,
     S::kTokens, true},

    {"mode", nullptr, nullptr, BF_AT(jit.mode), K::kText, S::kJit, false},
    {"numerics", nullptr, nullptr, BF_AT(jit.numerics), K::kText, S::kJit, false},
    {"tolerance", nullptr, nullptr, BF_AT(jit.tolerance), K::kText, S::kJit, false},
    {"relaxed", "1 with numerics=fast: results may differ from the reference, else 0.", nullptr,
     BF_AT(jit.relaxed), K::kBool, S::kJit, false},
    {"code_bytes", "Machine code generated at run time.", nullptr, BF_AT(jit.code.bytes), K::kBytes,
     S::kJit, false},
    {"code_capacity_bytes", "Room for generated machine code.", nullptr,
     BF_AT(jit.code.capacity_bytes), K::kBytes, S::kJit, false},
    {"promotions", "Functions replaced by a faster version.", nullptr, BF_AT(jit.search.promotions),
     K::kU64, S::kJit, true},
    {"candidates_tried", "Versions generated and timed.", nullptr, BF_AT(jit.search.tried), K::kU64,
     S::kJit, true},
    {"candidates_rejected", "Versions that were wrong or slower.", nullptr,
     BF_AT(jit.search.rejected), K::kU64, S::kJit, true},
    {"candidates_left_out", "Versions that the search did not need to try.", nullptr,
     BF_AT(jit.search.left_out), K::kU64, S::kJit, true},
    {"timings_spoiled", "Timings thrown away because something interrupted them.", nullptr,
     BF_AT(jit.search.spoiled), K::kU64, S::kJit, true},
    {"speed_up", "Speed over portable code, of all operations together.", nullptr,
     BF_AT(jit.speed_up), K::kReal, S::kJit, false},
    {"speed_up_over_rule", "Speed over the rule of thumb, of all operations together.", nullptr,
     BF_AT(jit.speed_up_over_rule), K::kReal, S::kJit, false},
    {"retunes", "Functions that had grown slower and were searched anew.", nullptr,
     BF_AT(jit.search.retunes), K::kU64, S::kJit, true},
    {"spent_ms", "Time that the search took.", "Time spent", BF_AT(jit.search.spent_us), K::kMicros,
     S::kJit, true},
    {"compile_ms", "Time of the search spent making candidates.", "Of it making code",
     BF_AT(jit.search.compile_us), K::kMicros, S::kJit, true},
    {"kept_on", nullptr, "Remembered on", BF_AT(jit.kept.on), K::kText, S::kJit, false},
    {"recalled", "Choices of an earlier start that are in force again.", nullptr,
     BF_AT(jit.kept.recalled), K::kU64, S::kJit, true},
    {"recalls_lost", "Choices of an earlier start that were searched anew.", nullptr,
     BF_AT(jit.kept.recalls_lost), K::kU64, S::kJit, true},
    {"saves", "Times that the choices were saved.", nullptr, BF_AT(jit.kept.saves), K::kU64,
     S::kJit, true},
    {"unbalanced", "Profile ends without their begin.", nullptr, BF_AT(jit.unbalanced), K::kU64,
     S::kJit, true},
    {"warm", "Calls that make a function warm.", "Calls to be warm", BF_AT(jit.calls.warm), K::kU64,
     S::kThresholds, false},
    {"hot", "Calls that make a function hot.", "Calls to be hot", BF_AT(jit.calls.hot), K::kU64,
     S::kThresholds, false},
    {"very_hot", "Calls that make a function very hot.", "Calls to be very hot",
     BF_AT(jit.calls.very_hot), K::kU64, S::kThresholds, false},
};

#undef BF_AT

constexpr ProfileSectionName kSections[kProfileSections] = {
    {nullptr, "Overview", ""},
    {"cpu", "Processor", "cpu_"},
    {"memory", "Memory", "memory_"},
    {"model", "Model", "model_"},
    {"network", "Network", "network_"},
    {"http", "HTTP", "http_"},
    {"requests", "Completions", "requests_"},
    {"tokens", "Tokens", "tokens_"},
    {"jit", "Optimiser", "jit_"},
    {"thresholds", nullptr, "jit_threshold_"},
};

}  // namespace

std::span<const ProfileRow> profile_rows() {
    return kRows;
}

const ProfileSectionName &profile_section(ProfileSection section) {
    return kSections[static_cast<uint8_t>(section)];
}

std::string_view profile_text(const SystemSnapshot &snapshot, const ProfileRow &row) {
    // Texts come from outside: a CPU, a model file.
    if (row.kind != K::kText) {
        return {};
    }
    const auto text = at<std::string_view>(snapshot, row);
    if (!profile_is_list(row)) {
        return text.substr(0, kMaxProfileText);
    }
    if (text.size() <= kMaxProfileList) {
        return text;
    }
    const size_t blank = text.rfind(' ', kMaxProfileList);
    return text.substr(0, blank == std::string_view::npos ? kMaxProfileList : blank);
}

bool profile_is_list(const ProfileRow &row) {
    return row.offset == offsetof(SystemSnapshot, cpu.features);
}

uint64_t profile_integer(const SystemSnapshot &snapshot, const ProfileRow &row) {
    switch (row.kind) {
        case K::kU64:
        case K::kBytes:
        case K::kMicros:
            return at<uint64_t>(snapshot, row);
        case K::kU32:
            return at<uint32_t>(snapshot, row);
        case K::kBool:
            return at<bool>(snapshot, row) ? 1 : 0;
        case K::kText:
        case K::kReal:
            break;
    }
    return 0;
}

bool profile_is_real(const ProfileRow &row) {
    return row.kind == K::kReal || row.kind == K::kMicros;
}

double profile_number(const SystemSnapshot &snapshot, const ProfileRow &row) {
    if (row.kind == K::kReal) {
        return at<double>(snapshot, row);
    }
    const auto value = static_cast<double>(profile_integer(snapshot, row));
    return row.kind == K::kMicros ? value / 1000 : value;
}

}  // namespace bareflow::status
