// Keeps the optimiser's choices across reboots. When a model has been loaded, the optimiser gets
// the choices that the store remembers. When the optimiser has found others and they stop changing,
// they are saved. Choices for another model, processor, hypervisor or version are ignored. Boot
// processor only.
#pragma once

#include <array>
#include <cstdint>

#include "appliance/kept_profile/profile_store.h"
#include "appliance/kept_profile/tuned_profile.h"
#include "kernel_lib/jit/optimize.h"

namespace bareflow {

class ProfileKeeper {
  public:
    // A save waits until the choices have not changed for kIdleDebounceMs while no request is
    // worked on, or for kBusyDebounceMs otherwise. Between two saves lie at least kMinIntervalMs.
    static constexpr uint64_t kIdleDebounceMs = 1000;
    static constexpr uint64_t kBusyDebounceMs = 8000;
    static constexpr uint64_t kMinIntervalMs = 5000;
    // While the search goes on, choices keep changing: they are saved this long after the first
    // change all the same.
    static constexpr uint64_t kMostUnsavedMs = 30000;
    // How often the disk is asked whether the save under way is done.
    static constexpr uint64_t kPollMs = 1;
    // After this many failures in a row the disk is not used any more.
    static constexpr uint32_t kMaxFailures = 3;

    struct Now {
        uint64_t ticks = 0;
        uint64_t ticks_per_ms = 1;
        bool idle = true;     // no request is worked on
        bool settled = true;  // the optimiser has nothing to do
        double tokens_per_second = 0;
    };

    // continual: saves at every call of tend(), for tests that kill the machine.
    // store: nullptr if nothing is kept. One log line says what was remembered.
    void start(ProfileStore *store, const ProfileIdentity &identity, Optimizer &optimizer,
               bool continual);
    // Between two slices of work.
    void tend(const Now &now);
    // platform::ticks() at which tend() must be called even if nothing happens; ~0: only when
    // something changes.
    [[nodiscard]] uint64_t deadline() const { return deadline_; }

    [[nodiscard]] bool keeps() const { return store_ != nullptr && failures_ < kMaxFailures; }
    [[nodiscard]] uint64_t saves() const { return saves_; }
    // Name of the store in use; empty: none.
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
    uint64_t revision_ = 0;  // the optimiser's at the last tend()
    bool unsaved_ = false;
    uint64_t first_change_ticks_ = 0;
    uint64_t last_change_ticks_ = 0;
    uint64_t last_save_ticks_ = 0;
    uint64_t deadline_ = ~uint64_t{0};
    bool saving_ = false;
    uint32_t failures_ = 0;
    uint64_t saves_ = 0;

    TunedProfile profile_;  // as the store has it: saved or loaded last
    std::array<TunedChoice, TunedProfile::kMaxChoices> choices_{};
    std::array<uint8_t, TunedProfile::kMaxBytes> record_{};
};

}  // namespace bareflow
