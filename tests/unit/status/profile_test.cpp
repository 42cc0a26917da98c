#include "status/profile.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "http/accept.h"
#include "http/json.h"
#include "http/router.h"
#include "http/server.h"
#include "kernel_lib/cpu/features.h"
#include "status/health.h"
#include "status/profile_actions.h"
#include "status/profile_table.h"
#include "tests/unit/http/fake_stream.h"

namespace bareflow::status {
namespace {

// Everything as long and as awkward as it can be.
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

size_t occurrences(const std::string &page, std::string_view what) {
    size_t count = 0;
    for (size_t at = page.find(what); at != std::string::npos; at = page.find(what, at + 1)) {
        ++count;
    }
    return count;
}

using Render = bool (*)(SnapshotSource &, uint32_t, uint32_t, TextWriter &);

std::string render(Render renderer, SnapshotSource &source) {
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

TEST(Profile, CandidatesHaveTheNameOfTheFunctionWithTheirNumber) {
    Awkward source;
    source.functions = 0;
    source.names[7] = "seven";
    for (const Render renderer : {render_profile_json, render_profile_html}) {
        source.tried = 7;
        EXPECT_EQ(occurrences(render(renderer, source), "seven"), source.tries);
        source.tried = TryRow::kNoFunction;
        EXPECT_EQ(occurrences(render(renderer, source), "seven"), 0u);
    }
}

TEST(Profile, EveryCandidateTriedIsShown) {
    for (const size_t tries : {size_t{0}, size_t{1}, size_t{40}}) {
        for (const size_t functions : {size_t{0}, size_t{2}}) {
            Awkward source;
            source.tries = tries;
            source.functions = functions;
            EXPECT_EQ(occurrences(render(render_profile_json, source), "\"verdict\":\"differed\""),
                      tries);
            EXPECT_EQ(occurrences(render(render_profile_html, source), "<td>differed"), tries);
        }
    }
}

class Count final : public http::JsonHandler {
  public:
    int names = 0;
    std::string last_key;
    bool on_event(const http::JsonEvent &event) override {
        if (event.kind == http::JsonEvent::Kind::kKey) {
            last_key = event.text;
        }
        names += event.kind == http::JsonEvent::Kind::kString && last_key == "name" ? 1 : 0;
        return true;
    }
};

TEST(Profile, JsonIsValidWithTheWorstValues) {
    Awkward source;
    for (const size_t functions : {size_t{0}, size_t{1}, size_t{256}}) {
        source.functions = functions;
        std::string page = render(render_profile_json, source);
        Count count;
        EXPECT_TRUE(http::parse_json({page.data(), page.size()}, count).ok);
        EXPECT_EQ(count.names, static_cast<int>(functions) + 2 + 24) << "cpu, model, stages";
    }
}

TEST(Profile, PrometheusHasHelpTypeAndEachSeriesOnce) {
    Awkward source;
    for (const size_t functions : {size_t{0}, size_t{256}}) {
        source.functions = functions;
        const std::string page = render(render_profile_prometheus, source);
        std::set<std::string> metrics;
        std::set<std::string> series;
        std::string type_of;
        std::string help_of;
        size_t at = 0;
        size_t samples = 0;
        while (at < page.size()) {
            const size_t end = page.find('\n', at);
            ASSERT_NE(end, std::string::npos);
            const std::string line = page.substr(at, end - at);
            at = end + 1;
            if (line.starts_with("# HELP ")) {
                help_of = line.substr(7, line.find(' ', 7) - 7);
                EXPECT_TRUE(metrics.insert(help_of).second) << "twice: " << help_of;
                continue;
            }
            if (line.starts_with("# TYPE ")) {
                type_of = line.substr(7, line.find(' ', 7) - 7);
                const bool counter = line.ends_with(" counter");
                EXPECT_EQ(counter, type_of.ends_with("_total")) << line;
                EXPECT_EQ(type_of, help_of);
                continue;
            }
            ++samples;
            const std::string name = line.substr(0, line.find_first_of("{ "));
            EXPECT_EQ(name, type_of) << "a sample under its own metric";
            EXPECT_TRUE(name.starts_with("bareflow_"));
            EXPECT_TRUE(series.insert(line.substr(0, line.rfind(' '))).second) << line;
        }
        EXPECT_EQ(samples > 1500, functions == 256);
    }
}

TEST(Profile, HtmlEscapesWhatComesFromOutside) {
    Awkward source;
    source.nasty = "<script>alert(1)</script>\"&";
    source.names.assign(256, "<img src=x>");
    const std::string page = render(render_profile_html, source);
    EXPECT_EQ(page.find("<script>alert"), std::string::npos);
    EXPECT_EQ(page.find("<img"), std::string::npos);
    EXPECT_NE(page.find("&lt;img src=x&gt;"), std::string::npos);
    EXPECT_TRUE(page.ends_with("</html>\n"));
}

TEST(Profile, HtmlIsWholeWithTheWorstValues) {
    Awkward source;
    const std::string page = render(render_profile_html, source);
    EXPECT_TRUE(page.ends_with("</html>\n"));
    EXPECT_NE(page.find("f255"), std::string::npos);
}

TEST(Profile, TheTimelineIsAChart) {
    Awkward source;
    source.points = {{.end_s = 1, .took_s = 1, .tokens = 10, .promotions = 0},
                     {.end_s = 2, .took_s = 1, .tokens = 40, .promotions = 3},
                     {.end_s = 4, .took_s = 2, .tokens = 40, .promotions = 0}};
    const std::string page = render(render_profile_html, source);
    // x is time; y is speed, upside down.
    EXPECT_NE(page.find("points=\"252,121 500,4 996,82 \""), std::string::npos) << page;
    EXPECT_NE(page.find("d=\"M500 162v14\""), std::string::npos);
    EXPECT_NE(page.find("20.0 tokens/s now, after 4 s of making text; at most 40.0."),
              std::string::npos);
    EXPECT_EQ(occurrences(page, "</svg>"), 1u);
    EXPECT_NE(render(render_profile_json, source)
                  .find("\"timeline\":[[1.0,10.0,0],[2.0,40.0,3],[4.0,20.0,0]]"),
              std::string::npos);
    source.points.clear();
    EXPECT_EQ(render(render_profile_html, source).find("<svg"), std::string::npos);
    EXPECT_NE(render(render_profile_json, source).find("\"timeline\":[]"), std::string::npos);
}

TEST(Profile, CandidatesByVerdict) {
    Awkward source;
    const std::string page = render(render_profile_prometheus, source);
    EXPECT_EQ(occurrences(page, "bareflow_jit_candidates_total{verdict="), 8u);
    EXPECT_NE(page.find("bareflow_jit_candidates_total{verdict=\"a\"} 18446744073709551615\n"),
              std::string::npos);
}

// The processor's features are never cut inside a word, and all known ones fit.
TEST(Profile, FeaturesAreWholeWords) {
    CpuFeatures all;
    all.usable = all.present = (uint64_t{1} << static_cast<int>(CpuFeature::kCount)) - 1;
    char text[1000];
    TextWriter out(text);
    format_features(out, all);
    EXPECT_LE(out.size(), kMaxProfileList);
    SystemSnapshot snapshot;
    const std::string longer = std::string(out.view()) + " " + std::string(out.view());
    snapshot.cpu.features = longer;
    for (const ProfileRow &row : profile_rows()) {
        if (profile_is_list(row)) {
            const std::string_view shown = profile_text(snapshot, row);
            EXPECT_LE(shown.size(), kMaxProfileList);
            EXPECT_EQ(longer[shown.size()], ' ');
            snapshot.cpu.features = out.view();
            EXPECT_EQ(profile_text(snapshot, row), out.view());
        }
    }
}

class FakeActions final : public ProfileActions {
  public:
    int optimised = 0;
    int cleared = 0;
    int optimize_now() override { return ++optimised; }
    bool optimizer_has_work() override { return optimised < 2; }
    void clear_profile() override { ++cleared; }
};

TEST(Profile, CanBeOptimisedAndReset) {
    Awkward source;
    FakeActions actions;
    http::FakeSource streams;
    ProfileHandler profile(source);
    OptimizeHandler optimize(actions);
    ResetHandler reset(actions);
    const http::Route routes[] = {{http::Method::kGet, "/profile", &profile},
                                  {http::Method::kPost, "/profile/optimize", &optimize},
                                  {http::Method::kPost, "/profile/reset", &reset}};
    http::Router router(routes);
    http::Server *server = *http::Server::create(streams, router, {});
    http::FakeStream &client = streams.connect("");
    const auto ask = [&](const std::string &line) {
        client.input = line + " HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        client.window = 100'000;
        server->poll();
        server->poll();
        return http::take_answer(client.output);
    };
    http::Answer answer = ask("POST /profile/optimize");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "{\"changed\":1,\"more\":true}\n");
    EXPECT_EQ(ask("POST /profile/optimize").body, "{\"changed\":2,\"more\":false}\n");
    answer = ask("POST /profile/reset");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "{\"reset\":true}\n");
    EXPECT_EQ(actions.cleared, 1);
    for (const char *path : {"/profile/optimize", "/profile/reset"}) {
        answer = ask(std::string("GET ") + path);
        EXPECT_EQ(answer.status, 405);
        EXPECT_TRUE(answer.has_header("Allow: POST, OPTIONS"));
    }
    EXPECT_EQ(actions.optimised, 2);
    EXPECT_EQ(actions.cleared, 1);
    server->destroy();
}

struct Choice {
    const char *accept;
    const char *query;
    ProfileLayout layout;
};

TEST(Profile, ChoosesTheLayout) {
    constexpr Choice kChoices[] = {
        {"", "", ProfileLayout::kPrometheus},
        {"*/*", "", ProfileLayout::kPrometheus},
        {"application/json", "", ProfileLayout::kJson},
        {"Application/JSON", "", ProfileLayout::kJson},
        {"application/json, text/plain, */*", "", ProfileLayout::kJson},
        {"text/html", "", ProfileLayout::kHtml},
        {"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", "",
         ProfileLayout::kHtml},
        {"application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "",
         ProfileLayout::kPrometheus},
        {"text/plain", "", ProfileLayout::kPrometheus},
        {"image/png", "", ProfileLayout::kPrometheus},
        {"text/html;q=0.5, application/json;q=0.9", "", ProfileLayout::kJson},
        {"text/html;q=0, */*", "", ProfileLayout::kPrometheus},
        {"application/json;q=0, text/html;q=0.1", "", ProfileLayout::kHtml},
        {"text/html;q=nonsense, application/json;q=0.1", "", ProfileLayout::kJson},
        {"text/html ; q=0.3 , application/json ; q=0.4", "", ProfileLayout::kJson},
        {"application/*", "", ProfileLayout::kJson},
        {";;;,,,q=", "", ProfileLayout::kPrometheus},
        {"text/html", "format=json", ProfileLayout::kJson},
        {"", "format=html", ProfileLayout::kHtml},
        {"text/html", "format=prometheus", ProfileLayout::kPrometheus},
        {"text/html", "format=unknown", ProfileLayout::kHtml},
    };
    for (const Choice &choice : kChoices) {
        http::Request request;
        request.accept = choice.accept;
        request.query = choice.query;
        EXPECT_EQ(ProfileHandler::choose(request), choice.layout)
            << choice.accept << " ? " << choice.query;
    }
}

TEST(Profile, ServedWholeThroughASmallWindow) {
    Awkward source;
    http::FakeSource streams;
    ProfileHandler profile(source);
    HealthHandler health(source);
    const http::Route routes[] = {{http::Method::kGet, "/profile", &profile},
                                  {http::Method::kGet, "/health", &health}};
    http::Router router(routes);
    http::Server *server = *http::Server::create(streams, router, {});
    http::FakeStream &client = streams.connect(
        "GET /profile HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n"
        "GET /profile HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    client.window = 0;
    size_t before = 0;
    do {
        before = client.output.size();
        client.window = 1500;
        server->poll();
    } while (client.output.size() != before);
    http::Answer answer = http::take_answer(client.output);
    EXPECT_TRUE(answer.has_header("Content-Type: application/json"));
    EXPECT_TRUE(answer.body == render(render_profile_json, source));
    answer = http::take_answer(client.output);
    EXPECT_TRUE(answer.has_header("Content-Type: text/plain; version=0.0.4; charset=utf-8"));
    EXPECT_TRUE(answer.body == render(render_profile_prometheus, source));
    answer = http::take_answer(client.output);
    EXPECT_EQ(answer.body, "{\"status\":\"ok\"}\n");
    source.state = {HealthState::kError, "no \"model\""};
    client.input = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    client.window = 10'000;
    server->poll();
    answer = http::take_answer(client.output);
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(answer.body, "{\"status\":\"error\",\"message\":\"no \\\"model\\\"\"}\n");
    server->destroy();
}

}  // namespace
}  // namespace bareflow::status
