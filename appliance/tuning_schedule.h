// When the optimiser works. While texts are made it gets 5 % of the time, in short pieces; while
// nobody waits for a token it gets all of it. Also keeps the optimiser's choices across reboots,
// and the record of how fast texts were made.
#pragma once

#include <cstdint>

#include "appliance/kept_profile/profile_keeper.h"
#include "appliance/parts.h"
#include "appliance/read_speed.h"
#include "appliance/service.h"
#include "appliance/timeline.h"
#include "kernel_lib/jit/profile.h"
#include "status/profile_actions.h"

namespace bareflow {

class TuningSchedule final : public status::ProfileActions {
  public:
    // The greatest part of the time of texts that the optimiser takes, in thousandths.
    static constexpr uint64_t kPerMille = 50;

    // Both must outlive the schedule.
    TuningSchedule(Parts &parts, Service &service) : parts_(parts), service_(service) {}

    // Where choices are kept; before start(). nullptr (as at first): nowhere.
    void use_profile_store(ProfileStore &store) { profile_store_ = &store; }

    // The engine was made: makes the tuners, and gives the optimiser the choices of an earlier
    // start. Without memory for the tuners one log line says so, and the kernels stay as they are.
    void start();
    // Puts these choices into force, before the first request: for at most kRestoreMs. Keeps the
    // network served meanwhile.
    void restore_choices();

    // A slice of text, then the optimiser's part. Only while parts.texts can advance.
    void make_texts();
    // Nobody waits for a token: a slice of the optimiser's work. `ready`: the ready line was shown.
    // False: there is nothing to do.
    bool use_idle_time(bool ready);
    // Saves choices when it is time for it. Between two slices.
    void tend_profile();
    // When tend_profile() wants to be called even if nothing happens.
    [[nodiscard]] uint64_t deadline() const { return profile_keeper_.deadline(); }

    // status::ProfileActions
    int optimize_now() override;
    [[nodiscard]] bool optimizer_has_work() override;
    void clear_profile() override;

    // For the status report.
    [[nodiscard]] const Timeline &timeline() const { return timeline_; }
    [[nodiscard]] const ReadSpeed &read_speed() const { return read_speed_; }
    [[nodiscard]] const ProfileKeeper &profile_keeper() const { return profile_keeper_; }

  private:
    void make_tuners();
    void recall_profile();
    void work(uint64_t deadline_ticks);

    Parts &parts_;
    Service &service_;
    // Time since texts are made while the optimiser has work, and the optimiser's part of it.
    uint64_t busy_ticks_ = 0;
    uint64_t busy_optimizer_ticks_ = 0;
    bool tuning_ = false;                       // the optimiser had work, and room was not made yet
    uint64_t advance_ticks_ = 0;                // spent making text
    FunctionId sample_function_ = kNoFunction;  // called once for every token
    Timeline timeline_;
    ReadSpeed read_speed_;
    ProfileStore *profile_store_ = nullptr;
    ProfileKeeper profile_keeper_;
};

}  // namespace bareflow
