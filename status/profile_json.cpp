// /profile as JSON: one object, with a member for each section. Its pieces are bounded, so that
// each fits into Exchange::kMaxPieceBytes even when every byte of a text is escaped.
#include "status/health.h"
#include "status/profile.h"
#include "status/profile_table.h"

namespace bareflow::status {

namespace {

void write_rows(const SystemSnapshot &s, ProfileSection section, TextWriter &out) {
    bool first = true;
    for (const ProfileRow &row : profile_rows()) {
        if (row.section != section) {
            continue;
        }
        out.put(first ? "\"" : ",\"", row.key, "\":");
        first = false;
        if (row.kind == ProfileKind::kText) {
            out.put(JsonString{profile_text(s, row)});
        } else if (row.kind == ProfileKind::kBool) {
            out.put(profile_integer(s, row) != 0);
        } else if (profile_is_real(row)) {
            out.put(Fixed{profile_number(s, row), 3});
        } else {
            out.put(profile_integer(s, row));
        }
    }
}

void write_section(const SystemSnapshot &s, ProfileSection section, TextWriter &out) {
    out.put(",\n\"", profile_section(section).json, "\":");
    if (section == ProfileSection::kModel && s.model.name.empty()) {
        out.put("null");
        return;
    }
    out.put("{");
    write_rows(s, section, out);
    if (section == ProfileSection::kJit) {
        out.put(",\"", profile_section(ProfileSection::kThresholds).json, "\":{");
        write_rows(s, ProfileSection::kThresholds, out);
        out.put("}");
    }
    out.put("}");
}

void write_boot(const SystemSnapshot &s, TextWriter &out) {
    out.put(",\n\"boot\":{\"stages\":[");
    for (uint32_t i = 0; i < s.stage_count; ++i) {
        const BootStage &stage = s.stages[i];
        out.put(i == 0 ? "" : ",", "{\"name\":", JsonString{stage.name.substr(0, kMaxStageName)},
                ",\"started_ms\":", Fixed{stage.started_ms, 3},
                ",\"took_ms\":", Fixed{stage.took_ms, 3}, "}");
    }
    out.put("]}");
}

void write_function(const FunctionRow &f, bool first, TextWriter &out) {
    out.put(first ? "\n" : ",\n", "{\"name\":", JsonString{f.name.substr(0, kMaxShownText)},
            ",\"shape\":", JsonString{f.shape.substr(0, kMaxShownText)},
            ",\"variant\":", JsonString{f.variant.substr(0, kMaxShownText)}, ",\"calls\":", f.calls,
            ",\"total_cycles\":", f.total_cycles, ",\"average_cycles\":", f.average_cycles,
            ",\"minimum_cycles\":", f.minimum_cycles, ",\"p50_cycles\":", f.p50_cycles,
            ",\"p99_cycles\":", f.p99_cycles, ",\"recent_cycles\":", f.recent_cycles,
            ",\"level\":", f.level, ",\"code_bytes\":", f.code_bytes);
    if (f.gmacs > 0) {
        out.put(",\"gmacs\":", Fixed{f.gmacs, 3}, ",\"gbytes\":", Fixed{f.gbytes, 3},
                ",\"bandwidth_percent\":", Fixed{f.bandwidth_percent, 1});
    }
    if (f.speed_up > 0) {
        out.put(",\"speed_up\":", Fixed{f.speed_up, 2},
                ",\"speed_up_over_rule\":", Fixed{f.speed_up_over_rule, 2});
    }
    out.put("}");
}

void write_try(SnapshotSource &source, const TryRow &t, bool first, TextWriter &out) {
    out.put(first ? "\n" : ",\n",
            "{\"function\":", JsonString{tried_function(source, t).substr(0, kMaxShownText)},
            ",\"variant\":", JsonString{t.variant.substr(0, kMaxShownText)}, ",\"level\":", t.level,
            ",\"verdict\":\"", t.verdict, "\",\"cycles\":", t.cycles,
            ",\"current_cycles\":", t.current_cycles, ",\"code_bytes\":", t.code_bytes, "}");
}

void write_shares(const SystemSnapshot &s, TextWriter &out) {
    out.put(",\n\"processors\":[");
    for (uint32_t i = 0; i < s.share_count; ++i) {
        const ProcessorShare &share = s.shares[i];
        out.put(i == 0 ? "" : ",", "{\"jobs\":", share.jobs, ",\"items\":", share.items,
                ",\"busy_ms\":", Fixed{static_cast<double>(share.busy_us) / 1000, 3}, "}");
    }
    out.put("]");
}

// Of each point: time, tokens a second, promotions; a part of them in each piece.
constexpr uint32_t kTimelinePieces = 4;
void write_timeline(std::span<const TimelinePoint> points, uint32_t part, TextWriter &out) {
    constexpr size_t kPoints = SnapshotSource::kMaxTimelinePoints / kTimelinePieces;
    if (part == 0) {
        out.put(",\n\"timeline\":[");
    }
    for (size_t i = part * kPoints; i < (part + 1) * kPoints && i < points.size(); ++i) {
        out.put(i == 0 ? "[" : ",[", Fixed{static_cast<double>(points[i].end_s), 1}, ",",
                Fixed{points[i].per_second(), 1}, ",", points[i].promotions, "]");
    }
    if (part + 1 == kTimelinePieces) {
        out.put("]");
    }
}

}  // namespace

// Pieces: overview, boot stages, one for each section, the processors, the timeline's, one for each
// function and for each candidate, the end.
bool render_profile_json(SnapshotSource &source, uint32_t piece, uint32_t functions,
                         TextWriter &out) {
    constexpr uint32_t kLastSection = static_cast<uint32_t>(ProfileSection::kJit) + 1;
    constexpr uint32_t kShares = kLastSection + 1;
    constexpr uint32_t kFirstTimeline = kShares + 1;
    constexpr uint32_t kFirstFunction = kFirstTimeline + kTimelinePieces;
    if (piece >= kFirstFunction) {
        const uint32_t index = piece - kFirstFunction;
        if (index < functions) {
            write_function(source.function(index), index == 0, out);
            return true;
        }
        if (index == functions) {
            out.put("],\n\"candidates\":[");
        }
        const uint32_t candidate = index - functions;
        if (candidate < source.try_count()) {
            write_try(source, source.try_at(candidate), candidate == 0, out);
            return true;
        }
        out.put("]}\n");
        return false;
    }
    if (piece >= kFirstTimeline) {
        write_timeline(source.timeline(), piece - kFirstTimeline, out);
        if (piece + 1 == kFirstFunction) {
            out.put(",\n\"functions\":[");
        }
        return true;
    }
    SystemSnapshot snapshot;
    source.fill(snapshot);
    if (piece == 0) {
        out.put("{\"status\":\"", health_name(snapshot.health.state),
                "\",\"message\":", JsonString{snapshot.health.message.substr(0, 240)}, ",");
        write_rows(snapshot, ProfileSection::kOverview, out);
    } else if (piece == 1) {
        write_boot(snapshot, out);
    } else if (piece == kShares) {
        write_shares(snapshot, out);
    } else {
        write_section(snapshot, static_cast<ProfileSection>(piece - 1), out);
    }
    return true;
}

}  // namespace bareflow::status
