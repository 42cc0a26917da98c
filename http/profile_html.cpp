// The HTML form of /profile: complete without scripts; with them it refreshes its contents in place
// every two seconds, without flicker, and sorts the functions by time.
#include "http/health.h"
#include "http/profile.h"

namespace bareflow::http {

namespace {

constexpr std::string_view kHead = R"html(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>BareFlow profile</title>
<noscript><meta http-equiv="refresh" content="5"></noscript>
<style>
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:1rem auto;padding:0 1rem}
main{display:grid;grid-template-columns:repeat(auto-fit,minmax(17rem,1fr));gap:1rem}
section{border:1px solid #8884;border-radius:.5rem;padding:.5rem .9rem;min-width:0}
.wide{grid-column:1/-1;overflow-x:auto}
h1{font-size:1.4rem}h2{font-size:1rem;margin:.2rem 0}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
td,th{padding:.12rem .6rem .12rem 0;text-align:left;vertical-align:top;font-weight:normal}
td+td,th+th,.n{text-align:right}
.wide td:first-child,.wide td:nth-child(2){text-align:left}
thead th{border-bottom:1px solid #8886;font-weight:600}
</style></head><body>
<h1>BareFlow <small id="live"></small></h1>
<main>
)html";

constexpr std::string_view kTail = R"html(</tbody></table></section>
</main>
<p>Also as <a href="?format=json">JSON</a> and for <a href="?format=prometheus">Prometheus</a>.
<a href="/">Home</a></p>
<script>
const main=document.querySelector('main'),live=document.getElementById('live');
const sort=()=>{const b=main.querySelector('tbody.f');
 if(b)b.append(...[...b.rows].sort((x,y)=>y.dataset.c-x.dataset.c))};
const step=async()=>{
 if(!document.hidden&&getSelection().isCollapsed)try{
  const r=await fetch('?format=html',{signal:AbortSignal.timeout(4000)});
  const d=new DOMParser().parseFromString(await r.text(),'text/html');
  main.innerHTML=d.querySelector('main').innerHTML;sort();live.textContent='';
 }catch(e){live.textContent='(no answer)'}
 setTimeout(step,2000)};
sort();setTimeout(step,2000);
</script></body></html>
)html";

// Text that came from outside, fit for HTML.
struct Html {
    std::string_view text;
};
void put(TextWriter &out, Html html) {
    for (const char c : html.text) {
        switch (c) {
            case '&':
                out.put("&amp;");
                break;
            case '<':
                out.put("&lt;");
                break;
            case '>':
                out.put("&gt;");
                break;
            case '"':
                out.put("&quot;");
                break;
            default:
                out.put(c);
        }
    }
}

// A section that is a table of names and values.
class Section {
  public:
    Section(TextWriter &out, std::string_view title) : out_(out) {
        out_.put("<section><h2>", title, "</h2><table>");
    }
    ~Section() { out_.put("</table></section>\n"); }
    Section(const Section &) = delete;
    Section &operator=(const Section &) = delete;

    Section &text(std::string_view name, std::string_view value, size_t limit = kMaxShownText) {
        if (!value.empty()) {
            out_.put("<tr><td>", name, "<td>");
            put(out_, Html{value.substr(0, limit)});
        }
        return *this;
    }
    template <typename... Values>
    Section &row(std::string_view name, const Values &...values) {
        out_.put("<tr><td>", name, "<td>", values...);
        return *this;
    }

