// /profile as HTML. The page is complete without scripts. With them it refreshes its contents in
// place every two seconds, without flicker, and sorts the functions by time.
//
// What must hold: a section fits into one piece even when every byte is escaped, and text from
// outside (a model's name, CPUID) goes through Html.
#include "status/health.h"
#include "status/profile.h"
#include "status/profile_table.h"

namespace bareflow::status {

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
.wide td:first-child,.wide td:nth-child(2),.wide th:nth-child(2){text-align:left}
thead th{border-bottom:1px solid #8886;font-weight:600}
svg{width:100%;height:10rem}svg *{vector-effect:non-scaling-stroke}
</style></head><body>
<h1>BareFlow <small id="live"></small></h1>
<main>
)html";

constexpr std::string_view kFunctionsHead =
    "<section class=\"wide\"><h2>Functions</h2><table><thead><tr><th>Name<th>In force<th>Calls"
    "<th>Cycles<th>Average<th>p50<th>p99<th>GMAC/s<th>GB/s<th>% of reading<th>&times; portable"
    "<th>&times; rule<th>Level<th>Code bytes</thead><tbody class=\"f\">\n";

constexpr std::string_view kTriesHead =
    "</tbody></table></section>\n<section class=\"wide\"><h2>Candidates "
    "tried</h2><table><thead><tr>"
    "<th>Function<th>Candidate<th>Level<th>Cycles<th>Cycles before<th>Verdict</thead><tbody>\n";

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

// Text from outside, escaped for HTML.
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

// "received_frames" -> "Received frames", "kv_bytes" -> "Kv": the unit stands at the value.
void write_label(const ProfileRow &row, TextWriter &out) {
    if (row.label != nullptr) {
        out.put(row.label);
        return;
    }
    std::string_view key = row.key;
    for (const std::string_view unit : {"_bytes", "_ms", "_s"}) {
        if (key.ends_with(unit)) {
            key.remove_suffix(unit.size());
        }
    }
    bool first = true;
    for (const char c : key) {
        out.put(first ? static_cast<char>(c - 'a' + 'A') : c == '_' ? ' ' : c);
        first = false;
    }
}

void write_rows(const SystemSnapshot &s, ProfileSection section, TextWriter &out) {
    for (const ProfileRow &row : profile_rows()) {
        const std::string_view text = profile_text(s, row);
        if (row.section != section || (row.kind == ProfileKind::kText && text.empty())) {
            continue;
        }
        out.put("<tr><td>");
        write_label(row, out);
        out.put("<td>");
        if (profile_is_list(row)) {
            for (const char c : text) {
                out.put(c == '<' || c == '>' || c == '&' || c == '"' ? '?' : c);
            }
        } else if (row.kind == ProfileKind::kText) {
            put(out, Html{text});
        } else if (row.kind == ProfileKind::kBytes) {
            out.put(Bytes{profile_integer(s, row)});
        } else if (row.kind == ProfileKind::kBool) {
            out.put(profile_integer(s, row) != 0 ? "yes" : "no");
        } else if (profile_is_real(row)) {
            const std::string_view key = row.key;
            out.put(Fixed{profile_number(s, row), 1}, key.ends_with("_ms")  ? " ms"
                                                      : key.ends_with("_s") ? " s"
                                                                            : "");
        } else {
            out.put(profile_integer(s, row));
        }
    }
}

void write_section(const SystemSnapshot &s, ProfileSection section, TextWriter &out) {
    if (section == ProfileSection::kModel && s.model.name.empty()) {
        return;
    }
    out.put("<section><h2>", profile_section(section).title, "</h2><table>");
    if (section == ProfileSection::kOverview) {
        out.put("<tr><td>Status<td>", health_name(s.health.state), " ");
        put(out, Html{s.health.message.substr(0, 160)});
    }
    write_rows(s, section, out);
    if (section == ProfileSection::kJit) {
        write_rows(s, ProfileSection::kThresholds, out);
    }
    out.put("</table></section>\n");
}

void write_stages(const SystemSnapshot &s, TextWriter &out) {
    out.put("<section><h2>Start</h2><table>");
    for (uint32_t i = 0; i < s.stage_count; ++i) {
        out.put("<tr><td>");
        put(out, Html{s.stages[i].name.substr(0, kMaxStageName)});
        out.put("<td>", Fixed{s.stages[i].took_ms, 1}, " ms");
    }
    out.put("</table></section>\n");
}

void write_shares(const SystemSnapshot &s, TextWriter &out) {
    if (s.share_count == 0) {
        return;
    }
    out.put("<section><h2>Work that is shared</h2><table><tr><th>Processor<th>Items<th>Time\n");
    for (uint32_t i = 0; i < s.share_count; ++i) {
        out.put("<tr><td>", i, "<td>", s.shares[i].items, "<td>",
                Fixed{static_cast<double>(s.shares[i].busy_us) / 1e6, 1}, " s");
    }
    out.put("</table></section>\n");
}

void write_figure(double value, int decimals, TextWriter &out) {
    out.put("<td>");
    if (value > 0) {
        out.put(Fixed{value, decimals});
    }
}

// The chart's coordinates: the curve between these, a mark under the axis for each promotion.
constexpr uint32_t kChartWidth = 1000;
constexpr uint32_t kChartHeight = 160;
constexpr uint32_t kChartLeft = 4;
constexpr uint32_t kChartTop = 4;

uint32_t scaled(double value, double most, uint32_t size) {
    return most > 0 ? static_cast<uint32_t>(value / most * size) : 0;
}

double fastest(std::span<const TimelinePoint> points) {
    double most = 0;
    for (const TimelinePoint &point : points) {
        most = point.per_second() > most ? point.per_second() : most;
    }
    return most;
}

uint32_t chart_x(std::span<const TimelinePoint> points, const TimelinePoint &point) {
    return kChartLeft + scaled(static_cast<double>(point.end_s),
                               static_cast<double>(points.back().end_s),
                               kChartWidth - 2 * kChartLeft);
}

void write_curve(std::span<const TimelinePoint> points, TextWriter &out) {
    if (points.empty()) {
        return;
    }
    const double most = fastest(points);
    out.put("<section class=\"wide\"><h2>Speed</h2>", Fixed{points.back().per_second(), 1},
            " tokens/s now, after ", Fixed{static_cast<double>(points.back().end_s), 0},
            " s of making text; at most ", Fixed{most, 1}, ".<svg viewBox=\"0 0 ", kChartWidth, " ",
            kChartHeight + 20,
            "\" preserveAspectRatio=\"none\" role=\"img\" fill=\"none\" stroke=\"currentColor\">"
            "<path stroke-opacity=\".4\" d=\"M0 ",
            kChartTop, "V", kChartHeight, "H", kChartWidth,
            "\"/><polyline stroke-width=\"2\" points=\"");
    for (const TimelinePoint &point : points) {
        out.put(chart_x(points, point), ",",
                kChartHeight - scaled(point.per_second(), most, kChartHeight - kChartTop), " ");
    }
    out.put("\"/>");
}

void write_marks(std::span<const TimelinePoint> points, TextWriter &out) {
    if (points.empty()) {
        return;
    }
    out.put("<path stroke=\"#d60\" stroke-width=\"2\" d=\"");
    for (const TimelinePoint &point : points) {
        if (point.promotions != 0) {
            out.put("M", chart_x(points, point), " ", kChartHeight + 2, "v14");
        }
    }
    out.put(
        "\"><title>promotions</title></path></svg>"
        "Marks: a function was replaced by a faster version.</section>\n");
}

void write_function(const FunctionRow &f, TextWriter &out) {
    out.put("<tr data-c=\"", f.total_cycles, "\"><td>");
    put(out, Html{f.name.substr(0, kMaxShownText)});
    out.put("<td>");
    put(out, Html{f.variant.substr(0, kMaxShownText)});
    out.put("<td>", f.calls, "<td>", f.total_cycles, "<td>", f.average_cycles, "<td>", f.p50_cycles,
            "<td>", f.p99_cycles);
    write_figure(f.gmacs, 2, out);
    write_figure(f.gbytes, 2, out);
    write_figure(f.bandwidth_percent, 0, out);
    write_figure(f.speed_up, 2, out);
    write_figure(f.speed_up_over_rule, 2, out);
    out.put("<td>", f.level, " ", level_name(f.level), "<td>", f.code_bytes, "\n");
}

void write_try(SnapshotSource &source, const TryRow &t, TextWriter &out) {
    out.put("<tr><td>");
    put(out, Html{tried_function(source, t).substr(0, kMaxShownText)});
    out.put("<td>");
    put(out, Html{t.variant.substr(0, kMaxShownText)});
    out.put("<td>", t.level, "<td>", t.cycles, "<td>", t.current_cycles, "<td>", t.verdict, "\n");
}

}  // namespace

