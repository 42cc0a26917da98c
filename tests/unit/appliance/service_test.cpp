// The service with a fake network and reports that are empty: when it serves, and how many
// connections it allows.
#include "appliance/service.h"

#include <gtest/gtest.h>

#include "tests/unit/appliance/scripted_machine.h"

namespace bareflow {
namespace {

using testing::FakeSurroundings;

// What the service only hands on.
class NoReport final : public status::SnapshotSource {
  public:
    status::Health health() override { return {}; }
    void fill(status::SystemSnapshot &) override {}
    size_t function_count() override { return 0; }
    status::FunctionRow function(size_t) override { return {}; }
    std::string_view function_name(size_t) override { return {}; }
    size_t try_count() override { return 0; }
    status::TryRow try_at(size_t) override { return {}; }
    std::span<const status::TimelinePoint> timeline() override { return {}; }
};
class NoActions final : public status::ProfileActions {
  public:
    int optimize_now() override { return 0; }
    [[nodiscard]] bool optimizer_has_work() override { return false; }
    void clear_profile() override {}
};
class NoObserver final : public api::CompletionObserver {
  public:
    void on_completion(const api::CompletionSummary &) override {}
};

class ServiceTest : public ::testing::Test {
  protected:
    void start(const Settings &settings) {
        parts_ = &testing::keep(new Parts(settings, surroundings_));
        service_ = &testing::keep(new Service(*parts_, report_, actions_, observer_));
    }

    FakeSurroundings surroundings_;
    NoReport report_;
    NoActions actions_;
    NoObserver observer_;
    http::FakeSource clients_;
    Parts *parts_ = nullptr;
    Service *service_ = nullptr;
};

TEST_F(ServiceTest, BeforeTheStartOnlyTheNetworkIsServed) {
    start({});
    EXPECT_FALSE(service_->poll());
    surroundings_.traffic = true;
    EXPECT_TRUE(service_->poll());
    EXPECT_EQ(surroundings_.polls, 2u);
    surroundings_.deadline = 77;
    EXPECT_EQ(service_->deadline(), 77u);
    EXPECT_EQ(service_->tokens_per_second(), 0.0);
    EXPECT_EQ(service_->api(), nullptr);
    EXPECT_EQ(service_->server(), nullptr);
}

TEST_F(ServiceTest, ConnectionsFollowSlotsAndQueue) {
    const auto memory_with = [&](uint32_t slots, uint32_t queue) {
        start(testing::settings_with([&](Settings &s) {
            s.slots = slots;
            s.queue = queue;
        }));
        EXPECT_TRUE(service_->start_http(clients_).ok());
        return service_->server()->memory_bytes();
    };
    const size_t least = memory_with(1, 1);
    EXPECT_EQ(memory_with(4, 8), least) << "32 serve both";
    const size_t eight = memory_with(8, 12) - least;  // 40 connections
    EXPECT_GT(eight, 8u * 4096);
    EXPECT_EQ(memory_with(8, 16) - least, eight / 8 * 12);
    EXPECT_EQ(memory_with(16, 64) - least, eight * 2) << "48, as many as net/ has streams";
}

TEST_F(ServiceTest, TheNextTimeoutCounts) {
    start({});
    ASSERT_TRUE(service_->start_http(clients_).ok());
    const uint64_t never = service_->deadline();
    (void)clients_.connect("GET /health HTTP/1.1\r\n");  // and does not go on
    (void)service_->poll();
    EXPECT_LT(service_->deadline(), never);
    EXPECT_GT(service_->deadline(), platform::ticks());
}

TEST_F(ServiceTest, KeepAliveServesEveryFewMilliseconds) {
    start({});
    const uint64_t begin = platform::ticks();
    while (platform::ticks() - begin < ms_to_ticks(52)) {
        service_->keep_alive();
    }
    EXPECT_GE(surroundings_.polls, 2u);
    const uint64_t passed = platform::ticks() - begin;
    EXPECT_LE(surroundings_.polls, passed / ms_to_ticks(5) + 1) << "5 ms lie between two";
}

}  // namespace
}  // namespace bareflow
