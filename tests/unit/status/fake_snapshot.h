// A source whose values are as long and as awkward as they can be, and a page rendered to its end.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "http/exchange.h"
#include "status/profile.h"
#include "status/system_snapshot.h"

namespace bareflow::status {

class Awkward final : public SnapshotSource {
  public:
    size_t functions = 256;
    Health state{.state = HealthState::kOk, .message = {}};
    std::string nasty = std::string(40, '"') + "\\\n<&>\x01é" + std::string(300, '"');
    std::vector<std::string> names;

    Awkward() {
        for (int i = 0; i < 256; ++i) {
            names.push_back("f" + std::to_string(i) + nasty);
        }
    }
    Health health() override { return state; }
    void fill(SystemSnapshot &out) override {
        constexpr uint64_t kBig = ~uint64_t{0};
        out.version = out.platform = nasty;
        out.health = {HealthState::kError, nasty};
        out.cpu = {.name = nasty,
                   .features = nasty,
                   .hypervisor = nasty,
                   .processors = 255,
                   .ticks_per_second = kBig};
        out.model = {.name = nasty,
                     .weight_type = nasty,
                     .parameters = kBig,
                     .file_bytes = kBig,
                     .context_length = 4'000'000'000u,
                     .layers = 1000,
                     .load_ms = 1e12};
        out.network.device = out.network.mac = out.network.address = nasty;
        out.jit.mode = out.jit.kept.on = out.jit.numerics = out.jit.tolerance = nasty;
        out.jit.search.verdict_count = SearchInfo::kMaxVerdicts;
        for (size_t i = 0; i < SearchInfo::kMaxVerdicts; ++i) {
            constexpr std::string_view kNames[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
            out.jit.search.verdicts[i] = {kNames[i], kBig};
        }
        out.memory.total_bytes = out.memory.free_bytes = out.memory.image_bytes = kBig;
        out.http.requests = kBig;
        out.share_count = SystemSnapshot::kMaxProcessors;
        out.shares.fill({kBig, kBig, 1'000'000'000'000'000});
        out.stage_count = SystemSnapshot::kMaxStages;
        for (BootStage &stage : out.stages) {
            stage = {nasty, 1e9, 1e9};
        }
    }
    size_t function_count() override { return functions; }
    FunctionRow function(size_t index) override {
        return {.name = names[index],
                .shape = nasty,
                .variant = nasty,
                .calls = ~uint64_t{0},
                .total_cycles = 5,
                .average_cycles = 5,
                .minimum_cycles = 5,
                .p50_cycles = ~uint64_t{0},
                .p99_cycles = ~uint64_t{0},
                .recent_cycles = ~uint64_t{0},
                .level = 3,
                .code_bytes = 7,
                .gmacs = 1e12,
                .gbytes = 1e12,
                .bandwidth_percent = 1e12,
                .speed_up = 1e12,
                .speed_up_over_rule = 1e12};
    }
    std::vector<TimelinePoint> points = std::vector<TimelinePoint>(
        kMaxTimelinePoints, {.end_s = 1e12f, .took_s = 1e-6f, .tokens = ~0u, .promotions = ~0u});
    std::span<const TimelinePoint> timeline() override { return points; }
    std::string_view function_name(size_t index) override { return names[index]; }
    size_t tries = 3;
    uint32_t tried = TryRow::kNoFunction;
    size_t try_count() override { return tries; }
    TryRow try_at(size_t /*index*/) override {
        return {.function = tried,
                .name = nasty,
                .variant = nasty,
                .verdict = "differed",
                .level = 3,
                .code_bytes = ~uint32_t{0},
                .cycles = ~uint64_t{0},
                .current_cycles = ~uint64_t{0}};
    }
};

inline size_t occurrences(const std::string &page, std::string_view what) {
    size_t count = 0;
    for (size_t at = page.find(what); at != std::string::npos; at = page.find(what, at + 1)) {
        ++count;
    }
    return count;
}

using Render = bool (*)(SnapshotSource &, uint32_t, uint32_t, TextWriter &);

inline std::string render(Render renderer, SnapshotSource &source) {
    std::string page;
    const auto functions = static_cast<uint32_t>(source.function_count());
    for (uint32_t piece = 0; piece < 10'000; ++piece) {
        char buffer[http::Exchange::kMaxPieceBytes];
        TextWriter out(buffer);
        const bool more = renderer(source, piece, functions, out);
        EXPECT_FALSE(out.truncated()) << "piece " << piece << " is too long";
        page += out.view();
        if (!more) {
            return page;
        }
    }
    ADD_FAILURE() << "the page never ends";
    return page;
}

}  // namespace bareflow::status