// Pieces: the head, one for each section, the stages, the processors, two for the chart, the
// functions' heading, each of them, each candidate (the first with its heading), the end.
bool render_profile_html(SnapshotSource &source, uint32_t piece, uint32_t functions,
                         TextWriter &out) {
    constexpr uint32_t kStages = static_cast<uint32_t>(ProfileSection::kJit) + 2;
    constexpr uint32_t kShares = kStages + 1;
    constexpr uint32_t kCurve = kShares + 1;
    constexpr uint32_t kMarks = kCurve + 1;
    constexpr uint32_t kFirstFunction = kMarks + 2;
    if (piece >= kFirstFunction) {
        const uint32_t index = piece - kFirstFunction;
        if (index < functions) {
            write_function(source.function(index), out);
            return true;
        }
        if (index == functions) {
            out.put(kTriesHead);
        }
        const uint32_t candidate = index - functions;
        if (candidate < source.try_count()) {
            write_try(source, source.try_at(candidate), out);
            return true;
        }
        out.put(kTail);
        return false;
    }
    if (piece == 0) {
        out.put(kHead);
    } else if (piece == kCurve) {
        write_curve(source.timeline(), out);
    } else if (piece == kMarks) {
        write_marks(source.timeline(), out);
    } else if (piece == kMarks + 1) {
        out.put(kFunctionsHead);
    } else {
        SystemSnapshot snapshot;
        source.fill(snapshot);
        if (piece == kStages) {
            write_stages(snapshot, out);
        } else if (piece == kShares) {
            write_shares(snapshot, out);
        } else {
            write_section(snapshot, static_cast<ProfileSection>(piece - 1), out);
        }
    }
    return true;
}

}  // namespace bareflow::status
