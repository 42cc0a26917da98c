// What is saved, when, and what the next boot makes of it. The optimisation targets and the clock
// are fakes. The fake disk can fail, be slow or hold damaged records.
#include "appliance/kept_profile/profile_keeper.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "appliance/kept_profile/disk_profile_store.h"
#include "kernel_lib/jit/optimize.h"
#include "tests/fakes/fake_disk.h"
#include "tests/unit/jit/fake_profile.h"

namespace bareflow {
namespace {

using fakes::begin_profile;
using fakes::count_calls;
using fakes::fake_clock;
using fakes::now_ticks;
using fakes::profile;

constexpr uint64_t kTicksPerMs = 1000;

// "fast" is faster than "rule", and "rule" is faster than the reference.
class FakeTarget final : public OptimizationTarget {
  public:
    explicit FakeTarget(const char *name) : name_(name) {}
    std::string_view in_force;

    const char *name() const override { return name_; }
    uint32_t candidate_count(int level) const override {
        return level == 1 ? 1 : level == 2 ? 3 : 0;
    }
    std::string_view candidate_name(int level, uint32_t index) const override {
        return level == 1 || index == 0 ? "rule" : index == 1 ? "slow" : "fast";
    }
    Prepared prepare(int level, uint32_t index) override {
        in_hand_ = candidate_name(level, index);
        return in_hand_ == in_force ? Prepared::kInForce : Prepared::kReady;
    }
    Check check_some() override { return Check::kEqual; }
    void run_candidate() override { now_ticks += cost(in_hand_); }
    void run_current() override { now_ticks += cost(in_force); }
    void run_reference() override { now_ticks += cost({}); }
    uint64_t code_bytes() const override { return 1; }
    void install() override { in_force = in_hand_; }
    void drop() override {}
    int start(JitMode /*mode*/) override {
        in_force = {};
        return 0;
    }

  private:
    static uint64_t cost(std::string_view name) {
        return name == "fast" ? 200 : name == "rule" ? 500 : name == "slow" ? 900 : 1000;
    }
    const char *name_;
    std::string_view in_hand_;
};

// A machine that boots several times with the same disk.
class ProfileKeeperTest : public ::testing::Test {
  protected:
    ProfileKeeperTest() {
        std::ranges::copy(state_format::kDiskMagic, disk_.bytes.begin());
        identity_.model_hash = 1;
        identity_.version = std::string_view("1");
        boot();
    }
    void boot(bool continual = false) {
        optimizer_.reset();
        begin_profile();
        f_ = std::make_unique<FakeTarget>("f");
        g_ = std::make_unique<FakeTarget>("g");
        (void)profile().key("f");
        (void)profile().key("g");
        optimizer_ = std::make_unique<Optimizer>(profile, fake_clock, log_);
        ASSERT_TRUE(optimizer_->add(*f_).ok());
        ASSERT_TRUE(optimizer_->add(*g_).ok());
        auto state = StateDisk::open(disk_, buffer_);
        ASSERT_TRUE(state.ok());
        store_.emplace(*state);
        keeper_ = std::make_unique<ProfileKeeper>();
        keeper_->start(&*store_, identity_, *optimizer_, continual);
    }
    void make_hot(const char *name) { count_calls(name, 200); }
    void tune() { (void)optimizer_->work(~0ull); }
    // Time passes, with tend() every 100 ms.
    void pass_ms(uint64_t ms, bool idle = true, bool settled = true) {
        for (uint64_t end = now_ticks + ms * kTicksPerMs; now_ticks < end;) {
            now_ticks += 100 * kTicksPerMs;
            keeper_->tend({.ticks = now_ticks,
                           .ticks_per_ms = kTicksPerMs,
                           .idle = idle,
                           .settled = settled,
                           .tokens_per_second = 12.5});
        }
    }

