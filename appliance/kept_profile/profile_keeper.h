// Keeps the optimiser's choices across reboots: gives it what the store remembers when a model has
// been taken, and saves what it found when it has come to rest. What the store holds for another
// model, processor, hypervisor or version is ignored. Boot processor only.
#pragma once

#include <array>
#include <cstdint>

#include "appliance/kept_profile/profile_store.h"
#include "appliance/kept_profile/tuned_profile.h"
#include "kernel_lib/jit/optimize.h"

namespace bareflow {

class ProfileKeeper {
  public:
    // A save waits for quiet: so long after the last change while nobody
    // waits for a token, longer when somebody does; and never more often than this.
    static constexpr uint64_t kIdleDebounceMs = 1000;
    static constexpr uint64_t kBusyDebounceMs = 8000;
    static constexpr uint64_t kMinIntervalMs = 5000;
    // While the search goes on there is no rest: saved all the same after so long.
    static constexpr uint64_t kMostUnsavedMs = 30000;
    // While a save is under way the disk is looked at this often, and otherwise left alone.
    static constexpr uint64_t kPollMs = 1;
    // A disk that fails is left alone.
    static constexpr uint32_t kMaxFailures = 3;

    struct Now {
        uint64_t ticks = 0;
        uint64_t ticks_per_ms = 1;
        bool idle = true;     // nobody waits for a token
        bool settled = true;  // the optimiser has nothing to do
        double tokens_per_second = 0;
    };

    // continual: saves at every call of tend(), for tests that kill the machine.
    // store: nullptr: nothing is kept. Log says what was remembered, in one line.
    void start(ProfileStore *store, const ProfileIdentity &identity, Optimizer &optimizer,
               bool continual);
    // Between two slices of work.
    void tend(const Now &now);
    // When tend() wants to be called though nothing happens; ~0: not before something changes.
    [[nodiscard]] uint64_t deadline() const { return deadline_; }

    [[nodiscard]] bool keeps() const { return store_ != nullptr && failures_ < kMaxFailures; }
    [[nodiscard]] uint64_t saves() const { return saves_; }
    // Where; empty: nowhere.
    [[nodiscard]] std::string_view place() const {
        return keeps() ? store_->place() : std::string_view();
    }

  private:
    [[nodiscard]] bool changed();
    void begin_save(const Now &now);
    void poll_save(const Now &now);
    void failed(const Now &now, std::string_view why);

    ProfileStore *store_ = nullptr;
    Optimizer *optimizer_ = nullptr;
    bool continual_ = false;
    uint64_t revision_ = 0;  // looked at last
    bool unsaved_ = false;
    uint64_t first_change_ticks_ = 0;
    uint64_t last_change_ticks_ = 0;
    uint64_t last_save_ticks_ = 0;
    uint64_t deadline_ = ~uint64_t{0};
    bool saving_ = false;
    uint32_t failures_ = 0;
    uint64_t saves_ = 0;

    TunedProfile profile_;  // as it was saved or loaded last
    std::array<TunedChoice, TunedProfile::kMaxChoices> choices_{};
    std::array<uint8_t, TunedProfile::kMaxBytes> record_{};
};

}  // namespace bareflow
