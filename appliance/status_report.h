// What /health, /profile and the console's `stats` show: gathers it from the parts of the program
// each time somebody asks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "appliance/parts.h"
#include "appliance/service.h"
#include "appliance/tuning_schedule.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/jit/optimize.h"
#include "kernel_lib/jit/profile.h"
#include "status/profile_table.h"
#include "status/system_snapshot.h"

namespace bareflow {

class StatusReport final : public status::SnapshotSource {
  public:
    // All must outlive the report.
    StatusReport(const Parts &parts, Service &service, TuningSchedule &tuning);

    // The ready line is shown now.
    void note_ready();

    // How fast all operations together are, in the mix that decoding has now, compared with what
    // the same mix would cost.
    struct SpeedUp {
        double over_reference = 1;  // with portable code
        double over_rule = 1;       // with the code that the rule of thumb names
    };
    [[nodiscard]] SpeedUp speed_up() const;
    // The text of the command `stats`.
    void write_stats(TextWriter &out) const;

    // status::SnapshotSource
    status::Health health() override { return parts_.health.get(); }
    void fill(status::SystemSnapshot &out) override;
    size_t function_count() override { return profiler().count(); }
    status::FunctionRow function(size_t index) override;
    std::string_view function_name(size_t index) override {
        return profiler().name(static_cast<FunctionId>(index));
    }
    size_t try_count() override;
    status::TryRow try_at(size_t index) override;
    std::span<const status::TimelinePoint> timeline() override {
        return tuning_.timeline().points();
    }

  private:
    void fill_machine(status::SystemSnapshot &out) const;
    void fill_memory(status::SystemSnapshot &out) const;
    void fill_jit(status::JitInfo &out) const;
    void fill_product(status::FunctionRow &row, const compute::KernelBinding &binding) const;
    [[nodiscard]] uint64_t tries(TryVerdict verdict) const;

    const Parts &parts_;
    Service &service_;
    TuningSchedule &tuning_;
    uint64_t ready_us_ = 0;  // 0: the ready line was not shown yet
    std::array<char, status::kMaxProfileList> features_{};
    size_t features_len_ = 0;
};

}  // namespace bareflow
