// The appliance without the machine: model, engine, HTTP API and console joined into one event
// loop. It is the same on bare metal and hosted; Surroundings (parts.h) brings what differs.
#pragma once

#include <cstdint>
#include <string_view>

#include "appliance/local_prompts.h"
#include "appliance/model_loader.h"
#include "appliance/parts.h"
#include "appliance/service.h"
#include "appliance/settings.h"
#include "appliance/status_report.h"
#include "appliance/tuning_schedule.h"
#include "kernel_lib/base/byte_stream.h"
#include "kernel_lib/base/result.h"

namespace bareflow {

class Appliance final {
  public:
    // There is one in a program, in static storage. Allocates nothing yet.
    Appliance(const Settings &settings, Surroundings &surroundings);

    // Serves on `streams` from now on. Until there is a model, /health says so.
    [[nodiscard]] Status start_http(StreamSource &streams) { return service_.start_http(streams); }
    // Without a network card: the console still works.
    [[nodiscard]] Status start_without_network() { return service_.start_without_network(); }

    // Where the tuned profile is kept; before take_model(). The store must stay for ever.
    void use_profile_store(ProfileStore &store) { tuning_.use_profile_store(store); }

    // Takes the model, or says why there is none. Its listener is for load_model().
    [[nodiscard]] ModelLoader &loader() { return loader_; }

    // One pass through the event loop. False: nothing to do before idle_deadline() or an
    // interrupt.
    bool turn();
    [[nodiscard]] uint64_t idle_deadline() const;

  private:
    void show_ready();
    void show_status();

    Parts parts_;
    Service service_;
    TuningSchedule tuning_;
    StatusReport report_;
    LocalPrompts prompts_;
    ModelLoader loader_;
    bool ready_shown_ = false;
    uint64_t status_ticks_ = 0;  // when the status line is refreshed next
};

}  // namespace bareflow