    fakes::FakeDisk disk_{128};
    alignas(16) StateDisk::Buffer buffer_{};
    ProfileIdentity identity_;
    std::array<OptimizationTry, 32> log_;
    std::unique_ptr<FakeTarget> f_, g_;
    std::unique_ptr<Optimizer> optimizer_;
    std::optional<DiskProfileStore> store_;
    std::unique_ptr<ProfileKeeper> keeper_;
};

TEST_F(ProfileKeeperTest, NothingTunedNothingSaved) {
    pass_ms(60000);
    EXPECT_EQ(disk_.writes, 0u);
    EXPECT_EQ(keeper_->deadline(), ~0ull);
}

TEST_F(ProfileKeeperTest, TheNextBootStartsWhereThisOneStopped) {
    make_hot("f");
    make_hot("g");
    tune();
    EXPECT_EQ(optimizer_->try_count(), 6u);
    pass_ms(5000);
    EXPECT_EQ(disk_.writes, 1u);
    EXPECT_EQ(keeper_->saves(), 1u);

    boot();
    EXPECT_TRUE(optimizer_->has_work());
    tune();
    EXPECT_EQ(f_->in_force, "fast");
    EXPECT_EQ(g_->in_force, "fast");
    EXPECT_EQ(optimizer_->recalled(), 2u);
    EXPECT_EQ(optimizer_->try_count(), 4u);  // the rule of thumb and the choice, for each of two
    // Equal choices are not written again.
    pass_ms(60000);
    EXPECT_EQ(disk_.writes, 1u);
    EXPECT_EQ(keeper_->saves(), 0u);
}

TEST_F(ProfileKeeperTest, WaitsForRestAndForQuiet) {
    make_hot("f");
    tune();
    pass_ms(ProfileKeeper::kIdleDebounceMs - 200);
    EXPECT_EQ(disk_.writes, 0u);
    EXPECT_NE(keeper_->deadline(), ~0ull);
    pass_ms(500);
    EXPECT_EQ(disk_.writes, 1u);
    EXPECT_EQ(keeper_->deadline(), ~0ull);
    // Busy: the save waits longer, and is not soon after the one before.
    make_hot("g");
    tune();
    pass_ms(ProfileKeeper::kBusyDebounceMs - 200, false);
    EXPECT_EQ(disk_.writes, 1u);
    pass_ms(500, false);
    EXPECT_EQ(disk_.writes, 2u);
}

TEST_F(ProfileKeeperTest, ASearchWithoutEndIsSavedAllTheSame) {
    make_hot("f");
    tune();
    pass_ms(ProfileKeeper::kMostUnsavedMs - 500, true, false);
    EXPECT_EQ(disk_.writes, 0u);
    pass_ms(1000, true, false);
    EXPECT_EQ(disk_.writes, 1u);
}

TEST_F(ProfileKeeperTest, AnotherModelProcessorOrVersionIsIgnoredAndOverwritten) {
    make_hot("f");
    tune();
    pass_ms(5000);
    const ProfileIdentity ours = identity_;
    for (int i = 0; i < 4; ++i) {
        identity_ = ours;
        (i == 0   ? identity_.model_hash
         : i == 1 ? identity_.cpu_features
                  : identity_.model_bytes) += 5;
        if (i == 3) {
            identity_ = ours;
            identity_.version = std::string_view("2");
        }
        boot();
        EXPECT_FALSE(optimizer_->has_work()) << i;
    }
    make_hot("f");
    tune();
    pass_ms(10000);
    EXPECT_EQ(disk_.writes, 2u);
    boot();
    EXPECT_TRUE(optimizer_->has_work());
    identity_ = ours;
    boot();
    EXPECT_FALSE(optimizer_->has_work());
}

TEST_F(ProfileKeeperTest, ADamagedRecordIsIgnored) {
    make_hot("f");
    tune();
    pass_ms(5000);
    disk_.bytes[state_format::kFirstCopySector * kSectorBytes + 50] ^= 1;
    boot();
    EXPECT_FALSE(optimizer_->has_work());
    EXPECT_TRUE(keeper_->keeps());
    // So is a whole copy with nonsense in it.
    auto state = StateDisk::open(disk_, buffer_);
    (void)state->load();
    ASSERT_TRUE(state->save(std::vector<uint8_t>(100, 0xAB)).ok());
    boot();
    EXPECT_FALSE(optimizer_->has_work());
    make_hot("f");
    tune();
    pass_ms(5000);
    boot();
    EXPECT_TRUE(optimizer_->has_work());
}

TEST_F(ProfileKeeperTest, ADiskThatFailsIsLeftAlone) {
    disk_.write_error = Error{ErrorCode::kDevice, "worn out"};
    make_hot("f");
    tune();
    pass_ms(200'000);
    EXPECT_EQ(disk_.writes, ProfileKeeper::kMaxFailures);
    EXPECT_FALSE(keeper_->keeps());
    disk_.writes = 0;
    disk_.write_error.reset();
    disk_.read_error = Error{ErrorCode::kTimeout, "late"};
    DiskProfileStore &store = *store_;
    keeper_->start(&store, identity_, *optimizer_, false);
    EXPECT_FALSE(keeper_->keeps());
    make_hot("g");
    tune();
    pass_ms(60000);
    EXPECT_EQ(disk_.writes, 0u);
}

TEST_F(ProfileKeeperTest, OneFailureIsTriedAgain) {
    disk_.write_error = Error{ErrorCode::kTimeout, "late"};
    make_hot("f");
    tune();
    pass_ms(1500);
    EXPECT_EQ(disk_.writes, 1u);
    disk_.write_error.reset();
    pass_ms(10000);
    EXPECT_EQ(disk_.writes, 2u);
    EXPECT_EQ(keeper_->saves(), 1u);
}

TEST_F(ProfileKeeperTest, ASlowDiskIsNotWaitedFor) {
    disk_.looks = 20;
    make_hot("f");
    tune();
    pass_ms(ProfileKeeper::kIdleDebounceMs + 200);
    EXPECT_NE(keeper_->deadline(), ~0ull);
    make_hot("g");
    tune();  // while the save is under way
    pass_ms(1000);
    EXPECT_EQ(keeper_->saves(), 0u);
    EXPECT_EQ(keeper_->deadline(), now_ticks + ProfileKeeper::kPollMs * kTicksPerMs);
    pass_ms(1500);
    EXPECT_EQ(keeper_->saves(), 1u);
    pass_ms(20000);
    EXPECT_EQ(keeper_->saves(), 2u);  // one for each change
    boot();
    tune();
    EXPECT_EQ(optimizer_->recalled(), 2u);
}

TEST_F(ProfileKeeperTest, WithoutAStoreNothingHappens) {
    keeper_->start(nullptr, identity_, *optimizer_, false);
    EXPECT_FALSE(keeper_->keeps());
    make_hot("f");
    tune();
    pass_ms(60000);
    EXPECT_EQ(disk_.writes, 0u);
}

TEST_F(ProfileKeeperTest, ContinualSavesAllTheTime) {
    boot(true);
    pass_ms(1000);
    EXPECT_EQ(disk_.writes, 5u);  // started, polled, started...
    boot();
    EXPECT_FALSE(optimizer_->has_work());  // the profile has no choices
}

}  // namespace
}  // namespace bareflow
