// An appliance without a machine and without a model: surroundings and an engine that do what a
// test tells them to, clients in memory, and a person at the console.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "appliance/appliance.h"
#include "kernel_lib/jit/optimize.h"
#include "kernel_lib/jit/profile.h"
#include "kernel_lib/platform/platform.h"
#include "tests/unit/api/fake_generator.h"
#include "tests/unit/http/fake_stream.h"

namespace bareflow::testing {

class FakeSurroundings final : public Surroundings {
  public:
    bool traffic = false;  // what poll_network() answers
    bool settled = true;
    uint64_t deadline = ~uint64_t{0};
    std::string address = "10.0.2.15";
    uint32_t polls = 0;
    uint32_t announcements = 0;

    bool poll_network() override {
        ++polls;
        return traffic;
    }
    [[nodiscard]] uint64_t network_deadline() override { return deadline; }
    void announce_network() override { ++announcements; }
    [[nodiscard]] bool network_settled() override { return settled; }
    [[nodiscard]] status::NetworkInfo network_info() override {
        return {.device = "fake", .mac = {}, .address = address, .received_bytes = 7};
    }
    [[nodiscard]] std::string_view platform_name() const override { return "scripted"; }
    [[nodiscard]] uint64_t image_bytes() const override { return 12'345; }
};

// The defaults, with what `change` does to them.
template <typename Change>
Settings settings_with(Change change) {
    Settings settings;
    settings.port = 8080;
    change(settings);
    return settings;
}

inline void spend_us(uint64_t us) {
    const uint64_t begin = platform::ticks();
    while (platform::ticks() - begin < us * platform::ticks_per_second() / 1'000'000) {
    }
}

// Makes `tokens` tokens of a script in every slice.
class ScriptedTexts final : public TextMaker {
  public:
    api::FakeGenerator generator;
    uint32_t tokens = 1;
    uint64_t slice_us = 0;         // how long a slice takes
    uint32_t slices = 0;           // advance() was called
    uint64_t longest_slice = 0;    // that advance() was asked for, in ticks
    uint32_t rooms_made = 0;       // calls of make_room_for_translations()
    bool always_advances = false;  // as if another client's text never ended

    [[nodiscard]] bool busy() const override { return generator.busy(); }
    [[nodiscard]] bool can_advance() const override { return always_advances || busy(); }
    void advance(uint64_t deadline_ticks) override {
        ++slices;
        const uint64_t now = platform::ticks();
        longest_slice = std::max(longest_slice, deadline_ticks - std::min(deadline_ticks, now));
        spend_us(slice_us);
        generator.advance(tokens);
    }
    void make_room_for_translations() override { ++rooms_made; }
};

// Standard input and standard error of this process, in a person's hands.
class ScriptedConsole {
  public:
    ScriptedConsole() : saved_input_(dup(STDIN_FILENO)) {
        EXPECT_EQ(pipe(keys_), 0);
        EXPECT_EQ(dup2(keys_[0], STDIN_FILENO), STDIN_FILENO);
        ::testing::internal::CaptureStderr();
    }
    ~ScriptedConsole() {
        (void)shown();
        (void)::testing::internal::GetCapturedStderr();
        dup2(saved_input_, STDIN_FILENO);
        for (const int file : {saved_input_, keys_[0], keys_[1]}) {
            close(file);
        }
    }
    ScriptedConsole(const ScriptedConsole &) = delete;
    ScriptedConsole &operator=(const ScriptedConsole &) = delete;

    void type(std::string_view keys) const {
        EXPECT_EQ(write(keys_[1], keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
    }
    // Everything that was shown since the beginning.
    [[nodiscard]] const std::string &shown() {
        all_ += ::testing::internal::GetCapturedStderr();
        ::testing::internal::CaptureStderr();
        return all_;
    }

  private:
    int saved_input_;
    int keys_[2] = {-1, -1};
    std::string all_;
};

// Objects that the program never destroys: they stay reachable until its end.
template <typename T>
T &keep(T *object) {
    static auto &kept = *new std::vector<T *>;
    kept.push_back(object);
    return *object;
}

// The appliance's classes without its loop and its console.
struct Assembly final : api::CompletionObserver {
    explicit Assembly(const Settings &settings, Surroundings &surroundings)
        : parts(settings, surroundings),
          service(parts, report, tuning, *this),
          tuning(parts, service),
          report(parts, service, tuning),
          loader(parts, service, tuning) {}
    void on_completion(const api::CompletionSummary &) override { ++completions; }

    uint32_t completions = 0;
    Parts parts;
    Service service;
    TuningSchedule tuning;
    StatusReport report;
    ModelLoader loader;
};

class ApplianceTest : public ::testing::Test {
  protected:
    explicit ApplianceTest(const Settings &settings = settings_with([](Settings &) {}))
        : appliance_(keep(new Appliance(settings, surroundings_))) {}
    void SetUp() override {
        const Status started = appliance_.start_http(clients_);
        ASSERT_TRUE(started.ok()) << started.message();
    }
    // What a model may have put into the program's own objects.
    void TearDown() override {
        optimizer().remove_all();
        jit_set_mode(JitMode::kFull);
        profiler().set_on(true);
    }

    // As if a model had been loaded.
    void open() { appliance_.loader().open(texts_, texts_.generator); }
    // The loop until it has nothing to do. A key that ends a line leaves work for the next pass,
    // for which the machine wakes at idle_deadline(): so it is asked twice.
    void settle() {
        for (int i = 0; i < 5000; ++i) {
            if (!appliance_.turn() && !appliance_.turn()) {
                return;
            }
        }
        FAIL() << "the loop never rests";
    }
    static std::string get(std::string_view path) {
        return "GET " + std::string(path) + " HTTP/1.1\r\nHost: a\r\n\r\n";
    }
    static std::string post(std::string_view path, std::string_view body) {
        return "POST " + std::string(path) +
               " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) +
               "\r\n\r\n" + std::string(body);
    }
    http::Answer ask(const std::string &request) {
        http::FakeStream &client = clients_.connect(request);
        settle();
        return http::take_answer(client.output);
    }
    void expect_shown(std::string_view text) {
        EXPECT_NE(console_.shown().find(text), std::string::npos) << "not shown: " << text << "\n"
                                                                  << console_.shown();
    }
    void expect_not_shown(std::string_view text) {
        EXPECT_EQ(console_.shown().find(text), std::string::npos) << console_.shown();
    }

    FakeSurroundings surroundings_;
    ScriptedConsole console_;
    ScriptedTexts texts_;
    http::FakeSource clients_;
    Appliance &appliance_;
};

}  // namespace bareflow::testing