  private:
    TextWriter &out_;
};

void write_overview(const SystemSnapshot &s, TextWriter &out) {
    Section(out, "Overview")
        .text("Status", health_name(s.health.state))
        .text("", s.health.message, 240)
        .row("Uptime", Fixed{s.uptime_s, 1}, " s")
        .row("Ready after", Fixed{s.ready_ms, 1}, " ms")
        .text("Version", s.version)
        .text("Runs on", s.platform);
}

void write_work(const SystemSnapshot &s, TextWriter &out) {
    Section(out, "Tokens")
        .row("Last speed", Fixed{s.completions.last_tokens_per_second, 1}, " tokens/s")
        .row("Made", s.completions.completion_tokens)
        .row("Of prompts", s.completions.prompt_tokens)
        .row("Decode time", Fixed{static_cast<double>(s.completions.decode_us) / 1e6, 2}, " s")
        .row("Prompt time", Fixed{static_cast<double>(s.completions.prompt_us) / 1e6, 2}, " s");
    Section(out, "Requests")
        .row("Running", s.completions.running)
        .row("Waiting", s.completions.waiting)
        .row("Finished", s.completions.finished)
        .row("Cancelled", s.completions.cancelled)
        .row("Refused", s.completions.refused);
}

void write_model(const SystemSnapshot &s, TextWriter &out) {
    if (!s.model.name.empty()) {
        Section(out, "Model")
            .text("Name", s.model.name)
            .text("Weights", s.model.weight_type)
            .row("Parameters", Fixed{static_cast<double>(s.model.parameters) / 1e6, 2}, " million")
            .row("File", Bytes{s.model.file_bytes})
            .row("Layers", s.model.layers)
            .row("Context", s.model.context_length, " tokens")
            .row("Loaded in", Fixed{s.model.load_ms, 1}, " ms");
    }
}

void write_machine(const SystemSnapshot &s, TextWriter &out) {
    Section(out, "Memory")
        .row("Total", Bytes{s.memory.total_bytes})
        .row("Free", Bytes{s.memory.free_bytes})
        .row("Program", Bytes{s.memory.image_bytes})
        .row("Heap", Bytes{s.memory.heap_used_bytes})
        .row("Heap, most ever", Bytes{s.memory.heap_peak_bytes})
        .row("Model", Bytes{s.memory.model_bytes})
        .row("KV cache", Bytes{s.memory.kv_bytes})
        .row("Scratch", Bytes{s.memory.scratch_bytes})
        .row("HTTP", Bytes{s.memory.http_bytes});
    Section(out, "Processor")
        .text("Name", s.cpu.name)
        .text("Hypervisor", s.cpu.hypervisor)
        .row("Processors", s.cpu.processors)
        .row("TSC", s.cpu.ticks_per_second / 1'000'000, " MHz")
        .text("Features", s.cpu.features, 240);
}

void write_network(const SystemSnapshot &s, TextWriter &out) {
    Section(out, "Network")
        .text("Device", s.network.device)
        .text("MAC", s.network.mac)
        .text("Address", s.network.address)
        .row("Link", s.network.link_up ? "up" : "down")
        .row("Received", s.network.received_frames, " frames, ", Bytes{s.network.received_bytes})
        .row("Sent", s.network.sent_frames, " frames, ", Bytes{s.network.sent_bytes})
        .row("Dropped", s.network.dropped_frames)
        .row("Errors", s.network.errors);
    Section(out, "HTTP")
        .row("Open connections", s.http.open)
        .row("Connections", s.http.connections)
        .row("Requests", s.http.requests)
        .row("2xx / 4xx / 5xx", s.http.responses_2xx, " / ", s.http.responses_4xx, " / ",
             s.http.responses_5xx)
        .row("Hang-ups", s.http.hang_ups)
        .row("Timeouts", s.http.timeouts)
        .row("Evictions", s.http.evictions);
    Section(out, "Optimiser")
        .text("Mode", s.jit.mode)
        .row("Warm / hot / very hot", s.jit.warm_calls, " / ", s.jit.hot_calls, " / ",
             s.jit.very_hot_calls, " calls")
        .row("Promotions", s.jit.promotions)
        .row("Candidates", s.jit.candidates_tried, " tried, ", s.jit.candidates_rejected,
             " rejected")
        .row("Code", Bytes{s.jit.code_bytes})
        .row("Unbalanced", s.jit.unbalanced);
}

// The stages in two pieces: [begin, end), with what opens and closes their section.
void write_stages(const SystemSnapshot &s, uint32_t begin, uint32_t end, TextWriter &out) {
    if (begin == 0) {
        out.put("<section><h2>Start</h2><table>");
    }
    for (uint32_t i = begin; i < s.stage_count && i < end; ++i) {
        out.put("<tr><td>");
        put(out, Html{s.stages[i].name.substr(0, 24)});
        out.put("<td>", Fixed{s.stages[i].took_ms, 2}, " ms");
    }
    if (end == SystemSnapshot::kMaxStages) {
        out.put("</table></section>\n");
    }
}

void write_function(const FunctionRow &f, TextWriter &out) {
    out.put("<tr data-c=\"", f.total_cycles, "\"><td>");
    put(out, Html{f.name.substr(0, kMaxShownText)});
    out.put("<td>");
    put(out, Html{f.shape.substr(0, kMaxShownText)});
    out.put("<td>", f.calls, "<td>", f.total_cycles, "<td>", f.average_cycles, "<td>",
            f.minimum_cycles, "<td>", f.level, " ", level_name(f.level), "<td>", f.code_bytes,
            "\n");
}

}  // namespace

bool render_profile_html(SnapshotSource &source, uint32_t piece, uint32_t functions,
                         TextWriter &out) {
    constexpr uint32_t kFirstFunction = 9;
    if (piece >= kFirstFunction) {
        const uint32_t index = piece - kFirstFunction;
        if (index < functions) {
            write_function(source.function(index), out);
            return true;
        }
        out.put(kTail);
        return false;
    }
    if (piece == 0) {
        out.put(kHead);
        return true;
    }
    if (piece == 8) {
        out.put(
            "<section class=\"wide\"><h2>Functions</h2><table><thead><tr><th>Name<th>Shape"
            "<th>Calls<th>Cycles<th>Average<th>Minimum<th>Level<th>Code bytes</thead>"
            "<tbody class=\"f\">\n");
        return true;
    }
    SystemSnapshot snapshot;
    source.fill(snapshot);
    constexpr uint32_t kHalf = SystemSnapshot::kMaxStages / 2;
    switch (piece) {
        case 1:
            write_overview(snapshot, out);
            break;
        case 2:
            write_work(snapshot, out);
            break;
        case 3:
            write_model(snapshot, out);
            break;
        case 4:
            write_machine(snapshot, out);
            break;
        case 5:
            write_network(snapshot, out);
            break;
        case 6:
            write_stages(snapshot, 0, kHalf, out);
            break;
        default:
            write_stages(snapshot, kHalf, SystemSnapshot::kMaxStages, out);
            break;
    }
    return true;
}

}  // namespace bareflow::http
