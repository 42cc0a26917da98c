#include "status/profile_actions.h"

#include <gtest/gtest.h>

#include "http/router.h"
#include "http/server.h"
#include "tests/unit/http/fake_stream.h"

namespace bareflow::status {
namespace {

class FakeActions final : public ProfileActions {
  public:
    int optimised = 0;
    int cleared = 0;
    int optimize_now() override { return ++optimised; }
    bool optimizer_has_work() override { return optimised < 2; }
    void clear_profile() override { ++cleared; }
};

TEST(ProfileActions, CanBeOptimisedAndReset) {
    FakeActions actions;
    http::FakeSource streams;
    OptimizeHandler optimize(actions);
    ResetHandler reset(actions);
    const http::Route routes[] = {{http::Method::kPost, "/profile/optimize", &optimize},
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

}  // namespace
}  // namespace bareflow::status
