// What /health, /profile and `stats` are told.
#include "appliance/status_report.h"

#include <gtest/gtest.h>

#include <set>

#include "kernel_lib/cpu/features.h"
#include "kernel_lib/io/log.h"
#include "tests/unit/appliance/loaded_assembly.h"

namespace bareflow {
namespace {

using testing::FakeSurroundings;
using testing::LoadedAssembly;
using testing::ScriptedConsole;

class StatusReportTest : public ::testing::Test {
  protected:
    void SetUp() override { ASSERT_TRUE(all_.service.start_http(clients_).ok()); }
    status::SystemSnapshot snapshot() {
        status::SystemSnapshot out;
        report_.fill(out);
        return out;
    }
    void load() { model_.take(LoadedAssembly::small_model()); }
    void make_text() {
        const std::string body = R"({"prompt":"ab","max_tokens":20})";
        (void)clients_.connect("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: " +
                               std::to_string(body.size()) + "\r\n\r\n" + body);
        for (int i = 0; i < 300; ++i) {
            (void)all_.service.poll();
            if (all_.parts.texts->can_advance()) {
                all_.tuning.make_texts();
            }
        }
        ASSERT_EQ(all_.completions, 1u);
    }

    FakeSurroundings surroundings_;
    ScriptedConsole console_;
    http::FakeSource clients_;
    LoadedAssembly model_{surroundings_};
    testing::Assembly &all_ = model_.all;
    StatusReport &report_ = all_.report;
};

TEST_F(StatusReportTest, WithoutAModel) {
    const status::SystemSnapshot out = snapshot();
    EXPECT_EQ(out.version, kVersion);
    EXPECT_EQ(out.platform, "scripted");
    EXPECT_EQ(out.health.state, status::HealthState::kLoading);
    EXPECT_EQ(out.ready_ms, 0.0);
    EXPECT_FALSE(out.cpu.name.empty());
    char buffer[status::kMaxProfileList];
    TextWriter features(buffer);
    format_features(features, cpu_features());
    EXPECT_EQ(out.cpu.features, features.view());
    EXPECT_EQ(out.memory.image_bytes, 12'345u);
    EXPECT_GT(out.memory.http_bytes, 0u);
    EXPECT_EQ(out.memory.model_bytes, 0u);
    EXPECT_TRUE(out.model.name.empty());
    EXPECT_EQ(out.network.address, "10.0.2.15");
    EXPECT_EQ(out.network.received_bytes, 7u);
    EXPECT_EQ(out.jit.mode, "full");
    EXPECT_EQ(out.jit.numerics, "exact");
    EXPECT_EQ(out.jit.tolerance, "0");
    EXPECT_EQ(out.jit.code.bytes, 0u);
    EXPECT_EQ(out.jit.search.verdict_count, kTryVerdicts);
    EXPECT_EQ(out.jit.search.verdicts[0].name, "won");
    EXPECT_TRUE(out.jit.kept.on.empty());
    EXPECT_EQ(report_.try_count(), optimizer().try_count());
}

TEST_F(StatusReportTest, FastNumericsSayTheirTolerance) {
    LoadedAssembly relaxed(surroundings_, testing::settings_with([](Settings &s) {
                               s.jit = JitMode::kBaseline;
                               s.relaxed = true;
                           }));
    status::SystemSnapshot out;
    relaxed.all.report.fill(out);
    EXPECT_EQ(out.jit.mode, "baseline");
    EXPECT_EQ(out.jit.numerics, "fast");
    EXPECT_EQ(out.jit.tolerance, "1/4096 of the greatest result");
    EXPECT_TRUE(out.jit.relaxed);
}

TEST_F(StatusReportTest, TheReadyLineHasATime) {
    log_start(platform::ticks() - platform::ticks_per_second());
    report_.note_ready();
    EXPECT_GE(snapshot().ready_ms, 999);
    EXPECT_LT(snapshot().ready_ms, 60'000);
}

TEST_F(StatusReportTest, HealthSaysWhy) {
    all_.parts.health.set_error("the disk is gone");
    EXPECT_EQ(report_.health().state, status::HealthState::kError);
    EXPECT_EQ(report_.health().message, "the disk is gone");
    EXPECT_EQ(snapshot().health.message, "the disk is gone");
}

TEST_F(StatusReportTest, WithAModel) {
    load();
    make_text();
    const status::SystemSnapshot out = snapshot();
    EXPECT_EQ(out.health.state, status::HealthState::kOk);
    EXPECT_EQ(out.model.name, "tiny test");
    EXPECT_EQ(out.model.weight_type, "Q8_0");
    EXPECT_GT(out.model.parameters, 0u);
    EXPECT_EQ(out.model.context_length, 64u);
    EXPECT_GT(out.memory.model_bytes, 0u);
    EXPECT_GT(out.memory.kv_bytes, 0u);
    EXPECT_EQ(out.memory.weights, "owned");
    EXPECT_GT(out.jit.code.capacity_bytes, 0u);
    EXPECT_EQ(out.completions.finished, 1u);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < out.jit.search.verdict_count; ++i) {
        sum += out.jit.search.verdicts[i].count;
    }
    EXPECT_EQ(out.jit.search.tried, sum);
    EXPECT_EQ(out.jit.search.rejected, sum - out.jit.search.verdicts[0].count);
}

// Every binding of the engine is a row with its variant and the optimiser's figures; other
// functions have none.
TEST_F(StatusReportTest, RowsAreJoinedToBindings) {
    load();
    make_text();
    std::set<std::string_view> names;
    for (const compute::KernelBinding &binding : all_.parts.engine->kernel_bindings()) {
        names.insert(binding.name);
    }
    const size_t products = names.size();
    for (const compute::FloatBinding &binding : all_.parts.engine->float_bindings()) {
        names.insert(binding.name);
    }
    size_t joined = 0;
    size_t with_speed = 0;
    for (size_t i = 0; i < report_.function_count(); ++i) {
        const status::FunctionRow row = report_.function(i);
        EXPECT_EQ(!row.variant.empty(), names.contains(row.name)) << row.name;
        EXPECT_EQ(row.speed_up > 0, !row.variant.empty()) << row.name;
        joined += row.variant.empty() ? 0 : 1;
        with_speed += row.gmacs > 0 ? 1 : 0;
    }
    EXPECT_EQ(joined, names.size());
    EXPECT_GT(with_speed, 0u);
    EXPECT_LE(with_speed, products);
}

TEST_F(StatusReportTest, TriesOfTheOptimizerComeFirst) {
    load();
    make_text();
    while (all_.tuning.use_idle_time(false)) {
    }
    const size_t count = report_.try_count();
    ASSERT_GT(optimizer().try_count(), 0u);
    EXPECT_EQ(count, optimizer().try_count() + all_.parts.engine->fused_steps().try_count());
    for (size_t i = 0; i < count; ++i) {
        const status::TryRow row = report_.try_at(i);
        EXPECT_FALSE(row.name.empty());
        if (row.function != status::TryRow::kNoFunction) {
            EXPECT_EQ(report_.function_name(row.function), row.name);
        }
        EXPECT_FALSE(row.variant.empty());
        EXPECT_FALSE(row.verdict.empty());
    }
}

TEST_F(StatusReportTest, WithoutGainsNothingIsFaster) {
    EXPECT_NEAR(report_.speed_up().over_reference, 1, 1e-9);
    EXPECT_NEAR(report_.speed_up().over_rule, 1, 1e-9);
}

TEST_F(StatusReportTest, StatsNameTheHottestFunctions) {
    profiler().clear_counters();
    const char *const names[] = {"stats a", "stats b", "stats c", "stats d", "stats e", "stats f"};
    for (uint64_t i = 0; i < 6; ++i) {
        const FunctionId id = profiler().key(names[i]);
        profiler().begin(id, 0);
        profiler().end(id, 1000 * (i + 1));
    }
    char buffer[2048];
    TextWriter out(buffer);
    report_.write_stats(out);
    const std::string text(out.view());
    EXPECT_NE(text.find(" s, 0 requests done, 0 waiting, 0 cancelled, 0 refused\n"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("hottest functions, by cycles:\n"
                        "  stats f: 1 calls, 6000 cycles each, level 0\n"
                        "  stats e: 1 calls, 5000 cycles each, level 0\n"),
              std::string::npos)
        << text;
    EXPECT_EQ(text.find("stats a"), std::string::npos) << "five are shown";
    profiler().clear_counters();
}

}  // namespace
}  // namespace bareflow
