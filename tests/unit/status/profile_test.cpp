#include "status/profile.h"

#include <gtest/gtest.h>

#include "http/accept.h"
#include "http/router.h"
#include "http/server.h"
#include "status/health.h"
#include "tests/unit/http/fake_stream.h"
#include "tests/unit/status/fake_snapshot.h"

namespace bareflow::status {
namespace {

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
