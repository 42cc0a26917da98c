// From the bytes of a file to texts, or to the sentence that says why not.
#include "appliance/model_loader.h"

#include <gtest/gtest.h>

#include "tests/unit/appliance/loaded_assembly.h"

namespace bareflow {
namespace {

using testing::FakeSurroundings;
using testing::LoadedAssembly;
using testing::ScriptedConsole;

class ModelLoaderTest : public ::testing::Test {
  protected:
    void SetUp() override { ASSERT_TRUE(all_.service.start_http(clients_).ok()); }
    http::Answer ask(const std::string &request) {
        http::FakeStream &client = clients_.connect(request);
        for (int i = 0; i < 1000; ++i) {
            (void)all_.service.poll();
            if (all_.parts.texts != nullptr && all_.parts.texts->can_advance()) {
                all_.tuning.make_texts();
            }
        }
        return http::take_answer(client.output);
    }
    void expect_shown(std::string_view text) {
        EXPECT_NE(console_.shown().find(text), std::string::npos) << "not shown: " << text << "\n"
                                                                  << console_.shown();
    }

    FakeSurroundings surroundings_;
    ScriptedConsole console_;
    http::FakeSource clients_;
    LoadedAssembly model_{surroundings_, testing::settings_with([](Settings &s) {
                              s.context = 48;
                              s.slots = 2;
                          })};
    testing::Assembly &all_ = model_.all;
};

TEST_F(ModelLoaderTest, AModelIsCheckedAndServed) {
    model_.take(LoadedAssembly::small_model());
    EXPECT_TRUE(all_.parts.health.ok());
    ASSERT_NE(all_.parts.engine, nullptr);
    EXPECT_EQ(all_.parts.engine->context_length(), 48u);
    EXPECT_EQ(all_.parts.engine->slot_count(), 2u);
    EXPECT_NE(all_.parts.gemv_tuner, nullptr);
    EXPECT_NE(all_.parts.float_tuner, nullptr);
    expect_shown("] model: tiny test, Q8_0, ");
    expect_shown("M parameters, the test\n");
    expect_shown("model: context 48, 2 slots, KV cache ");
    expect_shown("] profile: not kept across reboots: there is no state disk\n");
    expect_shown("] chat: ");
    const http::Answer answer =
        ask("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 46\r\n\r\n"
            R"({"prompt":"ab","max_tokens":5,"temperature":0})");
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(all_.completions, 1u);
}

TEST_F(ModelLoaderTest, AWrongFileEndsInASentence) {
    auto wrong = LoadedAssembly::small_model();
    wrong.set("general.architecture", "parrot");
    model_.take(wrong);
    EXPECT_FALSE(all_.parts.health.ok());
    EXPECT_EQ(all_.parts.health.get().state, status::HealthState::kError);
    EXPECT_NE(all_.parts.health.get().message.find("parrot"), std::string_view::npos);
    EXPECT_EQ(all_.parts.engine, nullptr);
    EXPECT_EQ(all_.parts.texts, nullptr);
    expect_shown("] model: ");
    const http::Answer health = ask("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_EQ(health.status, 503);
    EXPECT_NE(health.body.find("parrot"), std::string::npos);
}

// The values are read after the structure; what they say is a sentence as well.
TEST_F(ModelLoaderTest, AWrongWeightEndsInASentence) {
    auto wrong = LoadedAssembly::small_model();
    auto &data = wrong.tensor("blk.0.attn_q.weight").data;
    data[0] = '\x00';
    data[1] = '\x7c';  // the scale of the first block: infinite
    model_.take(wrong);
    EXPECT_FALSE(all_.parts.health.ok());
    EXPECT_NE(all_.parts.health.get().message.find("blk.0.attn_q.weight"), std::string_view::npos)
        << all_.parts.health.get().message;
    EXPECT_EQ(all_.parts.engine, nullptr);
}

TEST_F(ModelLoaderTest, ProgressIsShownAndTheNetworkServed) {
    LoadListener &listener = all_.loader;
    listener.on_load_begin("disk fake0", 1 << 20);
    const uint32_t polls = surroundings_.polls;
    for (uint64_t done = 0; done <= 1 << 20; done += 1 << 17) {
        testing::spend_us(6000);
        listener.on_load_progress(done);
    }
    EXPECT_GE(surroundings_.polls, polls + 9);
    listener.on_load_end(true);
    EXPECT_GE(all_.parts.load_us, 54'000u);
    expect_shown("] model: loading from disk fake0, 1.0 MiB\n");
    expect_shown("[" + std::string(24, '#') + "] ");
    listener.on_load_begin("disk fake1", 1000);
    listener.on_load_progress(10);
    listener.on_load_end(false);
    expect_shown("! failed\n");
}

// A store in memory: what was saved last.
class MemoryStore final : public ProfileStore {
  public:
    std::vector<uint8_t> record;
    uint32_t saves = 0;

    [[nodiscard]] std::string_view place() const override { return "memory"; }
    [[nodiscard]] Result<std::span<const uint8_t>> load() override {
        if (record.empty()) {
            return Error{ErrorCode::kNotFound, "nothing yet"};
        }
        return std::span<const uint8_t>(record);
    }
    [[nodiscard]] Status begin_save(std::span<const uint8_t> bytes) override {
        record.assign(bytes.begin(), bytes.end());
        ++saves;
        return {};
    }
    [[nodiscard]] Result<bool> poll_save() override { return true; }
};

TEST_F(ModelLoaderTest, ChoicesAreKeptAndRecalled) {
    auto &store = testing::keep(new MemoryStore);
    const auto load_and_tune = [&](const Settings &given) {
        LoadedAssembly model(surroundings_, given);
        model.all.tuning.use_profile_store(store);
        model.take(LoadedAssembly::small_model());
        while (model.all.tuning.use_idle_time(false)) {
        }
        model.all.tuning.tend_profile();
        model.all.tuning.tend_profile();
        EXPECT_EQ(model.all.tuning.profile_keeper().place(), "memory");
    };
    const Settings settings =
        testing::settings_with([](Settings &s) { s.state = StateMode::kContinual; });
    load_and_tune(settings);
    expect_shown("profile: nothing is remembered on memory yet\n");
    EXPECT_GT(store.saves, 0u);
    load_and_tune(settings);
    expect_shown(" choices are remembered on memory, ");
    expect_shown(" of them in force again, after ");
}

}  // namespace
}  // namespace bareflow
